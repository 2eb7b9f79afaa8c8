"""Content that codecs invent at low rates: dots that appear or vanish, slices that grow or shrink.

Drawn images are put on sheets, each a real file that is decoded again. DRAW's files are also
decoded up to each of their layers, with the missing part drawn from the prior; the noise of the
distribution-preserving codec has a seed for each sheet.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dplc import subject
from benchmarks.harness.command import named_path
from benchmarks.harness.probes import count_dots, ink_area, pie_fraction
from benchmarks.harness.procedural_images import DotImages, PieImages, draw_dots, draw_pies
from benchmarks.harness.results import Measured
from benchmarks.harness.small_images import (
    cut,
    decode_prefixes,
    load_dplc_model,
    load_draw_model,
    read_file,
    rounded,
    sheets,
    write_file,
)
from bitstream.arrays import Float64Array, Uint8Array
from bitstream.errors import UsageError, WeightsMissingError
from codec.datasets.arrays import Images
from codec.loading import load_model
from codec.models.base import LoadedModel
from codec.models.dplc.coder import DplcCoder
from codec.models.draw.coder import DrawCoder

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
MODELS = ("photo", "draw", "dplc")
QUALITIES = {"photo": (1, 5, 10, 20, 35, 50, 75, 95), "draw": (1, 25, 50, 75, 100)}


@dataclass(frozen=True)
class Operation:
    """One way to code a sheet: its setting, its bytes, and the decoded sheet (h, w, C)."""

    setting: str
    coded_bytes: int
    pixels: Uint8Array


def probed_model(name: str, files: Mapping[str, Path]) -> LoadedModel | None:
    """The model from a given weights file, else as installed; None if it is not installed."""
    path = files.get(name)
    if path is not None and name == "dplc":
        return load_dplc_model(path).coder
    if path is not None and name == "draw":
        return load_draw_model(path).file_coder()
    if path is not None:
        raise UsageError(f"weights {path.name} of {name!r}: expected weights of draw or dplc only")
    try:
        return load_model(name, device="cpu")
    except WeightsMissingError:
        return None


def operations(
    model: LoadedModel, sheet: Uint8Array, qualities: Sequence[float], seed: int
) -> Iterator[Operation]:
    """All ways to code a sheet (h, w, C), from the first quality on."""
    for quality in qualities:
        file = write_file(model, sheet, quality, noise_seed=seed)
        if isinstance(model, DrawCoder):
            decoded = decode_prefixes(model, file, seed)
            ends = (*file.layer_ends[:-1], len(file.data))
            for number, (end, pixels) in enumerate(zip(ends, decoded, strict=True), start=1):
                yield Operation(f"quality {quality:g}, {number} layers", end, pixels)
        else:
            pixels = read_file(model, file.data)
            yield Operation(f"quality {quality:g}", len(file.data), pixels)


def qualities_of(name: str, model: LoadedModel) -> tuple[float, ...]:
    """The qualities to try; for dplc one for each rate."""
    if isinstance(model, DplcCoder):
        rates = len(model.config.rates)
        return tuple(10_000 * (rate + 1) // rates / 100 for rate in range(rates))
    return QUALITIES[name]


def decode_all(
    model: LoadedModel, images: Images, qualities: Sequence[float], columns: int, seed: int
) -> dict[str, tuple[int, Images]]:
    """By setting: bytes of all sheets, and the decoded images."""
    found: dict[str, tuple[int, list[Images]]] = {}
    side = images.shape[2]
    for number, sheet in enumerate(sheets(images, columns)):
        for one in operations(model, sheet, qualities, seed + number):
            total, parts = found.get(one.setting, (0, []))
            parts.append(cut(one.pixels, side))
            found[one.setting] = (total + one.coded_bytes, parts)
    return {name: (total, np.concatenate(parts)) for name, (total, parts) in found.items()}


def dots_row(dots: DotImages, images: Images) -> dict[str, Any]:
    """How far decoded images (m, C, side, side) are from the first m drawn images."""
    counts = dots.counts[: len(images)]
    found = count_dots(images, dots.disc_area)
    area = ink_area(dots.images[: len(images)])
    changed = int((found != counts).sum())
    low, high = wilson_interval(changed, len(images))
    return {
        "count_changed": changed / len(images),
        "count_changed_low": low,
        "count_changed_high": high,
        "mean_change_of_count": float((found - counts).mean()),
        "relative_area_error": float((np.abs(ink_area(images) - area) / area).mean()),
    }


def pies_row(pies: PieImages, images: Images) -> dict[str, Any]:
    """The same for pies; images without a pie are counted, and left out of the mean."""
    found = pie_fraction(images)
    errors: Float64Array = np.abs(found - pies.fractions[: len(images)])
    lost = np.isnan(errors)
    return {
        "fraction_error": float(errors[~lost].mean()) if not lost.all() else None,
        "pies_lost": float(lost.mean()),
    }


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a probability (Wilson 1927)."""
    z = 1.959963984540054
    share, extra = hits / trials, z**2 / trials
    middle = share + extra / 2
    half = z * math.sqrt(share * (1 - share) / trials + extra / (4 * trials))
    # The ends are exact except for rounding.
    low = (middle - half) / (1 + extra) if hits else 0.0
    return low, (middle + half) / (1 + extra) if hits < trials else 1.0


