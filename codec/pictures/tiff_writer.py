"""TIFF files, written strip by strip while a picture is decoded.

    EXIF, or an 8-byte header instead │ strips, deflated │ values │ directory

An EXIF stream is a TIFF file without a picture, and its offsets count from its first byte.  So the
file begins with the unchanged stream, including maker notes; only the offset of the first directory
in its header is changed.  The new directory describes how the pixels are stored, and has those
entries of the old one that describe the picture, but not those on the layout of another file.

Reference: TIFF 6.0, section 2 (directories), 14 (predictor), 18 (alpha); Technical Note 2
(deflate); XMP specification, part 3 (tag 700).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from bitstream.arrays import SampleArray
from codec.pictures.bands import Bands
from codec.pictures.depth import rescale
from codec.pictures.exif import (
    DESCRIPTIVE_TAGS,
    ENTRY_BYTES,
    ORIENTATION,
    RESOLUTION_TAGS,
    Order,
    byte_order,
    first_directory,
    has_its_values,
)
from codec.pictures.orientation import read_orientation
from codec.pictures.side_chunks import dots_per_inch, known_chunks, pixel_aspect

_SHORT, _LONG, _RATIONAL, _UNDEFINED, _BYTE = 3, 4, 5, 7, 1
_FORMS = {_SHORT: "H", _LONG: "I", _RATIONAL: "I", _UNDEFINED: "B", _BYTE: "B"}
_STRIP_BYTES = 2**18  # before compression
_COPIED_TAGS = DESCRIPTIVE_TAGS | RESOLUTION_TAGS


def write_tiff(fo: BinaryIO, bands: Bands) -> None:
    """Write a picture with its ICC profile, EXIF, XMP and density, keeping one band in memory.

    Bit depths of 10 and 12 are scaled to 16 bits.  Grey with alpha of more than 8 bits becomes
    RGBA, because Pillow cannot read it as grey.  EXIF is left out if it is not a TIFF stream.  A
    file object that cannot seek gets the whole file at once.

    Raises what reading the bands raises; by then, part of the file is written.
    """
    if fo.seekable():
        _write(fo, bands)
    else:
        whole = io.BytesIO()
        _write(whole, bands)
        fo.write(whole.getbuffer())


def _write(fo: BinaryIO, bands: Bands) -> None:
    order: Order = "<"
    head = b"II*\0" + bytes(4)
    if bands.exif is not None and (found := byte_order(bands.exif)) is not None:
        order, head = found, bands.exif
    start = fo.tell()
    place = fo.write(head + bytes(len(head) % 2))
    deep = bands.bit_depth > 8
    samples = bands.channels + bands.has_alpha
    if deep and samples == 2:
        samples = 4
    row_bytes = bands.width * samples * (2 if deep else 1)
    rows = max(1, min(bands.height, _STRIP_BYTES // row_bytes))
    offsets, lengths = [], []
    for strip in _strips(bands, samples, rows):
        packed = zlib.compress(_differences(strip, order).data, 6)
        offsets.append(place)
        lengths.append(len(packed))
        place += fo.write(packed)
    fields: dict[int, tuple[int, Sequence[int] | bytes]] = {
        256: (_LONG, [bands.width]),
        257: (_LONG, [bands.height]),
        258: (_SHORT, [16 if deep else 8] * samples),
        259: (_SHORT, [8]),  # deflate
        262: (_SHORT, [2 if samples >= 3 else 1]),  # RGB, or grey with 0 as black
        273: (_LONG, offsets),
        277: (_SHORT, [samples]),
        278: (_LONG, [rows]),
        279: (_LONG, lengths),
        284: (_SHORT, [1]),  # interleaved channels
        317: (_SHORT, [2]),  # horizontal differences
    }
    if samples in (2, 4):
        fields[338] = (_SHORT, [2])  # alpha, not multiplied into the colours
    if bands.exif is not None or bands.xmp is not None:
        # Rewritten rather than copied: programs disagree on entries of an odd type or count.
        fields[ORIENTATION] = (_SHORT, [read_orientation(bands.exif, bands.xmp)])
    dpi = dots_per_inch(bands.ancillary)
    if dpi is not None:
        for tag, density in zip((282, 283), dpi, strict=True):
            ratio = Fraction(density).limit_denominator(10_000)
            if ratio.numerator >= 2**32:  # only at densities that no scanner has
                ratio = Fraction(round(density))
            fields[tag] = (_RATIONAL, [ratio.numerator, ratio.denominator])
        fields[296] = (_SHORT, [2])  # inches
    elif (aspect := pixel_aspect(bands.ancillary)) is not None:
        fields |= {tag: (_RATIONAL, [n, 1]) for tag, n in zip((282, 283), aspect, strict=True)}
        fields[296] = (_SHORT, [1])  # no unit
    if (primaries := known_chunks(bands.ancillary).get(b"chrm")) is not None:
        ratios = [v for one in struct.unpack(">8I", primaries) for v in (one, 100_000)]
        fields |= {318: (_RATIONAL, ratios[:4]), 319: (_RATIONAL, ratios[4:])}
    if bands.xmp is not None:
        fields[700] = (_BYTE, bands.xmp)
    if bands.icc is not None:
        fields[34675] = (_UNDEFINED, bands.icc)
    entries = _copied(bands.exif, set(fields)) if head is bands.exif else {}
    for tag, (kind, values) in fields.items():
        place += fo.write(bytes(place % 2))
        entry, value = _entry(tag, kind, values, place, order)
        entries[tag] = entry
        place += fo.write(value)
    place += fo.write(bytes(place % 2))
    directory = [entries[tag] for tag in sorted(entries)]
    fo.write(struct.pack(order + "H", len(directory)) + b"".join(directory) + bytes(4))
    end = fo.tell()
    fo.seek(start + 4)
    fo.write(struct.pack(order + "I", place))
    fo.seek(end)


def _strips(bands: Bands, samples: int, rows: int) -> Iterator[SampleArray]:
    """The picture in strips (rows, width, samples); the last may have fewer rows."""
    kept: SampleArray | None = None
    for pixels, alpha in bands.bands:
        block = pixels
        if alpha is not None:
            colours = samples - 1
            block = np.concatenate(
                [np.broadcast_to(pixels, (*pixels.shape[:2], colours)), alpha[..., None]], axis=2
            )
        if bands.bit_depth > 8:
            block = rescale(block, bands.bit_depth, 16)
        if kept is not None:
            block = np.concatenate([kept, block])
        whole = len(block) // rows * rows
        for top in range(0, whole, rows):
            yield block[top : top + rows]
        kept = block[whole:]
    if kept is not None and len(kept):
        yield kept


def _differences(strip: SampleArray, order: Order) -> SampleArray:
    """Each sample minus the one to its left, modulo 2^8 or 2^16, in the file's byte order."""
    found = strip.copy()
    found[:, 1:] -= strip[:, :-1]
    in_order: SampleArray = found.astype(found.dtype.newbyteorder(order), copy=False)
    return in_order


def _copied(exif: bytes | None, taken: set[int]) -> dict[int, bytes]:
    """Entries of the first directory of an EXIF stream that describe the picture."""
    found: dict[int, bytes] = {}
    for entry in first_directory(exif or b""):
        wanted = entry.tag in _COPIED_TAGS and entry.tag not in taken | set(found)
        if wanted and has_its_values(entry, exif or b""):
            found[entry.tag] = entry.bytes_in(exif or b"")
    return found


def _entry(
    tag: int, kind: int, values: Sequence[int] | bytes, place: int, order: Order
) -> tuple[bytes, bytes]:
    """The entry of a field, and the values to write at `place` if they do not fit in the entry."""
    count = len(values) // 2 if kind == _RATIONAL else len(values)
    if isinstance(values, bytes):
        data = values
    else:
        data = struct.pack(f"{order}{len(values)}{_FORMS[kind]}", *values)
    head = struct.pack(order + "HHI", tag, kind, count)
    if len(data) <= ENTRY_BYTES - 8:
        return head + data.ljust(4, b"\0"), b""
    return head + struct.pack(order + "I", place), data
