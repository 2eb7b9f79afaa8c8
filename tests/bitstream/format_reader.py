"""A reader of files and coded bytes in plain integers, written from FORMAT.md alone.

It shares nothing with the product: it parses the container, decodes entries with a range coder or
an ANS stack, and turns them into the symbols of messages. It is slow, and strict about everything
that could be wrong in a worked example.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

from tests.bitstream.oracle import END_MARK, range_encode

SIGNATURE = bytes.fromhex("c3 41 4c 4f 0d 0a 1a 0a")
TOTAL = 2**24
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645

Arrays = Mapping[str, Any]


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at an offset, and the offset after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            assert byte or shift == 7, "an overlong varint"
            assert shift <= 63, "a varint of more than 63 bits"
            return value, at


@dataclass(frozen=True)
class Header:
    """The fields of HEAD, as they are stored."""

    width: int
    height: int
    channels: int
    depth: int
    q: int
    model: int
    weights_hash: str
    tile: int
    layers: int
    noise_seed: int | None
    free_noise: bool
    machine_bound: bool
    variant: int | None

    def tiles(self, stride: int) -> list[tuple[int, int, int, int]]:
        """Top, left, height and width of each tile, in units of `stride` pixels."""
        rows, columns = -(-self.height // stride), -(-self.width // stride)
        side = -(-self.tile // stride)
        return [
            (top, left, min(side, rows - top), min(side, columns - left))
            for top in range(0, rows, side)
            for left in range(0, columns, side)
        ]


@dataclass(frozen=True)
class File:
    """A parsed file, with the payloads of its DATA chunks without layer and tile."""

    header: Header
    chunks: list[tuple[str, bytes]]
    coded: list[bytes]

    def payload(self, kind: str) -> bytes:
        """The payload of the only chunk of a type."""
        (found,) = [payload for name, payload in self.chunks if name == kind]
        return found


def read_file(data: bytes) -> File:
    """Parse a whole file, and check everything that the text requires."""
    assert data[:9] == SIGNATURE + b"\x01"
    at = 9
    chunks: list[tuple[str, bytes]] = []
    while not chunks or chunks[-1][0] != "DONE":
        begin = at
        length, at = read_varint(data, at)
        kind, payload = data[at : at + 4].decode("ascii"), data[at + 4 : at + 4 + length]
        at += 4 + length
        assert zlib.crc32(data[begin:at]) == int.from_bytes(data[at : at + 4], "little")
        chunks.append((kind, payload))
        at += 4
    assert at == len(data)
    assert chunks[0][0] == "HEAD"
    header = read_header(chunks[0][1])
    count = len(header.tiles(header.tile))
    data_chunks = [payload for kind, payload in chunks if kind == "DATA"]
    assert len(data_chunks) == header.layers * count
    if len(data_chunks) > 1:
        (index,) = [payload for kind, payload in chunks if kind == "INDX"]
        assert list(_varints(index)) == [len(payload) for payload in data_chunks]
    coded = []
    for number, payload in enumerate(data_chunks):
        layer, at = read_varint(payload, 0)
        tile, at = read_varint(payload, at)
        assert (layer, tile) == divmod(number, count)
        coded.append(payload[at:])
    return File(header, chunks, coded)


def read_header(data: bytes) -> Header:
    width, at = read_varint(data, 0)
    height, at = read_varint(data, at)
    channels, depth = data[at], data[at + 1]
    q, model = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (2, 4))
    weights_hash, log_tile = data[at + 6 : at + 14].hex(), data[at + 14]
    layers, at = read_varint(data, at + 15)
    flags, at = read_varint(data, at)
    assert flags < 16
    assert flags & 3 != 3
    noise_seed = variant = None
    if flags & 1:
        noise_seed, at = read_varint(data, at)
    if flags & 8:
        variant, at = read_varint(data, at)
    assert at == len(data)
    assert 6 <= log_tile <= 12
    return Header(
        width, height, channels, depth, q, model, weights_hash, 1 << log_tile, layers,
        noise_seed, bool(flags & 2), bool(flags & 4), variant,
    )  # fmt: skip


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = read_varint(data, at)
        yield value


@dataclass(frozen=True)
class Table:
    """A smallest symbol, and frequencies, the last of which is the escape's."""

    minimum: int
    frequencies: tuple[int, ...]

    def __post_init__(self) -> None:
        assert sum(self.frequencies) == TOTAL

    @cached_property
    def below(self) -> list[int]:
        """Cumulative frequency of each entry, and 2²⁴."""
        return [0, *accumulate(self.frequencies)]

    @property
    def certain(self) -> bool:
        return self.frequencies == (TOTAL, 0)

    def entry_at(self, quantile: int) -> int:
        return bisect_right(self.below, quantile) - 1


