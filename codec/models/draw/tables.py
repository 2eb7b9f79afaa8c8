"""Integer frequencies for draw-bits-back, where every symbol has its own table.

Bins of a coordinate and levels of a pixel get the mass of a stored distribution function, normal
or logistic, between two integer positions; see `codec.coding.bits_back_tables.interpolated`. The
network's numbers are in units of 2⁻¹².
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
LEVEL_BITS = 8  # levels of log-variances and log-scales are 2⁸ units of 2⁻¹² apart, a sixteenth
ROW_ENTRIES = 1 << 18  # table entries that are in memory at once


def level_count(bounds: tuple[int, int]) -> int:
    """Number of levels, a sixteenth apart, of a logarithm within bounds."""
    return ((bounds[1] - bounds[0]) << (UNIT_BITS - LEVEL_BITS)) + 1


def log_levels(said: Int64Array, bounds: tuple[int, int]) -> Int64Array:
    """The nearest level of a logarithm in units of 2⁻¹², 0 .. `level_count` − 1."""
    offset = (-bounds[0] << UNIT_BITS) + (1 << (LEVEL_BITS - 1))
    found: Int64Array = np.clip((said + offset) >> LEVEL_BITS, 0, level_count(bounds) - 1)
    return found


def push_known(stack: AnsCoder, own: Int64Array, below: Int64Array, entries: int) -> None:
    """Push entries `own` (m,) of `entries`, at least 4, for `pop_rows` with `frequencies`.

    below   int64 (m, 2), F at its left and its right edge; the outermost edges are ignored

    A push needs only the begin and end of the entry: everything below it becomes one entry, and
    everything above it another. If one of these is empty, the other, which has at least three
    units, is split in two.
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
    """Split rows into parts whose tables, of `entries` entries each, fit in memory."""
    size = max(1, ROW_ENTRIES // entries)
    return [slice(at, at + size) for at in range(0, rows, size)]


def integers(values: Tensor) -> Int64Array:
    """Values of the fixed-point network as integers, clipped to its bounds."""
    return values.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT).long().numpy()


def frequencies(below: Int64Array) -> Int32Array:
    """F at the inner edges (m, n − 1) to frequencies (m, n): differences plus one."""
    found = np.empty((len(below), below.shape[1] + 1), dtype=np.int32)
    found[:, 0] = below[:, 0] + 1
    found[:, 1:-1] = np.diff(below, axis=1) + 1
    found[:, -1] = TOTAL - below.shape[1] - below[:, -1]
    return found


def check_array(name: str, array: Array, length: int, *, least: int | None = None) -> None:
    """Raise `WeightsMismatchError` unless an array is int32 (length,), with no value too small."""
    if array.dtype != np.int32 or array.shape != (length,):
        raise WeightsMismatchError(
            f"weights file: {name} is {array.dtype}{list(array.shape)}, expected int32[{length}]"
        )
    if least is not None and array.min() < least:
        raise WeightsMismatchError(f"weights file: {name} has a number below {least}")


def check_distribution(prefix: str, array: Int32Array, reach: int, entries: int) -> None:
    """Raise `WeightsMismatchError` unless F ascends from 0 to 2²⁴ less one unit per entry."""
    check_array(f"{prefix}.distribution", array, 2 * (reach << GRID_BITS) + 1)
    ends = int(array[0]), int(array[-1])
    if (np.diff(array) < 0).any() or ends != (0, TOTAL - entries):
        raise WeightsMismatchError(
            f"weights file: {prefix}.distribution does not ascend from 0 to {TOTAL - entries}"
        )


def grid(reach: int) -> Float64Array:
    """The points at which F is stored."""
    half = reach << GRID_BITS
    places: Float64Array = np.arange(-half, half + 1, dtype=np.float64) / 2**GRID_BITS
    return places


def rising(values: Float64Array, entries: int) -> Int32Array:
    """The stored F from a distribution function on its grid, as `check_distribution` requires."""
    shares = (values - values[0]) / (values[-1] - values[0])
    found: Int32Array = np.rint(shares * (TOTAL - entries)).astype(np.int32)
    return found


def reciprocals(bounds: tuple[int, int], power: float) -> Int32Array:
    """e^(−power · x) for every level x, in units of 2⁻¹²."""
    levels = np.linspace(*bounds, level_count(bounds))
    return rounded(np.exp(-levels * power), RECIPROCAL_BITS)


def rounded(values: Float64Array, bits: int) -> Int32Array:
    """Round to integers in units of 2^−bits."""
    found: Int32Array = np.rint(values * 2**bits).astype(np.int32)
    return found
