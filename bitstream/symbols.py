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

``StackEncoder`` and ``StackDecoder`` have the same methods and use the ANS coder;
``StackEncoder.finish`` returns the bytes in parts.
"""

from itertools import pairwise

import numpy as np

from bitstream.ans_coder import AnsCoder
from bitstream.arrays import Int32Array
from bitstream.errors import PayloadError
from bitstream.grouping import collect, runs
from bitstream.range_coder import RangeDecoder, RangeEncoder
from bitstream.tables import PRECISION, TOTAL, TableSet


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

        Damaged bytes may decode to wrong symbols without an error; this check finds them.
        """
        self._coder.finish()


# The bottom of every stack of messages: 16 bits, which tell a decoder that it has lost its place.
_START = b"\x41\x18\x00\x00"
_START_BITS = AnsCoder(_START).bits
# A decoder checks after each piece whether it is past its bytes, so that it stops soon, however
# many symbols a hostile header announces.
_PIECE = 2**16


class StackEncoder:
    """Write messages, one after the other, into one stream of an ANS stack.

    A stack gives back last what was pushed first, so ``finish`` pushes the messages, from the last
    to the first. Its decoder is faster than a range decoder: it does no division, and it need not
    encode the symbols again to check that they have no other bytes than these. The top of the stack
    is written first, so that the first messages can be decoded before the other bytes arrive.
    """

    def __init__(self) -> None:
        self._messages: list[tuple[Int32Array, Int32Array, TableSet | None]] = []

    def put(self, symbols: Int32Array, indexes: Int32Array, tables: TableSet) -> None:
        """Append a message; see ``SymbolEncoder.put``.  Here ``finish`` raises its errors."""
        self._messages.append((symbols, indexes, tables))

    def put_rows(self, entries: Int32Array, frequencies: Int32Array) -> None:
        """Append a message of entries int32[m], each of a row of frequencies int32[m, n].

        See ``AnsCoder.push_rows``; here n >= 3.
        """
        # Only what lies below an entry and above it is kept, since messages wait until the end.
        places = entries[:, None].astype(np.int64)
        sums = np.cumsum(frequencies, axis=1, dtype=np.int32)
        own = np.take_along_axis(frequencies, places, 1)
        below = np.take_along_axis(sums, places, 1) - own
        rows = np.concatenate([below, own, TOTAL - below - own], axis=1, dtype=np.int32)
        # A table has no entries of 0.  Since nothing lies below the first entry of a row, or above
        # the last one, the other side is split in two.
        chosen = np.ones(len(rows), np.int32)
        first, last = rows[:, 0] == 0, rows[:, 2] == 0
        rows[first] = rows[first][:, [1, 2, 0]] + np.array([0, -1, 1], np.int32)
        rows[last] = rows[last][:, [2, 0, 1]] + np.array([1, -1, 0], np.int32)
        chosen[first], chosen[last] = 0, 2
        self._messages.append((chosen, rows, None))

    def code_length_bits(self) -> float:
        """Return the ideal code length of all messages so far: −log₂ of their probabilities."""
        bits = 0.0
        for symbols, indexes, tables in self._messages:
            if tables is None:
                own = np.take_along_axis(indexes, symbols[:, None], 1)
                bits += PRECISION * len(own) - float(np.log2(own).sum())
            else:
                bits += tables.code_length_bits(symbols, indexes)
        return bits

    def finish(self) -> list[bytes]:
        """Return, for each message, the bytes that it needs beyond those of the messages before it.

        Joined, they are the stream.  Raises UsageError.
        """
        stack = AnsCoder(_START)
        ends = []  # how many words lie below the state when only later messages are on the stack
        for symbols, indexes, tables in reversed(self._messages):
            ends.append(stack.words_below)
            if tables is None:
                stack.push_rows(symbols, indexes)
            else:
                stack.push(symbols, indexes, tables)
        ends.reverse()
        words = stack.to_bytes()[::-1]
        bounds = [0, *(len(words) - 4 * end for end in ends)] if ends else [0, len(words)]
        parts = [words[begin:end] for begin, end in pairwise(bounds)]
        return [parts[0].lstrip(b"\0"), *parts[1:]]


class StackDecoder:
    """Read back what a StackEncoder wrote, message by message, with the same indexes.

    data   the stream, or as much of its beginning as the first messages need

    Raises PayloadError for bytes that no encoder writes.
    """

    def __init__(self, data: bytes) -> None:
        if not data or not data[0]:
            raise PayloadError(
                f"{len(data)} bytes are not a stack of symbols, which begins with a byte other "
                "than zero: the payload is damaged or cut short"
            )
        self._stack = AnsCoder(data[::-1] + bytes(-len(data) % 4))

    @property
    def unread_bytes(self) -> int:
        """How many bytes at the end of the stream the messages so far did not need."""
        return 4 * self._stack.words_below

    def get(self, indexes: Int32Array, tables: TableSet) -> Int32Array:
        """Return the next message; see ``SymbolDecoder.get``."""
        return collect(self._run, indexes, tables)

    def get_rows(self, frequencies: Int32Array) -> Int32Array:
        """Return entries, int32[m], each of a row of frequencies; see ``StackEncoder.put_rows``."""
        entries = self._stack.pop_rows(frequencies)
        self._check()
        return entries

    def _run(self, tables: TableSet, table: int, count: int) -> Int32Array:
        if count <= _PIECE:
            return self._piece(tables, table, count)
        pieces = range(0, count, _PIECE)
        return np.concatenate(
            [self._piece(tables, table, min(_PIECE, count - start)) for start in pieces]
        )

    def _piece(self, tables: TableSet, table: int, count: int) -> Int32Array:
        entries = self._stack.pop_run(tables, table, count)
        self._check()
        return entries

    def _check(self) -> None:
        # A push never makes the number of a stack smaller.
        if self._stack.bits < _START_BITS:
            raise PayloadError(
                "the stack of symbols ran out: the payload is damaged, cut short, or was "
                "written with another model"
            )

    def finish(self) -> None:
        """Raise PayloadError unless the stack ends as it began.  Call it after the last get."""
        if self._stack.to_bytes() != _START:
            raise PayloadError(
                "the stack of symbols does not end as it began: the payload is damaged, cut "
                "short, or was written with another model"
            )