class Tables:
    """The table set of a prefix in a weights file."""

    def __init__(self, arrays: Arrays, prefix: str) -> None:
        self._frequencies = arrays[f"{prefix}.frequencies"].tolist()
        self._starts = arrays[f"{prefix}.starts"].tolist()
        self._minimums = arrays[f"{prefix}.minimums"].tolist()
        self._made: dict[int, Table] = {}

    def __len__(self) -> int:
        return len(self._minimums)

    def __getitem__(self, number: int) -> Table:
        if number not in self._made:
            begin, end = self._starts[number : number + 2]
            frequencies = tuple(self._frequencies[begin:end])
            self._made[number] = Table(self._minimums[number], frequencies)
        return self._made[number]


class Uniform:
    """Uniform tables: in table b the symbols 0 .. 2ᵇ − 1 are equally likely."""

    def __getitem__(self, bits: int) -> Table:
        share = 2 ** (24 - bits)
        return Table(0, (share,) * (2**bits - 1) + (share - 1, 1))


class TableSource(Protocol):
    def __getitem__(self, number: int, /) -> Table: ...


class Coder(Protocol):
    def entry(self, table: Table) -> int:
        """The next entry."""


CLASSES = Table(0, (2**23 - 9, *(2**n for n in range(22, 0, -1)), *[1] * 11))
BIT = Table(0, (2**23, 2**23))


