"""The chunks of a PNG before its pixels, which Pillow keeps only in part.

Reference: PNG specification, third edition (W3C 2025), clause 11.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = frozenset((
    b"IHDR", b"tRNS", b"sBIT", b"gAMA", b"cHRM", b"cICP", b"sRGB", b"iCCP", b"pHYs", b"mDCV",
    b"cLLI", b"caBX",
))  # fmt: skip
_MAX_CHUNKS = 4096
_KEPT_BYTES = 64  # per chunk; for iCCP it is enough to know that it exists
_ANCILLARY = 0x20  # the bit that makes the first letter of a chunk's type lower-case
# Minimum lengths: Pillow does not open a picture with a shorter chunk.
_LEAST = {b"gAMA": 4, b"cHRM": 32, b"pHYs": 9, b"sRGB": 1, b"acTL": 8, b"fcTL": 26}
_COLOUR_TYPE, _KEY_BYTES = 25, {b"\0": 2, b"\2": 6}  # position; tRNS length for grey and RGB
_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})


def chunks_before_pixels(file: BinaryIO) -> dict[bytes, bytes]:
    """Return the first bytes of known chunks before the first IDAT, the first of each kind.

    file   seekable, a PNG from its first byte; its position changes
    """
    found: dict[bytes, bytes] = {}
    file.seek(len(SIGNATURE))
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind in (b"IDAT", b"IEND"):
            break
        if kind in _KINDS and kind not in found:
            found[kind] = file.read(min(length, _KEPT_BYTES))
            length -= len(found[kind])
        file.seek(length + 4, 1)
    return found


def bit_depth(chunks: dict[bytes, bytes]) -> int:
    """Bits of each sample, 1 .. 16; 8 if that is not known."""
    head = chunks.get(b"IHDR", b"")
    return head[8] if len(head) > 8 and head[8] in (1, 2, 4, 8, 16) else 8


def significant_bits(chunks: dict[bytes, bytes]) -> int | None:
    """Return the largest number of bits of any channel in the chunk sBIT, None without it."""
    return max(chunks.get(b"sBIT", b"")[:4], default=None)


def without_odd_chunks(content: bytes, *, pixels_alone: bool) -> bytes:
    """Return a PNG without text chunks, and without ancillary chunks that are damaged or too short.

    pixels_alone   leave out every chunk but the critical ones and tRNS

    The picture can be decoded without these chunks.
    """
    view, place = memoryview(content), len(SIGNATURE)
    kept = [view[:place]]
    least = {**_LEAST, b"tRNS": _KEY_BYTES.get(content[_COLOUR_TYPE : _COLOUR_TYPE + 1], 0)}
    while place + 12 <= len(content):
        length = int.from_bytes(view[place : place + 4], "big")
        kind, end = bytes(view[place + 4 : place + 8]), place + 12 + length
        if not kind[0] & _ANCILLARY:
            odd = False
        elif pixels_alone:
            odd = kind != b"tRNS" or length < least[kind]
        else:
            stored = int.from_bytes(view[end - 4 : end], "big")
            odd = kind in _TEXT or length < least.get(kind, 0)
            odd = odd or zlib.crc32(view[place + 4 : end - 4]) != stored
        if not odd:
            kept.append(view[place:end])
        place = end
    return b"".join(kept)
