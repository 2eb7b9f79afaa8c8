"""Reads the first directory of an EXIF stream, which is a TIFF file without a picture.

Reference: EXIF 2.32, section 4.6; TIFF 6.0, section 2 (image file directory).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Order = Literal["<", ">"]

ENTRY_BYTES = 12
DIRECTORIES = frozenset({0x8769, 0x8825})
"""Tags that point to the directories of EXIF and GPS."""
ORIENTATION = 0x0112
DESCRIPTIVE_TAGS = DIRECTORIES | {
    269, 270, 271, 272,  # document, description, make, model
    285, 305, 306, 315, 316,  # page, software, date, artist, host
    0x4746, 0x4749,  # ratings
    33432, 33723,  # copyright, IPTC
    40091, 40092, 40093, 40094, 40095,  # from Windows: title, comment, author, keywords, subject
    0xC4A5,  # print image matching
}  # fmt: skip
"""Tags that describe the picture. Others describe its storage, and are wrong in another file."""
RESOLUTION_TAGS = frozenset({282, 283, 296})
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


EXIF_PREFIX = b"Exif\x00\x00"
"""Precedes the TIFF stream of EXIF in JPEG, and in what Pillow calls "exif"."""


def without_prefix(exif: bytes) -> bytes | None:
    """EXIF as a TIFF stream; None if it is empty.  Some programs write the prefix twice."""
    start = 0
    while exif.startswith(EXIF_PREFIX, start):
        start += len(EXIF_PREFIX)
    return exif[start:] or None


@dataclass(frozen=True)
class Entry:
    """One entry of a directory.

    place   position of its 12 bytes in the stream
    kind    number of the type of its values
    size    total bytes of its values; None for an unknown type
    """

    place: int
    tag: int
    kind: int
    count: int
    size: int | None

    def bytes_in(self, exif: bytes) -> bytes:
        """The 12 bytes of the entry."""
        return exif[self.place : self.place + ENTRY_BYTES]


def byte_order(exif: bytes) -> Order | None:
    """Return the byte order as `struct` spells it, None if it is not a TIFF stream."""
    if len(exif) < 10:
        return None
    return {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])  # type: ignore[return-value]


def first_directory(exif: bytes) -> Iterator[Entry]:
    """Yield the entries of the first directory, as far as the stream contains them."""
    order = byte_order(exif)
    if order is None:
        return
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return
    (count,) = struct.unpack_from(order + "H", exif, start)
    for place in range(start + 2, start + 2 + count * ENTRY_BYTES, ENTRY_BYTES):
        if place + ENTRY_BYTES > len(exif):
            return
        tag, kind, values = struct.unpack_from(order + "HHI", exif, place)
        one = _TYPE_BYTES.get(kind)
        yield Entry(place, tag, kind, values, None if one is None else one * values)


def has_its_values(entry: Entry, exif: bytes) -> bool:
    """Whether the values of an entry, or the directory that it points to, are in the stream."""
    order = byte_order(exif)
    if order is None or entry.size is None or not entry.size:
        return False
    (offset,) = struct.unpack_from(order + "I", exif, entry.place + 8)
    if entry.tag in DIRECTORIES:
        return entry.kind in (4, 13) and entry.count == 1 and 8 <= offset <= len(exif) - 2
    return entry.size <= 4 or offset + entry.size <= len(exif)
