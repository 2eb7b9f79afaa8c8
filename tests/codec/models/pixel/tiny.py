"""Pixel models small enough for tests: untrained networks whose shifts and scales differ."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bitstream.arrays import Array
from codec.models.pixel.coder import NearLosslessCoder, PixelCoder, PixelConfig
from tests.codec.tiny import photographs
from training.loop.origin import Origin
from training.pixel.export import export_arrays, write_weights
from training.pixel.network import PixelNetwork

CONFIG = PixelConfig(hidden=(6,))

Uint8Array = npt.NDArray[np.uint8]


@functools.cache
def tiny_arrays(*, bounded: bool = False) -> dict[str, Array]:
    torch.manual_seed(5)
    network = PixelNetwork(CONFIG, bounded=bounded)
    with torch.no_grad():
        last = network.layers[-1]
        last.weight.copy_(torch.randn(2, 6) * torch.tensor([[0.5], [4.0]]))  # type: ignore[operator]
    return export_arrays(network)


@functools.cache
def tiny_coder() -> PixelCoder:
    return PixelCoder(tiny_arrays(), CONFIG, bytes(8))


@functools.cache
def tiny_near_lossless(max_error: int) -> NearLosslessCoder:
    coder = NearLosslessCoder(tiny_arrays(bounded=True), CONFIG, bytes(8))
    return coder.with_max_error(max_error)


def write_tiny_pixel(folder: Path, name: str = "pixel") -> Path:
    origin = Origin("none", "Apache-2.0", "none: untrained")
    return write_weights(folder, name, tiny_arrays(), CONFIG, origin)


def write_tiny_near_lossless(folder: Path, name: str = "near-lossless") -> Path:
    origin = Origin("none", "Apache-2.0", "none: untrained")
    arrays = tiny_arrays(bounded=True)
    return write_weights(folder, name, arrays, CONFIG, origin, kind=NearLosslessCoder)


def scene(height: int, width: int, seed: int = 0) -> Uint8Array:
    """An artificial picture, uint8 (height, width, 3)."""
    return photographs(1, max(height, width, 16), seed)[0][:height, :width]


def drawing(height: int, width: int, seed: int = 0) -> Uint8Array:
    """Boxes, repeated signs and a small photograph, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), (236, 233, 216), np.uint8)
    pixels[height // 3 :, width // 4 : width // 2] = (10, 36, 106)
    signs = rng.choice(np.array([[0, 0, 0], [236, 233, 216], [128, 120, 110]], np.uint8), (3, 5, 4))
    for number, left in enumerate(range(1, width - 4, 5)):
        for top in range(1, height - 5, 7):
            pixels[top : top + 5, left : left + 4] = signs[(number * number + top) % 3]
    side = max(1, min(height, width) // 3)
    pixels[-side:, -side:] = scene(side, side, seed)
    return pixels


def from_chroma(height: int, width: int, seed: int = 0) -> Uint8Array:
    """A pale scene as decoded from a JPEG file, uint8 (height, width, 3).

    Luma and chroma are integers, from which red, green and blue are computed as in libjpeg.
    """
    red, green, blue = scene(height, width, seed).astype(np.int64).transpose(2, 0, 1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16
    cb, cr = ((shade - luma) * scale >> 18 for shade, scale in ((blue, 36984), (red, 46745)))
    colours = [
        luma + ((91881 * cr + 2**15) >> 16),
        luma + ((-22554 * cb - 46802 * cr + 2**15) >> 16),
        luma + ((116130 * cb + 2**15) >> 16),
    ]
    return np.stack(colours, 2).clip(0, 255).astype(np.uint8)
