"""Photographs for measurements that must not depend on a data set: scaled from the demo's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.cli.demo import load_picture


def shipped_photo(width: int, height: int, name: str = "coffee") -> NDArray[np.uint8]:
    """A photograph of `width` × `height` pixels: uint8 (height, width, 3), Lanczos-resampled."""
    image = Image.fromarray(load_picture(name))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def tiled_photo(width: int, height: int, name: str = "coffee") -> NDArray[np.uint8]:
    """The photograph repeated, mirrored at each seam, and cut to uint8 (height, width, 3).

    Unlike a magnified photograph this keeps the detail of a sharp one at any size.
    """
    pixels = load_picture(name)
    pair = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    block = np.concatenate([pair, pair[::-1]], axis=0)
    repeats = (-(-height // block.shape[0]), -(-width // block.shape[1]), 1)
    return np.ascontiguousarray(np.tile(block, repeats)[:height, :width])
