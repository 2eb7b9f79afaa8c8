"""All rungs of one model's ladder on the same digits, and where the bits of its files go.

    python -m benchmarks.measurement ladder --data MNIST --work FOLDER [--images 1000]

The model is the shipped VAE of digits, whose four coding methods share one weights file:

    lower bound ≤ R_p(D) by annealing ≤ amortised E KL ≤ ideal code length ≤ bytes on disk

There are two amortised rungs: the VAE's own encoder (at the temperatures of the qualities; its own
is that of 75) and an encoder trained for each β.  There is also the plug-in bound with its ceiling
log₂ M.  Every file is decoded again.  Squared errors are sums over an image's pixels in [0, 1],
averaged over the images.

Measurements are stored in the work folder, so that another run does not repeat them.  Writes the
ladder (`calotype plot` reads it) with the curve and the gap tables in it, and draws it as SVG, PNG
and HTML.  The exit status is 1 if the terms of a gap table do not add up within 1 %, or if rungs
violate an order that is a theorem.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.generative_rate import SSE, joined, rung_of_images
from benchmarks.harness.results import Measured, provenance
from benchmarks.measurement.digits import DigitsMeasurement
from benchmarks.measurement.ladder_parts import WAYS, Posteriors, Settings, Workshop
from bitstream.arrays import Uint8Array
from codec.datasets.arrays import read_images
from codec.rate_distortion.annealing.summary import summarize
from codec.rate_distortion.ladder.gap_table import GapMeasurements, GapTable, rates_for_gap_bits
from codec.rate_distortion.ladder.ladder import LADDER_SCHEMA, Ladder
from codec.rate_distortion.ladder.model_file import ModelResult
from codec.rate_distortion.ladder.result_schema import check_content
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import NATS_PER_BIT, RDCurve
from codec.rate_distortion.report.figure import draw_picture
from codec.rate_distortion.report.lines import picture_of_results
from training.data.small_images import evenly

SCHEMA, RESULT = LADDER_SCHEMA, "rate_distortion_ladder.json"
QUALITIES = (30.0, 45.0, 60.0, 75.0, 90.0)
GAP_QUALITIES = (45.0, 60.0, 75.0)
MODEL, DATA_SET = "digits VAE", "MNIST test"


def posterior_rung(found: Sequence[Posteriors]) -> Rung:
    """The VAE's own encoder at several temperatures."""
    return joined([rung_of_images(one.kl_nats, one.sse, "E KL, VAE's encoder", "amortised")
                   for one in found])  # fmt: skip


def code_rungs(found: Sequence[DigitsMeasurement]) -> tuple[Rung, Rung]:
    """Ideal code length and bytes on disk of one coding method, over its qualities."""
    lengths, files = [], []
    for one in found:
        bits = one.ideal_bits
        # A file has no separate bytes for each image: its other bytes are shared evenly.
        whole = bits + 8 * one.file_bytes / one.images - bits.mean()
        lengths.append(
            rung_of_images(bits * NATS_PER_BIT, one.sse, f"{one.model}: code length", "code_length")
        )
        files.append(rung_of_images(whole * NATS_PER_BIT, one.sse, f"{one.model}: bytes", "bytes"))
    return joined(lengths), joined(files)


def gap_table(
    curve: RDCurve, posteriors: Posteriors, files: DigitsMeasurement, name: str, data_set: str
) -> GapTable:
    """Where the bits of one method's files go; raises `UsageError` off the certified curve."""
    count = files.images
    posterior_sse, file_sse = float(posteriors.sse.mean()), float(files.sse.mean())
    measured = GapMeasurements(
        file_bits=8 * files.file_bytes / count,
        header_bits=8 * files.header_bytes / count,
        payload_bits=8 * files.payload_bytes / count,
        ideal_code_bits=float(files.ideal_bits.mean()),
        posterior_kl_bits=float(posteriors.kl_nats.mean()) / NATS_PER_BIT,
        sampled_kl_bits=float(posteriors.sampled_kl_nats.mean()) / NATS_PER_BIT,
        aggregated_kl_bits=posteriors.mismatch_nats[0] / NATS_PER_BIT,
        posterior_distortion=posterior_sse,
        file_distortion=file_sse,
        **rates_for_gap_bits(curve, posterior_sse, file_sse),
    )
    return GapTable(name, data_set, count, SSE.name, SSE.convention, measured)


def lower_bound_rung(
    lines: Sequence[dict[str, Any]], distortion: Sequence[float], images: int
) -> Rung | None:
    """The highest line at each distortion up to the last where one is above 0; None if none is."""
    rung = Rung.of_lines(
        # These are sums over all images, so there is no interval.
        [(line["beta"], *[line["intercept_nats"]] * 3) for line in lines],
        distortion,
        name="lower bound on R(D) of the images",
        distortion_name=SSE.name,
        convention=SSE.convention,
    )
    reached = [value for value, low in zip(distortion, rung.rate_low_nats, strict=True) if low > 0]
    if not reached:
        return None
    kept = [index for index, value in enumerate(distortion) if value <= max(reached)]
    names = ("distortion", "rate_nats", "rate_low_nats", "rate_high_nats", "certified", "beta")
    columns: dict[str, Any] = {name: tuple(getattr(rung, name)[i] for i in kept) for name in names}
    # The source draws one of the images, so its number is a sufficient description.
    return replace(rung, **columns, ceiling_nats=math.log(images),
                   ceiling_name=f"log₂ n, n = {images:,} images")  # fmt: skip


