"""Sheets of small images: a picture as a grid of blocks, coded as one tile.

┌────┬────┬────┐
│ s  │    │    │     pixels (s·h, s·w, C)  ◄─►  blocks (h·w, C, s, s) in raster order
├────┼────┼────┤
│    │    │    │
└────┴────┴────┘
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitstream.arrays import Uint8Array
from bitstream.errors import PayloadError, UsageError

BLOCK = 28
MAX_SIDE = 4096


def only_payload(payloads: Sequence[bytes]) -> bytes:
    """The payload of the only layer. Raises `PayloadError` if a file has more."""
    if len(payloads) != 1:
        raise PayloadError(
            f"{len(payloads)} layers, but the model has one: the file was not written by a "
            "conforming encoder"
        )
    return payloads[0]


def check_sheet_size(pixels: Uint8Array, name: str) -> None:
    """Raise `UsageError` for pixels uint8 (H, W, C) of more than 4096 on a side."""
    height, width = pixels.shape[:2]
    if max(height, width) > MAX_SIDE:
        raise UsageError(
            f"an image of {width}×{height} pixels, but the model {name!r} codes at most "
            f"{MAX_SIDE} on a side: cut it into parts, or use the model 'photo'"
        )


def check_grey_blocks(pixels: Uint8Array, name: str) -> None:
    """Raise `UsageError` unless pixels uint8 (H, W, C) are grey and at most 4096 on a side."""
    check_sheet_size(pixels, name)
    if (pixels != pixels[..., :1]).any():
        raise UsageError(
            f"the image has colours, but the model {name!r} codes grey only: convert it to grey, "
            "or use the model 'photo'"
        )


def check_black_and_white(pixels: Uint8Array, name: str) -> None:
    """Raise `UsageError` unless pixels pass `check_grey_blocks` and are 0 and 255."""
    check_grey_blocks(pixels, name)
    grey = int(((pixels != 0) & (pixels != 255)).sum())
    if grey:
        raise UsageError(
            f"the image has {grey} values other than 0 and 255, but the model {name!r} "
            "keeps black and white exactly and nothing else: binarise the image, or use "
            "another model"
        )


def blocks_of(pixels: Uint8Array, side: int = BLOCK, channels: int = 1) -> Uint8Array:
    """Pixels uint8 (side · h, side · w, C) to blocks (h·w, channels, side, side), in raster order.

    channels   how many of the C channels are taken: 1 if they are all equal
    """
    height, width = pixels.shape[0] // side, pixels.shape[1] // side
    cells = pixels[:, :, :channels].reshape(height, side, width, side, channels)
    return np.ascontiguousarray(cells.transpose(0, 2, 4, 1, 3)).reshape(-1, channels, side, side)


def sheet_of(blocks: Uint8Array, height: int, width: int) -> Uint8Array:
    """Blocks uint8 (h·w, 1 or 3, s, s) to pixels (s·h, s·w, 3); the inverse of `blocks_of`."""
    channels, side = blocks.shape[1:3]
    cells = blocks.reshape(height, width, channels, side, side).transpose(0, 3, 1, 4, 2)
    pixels = cells.reshape(height * side, width * side, channels)
    return np.repeat(pixels, 3, axis=2) if channels == 1 else np.ascontiguousarray(pixels)
