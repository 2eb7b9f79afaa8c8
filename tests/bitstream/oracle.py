"""Slow coders in plain integers, written from the published algorithms, to check the fast ones.

The range coder follows Martin (1979) with unbounded integers: no carry handling, no state to
overflow.  The stack follows Duda et al. (2015).  Both use only numbers that FORMAT.md states:
words of 32 bits, a state of 64 bits, probabilities of 24 bits.
"""

from collections.abc import Sequence

Table = Sequence[int]  # frequencies that sum to 2**24
TOTAL = 2**24
END_MARK = (1, [5592405, 256, 11184555])


def cumulative(table: Table, entry: int) -> int:
    return sum(table[:entry])


def entry_at(table: Table, quantile: int) -> tuple[int, int]:
    """Return the entry that covers ``quantile`` and its cumulative frequency."""
    start = 0
    for entry, frequency in enumerate(table):
        if quantile < start + frequency:
            return entry, start
        start += frequency
    raise AssertionError("the table does not sum to 2**24")


def range_encode(message: Sequence[tuple[int, Table]]) -> bytes:
    """Encode (entry, table) pairs, including the end mark and the shortest-number rule."""
    if not message:
        return b""
    low, width, bits = 0, 2**64 - 1, 64  # the interval [low, low + width) in units of 2**-bits
    for entry, table in [*message, END_MARK]:
        scale = width >> 24
        low += scale * cumulative(table, entry)
        width = scale * table[entry]
        if width < 2**32:
            low, width, bits = low << 32, width << 32, bits + 32
    length = 0
    while True:
        unit = bits - 8 * length
        value = -(-low >> unit)
        if value << unit < low + width:
            return value.to_bytes(length, "big")
        length += 1


def range_decode(data: bytes, tables: Sequence[Table]) -> list[int]:
    """Decode one entry for each table, without any check of the end."""
    low, width, bits = 0, 2**64 - 1, 64
    number, size = int.from_bytes(data, "big"), 8 * len(data)
    entries = []
    for table in tables:
        point = number << (bits - size) if bits >= size else number >> (size - bits)
        scale = width >> 24
        entry, start = entry_at(table, (point - low) // scale)
        low += scale * start
        width = scale * table[entry]
        if width < 2**32:
            low, width, bits = low << 32, width << 32, bits + 32
        entries.append(entry)
    return entries


class Stack:
    """ANS: a state below 2**64, at least 2**32 unless there are no further words."""

    def __init__(self, words: Sequence[int] = ()) -> None:
        self.words = list(words)
        self.state = 0
        while self.words and self.state < 2**32:
            self.state = self.state << 32 | self.words.pop()

    def push(self, entry: int, table: Table) -> None:
        if self.state >> 40 >= table[entry]:
            self.words.append(self.state & 0xFFFFFFFF)
            self.state >>= 32
        block, offset = divmod(self.state, table[entry])
        self.state = block << 24 | cumulative(table, entry) + offset

    def pop(self, table: Table) -> int:
        quantile = self.state & 0xFFFFFF
        entry, start = entry_at(table, quantile)
        self.state = (self.state >> 24) * table[entry] + quantile - start
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return entry

    def to_words(self) -> list[int]:
        words, state = list(self.words), self.state
        while state:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        return words