def measure(workshop: Workshop, train: Uint8Array, qualities: Sequence[float],
            gap_qualities: Sequence[float], *, model: str = MODEL, data_set: str = DATA_SET
            ) -> tuple[Ladder, dict[str, Any]]:  # fmt: skip
    """The ladder, and the other fields of the result file."""
    count = len(workshop.images)
    files = {way: {quality: workshop.files(way, quality) for quality in qualities} for way in WAYS}
    posteriors = {quality: workshop.posteriors(quality) for quality in qualities}
    beside = [workshop.plug_in(), workshop.trained_encoder(train)]
    samples = workshop.annealed()
    lines, curve = workshop.lower_bounds(samples), summarize(samples)
    below = lower_bound_rung(lines, np.geomspace(min(curve.distortion), max(curve.distortion), 40)
                             .tolist(), count)  # fmt: skip
    codes = [code_rungs(list(found.values())) for found in files.values()]
    rungs = [
        *([below] if below else []), Rung.of_curve(curve), *beside,
        posterior_rung(list(posteriors.values())),
        *(length for length, _ in codes), *(whole for _, whole in codes),
    ]  # fmt: skip
    tables = [
        gap_table(curve, posteriors[quality], files[way][quality], f"{way} at quality {quality:g}",
                  data_set)
        for way in WAYS for quality in gap_qualities
    ]  # fmt: skip
    result = ModelResult(curve, model, data_set, f"{count} images, evenly spaced")
    extra = {
        "selection": result.selection,
        "weights": workshop.identity["weights"],
        "settings": asdict(workshop.settings),
        "lower_bound": {
            "source": "draws one of the images, all alike",
            "is_vacuous": below is None,
            "lines": lines,
            "by_source_lower_bound": workshop.general_lower_bound(),
        },
        "prior_mismatch": {
            "used_in_gap_tables": "lower_bits, from densities that have not seen the image",
            **{
                f"quality {quality:g}": dict(
                    zip(("lower_bits", "standard_error_bits", "upper_bits"),
                        (nats / NATS_PER_BIT for nats in found.mismatch_nats), strict=True)
                )
                for quality, found in posteriors.items()
            },
        },
        "gap_tables": [table.to_json() for table in tables],
        "curve": result.to_json(),
    }  # fmt: skip
    return Ladder(model, data_set, count, tuple(rungs)), extra


def drawn(ladder: Ladder) -> Ladder:
    """The ladder with those rungs of files drawn as one that look alike in a picture (4 %).

    Only the ceiling of the plug-in bound is drawn, since it cuts off its line.
    """
    groups: list[list[Rung]] = []
    # Bytes first, so that they are drawn.
    of_files = [r for r in ladder.rungs if r.kind == "bytes"]
    of_files += [r for r in ladder.rungs if r.kind == "code_length"]
    for rung in of_files:
        for group in groups:
            if _is_near(rung, group[0]):
                group.append(rung)
                break
        else:
            groups.append([rung])
    merged = [replace(group[0], name=_shared_name(group)) for group in groups]
    others = [
        replace(rung, ceiling_nats=None) if rung.kind == "lower_bound" else rung
        for rung in ladder.rungs
        if rung not in of_files
    ]
    return replace(ladder, rungs=(*others, *merged))


def _is_near(rung: Rung, other: Rung) -> bool:
    return len(rung.distortion) == len(other.distortion) and all(
        abs(a - b) <= 0.04 * abs(b)
        for name in ("distortion", "rate_nats")
        for a, b in zip(getattr(rung, name), getattr(other, name), strict=True)
    )


def _shared_name(group: Sequence[Rung]) -> str:
    parts = [rung.name.split(": ") for rung in group]
    ways = ", ".join(dict.fromkeys(way.removeprefix("vae-") for way, _ in parts))
    return f"{ways}: {' and '.join(dict.fromkeys(what for _, what in parts))}"


def draw(ladder: Ladder, output: Path) -> None:
    """SVG, PNG and HTML beside the result file; in HTML every rung is a line of its own."""
    for suffix in (".svg", ".png"):
        draw_picture(picture_of_results([drawn(ladder)]), output.with_suffix(suffix))
    draw_picture(picture_of_results([ladder]), output.with_suffix(".html"))


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="MNIST's folder, IDX or .npz")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is measured")
    parser.add_argument("--images", type=int, default=1000, help="of the test set, evenly spaced")
    parser.add_argument("--train", type=int, default=20_000, help="images for the trained encoder")
    parser.add_argument("--temperatures", type=int, default=Settings.temperatures)
    parser.add_argument("--chains", type=int, default=Settings.chains)


def run(options: Namespace) -> Iterator[Measured]:
    images = evenly(read_images(options.data, shape=(1, 28, 28), part="test"), options.images)
    train = read_images(options.data, shape=(1, 28, 28), part="train")[: options.train]
    settings = Settings(temperatures=options.temperatures, chains=options.chains)
    workshop = Workshop(images, settings, options.work)
    ladder, extra = measure(workshop, train, QUALITIES, GAP_QUALITIES)
    content = {**ladder.to_json(), "provenance": provenance(), **extra}
    check_content(content)
    draw(ladder, options.output)
    broken = ladder.check()
    tables = [GapTable.from_json(table) for table in content["gap_tables"]]
    odd = [table.model for table in tables if not table.agrees]
    failures = [f"the terms do not add up within 1 %: {', '.join(odd)}"] if odd else []
    if any(one.is_theorem for one in broken):
        failures.append("two rungs stand in an order that cannot be")
    lines = [*map(str, broken), *(f"\n{table.model}\n\n{table.to_markdown()}" for table in tables)]
    yield Measured(content, lines, "; ".join(failures))
