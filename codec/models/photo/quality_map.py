"""From qualities to positions on the tables of the networks, by an integer table in the weights.

The networks use the same scale of positions for both tunes, whereas a quality should mean about
the same to users with either tune. The map between them is part of the weights, so it can be
measured when they are trained.
"""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Array, Int32Array
from bitstream.errors import WeightsMismatchError
from codec.models.photo.config import TUNES

QUALITIES = 100
LOWEST, HIGHEST = 100, 10000  # positions, and qualities, in hundredths


def identity_map() -> Int32Array:
    """The map in which every position equals the quality, int32 (tunes, 100)."""
    row = np.arange(1, QUALITIES + 1, dtype=np.int32) * 100
    return np.tile(row, (len(TUNES), 1))


def checked_map(array: Array | None) -> Int32Array:
    """The map of a weights file, int32 (tunes, 100): rising positions, 100 .. 10000.

    Raises `WeightsMismatchError` for anything else.
    """
    shape = (len(TUNES), QUALITIES)
    if array is None or array.dtype != np.int32 or array.shape != shape:
        found = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
        raise WeightsMismatchError(f"weights file: quality_map is {found}, expected int32{shape}")
    table: Int32Array = array.astype(np.int32)
    if table.min() < LOWEST or table.max() > HIGHEST or (np.diff(table, axis=1) <= 0).any():
        raise WeightsMismatchError(
            f"weights file: quality_map has positions {table.min()} .. {table.max()}, expected "
            f"numbers that rise with the quality, {LOWEST} .. {HIGHEST}"
        )
    return table


def position_at(row: Int32Array, hundredths: int) -> int:
    """The position, 100 .. 10000, of a quality in hundredths, 100 .. 10000.

    row   positions of the qualities 1 .. 100 for a tune

    Interpolation is in integers, rounding down, because the position selects probability tables.
    """
    left = min(hundredths // 100, QUALITIES - 1)
    fraction = hundredths - 100 * left
    low, high = int(row[left - 1]), int(row[left])
    return low + (high - low) * fraction // 100
