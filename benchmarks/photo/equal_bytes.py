"""Photo, AVIF and JPEG XL at equal bytes, by several measures of what people see.

    python -m benchmarks.photo equal-bytes --data gb82=gb82.tar --lpips lpips_alexnet.npz

For each picture and rate, AVIF gets the file nearest to the rate (Pillow, aom, 4:4:4, speed 6,
default tuning), and the others at most as many bytes.  The measures are MS-SSIM, Butteraugli (the
command of Debian's package `butteraugli`; lower is better) and LPIPS (AlexNet, version 0.1; lower
is better), and for comparison SSIMULACRA2.  The weights that ship were trained towards SSIMULACRA2
and LPIPS.  A row says for how many pictures photo is better than AVIF; a measure is won at a rate
if its mean over pictures is better.

SSIMULACRA2 halves a picture repeatedly on a fixed grid, and a network that was trained towards it
can hide errors from that grid.  So it is also measured without the first rows and columns of the
pictures, which shifts the grid.

A picture takes about two minutes on one core, mostly for the searches of a size.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import codec
from benchmarks.harness.command import named_path
from benchmarks.harness.lpips import Lpips
from benchmarks.harness.photographs import largest_within, nearest_quality
from benchmarks.harness.results import Measured, provenance
from benchmarks.photo.visual import visual_codec
from bitstream.arrays import Uint8Array
from bitstream.errors import InputError, UsageError
from codec.models.photo.config import TUNES
from codec.rate_distortion import find_codec, find_images, ms_ssim, ssimulacra2

SCHEMA, RESULT = "calotype.equal_bytes/1", "equal-bytes.json"
RATES_BPP = (0.25, 0.5, 1.0)
JXL_DISTANCES = np.geomspace(25, 0.1, 101)
"""JPEG XL's distances, from the smallest file to the largest, about as fine as 100 qualities."""

SHIFTS = (1, 3, 6)
"""Rows and columns that shifted pictures lack."""

Measure = Callable[[Uint8Array, Uint8Array], float | None]
TRAINED_TOWARDS = ("ssimulacra2", "lpips")
"""The measures in the training objective of the weights that ship; see their card."""
LOWER_IS_BETTER = {"butteraugli", "lpips"}


def butteraugli(original: Uint8Array, decoded: Uint8Array) -> float:
    """Butteraugli distance of two pictures uint8 (h, w, 3), by Debian's command of that name.

    Raises `InputError` if the command is missing or fails.
    """
    command = shutil.which("butteraugli")
    if command is None:
        raise InputError("the command butteraugli is missing: apt install butteraugli")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("original.png", "decoded.png")]
        for path, pixels in zip(paths, (original, decoded), strict=True):
            Image.fromarray(pixels).save(path, compress_level=1)
        done = subprocess.run([command, *paths], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"butteraugli failed: {done.stderr.strip() or done.stdout.strip()}")
    return float(done.stdout.split()[0])


def shifted_ssimulacra2(original: Uint8Array, decoded: Uint8Array) -> float:
    """Mean SSIMULACRA2 of two pictures uint8 (h, w, 3) without their first rows and columns."""
    scores = []
    for shift in SHIFTS:
        pair = (np.ascontiguousarray(pixels[shift:, shift:]) for pixels in (original, decoded))
        scores.append(float(ssimulacra2(*pair) or 0))
    return float(np.mean(scores))


def files_of(pixels: Uint8Array, rate: float, options: Namespace) -> dict[str, tuple[bytes, Any]]:
    """(file, decoded pixels) of each codec, all with at most the bytes of AVIF at `rate` bpp.

    If no file of photo is that small, the one of quality 1 is taken.
    """
    avif, jxl = visual_codec("avif"), find_codec("jxl")
    wanted = round(rate * pixels.shape[0] * pixels.shape[1] / 8)
    quality = nearest_quality(lambda q: avif.encode(pixels, q), wanted)
    files = {"avif": avif.encode(pixels, quality)}
    limit = len(files["avif"])

    def of_jxl(index: int) -> bytes:
        return jxl.encode(pixels, float(JXL_DISTANCES[index]))

    files["jxl"] = of_jxl(largest_within(of_jxl, limit))
    compress = partial(codec.compress, pixels, tune=options.tune, effort=options.effort)
    try:
        ours = compress(size=limit)
    except UsageError:
        ours = compress(quality=1)
    decoded = {name: find_codec(name).decode(data) for name, data in files.items()}
    decoded["photo"] = codec.decompress(ours, as_="numpy")
    files["photo"] = ours
    return {name: (data, decoded[name]) for name, data in files.items()}


