"""The boxes of JPEG 2000, AVIF and HEIF files, which follow each other and may be nested.

References: ISO/IEC 14496-12, 4.2; ISO/IEC 15444-1, annex I.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from bitstream import limits

_MAX_BOXES = 2**14
_HEAD_BYTES = 2**16
_HEADERS = frozenset({b"meta", b"moov"})


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the contents of each box, up to the first damaged one."""
    for _ in range(_MAX_BOXES):
        file.seek(start)
        head = file.read(16)
        size, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), start + 16
        stop = start + size if size else end
        if len(head) < 8 or not begin <= stop <= end:
            return
        yield kind, begin, stop
        start = stop


def content(file: BinaryIO, start: int, stop: int) -> bytes:
    """The contents of a box; empty if it is too large for metadata."""
    if stop - start > limits.MAX_METADATA_BYTES:
        return b""
    file.seek(start)
    return file.read(stop - start)


def headers_of_avif(file: BinaryIO) -> bytes:
    """The descriptions of the images in an AVIF file: its first bytes, and any later header boxes.

    file   seekable; its position changes

    Some writers put the pixels before the header boxes.
    """
    file.seek(0)
    found = [file.read(_HEAD_BYTES)]
    for kind, start, stop in boxes(file, 0, file.seek(0, 2)):
        if kind in _HEADERS and stop > _HEAD_BYTES:
            file.seek(start)
            found.append(file.read(min(stop - start, limits.MAX_METADATA_BYTES)))
    return b"".join(found)
