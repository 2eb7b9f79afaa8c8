"""The worked examples of FORMAT.md, parsed from the text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources

from tests.bitstream.format_reader import Table

Fields = dict[str, str]
"""The lines of an example, by their labels."""


def document() -> str:
    return (resources.files("bitstream") / "FORMAT.md").read_text(encoding="utf-8")


def parse(text: str) -> dict[str, Fields]:
    """The lines of every example, by its name. An indented line continues the one before."""
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
