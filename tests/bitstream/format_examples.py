"""The worked examples of FORMAT.md: read out of the text, and made again from the files.

An example is a fenced block whose first line is `name: …`. `parse` returns what the text says of
it, line by line; `made_again` returns what a decoder that was written from the text finds. The two
have to be the same to the last character, so that no number of an example can be wrong.

`python -m tests.bitstream.format_examples NAME` prints the block of a golden file.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors import safe_open

from tests.bitstream.format_models import DECODERS, Decoded, Message, Pixels, Weights
from tests.bitstream.format_reader import (
    CLASSES,
    File,
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
from tests.bitstream.oracle import END_MARK, range_encode

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
Fields = dict[str, str]


def document() -> str:
    return (resources.files("bitstream") / "FORMAT.md").read_text(encoding="utf-8")


def parse(text: str) -> dict[str, Fields]:
    """The lines of every example, by its name. A line that is indented continues the one before."""
    found: dict[str, Fields] = {}
    for block in re.findall(r"^```example\n(.*?)^```$", text, re.M | re.S):
        fields: dict[str, str] = {}
        for line in re.sub(r"\n +", " ", block).splitlines():
            label, value = line.split(": ", 1)
            assert label not in fields, f"{label} stands twice in {fields}"
            fields[label] = " ".join(value.split())
        name = fields.pop("name")
        assert name not in found, f"two examples have the name {name}"
        found[name] = fields
    return found


def pcg_starts(text: str) -> dict[int, tuple[int, int]]:
    """S and I of each seed of the raw numbers."""
    rows = re.findall(r"^\| (0xCA1\d) \| (0x[0-9A-F]+) \| (0x[0-9A-F]+) \|$", text, re.M)
    return {int(seed, 16): (int(state, 16), int(step, 16)) for seed, state, step in rows}


def written(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def numbers_of(text: str) -> list[int]:
    return [int(number) for number in text.split()]


def hexadecimal(data: bytes) -> str:
    return data.hex(" ") or "none"


def table_of(text: str) -> Table:
    minimum, *frequencies = numbers_of(text)
    return Table(minimum, tuple(frequencies))


# Examples of the coders, which say all that there is to know.


def varint(fields: Fields) -> Fields:
    found = {}
    for data in fields.values():
        value, end = read_varint(bytes.fromhex(data), 0)
        assert end == len(bytes.fromhex(data))
        found[str(value)] = data
    return found


def range_coder(fields: Fields) -> Fields:
    """A message of entries, each with the table that is named, and the end mark."""
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
    """Entries that are pushed on a stack, one after another, and popped again."""
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
    """A plane of alpha by either method."""
    height, width = numbers_of(fields["height and width"])
    found = {"height and width": f"{height} {width}"}
    for method in (0, 1):
        data = bytes.fromhex(fields[f"payload of method {method}"])
        assert data[0] == method
        found[f"payload of method {method}"] = hexadecimal(data)
        rows = read_alpha(data, height, width)
        found[f"rows of method {method}"] = ", ".join(written(row) for row in rows)
    return found


def whole_file(fields: Fields) -> Fields:
    """The example of a whole file, whose bytes stand above its block."""
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

# Examples of the models, from golden files.


@dataclass(frozen=True)
class Case:
    """A golden file, with what was decoded from it and the picture that is kept beside it."""

    path: Path
    file: File
    decoded: Decoded
    picture: Pixels
    weights_name: str


WEIGHTS = {
    "photo-v1": "photo",
    "photo-context-v1": "photo-context",
    "draw-v1": "draw",
    "dplc-v1": "dplc",
    "dplc-sample-v1": "dplc",
    "vae-round-v1": "digits-vae",
    "vae-dither-v1": "digits-vae",
    "vae-rec-v1": "digits-vae",
    "vae-vbq-v1": "digits-vae",
    "vae-bits-back-v1": "digits-vae-binary",
    "draw-bits-back-v1": "draw-bits-back",
}


@cache
def case_of(name: str) -> Case:
    """Decode a golden file by what the text says."""
    path, weights = GOLDEN / f"{name}.calo", GOLDEN / f"{WEIGHTS[name]}.safetensors"
    file = read_file(path.read_bytes())
    with safe_open(weights, framework="numpy") as opened:
        metadata = opened.metadata()
        arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    held = Weights(json.loads(metadata["config"]), int(metadata.get("side", 0)), arrays)
    decoded = DECODERS[file.header.model](file, held, pcg_starts(document()))
    with Image.open(path.with_suffix(".png")) as image:
        picture: npt.NDArray[np.uint8] = np.asarray(image)
    picture = picture.reshape(*picture.shape[:2], -1)
    return Case(path, file, decoded, picture, weights.name)


def shown(name: str) -> Fields:
    """What the example of a golden file says."""
    case = case_of(name)
    coded = case.file.payload("DATA") if len(case.file.coded) == 1 else _first_data(case.file)
    found = {
        "file": case.path.name,
        "weights": case.weights_name,
        "HEAD": hexadecimal(case.file.payload("HEAD")),
        "DATA": _shortened(coded),
    }
    found |= DETAILS[case.file.header.model](case.decoded)
    row = case.picture[0, :6]
    found["first pixels of row 0"] = ", ".join(written(pixel) for pixel in row.tolist())
    place = len(case.picture) // 2
    row = case.picture[place, place : place + 6]
    found[f"pixels of row {place} from column {place}"] = ", ".join(
        written(pixel) for pixel in row.tolist()
    )
    return found


def _first_data(file: File) -> bytes:
    return next(payload for kind, payload in file.chunks if kind == "DATA")


def _shortened(data: bytes) -> str:
    if len(data) <= 48:
        return f"{hexadecimal(data)} ({len(data)} bytes)"
    return f"{hexadecimal(data[:24])} … ({len(data)} bytes)"


def _message(label: str, message: Message, count: int = 16) -> Fields:
    """The first symbols of a message and their tables."""
    size = len(message.symbols)
    more = " …" if size > count else ""
    return {
        f"{label}, symbols": f"{written(message.symbols[:count])}{more} ({size})",
        f"{label}, tables": f"{written(message.tables[:count])}{more} ({size})",
    }


def _reals(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _photo(decoded: Decoded) -> Fields:
    found: dict[str, str] = {}
    for number, message in enumerate(decoded.messages[0]):
        found |= _message(f"message {number}", message)
    found["first means in units of 2⁻¹⁰"] = written(decoded.numbers["means"][:16])
    found["first latents in units of 2⁻¹⁰"] = written(decoded.numbers["latents"][:16])
    return found


def _draw(decoded: Decoded) -> Fields:
    found: dict[str, str] = {}
    for number, message in enumerate(decoded.messages[0]):
        found |= _message(f"message {number}", message, 24)
    found["first z of level 1"] = written(decoded.numbers["codes"][:8])
    found["canvas of the first pixels after all steps"] = written(decoded.numbers["canvas"][:9])
    return found


def _dplc(decoded: Decoded) -> Fields:
    found = {
        "number of the rate": written(decoded.numbers["rate"]),
        "bits of a block": written(decoded.numbers["bits of a block"]),
    }
    for number, message in enumerate(decoded.messages[0][:2]):
        found |= _message(f"message {number}", message)
    if decoded.numbers["bits"]:
        found["bits of block 0"] = written(decoded.numbers["bits"])
    found["noise of block 0"] = _reals(decoded.numbers["noise"])
    found["code of block 0"] = _reals(decoded.numbers["code"])
    return found


def _rungs(decoded: Decoded) -> Fields:
    found = {"rungs": written(decoded.numbers["rungs"])}
    if "noise" in decoded.numbers:
        found["n of the first symbols"] = written(decoded.numbers["noise"][:4])
    found |= _message("message 0", decoded.messages[0][0])
    found["code of block 0"] = _reals(decoded.numbers["codes"])
    return found


def _rec(decoded: Decoded) -> Fields:
    found = {
        "set": written(decoded.numbers["set"]),
        "layout": written(decoded.numbers["layout"]),
    }
    for number, message in enumerate(decoded.messages[0]):
        found |= _message(f"message {number}", message, 12)
    found["first indexes"] = written(decoded.numbers["indexes"][:12])
    found["code of block 0"] = _reals(decoded.numbers["codes"])
    return found


def _vae_archive(decoded: Decoded) -> Fields:
    found = {
        "seed words": written(decoded.numbers["seed words"]),
        "blocks of the groups": written(decoded.numbers["groups"]),
        "codes of the last group": written(decoded.numbers["codes"]),
    }
    pixels = decoded.messages[0][0]
    row = Message(pixels.symbols[14 * 28 : 15 * 28], pixels.tables[14 * 28 : 15 * 28])
    return found | _message("row 14 of its first block", row, 28)


def _draw_archive(decoded: Decoded) -> Fields:
    found = {
        "runs": written(decoded.numbers["runs"]),
        "first bits of the last group": written(decoded.numbers["bits"][:16]),
        "first bins of the last group": written(decoded.numbers["bins"][:16]),
    }
    return found | _message("pixels of the last group", decoded.messages[0][0])


DETAILS: dict[int, Callable[[Decoded], Fields]] = {
    1: _photo,
    2: _draw,
    3: _dplc,
    4: _rungs,
    5: _rungs,
    6: _rec,
    7: _rungs,
    8: _vae_archive,
    9: _draw_archive,
}


def made_again(name: str, fields: Fields) -> Fields:
    """What an example ought to say."""
    return CODERS[name](fields) if name in CODERS else shown(name)


def block(name: str, fields: Fields) -> str:
    """An example as it stands in the text."""
    lines = [f"name: {name}", *(f"{label}: {value}" for label, value in fields.items())]
    wrapped = [
        textwrap.fill(line, 100, subsequent_indent="  ", break_on_hyphens=False) for line in lines
    ]
    return "\n".join(["```example", *wrapped, "```"])


if __name__ == "__main__":
    print(block(sys.argv[1], shown(sys.argv[1])))
