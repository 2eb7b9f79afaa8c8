"""Colour files of more than 8 bits read whole, which Pillow opens at 8 bits.

Pillow's decoders of PNG and TIFF undo compression, filters and interlacing of all bytes, and only
then drop the lower byte of every sample: its unpacker for little-endian samples keeps the second
byte of two, that for big-endian ones the first.  So a file is decoded twice, once for each byte.
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
_BAND_PIXELS = 2**20  # what is joined at once
_PLANAR = 284  # a tag of TIFF


def read_deep_colours(image: ImageFile.ImageFile, file: BinaryIO, name: str) -> Uint16Array | None:
    """Return the pixels of a file at the scale of 16 bits, or None where that is not known.

    image   as `PIL.Image.open` returned it, not loaded; it is loaded afterwards, of PNG and TIFF,
            so that it has the metadata that stand behind its pixels
    file    its file, seekable
    name    of the file, for messages

    uint16 (height, width, 2 | 3 | 4), of which 65535 is white: of PNG, TIFF with the channels
    beside each other, and binary PPM.  Raises InputError for a PPM that is cut, and what Pillow
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
    # Of channels one behind the other Pillow's decoder drops the same byte through any unpacker.
    if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PLANAR, 1) != 1:
        return None
    raw_mode = str(modes.pop())
    if raw_mode == "LA;16B" and image.mode == "RGBA":
        # Two samples of two bytes lie in a file as four of one byte.
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
    """Let another unpacker of Pillow take the decoded bytes of an image that is not loaded."""
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]


def _join(samples: Uint16Array, image: Image.Image, channels: slice, shift: int) -> None:
    """Set bits of samples from some channels of a loaded image of 8 bits."""
    step = max(1, _BAND_PIXELS // max(image.width, 1))
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        band = np.asarray(image.crop((0, top, image.width, bottom)))[..., channels]
        samples[top:bottom] |= band.astype(np.uint16) << shift


def _ppm(image: ImageFile.ImageFile, file: BinaryIO, name: str) -> Uint16Array | None:
    """Samples of two bytes, upper one first, from 0 to the largest value that the file states."""
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
    """Return samples at the bit depth of the format that carries their source, and that depth.

    pixels, alpha   uint16 of any shapes, at the scale of 16 bits
    bits            of each sample that the source says it has

    Sources of 10 and 12 bits keep their own values, those of 9 and 11 are spread over 10 and 12
    bits, and all others have 16.  A source that says less than it has, so that values would be
    lost, has 16 as well.
    """
    planes = [pixels] if alpha is None else [pixels, alpha]
    if not 8 < bits < 16 or not all(_has_only(plane, bits) for plane in planes):
        return pixels, alpha, 16
    depth = carried_depth(bits)
    found = [rescale(plane >> (16 - bits), bits, depth) for plane in planes]
    return found[0], None if alpha is None else found[1], depth


def _has_only(samples: SampleArray, bits: int) -> bool:
    """Whether all samples of 16 bits stand for one of so many bits each: by the upper ones.

    All of them are spread by the nearest value, or by a repetition of the upper bits, or by zeros:
    what the specification of PNG describes for sBIT (third edition, clause 12.4).
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
