"""Integer frequencies of draw-bits-back, whose symbols have a table each.

Bins of a coordinate and levels of a pixel have the mass of a stored distribution function, normal
or logistic, between two integer places; see `codec.coding.bits_back_tables.interpolated`. Numbers
of the network are in units of 2⁻¹².
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from bitstream.ans_coder import AnsCoder
from bitstream.arrays import Array, Float64Array, Int32Array, Int64Array
from bitstream.errors import WeightsMismatchError
from bitstream.tables import TOTAL
from codec.coding.bits_back_tables import EDGE_BITS, GRID_BITS, RECIPROCAL_BITS
from codec.coding.exact_layers import ACTIVATION_LIMIT
from codec.models.draw.exact import UNIT_BITS

EDGE_SHIFT = EDGE_BITS - UNIT_BITS
LEVEL_BITS = 8  # a level of a log-variance or log-scale is 2⁸ units of 2⁻¹², a sixteenth
ROW_ENTRIES = 1 << 18  # of the tables that are held at once


def level_count(bounds: tuple[int, int]) -> int:
    """Levels, a sixteenth each, of a logarithm within bounds."""
    return ((bounds[1] - bounds[0]) << (UNIT_BITS - LEVEL_BITS)) + 1


def log_levels(said: Int64Array, bounds: tuple[int, int]) -> Int64Array:
    """The nearest level of a logarithm in units of 2⁻¹², 0 .. `level_count` − 1."""
    offset = (-bounds[0] << UNIT_BITS) + (1 << (LEVEL_BITS - 1))
    found: Int64Array = np.clip((said + offset) >> LEVEL_BITS, 0, level_count(bounds) - 1)
    return found


def push_known(stack: AnsCoder, own: Int64Array, below: Int64Array, entries: int) -> None:
    """Push entry `own` (m,) of `entries`, at least 4, as `pop_rows` finds it in `frequencies`.

    below   int64 (m, 2), F at its left and its right edge; the outermost edges are ignored

    A push needs no more than where the entry begins and ends: what is below it becomes one entry
    and what is above it another. Where one of them is empty, the other, which has at least three
    units, is two.
    """
    start = np.where(own == 0, 0, below[:, 0] + own)
    end = np.where(own == entries - 1, TOTAL, below[:, 1] + own + 1)
    left = np.where(own == entries - 1, start - 1, start)
    first = np.where(own == 0, end, left)
    second = np.where(own == 0, 1, np.where(own == entries - 1, 1, end - start))
    entry = np.where(own == 0, 0, np.where(own == entries - 1, 2, 1))
    rows = np.stack([first, second, TOTAL - first - second], axis=1)
    stack.push_rows(entry.astype(np.int32), rows.astype(np.int32))


def parts(rows: int, entries: int) -> list[slice]:
    """Rows in parts whose tables, of so many entries each, fit into memory."""
    size = max(1, ROW_ENTRIES // entries)
    return [slice(at, at + size) for at in range(0, rows, size)]


def integers(values: Tensor) -> Int64Array:
    """Values of the fixed-point network as integers within its bounds."""
    return values.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT).long().numpy()


def frequencies(below: Int64Array) -> Int32Array:
    """F at the inner edges (m, n − 1) to frequencies (m, n): differences plus one."""
    found = np.empty((len(below), below.shape[1] + 1), dtype=np.int32)
    found[:, 0] = below[:, 0] + 1
    found[:, 1:-1] = np.diff(below, axis=1) + 1
    found[:, -1] = TOTAL - below.shape[1] - below[:, -1]
    return found


def check_array(name: str, array: Array, length: int, *, least: int | None = None) -> None:
    """Raise `WeightsMismatchError` unless an array is int32 of a length, and nothing too small."""
    if array.dtype != np.int32 or array.shape != (length,):
        raise WeightsMismatchError(
            f"weights file: {name} is {array.dtype}{list(array.shape)}, expected int32[{length}]"
        )
    if least is not None and array.min() < least:
        raise WeightsMismatchError(f"weights file: {name} has a number below {least}")


def check_distribution(prefix: str, array: Int32Array, reach: int, entries: int) -> None:
    """Raise `WeightsMismatchError` unless F ascends from 0 to what leaves each entry its unit."""
    check_array(f"{prefix}.distribution", array, 2 * (reach << GRID_BITS) + 1)
    ends = int(array[0]), int(array[-1])
    if (np.diff(array) < 0).any() or ends != (0, TOTAL - entries):
        raise WeightsMismatchError(
            f"weights file: {prefix}.distribution does not ascend from 0 to {TOTAL - entries}"
        )


def grid(reach: int) -> Float64Array:
    """The places where F is stored."""
    half = reach << GRID_BITS
    places: Float64Array = np.arange(-half, half + 1, dtype=np.float64) / 2**GRID_BITS
    return places


def rising(values: Float64Array, entries: int) -> Int32Array:
    """F of a distribution function on its grid; the inverse of `check_distribution`."""
    shares = (values - values[0]) / (values[-1] - values[0])
    found: Int32Array = np.rint(shares * (TOTAL - entries)).astype(np.int32)
    return found


def reciprocals(bounds: tuple[int, int], power: float) -> Int32Array:
    """e^(−power · x) of every level x, in units of 2⁻¹²."""
    levels = np.linspace(*bounds, level_count(bounds))
    return rounded(np.exp(-levels * power), RECIPROCAL_BITS)


def rounded(values: Float64Array, bits: int) -> Int32Array:
    """To integers in units of 2^−bits."""
    found: Int32Array = np.rint(values * 2**bits).astype(np.int32)
    return found
