"""Metadata of PSD, JPEG 2000, PNG, GIF and BMP that Pillow ignores.

References: Adobe Photoshop File Formats Specification, "Image Resource IDs"; ISO/IEC 15444-1,
annex I; Adobe XMP Specification Part 3, 1.1.2, 1.1.3, 1.1.4 and 1.3; ImageMagick, coders/png.c, for
raw profiles; GIF89a, clauses 15 to 26; ICC.1:2022, B.7 (GIF); Microsoft, BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from PIL import Image

from bitstream import limits
from codec.pictures.boxes import boxes, content
from codec.pictures.exif import EXIF_PREFIX

_RESOURCES = {1028: "iptc", 1058: "exif", 1060: "xmp"}
_UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
}
RAW_APP1 = "Raw profile type APP1"
"""Name of the PNG text in which ImageMagick stores a JPEG segment, EXIF or XMP, as hexadecimal."""
_SEGMENTS = {EXIF_PREFIX: "exif", b"http://ns.adobe.com/xap/1.0/\0": "xmp"}
_RAW_HEAD_LINES = 3  # an empty line, the name, and the length
_RESTRICTED_ICC, _ANY_ICC = 2, 3  # methods of the colour specification box
_GIF_ICC, _GIF_XMP = b"ICCRGBG1012", b"XMP DataXMP"
_XMP_TRAILER = b"\x01\xff\xfe"  # begins the trailer that leads readers of sub-blocks to the end
_MAX_EXTENSIONS = 1000
_BMP_HEADER, _BMP_V5_BYTES, _EMBEDDED = 14, 124, b"DEBM"


def passed_over(image: Image.Image, file: BinaryIO | None) -> dict[str, bytes]:
    """Return which of "icc", "exif", "xmp" and "iptc" an image's file contains, if not empty.

    file   seekable, if it is known; its position changes

    Raises OSError if the file cannot be read.
    """
    found: dict[str, bytes] = {}
    if image.format == "PSD":
        for number, _, data in getattr(image, "resources", ()):
            if number in _RESOURCES and data:
                found.setdefault(_RESOURCES[number], data)
    elif image.format == "PNG":
        segment = _raw_profile(image.info.get(RAW_APP1))
        for prefix, name in _SEGMENTS.items():
            if segment.startswith(prefix) and segment != prefix:
                found[name] = segment.removeprefix(prefix)
    elif image.format == "JPEG2000" and file is not None:
        file.seek(0)
        if file.read(8)[4:] == b"jP  ":
            file.seek(0)
            _read_boxes(file, file.seek(0, 2), found)
    elif image.format == "GIF" and file is not None:
        _read_extensions(file, found)
    elif image.format == "BMP" and file is not None:
        _read_bmp(file, found)
    return found


def _raw_profile(text: object) -> bytes:
    """The bytes of a raw profile; empty if it is damaged."""
    if not isinstance(text, str):
        return b""
    try:
        return bytes.fromhex("".join(text.split("\n")[_RAW_HEAD_LINES:]))
    except ValueError:
        return b""


def _read_boxes(file: BinaryIO, end: int, found: dict[str, bytes]) -> None:
    for kind, start, stop in boxes(file, 0, end):
        if kind == b"jp2h":
            for inner, first, last in boxes(file, start, stop):
                data = content(file, first, last) if inner == b"colr" else b""
                if data[:1] in (bytes([_RESTRICTED_ICC]), bytes([_ANY_ICC])) and data[3:]:
                    found.setdefault("icc", data[3:])
        elif kind == b"uuid":
            data = content(file, start, stop)
            name = _UUIDS.get(data[:16])
            if name is not None and data[16:]:
                found.setdefault(name, data[16:])


def _read_extensions(file: BinaryIO, found: dict[str, bytes]) -> None:
    """Read the extensions of a GIF before its first image, where programs write them."""
    file.seek(10)
    flags = int.from_bytes(file.read(3)[:1], "big")
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, 1)
    for _ in range(_MAX_EXTENSIONS):
        head, blocks = file.read(2), []
        if head[:1] != b"!":
            return
        while (length := file.read(1)) not in (b"", b"\0"):
            blocks.append(length + file.read(length[0]))
        name = blocks[0][1:] if blocks and head[1:] == b"\xff" else b""
        icc = b"".join(block[1:] for block in blocks[1:])
        # XMP is stored as is, not divided into sub-blocks.
        xmp = b"".join(blocks[1:]).partition(_XMP_TRAILER)[0]
        if name == _GIF_ICC and icc:
            found.setdefault("icc", icc)
        elif name == _GIF_XMP and xmp:
            found.setdefault("xmp", xmp)


def _read_bmp(file: BinaryIO, found: dict[str, bytes]) -> None:
    file.seek(_BMP_HEADER)
    head = file.read(_BMP_V5_BYTES)
    if len(head) < _BMP_V5_BYTES or head[56:60] != _EMBEDDED:
        return
    length, place, size = struct.unpack_from("<I108xII", head)
    if length == _BMP_V5_BYTES and 0 < size <= limits.MAX_METADATA_BYTES:
        file.seek(_BMP_HEADER + place)
        icc = file.read(size)
        if len(icc) == size:
            found["icc"] = icc
