"""Rate saved by each part of the photo model: BD-rates of weights with and without it.

    python -m benchmarks.photo ablations --data gb82.tar \\
        --baseline control=control/photo.safetensors --variants context=context/photo.safetensors

Every file is coded and decoded whole at a few qualities and compared with the baseline: a negative
BD-rate is a saving.  What is not trained but fitted is taken out of the baseline's own weights:
`certain-tables` codes all residuals, those too that are hardly ever another than 0, `one-hyper-set`
codes hyper-latents of all qualities with the tables of the middle one.  The result file keeps what
is not measured again.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from codec.models.photo.coder import PhotoCoder, load_photo, read_sizes
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from codec.rate_distortion import bd_rate_of_points, psnr_db
from training.data.crops import load_photographs
from training.photo.export import gaussian_scales, tables_arrays

SCHEMA, RESULT = "calotype.ablations/1", "ablations.json"
QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80)

Weights = tuple[dict[str, Array], dict[str, str]]  # arrays, metadata
Points = list[tuple[float, float]]  # bits per pixel, dB


def without_certain_tables(arrays: Mapping[str, Array], coder: PhotoCoder) -> dict[str, Array]:
    """Residuals of the smallest scales coded under their Gaussians, too."""
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
    """Hyper-latents of every quality coded with the tables of the middle one."""
    tables, channels = coder.hyper_tables, coder.config.hyper_channels
    middle = coder.hyper_sets // 2 * channels
    pmfs = []
    for table in [*range(middle, middle + channels)] * coder.hyper_sets:
        entries = tables.frequencies[tables.starts[table] : tables.starts[table + 1] - 1]
        pmfs.append((int(tables.minimums[table]), entries / 2.0**24))
    return {**arrays, **tables_arrays(tables_from_pmfs(pmfs), coder.latent_tables)}


WITHOUT: dict[str, Callable[[Mapping[str, Array], PhotoCoder], dict[str, Array]]] = {
    "certain-tables": without_certain_tables,
    "one-hyper-set": with_one_hyper_set,
}


def coder_of(weights: Weights) -> PhotoCoder:
    arrays, metadata = weights
    return load_photo(arrays, metadata, bytes(8), device=torch.device("cpu"))


def measure(coder: PhotoCoder, images: Sequence[Uint8Array], qualities: Sequence[float]) -> Points:
    """Mean bits per pixel of whole files, and mean dB, at each quality."""
    points = []
    for quality in qualities:
        rates, decibels = [], []
        for pixels in images:
            data = container_to_bytes(compress_picture(Picture(pixels), coder, quality=quality))
            decoded = decompress_container(container_from_bytes(data), coder).pixels
            rates.append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
            decibels.append(psnr_db(pixels, decoded))
        points.append((float(np.mean(rates)), float(np.mean(decibels))))
    return points


def row(
    points: Points, baseline: Points, qualities: Sequence[float], weights: Weights
) -> dict[str, Any]:
    """One variant beside the baseline, as JSON."""
    delta = bd_rate_of_points(baseline, points)
    return {
        "bd_rate_percent": delta.bd_rate_percent,
        "points": [
            {"quality": quality, "rate_bpp": rate, "psnr_db": db}
            for quality, (rate, db) in zip(qualities, points, strict=True)
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
    parser.add_argument("--without", nargs="*", default=[], choices=sorted(WITHOUT))
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
    compared = [(variant, read_weights(path)) for variant, path in options.variants]
    compared += [(part, (WITHOUT[part](weights[0], coder), weights[1])) for part in options.without]
    lines = []
    for variant, other in compared:
        points = measure(coder_of(other), images, options.qualities)
        rows[variant] = row(points, baseline, options.qualities, other)
        lines.append(f"{variant}: {rows[variant]['bd_rate_percent']:+.2f} % against {name}")
    found = {
        "provenance": provenance(),
        "images": len(images),
        "psnr": "mean of dB over images, RGB in 0 .. 255",
        "baseline": name,
        "rows": rows,
    }
    yield Measured({"comparisons": {options.set or name: found}}, lines, keep_others=True)
