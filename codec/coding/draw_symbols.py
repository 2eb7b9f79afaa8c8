"""Random symbols from the distributions in a model's tables."""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Int32Array
from bitstream.tables import TOTAL, TableSet


def draw_symbols(
    tables: TableSet, indexes: Int32Array, generator: np.random.Generator
) -> Int32Array:
    """Draw a symbol from the table of each index, int32 (n,); the escape becomes 0."""
    places = generator.integers(0, TOTAL, size=len(indexes))
    symbols = np.zeros(len(indexes), dtype=np.int32)
    for table in np.unique(indexes):
        own = indexes == table
        start, end = tables.starts[table], tables.starts[table + 1]
        ends = np.cumsum(tables.frequencies[start:end])
        entries = np.searchsorted(ends, places[own], side="right")
        escaped = entries == end - start - 1
        symbols[own] = np.where(escaped, 0, entries + tables.minimums[table])
    return symbols
