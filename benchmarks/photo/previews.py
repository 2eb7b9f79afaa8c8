"""How near `decompress --reduce` is to means of the whole picture, and how much less work it is.

    python -m benchmarks.photo previews --data kodak.tar --name kodak

Each file is decoded whole and at 1/2, 1/4 and 1/8 of its size. PSNR is that of a preview against
the means of squares of the whole decoded picture, rounded to 8 bits; the mean of the pictures' dB.
Work is CPU time, which other processes on the machine change little, the best of several runs, and
a ratio of sums over all pictures. The first layer of a file is measured in the same way, whole and
reduced, for which one would draw it before the others have come.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import numpy as np

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, Report, provenance
from bitstream.arrays import Uint8Array
from codec.pictures.box_mean import box_mean
from codec.pictures.similarity import psnr_db
from codec.rate_distortion import find_images

SCHEMA, RESULT = "calotype.previews/1", "previews.json"
REDUCTIONS = (2, 4, 8)
QUALITIES = (30, 75, 95)
RUNS = 3


def decode(data: bytes, reduce: int, layers: int | None = None) -> tuple[Uint8Array, float]:
    """The picture, uint8 (h, w, 3), and the CPU seconds of the fastest run."""
    seconds = []
    for _ in range(RUNS):
        begin = time.process_time()
        pixels = codec.decompress(data, as_="numpy", reduce=reduce, layers=layers, device="cpu")
        seconds.append(time.process_time() - begin)
    return pixels, min(seconds)


def measure(files: list[bytes]) -> dict[str, Report]:
    """By reduction: mean and least PSNR in dB, and CPU time as a share of that of the whole."""
    psnrs: dict[int, list[float]] = {reduce: [] for reduce in REDUCTIONS}
    seconds = dict.fromkeys((1, *REDUCTIONS), 0.0)
    for data in files:
        whole, spent = decode(data, 1)
        seconds[1] += spent
        for reduce in REDUCTIONS:
            preview, spent = decode(data, reduce)
            seconds[reduce] += spent
            psnrs[reduce].append(psnr_db(box_mean(whole, reduce), preview))
    return {
        str(reduce): {
            "psnr_db": round(float(np.mean(found)), 2),
            "least_psnr_db": round(min(found), 2),
            "cpu_time_share": round(seconds[reduce] / seconds[1], 3),
        }
        for reduce, found in psnrs.items()
    }


def first_layer(files: list[bytes]) -> dict[str, float]:
    """CPU time of the first layer as a share of that of all at full size, by reduction."""
    layered = [data for data in files if codec.inspect(data).layers > 1]
    whole = sum(decode(data, 1)[1] for data in layered)
    return {
        str(reduce): round(sum(decode(data, reduce, 1)[1] for data in layered) / whole, 3)
        for reduce in (1, *REDUCTIONS)
        if layered
    }


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)


def run(options: Namespace) -> Iterator[Measured]:
    images = [source.data() for source in find_images(options.data)][: options.limit]
    for quality in QUALITIES:
        files = [codec.compress(i, quality=quality) for i in images]
        found = {
            **provenance(),
            "weights_hash": codec.inspect(files[0]).weights_hash,
            "pictures": len(files),
            "mean_bytes": round(float(np.mean([len(data) for data in files]))),
            "psnr_is": "the mean of dB over pictures, against means of the whole decoded picture",
            "found": measure(files),
            "first_layer_cpu_time_share": first_layer(files),
        }
        yield Measured(
            {options.name: {f"quality {quality}": found}},
            [
                f"{options.name} quality {quality}: {found['found']}",
                f"first layer: {found['first_layer_cpu_time_share']}",
            ],
            keep_others=True,
        )
