"""What the decoders of `format_models` share, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bitstream.format_reader import (
    Arrays,
    Coder,
    File,
    RangeReader,
    TableSource,
    read_message,
)

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Starts = Mapping[int, tuple[int, int]]


@dataclass(frozen=True)
class Weights:
    """A weights file: its metadata `config` and `side`, and its arrays."""

    config: dict[str, Any]
    side: int
    arrays: Arrays


@dataclass(frozen=True)
class Message:
    symbols: list[int]
    tables: list[int]


@dataclass
class Decoded:
    """Messages of each DATA chunk, other numbers by name, and pixels (height, width, channels)."""

    messages: list[list[Message]] = field(default_factory=list)
    numbers: dict[str, Sequence[Any]] = field(default_factory=dict)
    pixels: Pixels = field(default_factory=lambda: np.zeros((0, 0, 3), dtype=np.uint8))


Get = Callable[[Sequence[int], TableSource], list[int]]


def get_from(coder: Coder, messages: list[Message]) -> Get:
    def get(tables: Sequence[int], source: TableSource) -> list[int]:
        messages.append(Message(read_message(coder, tables, source), list(tables)))
        return messages[-1].symbols

    return get


def reader_of(coded: bytes, messages: list[Message]) -> tuple[RangeReader, Get]:
    coder = RangeReader(coded)
    return coder, get_from(coder, messages)


def sheet_of(blocks: Sequence[Pixels], height: int, width: int) -> Pixels:
    """The image from blocks (B, B, channels) in raster order, without the parts outside it."""
    columns = -(-width // blocks[0].shape[1])
    rows = [np.concatenate(blocks[n : n + columns], 1) for n in range(0, len(blocks), columns)]
    return np.concatenate(rows)[:height, :width]


def raster_of(file: File, side: int) -> list[tuple[int, int]]:
    rows, columns = -(-file.header.height // side), -(-file.header.width // side)
    return [(row, column) for row in range(rows) for column in range(columns)]


def uniform_numbers(numbers: Iterator[int], count: int) -> list[float]:
    return [((x >> 12) + 0.5) / 2**52 for x in islice(numbers, count)]


def interpolated(distribution: list[int], p: int) -> int:
    left, right = distribution[p >> 6 : (p >> 6) + 2]
    return left + ((right - left) * (p % 64) >> 6)
