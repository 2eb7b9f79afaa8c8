"""Labels of MNIST's training images: IDX files of unsigned bytes, gzipped or not."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from bitstream.arrays import Int64Array
from bitstream.errors import InputError

NAMES = tuple(
    f"train-labels{suffix}{ending}"
    for suffix in ("-idx1-ubyte", ".idx1-ubyte")
    for ending in ("", ".gz")
)
MAX_BYTES = 2**24
_HEAD = b"\0\0\x08\x01"  # unsigned bytes, one dimension


def find_labels(path: Path) -> Path | None:
    """The label file of the training images in a folder, or None."""
    return next((path / name for name in NAMES if (path / name).is_file()), None)


def read_labels(path: Path) -> Int64Array:
    """Labels int64 (n,), 0 .. 255. Raises `InputError` for what is no such file."""
    try:
        data = path.read_bytes()
        # Downloads are at times compressed once more.
        for _ in range(2):
            if data[:2] == b"\x1f\x8b":
                data = _unpacked(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    count = int.from_bytes(data[4:8], "big")
    if data[:4] != _HEAD or len(data) != 8 + count:
        raise InputError(
            f"{path}: {len(data)} bytes that begin with {data[:4].hex()}, expected an IDX file of "
            f"labels: {_HEAD.hex()}, their number, and a byte for each"
        )
    return np.frombuffer(data, np.uint8, offset=8).astype(np.int64)


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    found = unpacker.decompress(data, MAX_BYTES)
    if not unpacker.eof:
        raise EOFError(f"it ends too early, or holds more than {MAX_BYTES} bytes")
    return found