def measure_probes(
    names: Sequence[str],
    files: Mapping[str, Path],
    *,
    count: int = 400,
    side: int = 32,
    columns: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """The part `probes`: one result for each model that has weights.

    count    number of images of dots, and of pies; a multiple of columns² is used
    """
    used = count // columns**2 * columns**2
    dots, pies = draw_dots(used, side=side, seed=seed), draw_pies(used, side=side, seed=seed)
    results = {}
    for name in names:
        model = probed_model(name, files)
        if model is None:
            print(f"{name}: no weights are installed, left out", file=sys.stderr)
            continue
        qualities = qualities_of(name, model)
        on_dots = decode_all(model, dots.images, qualities, columns, seed)
        on_pies = decode_all(model, pies.images, qualities, columns, seed)
        points = []
        for setting, (total, images) in on_dots.items():
            pie_bytes, pie_images = on_pies[setting]
            row: dict[str, Any] = {
                "setting": setting,
                "dots": {
                    "bits_per_pixel": 8 * total / (used * side**2),
                    "bits_per_image": 8 * total / used,
                    **dots_row(dots, images),
                },
                "pies": {
                    "bits_per_pixel": 8 * pie_bytes / (used * side**2),
                    "bits_per_image": 8 * pie_bytes / used,
                    **pies_row(pies, pie_images),
                },
            }
            points.append(row)
            print(
                f"{name}, {setting}: {row['dots']['bits_per_pixel']:.3f} bpp, count changed in "
                f"{100 * row['dots']['count_changed']:.0f} %",
                file=sys.stderr,
            )
        results[name] = {
            "weights": model.weights_hash.hex(),
            "images": used,
            "sheets": f"{columns}×{columns} images of {side}×{side} to a file",
            "dots": f"1 to 8 white discs of radius {dots.radius:g} on black, 2 pixels apart",
            "pies": f"radius {pies.radius:g}, slices of 10 to 90 %",
            "errors": "count_changed: share of images with another number of dots, with its 95 % "
            "interval; relative_area_error: mean of |ink − ink of the source| / ink of the "
            "source; fraction_error: mean distance of the slice from what was stated",
            "seed": seed,
            "found": rounded(points),
        }
    return results


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--weights", type=named_path, nargs="*", default=[],
                        metavar="NAME=FILE",
                        help="of draw or dplc; installed ones where none is given")  # fmt: skip
    parser.add_argument("--count", type=int, default=400, help="images of each kind")
    parser.add_argument("--side", type=int, default=32, help="of an image")
    parser.add_argument("--columns", type=int, default=10, help="of a sheet")


def run(options: Namespace) -> Iterator[Measured]:
    yield from subject.measured(options, "probes", lambda: measure_probes(
        options.models, dict(options.weights), count=options.count, side=options.side,
        columns=options.columns, seed=options.seed,
    ))  # fmt: skip
