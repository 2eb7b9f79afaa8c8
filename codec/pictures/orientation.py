"""Orientation: read it from EXIF or XMP, apply it to pixels, and mark it as applied.

The tag is changed in place and every other byte of the metadata stays, maker notes included.
Reference: EXIF 2.32, section 4.6.4 (tag 0x0112); TIFF 6.0, section 2 (image file directory).
"""

import re
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

_TAG = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12
_XMP = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")


def read_orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """Return the orientation, 1 .. 8, that the metadata state; 1 if they state none.

    exif   a TIFF stream, beginning with its byte order; it goes before the XMP packet
    """
    found = _find(exif) if exif else None
    if found is not None:
        return found[1]
    match = _XMP.search(xmp) if xmp else None
    return int(match[2]) if match else 1


def reset_orientation(exif: bytes | None, xmp: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Return the metadata with orientation 1 (upright), otherwise unchanged."""
    found = _find(exif) if exif else None
    if exif and found is not None:
        place, _, order = found
        exif = exif[:place] + struct.pack(order + "H", 1) + exif[place + 2 :]
    if xmp:
        xmp = _XMP.sub(rb"\g<1>1", xmp)
    return exif, xmp


def apply_orientation(plane: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return (height, width, ...) pixels turned so that orientation 1 describes them.

    orientation   1 .. 8, as EXIF numbers them; 5 .. 8 exchange height and width
    """
    if orientation in (5, 6, 7, 8):
        plane = plane.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return np.ascontiguousarray(plane)


def _find(exif: bytes) -> tuple[int, int, str] | None:
    """Return place, value and byte order of the tag, or None where it is absent or damaged."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None or len(exif) < 10:
        return None
    directory = struct.unpack_from(order + "I", exif, 4)[0]
    if directory + 2 > len(exif):
        return None
    count = struct.unpack_from(order + "H", exif, directory)[0]
    for entry in range(directory + 2, directory + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
        if entry + _ENTRY_BYTES > len(exif):
            return None
        tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, entry)
        if tag == _TAG:
            return (entry + 8, value, order) if kind == _SHORT and 1 <= value <= 8 else None
    return None
