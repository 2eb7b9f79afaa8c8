"""Orientation: reading it from EXIF or XMP, applying it to pixels, and resetting it.

The tag is changed in place, and every other byte of the metadata stays, including maker notes.
Reference: EXIF 2.32, section 4.6.4 (tag 0x0112); XMP specification, part 1, clause 7 (attributes
and elements), part 3, clause 1.1 (encodings).
"""

import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.pictures.exif import ORIENTATION, byte_order, first_directory

# Integer types: the standard requires SHORT, but some programs write others.
_FORMS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
# A namespace declaration with its prefix, or the default namespace.
_NAMESPACE = re.compile(r"xmlns(?::([\w.-]{1,64}))?\s{0,99}=\s{0,99}[\"']([^\"'<>]{0,99})[\"']")
# A prefix at the end of what precedes the name, and how far back it may reach.
_PREFIX = re.compile(r"(?<![\w.:-])([\w.-]{1,64}):\Z")
_PREFIX_REACH = 66
_NAME = re.compile("Orientation")
_VALUE = re.compile(
    r"(?:\s{0,99}=\s{0,99}[\"']|(?:\s[^<>]{0,400})?>)\s{0,99}0{0,2}"
    r"(?P<value>[1-8])(?=\s{0,99}[\"'<])"
)
_MENTIONS = 4096
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_STARTS = tuple(
    (character.encode(wide), wide)
    for wide in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
    for character in ("\ufeff", "<")
)


def read_orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """Return the orientation, 1 .. 8, in the metadata; 1 if there is none.

    exif   a TIFF stream, beginning with its byte order; it takes precedence over the XMP packet
    """
    for _, value, _ in _found(exif):
        if 1 <= value <= 8:
            return value
        break
    text, _ = _text(xmp)
    place = next(_values_in(text), None)
    return 1 if place is None else int(text[place])


def reset_orientation(exif: bytes | None, xmp: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Return the metadata with orientation 1 (upright), otherwise unchanged."""
    changed = bytearray(exif or b"")
    for place, value, form in _found(exif):
        if 1 <= value <= 8:
            struct.pack_into(form, changed, place, 1)
    if xmp:
        text, encoding = _text(xmp)
        parts, last = [], 0
        for place in _values_in(text):
            parts += [text[last:place], "1"]
            last = place + 1
        if parts:
            xmp = "".join([*parts, text[last:]]).encode(encoding)
    return None if exif is None else bytes(changed), xmp


def apply_orientation(plane: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return (height, width, ...) pixels turned upright, so that their orientation is 1.

    orientation   1 .. 8, as EXIF numbers them; 5 .. 8 exchange height and width
    """
    if orientation in (5, 6, 7, 8):
        plane = plane.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return np.ascontiguousarray(plane)


def _found(exif: bytes | None) -> Iterator[tuple[int, int, str]]:
    """Yield position, value and `struct` format of each entry of the tag; only the first counts.

    Entries whose type is not an integer, or whose values do not fit in the entry, are skipped.
    """
    for entry in first_directory(exif or b""):
        form = f"{byte_order(exif or b'')}{_FORMS.get(entry.kind, '')}"
        if entry.tag == ORIENTATION and len(form) == 2 and 0 < (entry.size or 0) <= 4:
            (value,) = struct.unpack_from(form, exif or b"", entry.place + 8)
            yield entry.place + 8, value, form


def _text(xmp: bytes | None) -> tuple[str, str]:
    """An XMP packet as text, and the encoding that restores its bytes."""
    xmp = xmp or b""
    encoding = "latin-1"  # UTF-8 is kept as bytes, so that damaged text stays unchanged
    # The packet begins with a byte order mark or "<".
    for start, wide in _STARTS:
        if xmp.startswith(start):
            encoding = wide
            break
    try:
        return xmp.decode(encoding), encoding
    except UnicodeDecodeError:
        return "", encoding


def _values_in(text: str) -> Iterator[int]:
    """Positions of the tag's values in an XMP packet, of which each is one digit, 1 .. 8.

    The tag is an attribute or an element, with any prefix of its namespace. The numbers of
    declarations and of mentions, and all repetitions, are bounded, so no packet can make the search
    slow.
    """
    stated = {match[1]: match[2] for match in islice(_NAMESPACE.finditer(text), 256)}
    stated.setdefault("tiff", _TIFF)
    prefixes = {prefix for prefix, namespace in stated.items() if namespace == _TIFF}
    for mention in islice(_NAME.finditer(text), _MENTIONS):
        start, end = mention.span()
        found = _PREFIX.search(text[max(0, start - _PREFIX_REACH) : start])
        # An attribute without a prefix is in no namespace.
        is_tag = (
            found[1] in prefixes if found else None in prefixes and text[start - 1 : start] == "<"
        )
        if is_tag and (value := _VALUE.match(text, end)):
            yield value.start("value")
