"""Colour files of more than 8 bits, read at full depth although Pillow opens them at 8 bits.

Pillow's decoders of PNG and TIFF undo compression, filters and interlacing of all bytes, and only
then drop the lower byte of every sample: the unpacker for little-endian samples keeps the second
byte of two, the one for big-endian samples the first.  So a file is decoded twice, once per byte.
"""

from __future__ import annotations

import re
import sys
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from bitstream import InputError
from bitstream.arrays import SampleArray, Uint16Array, Uint32Array
from codec.pictures.depth import carried_depth, rescale
from codec.pictures.original import without_odd_metadata

_PAIRS = re.compile(r"(RGBX?|RGBA);16([BLN])")
_OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_BAND_PIXELS = 2**20  # pixels that are processed at once
_PLANAR = 284  # a TIFF tag


def read_deep_colours(image: ImageFile.ImageFile, file: BinaryIO, name: str) -> Uint16Array | None:
    """Return the pixels of a file scaled to 16 bits, or None if it cannot be read at full depth.

    image   as `PIL.Image.open` returned it, not loaded; for PNG and TIFF it is loaded afterwards,
            so it has the metadata that follow its pixels
    file    its file, seekable
    name    name of the file for messages

    The result is uint16 (height, width, 2 | 3 | 4) with white at 65535. It works for PNG, TIFF with
    interleaved channels, and binary PPM.  Raises InputError for a truncated PPM, and what Pillow
    raises for other damaged files.
    """
    tiles = image.tile
    if not tiles:
        return None
    if image.format == "PPM":
        return _ppm(image, file, name) if tiles[0].codec_name == "ppm" else None
    modes = {one.args[0] if isinstance(one.args, tuple) else one.args for one in tiles}
    if len(modes) != 1 or image.format not in ("PNG", "TIFF"):
        return None
    # With planar channels, Pillow's decoder drops the same byte whatever the unpacker.
    if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PLANAR, 1) != 1:
        return None
    raw_mode = str(modes.pop())
    if raw_mode == "LA;16B" and image.mode == "RGBA":
        # Two samples of two bytes are read as four of one byte.
        _set_raw_mode(image, "RGBA")
        image.load()
        samples = np.zeros((image.height, image.width, 2), np.uint16)
        _join(samples, image, slice(0, None, 2), 8)
        _join(samples, image, slice(1, None, 2), 0)
        return samples
    match = _PAIRS.fullmatch(raw_mode)
    if match is None:
        return None
    image.load()
    samples = np.zeros((image.height, image.width, len(image.getbands())), np.uint16)
    _join(samples, image, slice(None), 8)
    file.seek(0)
    with Image.open(file) as again:
        without_odd_metadata(again)
        _set_raw_mode(again, f"{match[1]};16{_OTHER[match[2]]}")
        again.load()
        _join(samples, again, slice(None), 0)
    return samples


def _set_raw_mode(image: ImageFile.ImageFile, raw_mode: str) -> None:
    """Select another Pillow unpacker for an image that is not loaded."""
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]


def _join(samples: Uint16Array, image: Image.Image, channels: slice, shift: int) -> None:
    """Set 8 bits of each sample from some channels of a loaded 8-bit image."""
    step = max(1, _BAND_PIXELS // max(image.width, 1))
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        band = np.asarray(image.crop((0, top, image.width, bottom)))[..., channels]
        samples[top:bottom] |= band.astype(np.uint16) << shift


def _ppm(image: ImageFile.ImageFile, file: BinaryIO, name: str) -> Uint16Array | None:
    """Read big-endian 16-bit samples and rescale them from the file's largest value to 65535."""
    args: Any = image.tile[0].args
    mode, most = args
    if mode != "RGB" or not 255 < most < 65536:
        return None
    file.seek(image.tile[0].offset)
    size = image.height * image.width * 6
    data = file.read(size)
    if len(data) < size:
        raise InputError(f"{name} ends inside its pixels: it is damaged or incomplete")
    stored = np.frombuffer(data, ">u2")
    samples = np.empty(stored.shape, np.uint16)
    for start in range(0, len(stored), _BAND_PIXELS):
        own = slice(start, start + _BAND_PIXELS)
        values: Uint32Array = np.minimum(stored[own].astype(np.uint32), np.uint32(most))
        values *= np.uint32(65535)
        values += np.uint32(most // 2)
        values //= np.uint32(most)
        samples[own] = values
    return samples.reshape(image.height, image.width, 3)


def at_source_depth(
    pixels: Uint16Array, alpha: Uint16Array | None, bits: int
) -> tuple[Uint16Array, Uint16Array | None, int]:
    """Return samples at the smallest depth of the .calo format that holds them, and that depth.

    pixels, alpha   uint16 of any shapes, scaled to 16 bits
    bits            bits per sample that the source states

    Sources of 10 and 12 bits keep their own values, those of 9 and 11 bits are scaled to 10 and 12,
    and all others get 16.  So does a source that states fewer bits than it has, because values
    would be lost otherwise.
    """
    planes = [pixels] if alpha is None else [pixels, alpha]
    if not 8 < bits < 16 or not all(_has_only(plane, bits) for plane in planes):
        return pixels, alpha, 16
    depth = carried_depth(bits)
    found = [rescale(plane >> (16 - bits), bits, depth) for plane in planes]
    return found[0], None if alpha is None else found[1], depth


def _has_only(samples: SampleArray, bits: int) -> bool:
    """Whether all 16-bit samples were scaled up from `bits` bits, so their upper bits suffice.

    Scaling is to the nearest value, by repeating the upper bits, or with zeros, the same for all:
    these are the ways that the PNG specification describes for sBIT (third edition, clause 12.4).
    """
    possible = np.ones(3, np.bool_)
    for rows in np.array_split(samples, max(1, samples.size // 2**20)):
        upper = rows >> (16 - bits)
        shifted = upper << (16 - bits)
        for number, spread in enumerate(
            (rescale(upper, bits, 16), shifted | (shifted >> bits), shifted)
        ):
            possible[number] &= np.array_equal(rows, spread)
        if not possible.any():
            return False
    return True
