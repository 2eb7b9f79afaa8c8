"""Sizes of the pictures in a TIFF file: its pages, and their subdirectories.

References: TIFF 6.0, section 2; Adobe Photoshop TIFF Technical Notes, 1 (directories below others);
libtiff, "The BigTIFF File Format".
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_WIDTH, _HEIGHT, _BELOW = 256, 257, 330  # tags
_FORMS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # types of integers and offsets
_MAX_DIRECTORIES, _MAX_ENTRIES = 1024, 4096


@dataclass(frozen=True)
class Directory:
    """One picture of a file.

    width, height   in pixels, 0 if not stated
    is_page         whether it is a page, and not a subdirectory of another picture
    """

    width: int
    height: int
    is_page: bool


def directories(file: BinaryIO) -> Iterator[Directory]:
    """Yield the directories of a TIFF or BigTIFF file, up to about a thousand.

    file   seekable; its position changes
    """
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(16).ljust(16, b"\0")
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return
    is_big = 43 in head[2:4]
    first: int = struct.unpack_from(order + "IQ"[is_big], head, 8 if is_big else 4)[0]
    todo, seen = deque([(first, True)]), {0}
    while todo and len(seen) <= _MAX_DIRECTORIES:
        place, is_page = todo.popleft()
        if place in seen or place >= end:
            continue
        seen.add(place)
        values, following = _read(file, place, end, order, is_big)
        width, height = (max(values.get(tag, ()), default=0) for tag in (_WIDTH, _HEIGHT))
        yield Directory(width, height, is_page)
        todo.append((following, is_page))
        todo.extend((below, False) for below in values.get(_BELOW, ())[:_MAX_DIRECTORIES])


def _read(
    file: BinaryIO, place: int, end: int, order: str, is_big: bool
) -> tuple[dict[int, tuple[int, ...]], int]:
    """The values of the needed tags, and the offset of the next directory, 0 for none."""
    count_form, entry_form, place_form = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    room = struct.calcsize(order + place_form)
    head_bytes = struct.calcsize(order + entry_form)
    file.seek(place)
    head = file.read(struct.calcsize(order + count_form))
    if len(head) < struct.calcsize(order + count_form):
        return {}, 0
    (count,) = struct.unpack(order + count_form, head)
    entries = file.read(min(count, _MAX_ENTRIES) * (head_bytes + room) + room)
    found: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(entries) - head_bytes - room + 1, head_bytes + room):
        tag, kind, number = struct.unpack_from(order + entry_form, entries, start)
        if tag not in (_WIDTH, _HEIGHT, _BELOW) or kind not in _FORMS:
            continue
        form = f"{order}{min(number, _MAX_DIRECTORIES)}{_FORMS[kind]}"
        data = entries[start + head_bytes :][:room]
        if struct.calcsize(f"{order}{_FORMS[kind]}") * number > room:
            (values_place,) = struct.unpack(order + place_form, data)
            file.seek(min(values_place, end))
            data = file.read(struct.calcsize(form))
        if len(data) >= struct.calcsize(form):
            found[tag] = struct.unpack_from(form, data)
    following = entries[count * (head_bytes + room) :] if count <= _MAX_ENTRIES else b""
    if len(following) < room:
        return found, 0
    return found, int(struct.unpack_from(order + place_form, following)[0])
