"""How near `decompress --reduce` is to means of the whole picture, and how much work it saves.

    python -m benchmarks.photo previews --data kodak.tar --name kodak

Each file is decoded whole and at 1/2, 1/4 and 1/8 of its size. PSNR compares a preview with the
means over squares of the whole decoded picture, rounded to 8 bits; dB are averaged over pictures.
Work is CPU time, which other processes on the machine hardly affect: the best of several runs, as a
ratio of sums over all pictures. The first layer of a file is measured in the same way, whole and
reduced, and as `codec.decompress_progressive` draws it before the other layers have arrived,
without the network. PSNR and SSIMULACRA2 of that preview are measured against the original, and
compared with the picture that the network draws from the same layer (`decompress --layers 1`).
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, Report, provenance
from bitstream.arrays import Uint8Array
from codec.pictures.box_mean import box_mean
from codec.pictures.similarity import psnr_db
from codec.rate_distortion import find_images, ssimulacra2

SCHEMA, RESULT = "calotype.previews/1", "previews.json"
REDUCTIONS = (2, 4, 8)
QUALITIES = (30, 75, 95)
RUNS = 3
TARGET_TIME_SHARE, TARGET_SSIMULACRA2_LOSS = 0.5, 1.0
"""Of the preview: share of the whole picture's time, and loss against the network's picture."""


Draw = Callable[[bytes], tuple[Uint8Array, float]]
"""From a file to a picture uint8 (h, w, 3), and CPU seconds."""


def fastest(draw: Callable[[], Uint8Array]) -> tuple[Uint8Array, float]:
    """The picture, uint8 (h, w, 3), and the CPU seconds of the fastest run."""
    seconds = []
    for _ in range(RUNS):
        begin = time.process_time()
        pixels = draw()
        seconds.append(time.process_time() - begin)
    return pixels, min(seconds)


def decode(data: bytes, reduce: int, layers: int | None = None) -> tuple[Uint8Array, float]:
    """The result of `decompress`, as `fastest` returns it."""
    return fastest(
        lambda: codec.decompress(data, as_="numpy", reduce=reduce, layers=layers, device="cpu")
    )


def decode_arriving(data: bytes) -> tuple[Uint8Array, float]:
    """The first picture of `decompress_progressive`, as `fastest` returns it."""
    return fastest(lambda: next(codec.decompress_progressive(data, as_="numpy", device="cpu")))


def measure(files: list[bytes]) -> dict[str, Report]:
    """By reduction: mean and lowest PSNR in dB, and CPU time relative to that of the whole."""
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


def first_layer(pictures: Sequence[Uint8Array], files: Sequence[bytes]) -> Report:
    """CPU time of the first layer relative to that of all layers at full size, and its quality.

    pictures   the originals of the files, uint8 (h, w, 3); those with one layer are left out
    """
    layered = [(p, data) for p, data in zip(pictures, files, strict=True) if has_layers(data)]
    if not layered:
        return {}
    whole = sum(decode(data, 1)[1] for _, data in layered)

    def row(draw: Draw) -> dict[str, float]:
        pairs, seconds = [], 0.0
        for pixels, data in layered:
            drawn, spent = draw(data)
            seconds += spent
            pairs.append((pixels, drawn))
        found = {"cpu_time_share": seconds / whole}
        if drawn.shape == pixels.shape:
            found["ssimulacra2"] = float(np.mean([ssimulacra2(*pair) for pair in pairs]))
            found["psnr_db"] = float(np.mean([psnr_db(*pair) for pair in pairs]))
        return {name: round(value, 3) for name, value in found.items()}

    decompressed, arriving = row(partial(decode, reduce=1, layers=1)), row(decode_arriving)
    loss = decompressed["ssimulacra2"] - arriving["ssimulacra2"]
    reduced = {str(reduce): row(partial(decode, reduce=reduce, layers=1)) for reduce in REDUCTIONS}
    return {
        "pictures": len(layered),
        "arriving": arriving,
        "decompressed": decompressed,
        "reduced": reduced,
        "target_cpu_time_share": TARGET_TIME_SHARE,
        "time_is_met": arriving["cpu_time_share"] <= TARGET_TIME_SHARE,
        "target_ssimulacra2_loss": TARGET_SSIMULACRA2_LOSS,
        "ssimulacra2_is_met": loss <= TARGET_SSIMULACRA2_LOSS,
    }


def has_layers(data: bytes) -> bool:
    return codec.inspect(data).layers > 1


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)


def run(options: Namespace) -> Iterator[Measured]:
    pictures = [source.pixels() for source in find_images(options.data)[: options.limit]]
    for quality in QUALITIES:
        files = [codec.compress(pixels, quality=quality) for pixels in pictures]
        found = {
            **provenance(),
            "weights_hash": codec.inspect(files[0]).weights_hash,
            "pictures": len(files),
            "mean_bytes": round(float(np.mean([len(data) for data in files]))),
            "psnr_is": "the mean of dB over pictures, against means of the whole decoded picture",
            "found": measure(files),
            "first_layer": first_layer(pictures, files),
        }
        yield Measured(
            {options.name: {f"quality {quality}": found}},
            [
                f"{options.name} quality {quality}: {found['found']}",
                f"first layer: {found['first_layer']}",
            ],
            keep_others=True,
        )
