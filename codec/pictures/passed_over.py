"""Metadata that Pillow passes over: resources of PSD, boxes of JPEG 2000, and text of PNG.

References: Adobe Photoshop File Formats Specification, "Image Resource IDs"; ISO/IEC 15444-1,
annex I; Adobe XMP Specification Part 3, 1.1.3, 1.1.4 and 1.3; ImageMagick, coders/png.c, for raw
profiles.
"""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from codec.pictures.boxes import boxes, content
from codec.pictures.exif import EXIF_PREFIX

_RESOURCES = {1028: "iptc", 1058: "exif", 1060: "xmp"}
_UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
}
RAW_APP1 = "Raw profile type APP1"
"""The text of a PNG in which ImageMagick keeps a segment of JPEG: EXIF or XMP in hexadecimal."""
_SEGMENTS = {EXIF_PREFIX: "exif", b"http://ns.adobe.com/xap/1.0/\0": "xmp"}
_RAW_HEAD_LINES = 3  # an empty one, the name, and the length
_RESTRICTED_ICC, _ANY_ICC = 2, 3  # methods of the colour specification box


def passed_over(image: Image.Image, file: BinaryIO | None) -> dict[str, bytes]:
    """Return what an image's file holds of "icc", "exif", "xmp" and "iptc", not empty.

    file   seekable, if it is known; left anywhere

    Raises OSError where the file cannot be read.
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
    return found


def _raw_profile(text: object) -> bytes:
    """The bytes of a raw profile; none of a damaged one."""
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
