"""PNG files that no library writes: every colour type and depth, keys, interlacing, odd chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Top, step down, left, step right of each pass (PNG, clause 8.2).
_PASSES = (
    (0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2),
    (1, 2, 0, 1),
)  # fmt: skip


def chunk(kind: bytes, payload: bytes = b"", crc: int | None = None) -> bytes:
    """A chunk with a correct CRC, or with the given one."""
    if crc is None:
        crc = zlib.crc32(kind + payload)
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)


def png(
    samples: npt.NDArray[Any],
    colour_type: int,
    depth: int,
    *,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
    interlaced: bool = False,
) -> bytes:
    """A PNG file without filters.

    samples         (height, width, channels of the colour type), 0 .. 2^depth − 1
    before, after   chunks before and after the pixels
    """
    height, width, _ = samples.shape
    if interlaced:
        parts = [samples[a::b, c::d] for a, b, c, d in _PASSES]
    else:
        parts = [samples]
    body = b"".join(_rows(part, depth) for part in parts if part.size)
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    return b"".join(
        (
            SIGNATURE,
            chunk(b"IHDR", head),
            *before,
            chunk(b"IDAT", zlib.compress(body)),
            *after,
            chunk(b"IEND"),
        )
    )


def _rows(part: npt.NDArray[Any], depth: int) -> bytes:
    rows = []
    for row in part.reshape(len(part), -1):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
            packed = np.packbits(bits.ravel()).tobytes()
        rows.append(b"\0" + packed)
    return b"".join(rows)
