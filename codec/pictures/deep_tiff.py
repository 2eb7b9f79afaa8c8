"""TIFF files of 16 bits per channel, for which Pillow's writer has no mode in colour.

The bytes of a row of 16-bit samples are those of a row of 8 bits with twice the pixels.  Pillow
saves this picture, deflated and with all metadata, and two tags then say what it is: the width and
the bits of a sample.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from bitstream.arrays import Uint16Array
from codec.pictures.bands import Bands
from codec.pictures.depth import rescale

_WIDTH, _BITS = 256, 258
_SHORT = 3


def write_deep_tiff(fo: BinaryIO, bands: Bands, options: Mapping[str, Any]) -> None:
    """Write a picture of 10, 12 or 16 bits, its values spread over 16 bits.

    options   of Pillow's `save`.  The compression must know no samples, as deflate does

    Gray with alpha becomes RGBA, because Pillow reads no gray with alpha of 16 bits.  Raises what
    reading the bands raises; nothing is written by then.
    """
    samples = _samples(bands)
    height, width, channels = samples.shape
    # In the machine's own order, which is that of Pillow's writer of compressed files.
    row_bytes = samples.view(np.uint8).reshape(height, 2 * width, channels)
    image = Image.fromarray(row_bytes[..., 0] if channels == 1 else row_bytes)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", **options)
    _mark_as_deep(buffer.getbuffer(), width)
    fo.write(buffer.getbuffer())


def _samples(bands: Bands) -> Uint16Array:
    """All samples at the scale of 16 bits, (height, width, 1 | 3 | 4)."""
    channels = 4 if bands.has_alpha else bands.channels
    samples = np.empty((bands.height, bands.width, channels), np.uint16)
    top = 0
    for pixels, alpha in bands.bands:
        rows = slice(top, top + len(pixels))
        colours = channels if alpha is None else 3
        samples[rows, :, :colours] = rescale(pixels, bands.bit_depth, 16)
        if alpha is not None:
            samples[rows, :, 3] = rescale(alpha, bands.bit_depth, 16)
        top = rows.stop
    return samples


def _mark_as_deep(file: memoryview, width: int) -> None:
    """Set the width and the bits of a sample in a TIFF file of one directory (TIFF 6.0, 2)."""
    order = "<" if bytes(file[:2]) == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", file, 4)
    (entries,) = struct.unpack_from(order + "H", file, start)
    for at in range(start + 2, start + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", file, at)
        if tag == _WIDTH:
            struct.pack_into(order + ("H" if kind == _SHORT else "I"), file, at + 8, width)
        elif tag == _BITS:
            # Up to two short numbers stand in the entry itself, more where it points to.
            place = at + 8
            if count > 2:
                (place,) = struct.unpack_from(order + "I", file, at + 8)
            struct.pack_into(f"{order}{count}H", file, place, *[16] * count)
