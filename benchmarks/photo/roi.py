"""What a region gains from `compress --roi` at an equal file size.

    python -m benchmarks.photo roi --data gb82.tar --name gb82

The region is the middle ninth of each picture. A file with it is compared with a plain one of at
most as many bytes, by PSNR of the region and of the rest; dB are averaged over the pictures.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import numpy as np

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, Report, provenance
from bitstream.arrays import Uint8Array
from codec.pictures.read import picture_from
from codec.pictures.similarity import psnr_db
from codec.rate_distortion import find_images

SCHEMA, RESULT = "calotype.roi/1", "roi.json"
QUALITY = 50
RAISED = (10, 20, 30)


def scores(pixels: Uint8Array, data: bytes, inside: tuple[slice, slice]) -> tuple[float, float]:
    """PSNR in dB of a region, and of the rest."""
    decoded = codec.decompress(data, as_="numpy", device="cpu")
    outside = np.ones(pixels.shape[:2], np.bool_)
    outside[inside] = False
    rest, drawn = pixels[outside][:, None], decoded[outside][:, None]
    return psnr_db(pixels[inside], decoded[inside]), psnr_db(rest, drawn)


def measure(pixels: Uint8Array, raised: int) -> tuple[float, float, float]:
    """What the region gains and the rest loses in dB, and the ratio of the files' sizes."""
    height, width, _ = pixels.shape
    x, y = width // 3, height // 3
    inside = slice(y, 2 * y), slice(x, 2 * x)
    data = codec.compress(pixels, quality=QUALITY, roi=(x, y, x, y, raised), device="cpu")
    plain = codec.compress(pixels, size=len(data), device="cpu")
    found, before = scores(pixels, data, inside), scores(pixels, plain, inside)
    return found[0] - before[0], before[1] - found[1], len(plain) / len(data)


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)


def run(options: Namespace) -> Iterator[Measured]:
    sources = find_images(options.data)[: options.limit]
    images = [picture_from(source.data()).pixels.astype(np.uint8) for source in sources]
    found: Report = {}
    for raised in RAISED:
        gains, losses, sizes = np.array([measure(pixels, raised) for pixels in images]).T
        found[f"higher by {raised}"] = {
            "region_gains_db": round(float(gains.mean()), 2),
            "region_gains_least_db": round(float(gains.min()), 2),
            "rest_loses_db": round(float(losses.mean()), 2),
            "bytes_of_plain_files": round(float(sizes.mean()), 4),
        }
    yield Measured(
        {
            options.name: {
                **provenance(),
                "weights_hash": codec.inspect(codec.compress(images[0])).weights_hash,
                "pictures": len(images),
                "quality": QUALITY,
                "region": "the middle ninth",
                "found": found,
            }
        },
        [f"{options.name} {name}: {values}" for name, values in found.items()],
        keep_others=True,
    )
