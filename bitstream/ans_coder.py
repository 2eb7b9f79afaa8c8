"""The other coder: asymmetric numeral systems (ANS), last in, first out, for bits-back coding.

A stack that is seeded with random bits can be popped before anything was pushed.  Bits-back
coding pops a latent under the posterior, pushes the data and the latent under the model, and so
gets back the bits that the choice of the latent cost (Townsend, Bird and Barber, ICLR 2019).
"""

import sys
from typing import Any

import numpy as np

from bitstream._constriction import model_of_each_row, payload_errors, stack
from bitstream.arrays import Int32Array
from bitstream.errors import PayloadError, TableError, UsageError
from bitstream.grouping import collect, runs
from bitstream.tables import TOTAL, TableSet


class AnsCoder:
    """A stack of messages: ``pop`` returns the message pushed last."""

    def __init__(self, data: bytes = b"") -> None:
        """Start empty or from the bytes of ``to_bytes``.  Raises PayloadError."""
        if len(data) % 4 or data[-4:] == bytes(4):
            raise PayloadError(
                f"{len(data)} bytes are not an ANS stack: expected whole words of 4 bytes "
                "that do not end with a zero word"
            )
        words = np.frombuffer(data, dtype="<u4").astype(np.uint32)
        with payload_errors():
            self._coder: Any = stack.AnsCoder(words)

    @classmethod
    def seeded(cls, words: int, seed: int) -> "AnsCoder":
        """Return a stack of ``words`` random words of 32 bits, the same for the same seed."""
        if words < 0 or seed < 0:
            raise UsageError(f"{words} words from seed {seed}: both must be 0 or more")
        # NumPy guarantees this stream for good.  The high bit of the last word is set.
        raw = np.random.PCG64(seed).random_raw(words).astype(np.uint64) >> np.uint64(32)
        bits = raw.astype("<u4")
        bits[-1:] |= np.uint32(1 << 31)
        return cls(bits.tobytes())

    @property
    def bits(self) -> int:
        """Size of the stack in bits.  It grows by what a push costs."""
        return int(self._coder.num_valid_bits())

    @property
    def words_below(self) -> int:
        """How many words lie below the state."""
        words, _ = self._coder.pos()
        return int(words)

    def push(self, symbols: Int32Array, indexes: Int32Array, tables: TableSet) -> None:
        """Push a message: symbols int32[n] under the tables that indexes int32[n] select.

        Raises UsageError.
        """
        for entries, table_set, table in reversed(list(runs(symbols, indexes, tables))):
            self._coder.encode_reverse(entries, table_set.model(table))

    def pop(self, indexes: Int32Array, tables: TableSet) -> Int32Array:
        """Pop a message, int32[n].  Raises UsageError and PayloadError.

        A stack that has run out still gives symbols, but no longer random ones; watch ``bits``.
        """
        return collect(self.pop_run, indexes, tables)

    def pop_run(self, tables: TableSet, table: int, count: int) -> Int32Array:
        """Pop ``count`` entries of one table, int32[count].  Raises PayloadError."""
        with payload_errors():
            entries: Int32Array = self._coder.decode(tables.model(table), count)
        return entries

    def push_rows(self, entries: Int32Array, frequencies: Int32Array) -> None:
        """Push entries int32[m], the last one first, each under a table of its own.

        frequencies: int32[m, n], n >= 2; the entries of a row are at least 1 and sum to 2**24, and
        none is an escape.  For symbols of which each has a table of its own.
        Raises UsageError and TableError.
        """
        _check_rows(frequencies)
        if entries.dtype != np.int32 or entries.shape != frequencies.shape[:1]:
            raise UsageError(
                f"entries are {entries.dtype}{list(entries.shape)}, "
                f"expected int32[{len(frequencies)}], one for each row"
            )
        if not entries.size:
            return
        if not 0 <= entries.min() <= entries.max() < frequencies.shape[1]:
            raise UsageError(
                f"entries are {entries.min()} .. {entries.max()}, "
                f"expected 0 .. {frequencies.shape[1] - 1}"
            )
        self._coder.encode_reverse(entries, model_of_each_row, frequencies - 1.0)

    def pop_rows(self, frequencies: Int32Array) -> Int32Array:
        """Pop entries, int32[m], each under a row of frequencies int32[m, n].

        Raises UsageError, TableError and PayloadError; see ``push_rows`` and ``pop``.
        """
        _check_rows(frequencies)
        if not len(frequencies):
            return np.zeros(0, dtype=np.int32)
        with payload_errors():
            # Minus 1, as in ``model_from_frequencies``, so that every number is exact.
            entries: Int32Array = self._coder.decode(model_of_each_row, frequencies - 1.0)
        return entries

    def to_bytes(self) -> bytes:
        """Return the stack as little-endian words of 32 bits, the bottom first."""
        words = self._coder.get_compressed()
        if sys.byteorder == "big":
            words = words.byteswap()
        data: bytes = words.tobytes()
        return data


def _check_rows(frequencies: Int32Array) -> None:
    if frequencies.dtype != np.int32 or frequencies.ndim != 2 or frequencies.shape[1] < 2:
        raise UsageError(
            f"frequencies are {frequencies.dtype}{list(frequencies.shape)}, "
            "expected int32[m, n] with n >= 2"
        )
    if (frequencies < 1).any() or (frequencies.sum(axis=1, dtype=np.int64) != TOTAL).any():
        raise TableError("a row of frequencies has an entry below 1 or does not sum to 2**24")