class RangeReader:
    """Decodes entries; holds the number that the bytes stand for, minus `low`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._range = 2**64 - 1
        self._distance = int.from_bytes(data[:8].ljust(8, b"\0"), "big")
        self._at = 8
        self._read: list[tuple[int, Sequence[int]]] = []

    def entry(self, table: Table) -> int:
        scale = self._range >> 24
        quantile = self._distance // scale
        assert quantile < TOTAL, "the bytes are of no message"
        found = table.entry_at(quantile)
        self._distance -= scale * table.below[found]
        self._range = scale * table.frequencies[found]
        if self._range < 2**32:
            word = self._data[self._at : self._at + 4].ljust(4, b"\0")
            self._distance = self._distance << 32 | int.from_bytes(word, "big")
            self._range <<= 32
            self._at += 4
        self._read.append((found, table.frequencies))
        return found

    def finish(self) -> None:
        """Assert that the end mark follows and the entries encode to the same bytes."""
        if self._read:
            mark = self.entry(Table(0, tuple(END_MARK[1])))
            assert mark == END_MARK[0]
            del self._read[-1]
        assert range_encode(self._read) == self._data


class StackReader:
    """An ANS stack."""

    def __init__(self, data: bytes) -> None:
        self._words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self._state = 0
        self._refill()

    def _refill(self) -> None:
        while self._words and self._state < 2**32:
            self._state = self._state << 32 | self._words.pop()

    def entry(self, table: Table) -> int:
        """Pop an entry."""
        quantile = self._state % TOTAL
        found = table.entry_at(quantile)
        offset = quantile - table.below[found]
        self._state = (self._state >> 24) * table.frequencies[found] + offset
        self._refill()
        return found

    def push(self, below: int, frequency: int) -> None:
        """Push an entry by its cumulative frequency and its own."""
        if self._state >> 40 >= frequency:
            self._words.append(self._state % 2**32)
            self._state >>= 32
        block, offset = divmod(self._state, frequency)
        self._state = block * TOTAL + below + offset

    @property
    def words_below(self) -> int:
        """How many words there are below the state."""
        return len(self._words)

    @property
    def words(self) -> list[int]:
        found, state = list(self._words), self._state
        while state:
            found.append(state % 2**32)
            state >>= 32
        return found

    def to_bytes(self) -> bytes:
        return b"".join(word.to_bytes(4, "little") for word in self.words)

    @property
    def number(self) -> int:
        """The stack as one number, with its first word as the lowest."""
        return int.from_bytes(self.to_bytes(), "little")


def read_message(coder: Coder, indexes: Sequence[int], tables: TableSource) -> list[int]:
    """Symbols of a message, each with the table that its index names."""
    symbols, escaped = [0] * len(indexes), []
    for place in sorted(range(len(indexes)), key=lambda place: indexes[place]):
        table = tables[indexes[place]]
        symbols[place] = table.minimum
        if table.certain:
            continue
        entry = coder.entry(table)
        symbols[place] += entry
        if entry == len(table.frequencies) - 1:
            escaped.append(place)
    if not escaped:
        return symbols
    classes = [coder.entry(CLASSES) for _ in escaped]
    values = [1] * len(escaped)
    for bit in reversed(range(max(classes))):
        for number, k in enumerate(classes):
            if k > bit:
                values[number] = values[number] << 1 | coder.entry(BIT)
    for place, v in zip(escaped, values, strict=True):
        table = tables[indexes[place]]
        largest = table.minimum + len(table.frequencies) - 2
        symbols[place] = table.minimum - v // 2 if v % 2 == 0 else largest + (v + 1) // 2
        assert -(2**31) <= symbols[place] < 2**31
    return symbols


def message_entries(
    symbols: Sequence[int], indexes: Sequence[int], tables: TableSource
) -> list[tuple[int, Sequence[int]]]:
    """The entries of a message in coding order, with the frequencies of their tables."""
    entries: list[tuple[int, Sequence[int]]] = []
    values = []
    for place in sorted(range(len(indexes)), key=lambda place: indexes[place]):
        table, symbol = tables[indexes[place]], symbols[place]
        if table.certain:
            continue
        escape = len(table.frequencies) - 1
        largest = table.minimum + escape - 1
        if table.minimum <= symbol <= largest:
            entries.append((symbol - table.minimum, table.frequencies))
            continue
        entries.append((escape, table.frequencies))
        above = symbol > largest
        values.append(2 * (symbol - largest) - 1 if above else 2 * (table.minimum - symbol))
    classes = [v.bit_length() - 1 for v in values]
    entries += [(k, CLASSES.frequencies) for k in classes]
    for bit in reversed(range(max(classes, default=0))):
        chosen = [v for v, k in zip(values, classes, strict=True) if k > bit]
        entries += [(v >> bit & 1, BIT.frequencies) for v in chosen]
    return entries


def raw_numbers(start: tuple[int, int], offset: int) -> Iterator[int]:
    """Outputs of PCG64 after `offset` others; start: S and I of the seed."""
    state, increment = start
    # The composition of `offset` steps, by squaring.
    scale, shift, power = MULTIPLIER, increment, offset % 2**128
    while power:
        if power & 1:
            state = (scale * state + shift) % 2**128
        scale, shift = scale * scale % 2**128, (scale * shift + shift) % 2**128
        power >>= 1
    while True:
        state = (MULTIPLIER * state + increment) % 2**128
        mixed, turn = (state >> 64) ^ (state % 2**64), state >> 122
        yield (mixed >> turn | mixed << (64 - turn)) % 2**64


def read_alpha(data: bytes, height: int, width: int) -> list[list[int]]:
    """The alpha plane, row by row."""
    if data[0] == 1:
        assert len(data) == 2
        return [[data[1]] * width for _ in range(height)]
    if data[0] > 1:
        return _read_deep_alpha(data, height, width)
    assert data[0] == 0
    body, rows = zlib.decompress(data[1:]), []
    assert len(body) == height * (width + 1)
    above = [0] * width
    for begin in range(0, len(body), width + 1):
        kind, row = body[begin], list(body[begin + 1 : begin + 1 + width])
        assert kind < 3
        for x in range(width):
            left = row[x - 1] if x else 0
            row[x] = (row[x] + (0, left, above[x])[kind]) % 256
        rows.append(row)
        above = row
    return rows


def _read_deep_alpha(data: bytes, height: int, width: int) -> list[list[int]]:
    if data[0] == 3:
        assert len(data) == 3
        return [[data[1] + 256 * data[2]] * width for _ in range(height)]
    assert data[0] == 2
    body, rows = zlib.decompress(data[1:]), []
    assert len(body) == height * (2 * width + 1)
    above = [0] * width
    for begin in range(0, len(body), 2 * width + 1):
        kind, coded = body[begin], body[begin + 1 : begin + 1 + 2 * width]
        assert kind < 3
        row: list[int] = []
        for x in range(width):
            left = row[x - 1] if x else 0
            residual = 256 * coded[x] + coded[width + x]
            row.append((residual + (0, left, above[x])[kind]) % 65536)
        rows.append(row)
        above = row
    return rows
