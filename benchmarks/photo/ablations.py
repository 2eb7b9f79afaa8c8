"""What each part of the photo model saves: BD-rates of weights with and without it.

    python -m benchmarks.photo ablations --data gb82.tar --limit 9 \\
        --baseline photo=codec/weights/photo.safetensors --without all \\
        [--variants context=context/photo.safetensors]

Every file is compressed and decompressed at a few qualities and compared with the baseline. A
negative BD-rate is a saving.

`--variants` are weights that were trained differently. `--without` removes a part from the
baseline's own weights, without training them again. The other parts cannot compensate for it, so it
seems to save more than a model trained without it would lose. These are the parts:

certain-tables  symbols that are nearly always 0 are coded, too
one-hyper-set   hyper-latents of all qualities are coded with the tables of the middle one
far-passes      the first group has no passes over squares that are 2 and 4 blocks apart
passes          the first group is coded in one pass
context         nothing is predicted from known latents
analysis        the encoder computes only the transform, without its network
synthesis       the decoder computes only the inverse transform, without its network
integers        the synthesis network computes in floating point; from estimated rates
visual-tune     with `--tune psnr`, at equal SSIMULACRA2; all others are compared at equal PSNR

The result file keeps results that are not measured again.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from benchmarks.harness.command import named_path
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, provenance
from benchmarks.harness.small_images import read_weights
from bitstream.arrays import Array, Uint8Array
from bitstream.container import container_from_bytes, container_to_bytes
from bitstream.tables import TableSet, gaussian_tables, tables_from_pmfs
from codec.loading import hash_weights
from codec.models.photo.coder import PhotoCoder, load_photo, read_sizes
from codec.models.photo.config import TUNES
from codec.models.photo.exact_context import LATER_STEPS, PASSES, USUAL_PASSES
from codec.models.photo.torch_network import read_model
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from codec.rate_distortion import bd_rate_of_points, psnr_db
from codec.rate_distortion.metrics import ssimulacra2
from training.data.crops import load_photographs
from training.photo.export import gaussian_scales, tables_arrays

SCHEMA, RESULT = "calotype.ablations/1", "ablations.json"
QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80)

Weights = tuple[dict[str, Array], dict[str, str]]  # arrays, metadata
Points = list[tuple[float, float]]  # bits per pixel, and dB or another score


def without_certain_tables(arrays: Mapping[str, Array], coder: PhotoCoder) -> dict[str, Array]:
    """Arrays that code residuals of the smallest scales under their Gaussians, too."""
    own, gaussian = coder.latent_tables, gaussian_tables(gaussian_scales())
    chosen = [(gaussian if certain else own, k) for k, certain in enumerate(own.certain)]
    frequencies = [t.frequencies[t.starts[k] : t.starts[k + 1]] for t, k in chosen]
    tables = TableSet(
        np.concatenate(frequencies),
        np.cumsum([0, *map(len, frequencies)], dtype=np.int32),
        np.array([t.minimums[k] for t, k in chosen], dtype=np.int32),
    )
    return {**arrays, **tables_arrays(coder.hyper_tables, tables)}


def with_one_hyper_set(arrays: Mapping[str, Array], coder: PhotoCoder) -> dict[str, Array]:
    """Arrays that code hyper-latents of every quality with the tables of the middle one."""
    tables, channels = coder.hyper_tables, coder.config.hyper_channels
    middle = coder.hyper_sets // 2 * channels
    pmfs = []
    for table in [*range(middle, middle + channels)] * coder.hyper_sets:
        entries = tables.frequencies[tables.starts[table] : tables.starts[table + 1] - 1]
        pmfs.append((int(tables.minimums[table]), entries / 2.0**24))
    return {**arrays, **tables_arrays(tables_from_pmfs(pmfs), coder.latent_tables)}


def silent(*names: str) -> Callable[[Mapping[str, Array], PhotoCoder], dict[str, Array]]:
    """A function that returns the arrays with those set to zero whose names begin with a name."""

    def without(arrays: Mapping[str, Array], coder: PhotoCoder) -> dict[str, Array]:
        found = {name: array for name, array in arrays.items() if name.startswith(names)}
        return {**arrays, **{name: np.zeros_like(array) for name, array in found.items()}}

    return without


def corrections(steps: Iterable[str]) -> list[str]:
    """Prefixes of the names of those arrays in the context's steps that correct predictions."""
    parts = ("out.weight", "out.bias", "linear.weight", "linear.bias")
    return [f"context.{step}.{part}" for step in steps for part in parts]


WITHOUT: dict[str, Callable[[Mapping[str, Array], PhotoCoder], dict[str, Array]]] = {
    "certain-tables": without_certain_tables,
    "one-hyper-set": with_one_hyper_set,
    "far-passes": silent(*corrections([*PASSES][:-USUAL_PASSES])),
    "passes": silent(*corrections(PASSES)),
    "context": silent(*corrections([*PASSES, *LATER_STEPS])),
    "analysis": silent("network.analysis.out."),
    "synthesis": silent("synthesis.out.weight", "synthesis.out.bias"),
}
INTEGERS, VISUAL_TUNE = "integers", "visual-tune"
PARTS = (*WITHOUT, INTEGERS, VISUAL_TUNE)


