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
from bitstream.arrays import SampleArray, Uint8Array, Uint16Array, Uint32Array
from codec.pictures.depth import carried_depth, rescale

_PAIRS = re.compile(r"(RGBX?|RGBA);16([BLN])")
_OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_PLANAR = 284  # a tag of TIFF
_SBIT_CHUNKS = 100  # that may stand before sBIT


def read_deep_colours(image: ImageFile.ImageFile, file: BinaryIO, name: str) -> Uint16Array | None:
    """Return the pixels of a file at the scale of 16 bits, or None where that is not known.

    image   as `PIL.Image.open` returned it, not loaded
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
        found = _decoded(file, "RGBA")
        return _joined(found[..., 0::2], found[..., 1::2])
    match = _PAIRS.fullmatch(raw_mode)
    if match is None:
        return None
    other = f"{match[1]};16{_OTHER[match[2]]}"
    return _joined(_decoded(file, raw_mode), _decoded(file, other))


def _joined(upper: Uint8Array, lower: Uint8Array) -> Uint16Array:
    samples = upper.astype(np.uint16)
    samples <<= np.uint16(8)
    samples |= lower
    return samples


def _decoded(file: BinaryIO, raw_mode: str) -> Uint8Array:
    """Decode a file through another unpacker of Pillow: uint8 (height, width, channels)."""
    file.seek(0)
    with Image.open(file) as image:
        image.tile = [tile._replace(args=_with_mode(tile.args, raw_mode)) for tile in image.tile]
        image.load()
        return np.asarray(image)


def _with_mode(args: Any, raw_mode: str) -> Any:
    return (raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode


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
    values: Uint32Array = np.frombuffer(data, ">u2").astype(np.uint32)
    np.minimum(values, np.uint32(most), out=values)
    values *= np.uint32(65535)
    values += np.uint32(most // 2)
    values //= np.uint32(most)
    return values.astype(np.uint16).reshape(image.height, image.width, 3)


def png_significant_bits(file: BinaryIO) -> int | None:
    """Return the most bits of any channel that the chunk sBIT of a PNG states, None without it."""
    file.seek(8)
    for _ in range(_SBIT_CHUNKS):
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind in (b"IDAT", b"IEND"):
            return None
        if kind == b"sBIT":
            return max(file.read(min(length, 4)), default=None)
        file.seek(length + 4, 1)
    return None


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