def rows_of(found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Means of each codec, and how often photo is better than each of the others."""
    rows = []
    measures = [name for name in found["photo"][0] if name != "bpp"]
    for name, scores in found.items():
        row: dict[str, Any] = {"codec": name}
        for measure in ("bpp", *measures):
            row[measure] = round(float(np.mean([score[measure] for score in scores])), 5)
        if name != "photo":
            for measure in measures:
                sign = -1 if measure in LOWER_IS_BETTER else 1
                pairs = zip(found["photo"], scores, strict=True)
                better = sum(sign * (ours[measure] - score[measure]) > 0 for ours, score in pairs)
                row[f"photo_better_{measure}"] = better
        rows.append(row)
    return rows


def won(rows: Mapping[str, list[dict[str, Any]]], measures: list[str], peer: str) -> list[str]:
    """Names "measure at rate" for which the mean of photo is better than that of the peer."""
    names = []
    for rate, of_rate in rows.items():
        by_codec = {row["codec"]: row for row in of_rate}
        for measure in measures:
            sign = -1 if measure in LOWER_IS_BETTER else 1
            if sign * (by_codec["photo"][measure] - by_codec[peer][measure]) > 0:
                names.append(f"{measure} at {rate} bpp")
    return names


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=named_path, nargs="+", required=True, metavar="NAME=PATH",
                        help="sets of pictures: folders or tar files")  # fmt: skip
    parser.add_argument("--lpips", type=Path, required=True, metavar="FILE",
                        help="weights of LPIPS (npz)")  # fmt: skip
    parser.add_argument("--tune", choices=TUNES, help="default: visual")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--limit", type=int, help="only the first N pictures of each set")


def run(options: Namespace) -> Iterator[Measured]:
    compared: dict[str, Measure] = {
        "ms_ssim": ms_ssim, "butteraugli": butteraugli, "lpips": Lpips(options.lpips)
    }  # fmt: skip
    measures = {
        **compared, "ssimulacra2": ssimulacra2, "ssimulacra2_shifted": shifted_ssimulacra2
    }  # fmt: skip
    for name, path in options.data:
        images = find_images([path])[: options.limit]
        rows: dict[str, list[dict[str, Any]]] = {}
        for rate in RATES_BPP:
            found: dict[str, list[Mapping[str, float]]] = {}
            for image in images:
                print(f"{name}, {rate} bpp: {image.name}", file=sys.stderr, flush=True)
                pixels = image.pixels()
                for codec_name, (data, decoded) in files_of(pixels, rate, options).items():
                    scores = {m: float(of(pixels, decoded) or 0) for m, of in measures.items()}
                    scores["bpp"] = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
                    found.setdefault(codec_name, []).append(scores)
            rows[str(rate)] = rows_of(found)
        better = {peer: won(rows, list(compared), peer) for peer in ("avif", "jxl")}
        content = {
            **provenance(),
            "pictures": [image.name for image in images],
            "photo_weights": find_codec("photo").weights(),
            "tune": options.tune,
            "effort": options.effort,
            "photo_was_trained_towards": TRAINED_TOWARDS,
            "ssimulacra2_shifted": "mean over pictures without their first "
            f"{', '.join(map(str, SHIFTS))} rows and columns",
            "better": "measures whose mean over the pictures is better for photo, of nine",
            "photo_is_better_than": better,
            "rates": rows,
        }
        lines = [
            f"{name}, better than {p}: {len(b)} of 9: {', '.join(b)}" for p, b in better.items()
        ]
        yield Measured({"sets": {name: content}}, lines, keep_others=True)
