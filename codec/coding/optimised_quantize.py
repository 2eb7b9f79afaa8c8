"""Rate-distortion optimised quantisation: rounding that trades error for bits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bitstream.arrays import Float32Array, Int32Array
from bitstream.tables import PRECISION, TableSet

LARGEST = 32
"""Largest magnitude of the symbols whose code lengths are tabulated."""


def cheaper_symbols(
    residuals: Float32Array, indexes: Int32Array, tables: TableSet, curvature: float
) -> Int32Array:
    """Symbols int32 (c, n) for residuals float32 (c, n), in quantiser steps.

    indexes     the table of each, int32 (c, n)
    curvature   bits that a squared error of one step is worth

    A residual r becomes the nearest integer or the next one towards zero, whichever k minimises
    curvature·(r − k)² + bits(k). Residuals beyond ±32 are simply rounded.
    """
    lengths = code_lengths(tables)
    nearest = np.rint(residuals)
    smaller = nearest - np.sign(nearest)
    columns = (np.clip(values, -LARGEST, LARGEST) for values in (nearest, smaller))
    bits, fewer = (lengths[indexes, c.astype(np.int32) + LARGEST] for c in columns)
    added = curvature * ((residuals - smaller) ** 2 - (residuals - nearest) ** 2)
    take = (added < bits - fewer) & (np.abs(nearest) <= LARGEST)
    symbols: Int32Array = np.where(take, smaller, nearest).astype(np.int32)
    return symbols


def deadzone_symbols(
    residuals: Float32Array, indexes: Int32Array, tables: TableSet, curvature: float
) -> Int32Array:
    """A fast approximation of `cheaper_symbols`: it uses the margin between 0 and ±1 for every k.

    At small scales other symbols are rare, and at large ones the costs are nearly equal.
    """
    magnitudes = np.abs(residuals)
    magnitudes += (np.float32(0.5) - _margins(tables, curvature)).take(indexes)
    np.floor(magnitudes, out=magnitudes)
    symbols: Int32Array = np.copysign(magnitudes, residuals).astype(np.int32)
    return symbols


@lru_cache(maxsize=8)
def _margins(tables: TableSet, curvature: float) -> Float32Array:
    """How far beyond ½ a residual must be to become ±1 instead of 0: float32 (tables,)."""
    lengths = code_lengths(tables)
    ones = np.minimum(lengths[:, LARGEST - 1], lengths[:, LARGEST + 1])
    margins: Float32Array = np.clip((ones - lengths[:, LARGEST]) / (2 * curvature), 0, 0.5)
    return margins.astype(np.float32)


@lru_cache(maxsize=4)
def code_lengths(tables: TableSet) -> Float32Array:
    """Bits of the symbols −32 .. 32 in each table, escapes included: float32 (tables, 65)."""
    symbols = np.arange(-LARGEST, LARGEST + 1, dtype=np.int32)
    lengths = np.zeros((len(tables), len(symbols)), dtype=np.float32)
    for table in np.flatnonzero(~tables.certain):
        minimum = tables.minimums[table]
        entries = symbols - minimum
        inside = (entries >= 0) & (entries < tables.sizes[table])
        frequencies = tables.frequencies[tables.starts[table] + entries[inside]]
        lengths[table, inside] = PRECISION - np.log2(frequencies)
        index = np.array([table], dtype=np.int32)
        for column in np.flatnonzero(~inside):
            lengths[table, column] = tables.code_length_bits(symbols[[column]], index)
    return lengths
