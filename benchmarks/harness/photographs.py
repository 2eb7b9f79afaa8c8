"""Pictures for the benchmarks of photo: data sets, and the photographs in the package.

Those in the package are for measurements that must not depend on a data set.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness.results import ROOT
from bitstream.arrays import Uint8Array
from bitstream.errors import InputError

PHOTOGRAPHS = ROOT / "codec" / "photographs"


def add_data(parser: ArgumentParser, *, name: bool = True) -> None:
    """Add the options that select the pictures: --data, --limit and --name."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folder, tar or files")
    parser.add_argument("--limit", type=int, help="pictures at the most")
    if name:
        parser.add_argument("--name", required=True, help="name of the set, said in the result")


def load_photograph(name: str = "coffee") -> Uint8Array:
    """A photograph in the package, uint8 (h, w, 3). Raises `InputError` for another name."""
    path = PHOTOGRAPHS / f"{name}.webp"
    if not path.exists():
        known = ", ".join(sorted(one.stem for one in PHOTOGRAPHS.glob("*.webp")))
        raise InputError(f"unknown photograph {name!r}; choose one of {known}")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def shipped_photo(width: int, height: int) -> Uint8Array:
    """A photograph of `width` × `height` pixels: uint8 (height, width, 3), Lanczos-resampled."""
    image = Image.fromarray(load_photograph())
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def tiled_photo(width: int, height: int) -> Uint8Array:
    """The photograph repeated, mirrored at each seam, and cut to uint8 (height, width, 3).

    Unlike a magnified photograph, this has the detail of a sharp one at any size.
    """
    pixels = load_photograph()
    pair = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    block = np.concatenate([pair, pair[::-1]], axis=0)
    repeats = (-(-height // block.shape[0]), -(-width // block.shape[1]), 1)
    return np.ascontiguousarray(np.tile(block, repeats)[:height, :width])


def nearest_quality(encode: Callable[[int], bytes], size_bytes: int) -> int:
    """The quality, 0 .. 100, whose file is nearest in size; sizes must grow with quality."""
    low, high = 0, 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(encode(middle)) < size_bytes else (low, middle)
    return min((low, high), key=lambda quality: abs(len(encode(quality)) - size_bytes))


def largest_within(encode: Callable[[int], bytes], size_bytes: int) -> int:
    """The quality, 0 .. 100, of about the largest file of at most `size_bytes` bytes, or 0."""
    quality = nearest_quality(encode, size_bytes)
    while quality and len(encode(quality)) > size_bytes:
        quality -= 1
    return quality