def coder_of(weights: Weights) -> PhotoCoder:
    """The coder of these weights, with the tune for PSNR."""
    arrays, metadata = weights
    coder = load_photo(arrays, metadata, bytes(8), device=torch.device("cpu"))
    return coder.with_tune("psnr")


def measure(
    coder: PhotoCoder,
    images: Sequence[Uint8Array],
    qualities: Sequence[float],
    score: Callable[[Uint8Array, Uint8Array], float | None] = psnr_db,
) -> Points:
    """Mean bits per pixel of whole files, and mean score, at each quality."""
    points = []
    for quality in qualities:
        rates, scores = [], []
        for pixels in images:
            data = container_to_bytes(compress_picture(Picture(pixels), coder, quality=quality))
            decoded = decompress_container(container_from_bytes(data), coder).pixels
            rates.append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
            found = score(pixels, decoded)
            scores.append(np.nan if found is None else found)
        points.append((float(np.mean(rates)), float(np.mean(scores))))
    return points


@torch.no_grad()
def estimate(
    weights: Weights, images: Sequence[Uint8Array], qualities: Sequence[float], *, rounded: bool
) -> Points:
    """Mean estimated bits per pixel and mean PSNR in dB at each quality, with the torch network.

    rounded   whether the synthesis computes with the integers of a decoder
    """
    arrays, metadata = weights
    model, coder = read_model(arrays, read_sizes(metadata)), coder_of(weights)
    tune = torch.tensor([TUNES.index("psnr")])
    points = []
    for quality in qualities:
        hundredths = coder.position(quality)
        rates, scores = [], []
        for pixels in images:
            height, width = (side // 64 * 64 for side in pixels.shape[:2])
            part = pixels[:height, :width]
            tensor = torch.from_numpy(part.astype(np.float32) / 255).permute(2, 0, 1)[None]
            position = torch.tensor([(hundredths - 100) / 9900])
            output = model(tensor, position, tune, hard=True, rounded=rounded)
            decoded = output.reconstruction[0].permute(1, 2, 0).mul(255).round().clamp(0, 255)
            rates.append(float(output.latent_bits + output.hyper_bits) / (height * width))
            scores.append(psnr_db(part, decoded.numpy().astype(np.uint8)))
        points.append((float(np.mean(rates)), float(np.mean(scores))))
    return points


def row(
    points: Points,
    baseline: Points,
    qualities: Sequence[float],
    weights: Weights,
    score: str = "psnr_db",
) -> dict[str, Any]:
    """One variant compared with the baseline, as JSON."""
    delta = bd_rate_of_points(baseline, points)
    return {
        "bd_rate_percent": delta.bd_rate_percent,
        "points": [
            {"quality": quality, "rate_bpp": rate, score: value}
            for quality, (rate, value) in zip(qualities, points, strict=True)
        ],
        "parameters": sum(
            array.size
            for name, array in weights[0].items()
            if name.startswith(("network.", "exact.", "context.", "synthesis."))
        ),
        "sizes": asdict(read_sizes(weights[1])),
    }


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser, name=False)
    parser.add_argument("--baseline", type=named_path, required=True, metavar="NAME=FILE")
    parser.add_argument("--variants", type=named_path, nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--without", nargs="*", default=[], choices=[*PARTS, "all"])
    parser.add_argument("--qualities", type=float, nargs="+", default=QUALITIES)
    parser.add_argument("--set", default="", help="name of this comparison, such as its budget")


def run(options: Namespace) -> Iterator[Measured]:
    images = load_photographs(options.data)
    count = min(options.limit or len(images), len(images))
    images = [images[int(k)] for k in np.linspace(0, len(images) - 1, count)]
    name, path = options.baseline
    weights = read_weights(path)
    coder = coder_of(weights)
    baseline = measure(coder, images, options.qualities)
    rows = {name: row(baseline, baseline, options.qualities, weights)}
    parts = PARTS if "all" in options.without else options.without
    compared = [(variant, read_weights(path)) for variant, path in options.variants]
    compared += [
        (part, (WITHOUT[part](weights[0], coder), weights[1]))
        for part in parts
        if part in WITHOUT and (part != "far-passes" or coder.config.far_passes)
    ]
    for variant, other in compared:
        points = measure(coder_of(other), images, options.qualities)
        rows[variant] = row(points, baseline, options.qualities, other)
    if INTEGERS in parts:
        integers, floats = (
            estimate(weights, images, options.qualities, rounded=rounded)
            for rounded in (True, False)
        )
        rows[INTEGERS] = row(floats, integers, options.qualities, weights)
    if VISUAL_TUNE in parts:
        tuned, other_tune = (
            measure(coder.with_tune(tune), images, options.qualities, ssimulacra2)
            for tune in ("visual", "psnr")
        )
        rows[VISUAL_TUNE] = row(other_tune, tuned, options.qualities, weights, "ssimulacra2")
    lines = [
        f"{variant}: {found['bd_rate_percent']:+.2f} % against {name}"
        for variant, found in rows.items()
        if variant != name
    ]
    found = {
        "provenance": provenance(),
        "images": len(images),
        "weights": hash_weights(path).hex(),
        "psnr": "mean of dB over images, RGB in 0 .. 255",
        "baseline": name,
        "rows": rows,
    }
    yield Measured({"comparisons": {options.set or name: found}}, lines, keep_others=True)
