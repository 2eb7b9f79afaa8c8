"""The pattern that repeats from block to block, in photo, AVIF and JPEG XL at equal bytes.

    python -m benchmarks.photo pattern --data gb82.tar --name gb82

A transform of 16×16 pixels can add the same small error to every block. No one sees it in grass,
but in a clear sky it may be a grid. It is the error at each of the 256 places of a block, averaged
over all blocks of a picture, without its mean in each channel; its power is that of this average,
less what the average would have if the errors of blocks were independent.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, provenance
from benchmarks.photo.equal_bytes import files_of
from bitstream.arrays import Uint8Array
from codec.pictures.read import picture_from
from codec.rate_distortion import find_images

SCHEMA, RESULT = "calotype.pattern/1", "pattern.json"
RATES_BPP = (0.25, 0.5, 1.0)
SIDE = 16


def pattern_power(original: Uint8Array, decoded: Uint8Array) -> float:
    """Power of the common pattern in squared levels of 0..255; 0 in expectation if there is none.

    original, decoded   uint8 (h, w, 3) of at least two blocks
    """
    rows, columns = (length // SIDE for length in original.shape[:2])
    error = decoded.astype(np.float64) - original
    blocks = error[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
    blocks = blocks.transpose(0, 2, 1, 3, 4).reshape(rows * columns, SIDE, SIDE, 3)
    blocks = blocks - blocks.mean((1, 2), keepdims=True)
    by_chance = blocks.var(0, ddof=1) / len(blocks)
    return float((blocks.mean(0) ** 2 - by_chance).mean())


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--effort", type=int, default=1)
    parser.set_defaults(tune=None)


def run(options: Namespace) -> Iterator[Measured]:
    sources = find_images(options.data)[: options.limit]
    images = [picture_from(source.data()).pixels.astype(np.uint8) for source in sources]
    found: dict[str, dict[str, float]] = {}
    for rate in RATES_BPP:
        powers = defaultdict(list)
        for pixels in images:
            for name, (_, decoded) in files_of(pixels, rate, options).items():
                powers[name].append(pattern_power(pixels, decoded))
        found[f"{rate:g}"] = {
            name: round(max(float(np.mean(values)), 0.0) ** 0.5, 3)
            for name, values in powers.items()
        }
    yield Measured(
        {
            options.name: {
                **provenance(),
                "weights_hash": codec.inspect(codec.compress(images[0])).weights_hash,
                "pictures": len(images),
                "unit": "root mean square over pictures, places and channels, in levels of 0..255",
                "rates": found,
            }
        },
        [f"{options.name}, {rate} bpp: {values}" for rate, values in found.items()],
        keep_others=True,
    )
