"""Symbols to bytes and back: what the codec calls.

>>> import numpy as np
>>> from bitstream import SymbolDecoder, SymbolEncoder, gaussian_tables
>>> tables = gaussian_tables(np.array([0.5, 4.0]))
>>> symbols = np.array([0, 3, -7, 1, 90000], dtype=np.int32)
>>> indexes = np.array([0, 1, 1, 0, 1], dtype=np.int32)  # the table of each symbol
>>> encoder = SymbolEncoder()
>>> encoder.put(symbols, indexes, tables)
>>> data = encoder.finish()
>>> decoder = SymbolDecoder(data)
>>> decoder.get(indexes, tables)
array([    0,     3,    -7,     1, 90000], dtype=int32)
>>> decoder.finish()
"""

from bitstream.arrays import Int32Array
from bitstream.grouping import collect, runs
from bitstream.range_coder import RangeDecoder, RangeEncoder
from bitstream.tables import TableSet


class SymbolEncoder:
    """Write messages, one after the other, into one range-coded stream."""

    def __init__(self) -> None:
        self._coder = RangeEncoder()

    def put(self, symbols: Int32Array, indexes: Int32Array, tables: TableSet) -> None:
        """Append a message.

        symbols   int32[n], any values; those outside their table are escaped
        indexes   int32[n], the table of each symbol

        Raises UsageError for wrong dtypes, shapes or indexes.
        """
        for entries, table_set, table in runs(symbols, indexes, tables):
            self._coder.encode(entries, table_set, table)

    def finish(self) -> bytes:
        """Return the coded bytes; b"" if no symbol was put."""
        return self._coder.finish()


class SymbolDecoder:
    """Read back what a SymbolEncoder wrote, message by message, with the same indexes."""

    def __init__(self, data: bytes) -> None:
        self._coder = RangeDecoder(data)

    def get(self, indexes: Int32Array, tables: TableSet) -> Int32Array:
        """Return the next message, int32[n], for indexes int32[n].

        Raises UsageError for wrong indexes and PayloadError for damaged bytes.
        """
        return collect(self._coder.decode, indexes, tables)

    def finish(self) -> None:
        """Raise PayloadError unless the bytes were used up exactly.  Call it after the last get.

        Damage can also decode to other symbols; this is where it shows.
        """
        self._coder.finish()
