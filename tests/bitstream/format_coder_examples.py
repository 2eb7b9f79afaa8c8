"""The worked examples of FORMAT.md that belong to no model, recomputed from their own data."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from tests.bitstream.format_reader import (
    CLASSES,
    RangeReader,
    StackReader,
    Table,
    message_entries,
    raw_numbers,
    read_alpha,
    read_file,
    read_message,
    read_varint,
)
from tests.bitstream.format_text import (
    Fields,
    document,
    hexadecimal,
    numbers_of,
    pcg_starts,
    table_of,
    written,
)
from tests.bitstream.oracle import END_MARK, range_encode


def varint(fields: Fields) -> Fields:
    found = {}
    for data in fields.values():
        value, end = read_varint(bytes.fromhex(data), 0)
        assert end == len(bytes.fromhex(data))
        found[str(value)] = data
    return found


def range_coder(fields: Fields) -> Fields:
    """A message of entries, each with its named table, and the end mark."""
    data = bytes.fromhex(fields["coded bytes"])
    tables = {name: table_of(text) for name, text in fields.items() if name.startswith("table ")}
    coder, found = Watched(data), dict(fields)
    entries = [coder.entry(tables[f"table {n}"]) for n in numbers_of(fields["tables"])]
    quantiles = list(coder.quantiles)
    coder.finish()
    frequencies = [tables[f"table {n}"].frequencies for n in numbers_of(fields["tables"])]
    found["symbols"] = written(
        tables[f"table {n}"].minimum + entry
        for n, entry in zip(numbers_of(fields["tables"]), entries, strict=True)
    )
    found["coded bytes"] = hexadecimal(range_encode(list(zip(entries, frequencies, strict=True))))
    found["entries"], found["quotients"] = written(entries), written(quantiles)
    found["quotient of the end mark"] = str(coder.quantiles[-1])
    found["end mark"] = f"{END_MARK[0]} of {written(END_MARK[1])}"
    return found


class Watched(RangeReader):
    """Remembers the quotients."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.quantiles: list[int] = []

    def entry(self, table: Table) -> int:
        self.quantiles.append(self._distance // (self._range >> 24))
        return super().entry(table)


def escape(fields: Fields) -> Fields:
    """A message with escapes."""
    data, table = bytes.fromhex(fields["coded bytes"]), table_of(fields["table 0"])
    coder = RangeReader(data)
    symbols = read_message(coder, [0] * len(numbers_of(fields["symbols"])), {0: table})
    coder.finish()
    entries = message_entries(symbols, [0] * len(symbols), {0: table})
    count = len(symbols)
    escapes = sum(entry == len(table.frequencies) - 1 for entry, _ in entries[:count])
    outside = [x for x in symbols if not 0 <= x - table.minimum < len(table.frequencies) - 1]
    largest = table.minimum + len(table.frequencies) - 2
    return {
        "table 0": written([table.minimum, *table.frequencies]),
        "symbols": written(symbols),
        "entries": written(entry for entry, _ in entries[:count]),
        "v of each escape": written(
            2 * (x - largest) - 1 if x > largest else 2 * (table.minimum - x) for x in outside
        ),
        "class of each escape": written(entry for entry, _ in entries[count : count + escapes]),
        "bits": written(entry for entry, _ in entries[count + escapes :]),
        "frequencies of the classes": written(CLASSES.frequencies),
        "coded bytes": hexadecimal(range_encode(entries)),
    }


def stack(fields: Fields) -> Fields:
    """Entries that are pushed on a stack one after another, and popped again."""
    table = table_of(fields["table 0"])
    coder = StackReader(bytes.fromhex(fields["stack"]))
    found = {"table 0": written([table.minimum, *table.frequencies])}
    found["stack"] = hexadecimal(coder.to_bytes())
    pushed = []
    for label in fields:
        if push := re.fullmatch(r"entry (\d+) pushed, number (\d+)", label):
            pushed.append(int(push[1]))
            coder.push(table.below[pushed[-1]], table.frequencies[pushed[-1]])
            found[f"entry {pushed[-1]} pushed, number {len(pushed)}"] = hexadecimal(
                coder.to_bytes()
            )
    popped = [coder.entry(table) for _ in pushed]
    found["popped"], found["their symbols"] = (
        written(popped),
        written(table.minimum + entry for entry in popped),
    )
    assert coder.to_bytes() == bytes.fromhex(fields["stack"])
    return found


def raw(fields: Fields) -> Fields:
    """Raw numbers of each seed."""
    found = {}
    for label in fields:
        place = re.fullmatch(r"seed (0xCA1\d), offset (\d+)", label)
        assert place is not None, label
        numbers = islice(raw_numbers(pcg_starts(document())[int(place[1], 16)], int(place[2])), 3)
        found[label] = " ".join(f"{number:016x}" for number in numbers)
    return found


def alpha(fields: Fields) -> Fields:
    """A plane of alpha by every method."""
    height, width = numbers_of(fields["height and width"])
    found = {"height and width": f"{height} {width}"}
    for method in range(4):
        data = bytes.fromhex(fields[f"payload of method {method}"])
        assert data[0] == method
        found[f"payload of method {method}"] = hexadecimal(data)
        rows = read_alpha(data, height, width)
        found[f"rows of method {method}"] = ", ".join(written(row) for row in rows)
    return found


def whole_file(fields: Fields) -> Fields:
    """The example of a whole file, whose bytes are above its block in the text."""
    file = read_file(bytes.fromhex(whole_file_bytes().hex()))
    tables = {n: table_of(fields[f"table {n}"]) for n in (0, 1)}
    coder, indexes = RangeReader(file.coded[0]), numbers_of(fields["tables"])
    symbols = read_message(coder, indexes, tables)
    coder.finish()
    header = file.header
    return {
        "width, height, channels, bit depth": written(
            [header.width, header.height, header.channels, header.depth]
        ),
        "quality, model, tile size, layers": written(
            [header.q, header.model, header.tile, header.layers]
        ),
        "weights hash": header.weights_hash,
        **{f"table {n}": written([t.minimum, *t.frequencies]) for n, t in tables.items()},
        "symbols": written(symbols),
        "tables": written(indexes),
    }


def whole_file_bytes() -> bytes:
    text = document()
    example = text[text.index("## Example") :]
    return bytes.fromhex("".join(re.findall(r"^    ((?:[0-9a-f]{2} )+) ", example, re.M)))


CODERS: dict[str, Callable[[Fields], Fields]] = {
    "varint": varint,
    "range coder": range_coder,
    "escape": escape,
    "stack": stack,
    "raw numbers": raw,
    "alpha": alpha,
    "whole file": whole_file,
}
