"""The order in which the symbols of one message reach a coder.

Coding runs of symbols under one table is several times as fast as changing tables at every
symbol, so a message is sorted by table: stable, tables in ascending order.  Symbols outside the
support of their table leave an escape there; their values follow after all runs.  Symbols with
certain tables are left out.

    run of table 0 | run of table 1 | ... | classes of all escapes | bit 32 | ... | bit 0

Both coders share this order: ``runs`` gives it to an encoder, ``collect`` asks a decoder for it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream import escape
from bitstream.arrays import Int32Array, Int64Array
from bitstream.tables import TableSet, check_indexes, check_message

Run = tuple[Int32Array, TableSet, int]  # entries, and the table that they are entries of
Decode = Callable[[TableSet, int, int], Int32Array]  # set, table, count -> entries

# The tables that code escaped values: 34 classes, and a fair bit.
_CLASS, _BIT = 0, 1
_ESCAPE_TABLES = TableSet(
    frequencies=np.append(escape.class_frequencies(), np.full(2, 2**23, dtype=np.int32)),
    starts=np.array([0, escape.CLASSES, escape.CLASSES + 2], dtype=np.int32),
    minimums=np.zeros(2, dtype=np.int32),
)


def runs(symbols: Int32Array, indexes: Int32Array, tables: TableSet) -> Iterator[Run]:
    """Yield the runs of a message, in the order in which a decoder meets them.

    symbols, indexes: int32[n].  Raises UsageError.
    """
    check_message(symbols, indexes, tables)
    order, bounds = _sort(indexes, tables)
    grouped = symbols.take(order)
    sizes, lowest = _of_runs(bounds, tables)
    # The difference wraps around, so as an unsigned number it is below the size exactly for values
    # inside the support; all others become the last entry, which is the escape.
    offsets = (grouped - lowest).view(np.uint32)
    entries = np.minimum(offsets, sizes.view(np.uint32)).view(np.int32)
    for table, begin, end in bounds:
        yield entries[begin:end], tables, table
    places = np.flatnonzero(entries == sizes)
    if places.size:
        minimums, maximums = _support(tables, indexes.take(order.take(places)))
        values = grouped.take(places)
        folded = escape.fold(values.astype(np.int64), minimums, maximums)
        classes = escape.classes(folded)
        yield classes, _ESCAPE_TABLES, _CLASS
        for bit in reversed(range(int(classes.max()))):
            bits = folded[classes > bit] >> bit & 1
            yield bits.astype(np.int32), _ESCAPE_TABLES, _BIT


def collect(decode: Decode, indexes: Int32Array, tables: TableSet) -> Int32Array:
    """Return the symbols, int32[n], whose runs ``decode`` returns.

    Raises UsageError for the indexes and PayloadError for the runs.
    """
    check_indexes(indexes, tables)
    order, bounds = _sort(indexes, tables)
    grouped = np.empty(len(order), dtype=np.int32)
    for table, begin, end in bounds:
        grouped[begin:end] = decode(tables, table, end - begin)
    sizes, lowest = _of_runs(bounds, tables)
    places = np.flatnonzero(grouped == sizes)
    grouped += lowest
    if places.size:
        minimums, maximums = _support(tables, indexes.take(order.take(places)))
        classes = decode(_ESCAPE_TABLES, _CLASS, len(places))
        folded = np.ones(len(places), dtype=np.int64)
        for bit in reversed(range(int(classes.max()))):
            longer = classes > bit
            bits = decode(_ESCAPE_TABLES, _BIT, int(longer.sum()))
            folded[longer] = folded[longer] << 1 | bits
        grouped[places] = escape.unfold(folded, minimums, maximums)
    if len(order) == len(indexes):
        symbols = np.empty(len(indexes), dtype=np.int32)
    elif tables.minimums[tables.certain].any():
        symbols = tables.minimums.take(indexes)
    else:
        symbols = np.zeros(len(indexes), dtype=np.int32)
    symbols[order] = grouped
    return symbols


def _sort(indexes: Int32Array, tables: TableSet) -> tuple[Int64Array, list[tuple[int, int, int]]]:
    """Return the places that are coded, in order, and ``(table, begin, end)`` of each run."""
    # A stable sort of 8- or 16-bit keys is a radix sort in NumPy, ten times as fast as for int32.
    keys: npt.NDArray[np.unsignedinteger[Any]]
    keys = indexes.astype(np.uint8) if len(tables) <= 256 else indexes.astype(np.uint16)
    coded = tables.coded(keys) if tables.certain.any() else None
    if coded is not None:
        keys = keys.take(coded)
    order = np.argsort(keys, kind="stable")
    bounds = []
    if len(order):
        grouped = keys.take(order)
        starts = [0, *(np.flatnonzero(grouped[1:] != grouped[:-1]) + 1).tolist()]
        numbers = grouped.take(starts).tolist()
        bounds = list(zip(numbers, starts, [*starts[1:], len(order)], strict=True))
    return (order if coded is None else coded.take(order)), bounds


def _of_runs(
    bounds: Sequence[tuple[int, int, int]], tables: TableSet
) -> tuple[Int32Array, Int32Array]:
    """Return size and first symbol of each symbol's table, int32[n] each, in the order of runs."""
    chosen = np.array([table for table, _, _ in bounds], dtype=np.int64)
    counts = [end - begin for _, begin, end in bounds]
    return np.repeat(tables.sizes[chosen], counts), np.repeat(tables.minimums[chosen], counts)


def _support(tables: TableSet, chosen: Int32Array) -> tuple[Int64Array, Int64Array]:
    """Return the first and last symbol of tables, int64[n] each, for their numbers int32[n]."""
    minimums = tables.minimums.take(chosen).astype(np.int64)
    return minimums, minimums + tables.sizes.take(chosen) - 1
