"""The default coder: a range coder, first in, first out.

The coder holds an interval [lower, lower + range).  Every entry narrows it to a part, in
proportion to the entry's share of 2**24.  The message is any number in the last interval:

    |<------------------------------ range ------------------------------->|
    |   entry 0   |          entry 1           |  entry 2  |    escape      |
                  |<--- the range that codes "entry 1" --->|

``RangeEncoder.finish`` writes the shortest number, as a big-endian binary fraction without its
trailing zero bytes.  The last entry of each stream is a fixed end mark of 16 bits, which tells a
decoder that it has read past the end or lost its place.
"""

import sys
from typing import Any

import numpy as np

from bitstream._constriction import model_from_frequencies, payload_errors, queue
from bitstream.arrays import Int32Array
from bitstream.errors import PayloadError
from bitstream.tables import TableSet

_WORD_BITS = 32
_STATE_WORDS = 2

# The end mark is entry 1, 2**-16 of the range.  It lies at a third of the range because decoders
# that have lost their place, and read zeros after the last byte, are often at an end or a half.
_THIRD = 0x555555
_END_MODEL = model_from_frequencies(np.array([_THIRD, 2**8, 2**24 - 2**8 - _THIRD], dtype=np.int32))
_END = 1

# A decoder checks after each piece whether it is past its bytes, so that it stops soon, however
# many symbols a hostile header announces.  The slack is for zero bytes trimmed from the end.
_PIECE = 2**16
_SLACK_BYTES = 64


class RangeEncoder:
    """Append entries of tables; ``RangeDecoder`` returns them in the same order."""

    def __init__(self) -> None:
        self._coder: Any = queue.RangeEncoder()

    def encode(self, entries: Int32Array, tables: TableSet, table: int) -> None:
        """Append entries: int32[n], positions in the table, of which the escape is the last."""
        self._coder.encode(entries, tables.model(table))

    def settled_bytes(self) -> int:
        """Return how many bytes the entries so far have fixed, except for a carry."""
        words, _ = self._coder.pos()
        return _WORD_BITS // 8 * int(words)

    def finish(self) -> bytes:
        """Return the coded bytes, b"" if no entry was appended.  Does not change the encoder."""
        if self._coder.is_empty():
            return b""
        coder = self._coder.clone()
        coder.encode(_END, _END_MODEL)
        return _shortest(coder)


class RangeDecoder:
    """Read back what a RangeEncoder wrote.

    Every entry is also encoded again, which costs about a quarter of the time and makes the check
    in ``finish`` exact: only the bytes that a message encodes to are accepted.  Damaged bytes
    decode to entries too, but the chance that these and the end mark encode to the same bytes is
    only 2**-16.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._mirror = RangeEncoder()
        padded = data + bytes(-len(data) % 4)
        words = np.frombuffer(padded, dtype=">u4").astype(np.uint32)
        # Beyond the last word constriction reads zeros, which is what the format prescribes.
        self._coder: Any = queue.RangeDecoder(words)

    def decode(self, tables: TableSet, table: int, count: int) -> Int32Array:
        """Return the next ``count`` entries, int32[count].  Raises PayloadError."""
        pieces = [
            self._decode_piece(tables, table, min(_PIECE, count - start))
            for start in range(0, count, _PIECE)
        ]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int32)

    def _decode_piece(self, tables: TableSet, table: int, count: int) -> Int32Array:
        with payload_errors():
            entries: Int32Array = self._coder.decode(tables.model(table), count)
        self._mirror.encode(entries, tables, table)
        settled = self._mirror.settled_bytes()
        if settled > len(self._data) + _SLACK_BYTES:
            raise PayloadError(
                f"{len(self._data)} bytes decode past their end, to symbols of {settled} bytes "
                "and more: the payload is damaged, cut short, or was written with another model"
            )
        return entries

    def finish(self) -> None:
        """Raise PayloadError unless the bytes were used up exactly.  Call it at the end."""
        expected = self._mirror.finish()
        if expected != self._data:
            raise PayloadError(
                f"{len(self._data)} bytes decode to symbols that encode to {len(expected)} other "
                "bytes: the payload is damaged, cut short, or was written with another model"
            )


def _shortest(coder: Any) -> bytes:
    """Return the shortest byte string in the final interval; of several, the smallest."""
    position, (lower, width) = coder.pos()
    words = coder.get_compressed()
    if sys.byteorder == "little":
        words = words.byteswap()
    # All integers are in units of the last bit of the state, which begins after ``position`` words.
    # constriction returns the first multiple of a word at or above the interval's lower end.
    bits = _WORD_BITS * (position + _STATE_WORDS)
    point = int.from_bytes(words.tobytes(), "big") << (bits - _WORD_BITS * len(words))
    low: int = point - -lower % (1 << _WORD_BITS)
    for length in range(4 * position, 4 * position + 5):
        shift = bits - 8 * length
        value = -(-low >> shift)
        if value << shift < low + width:
            shortest: bytes = value.to_bytes(length, "big").rstrip(b"\0")
            return shortest
    raise AssertionError("the interval is at least a word wide and holds a multiple of a word")
