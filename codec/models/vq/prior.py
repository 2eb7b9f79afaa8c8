"""The learned prior of the codes of `codec.models.vq.networks`, in integer arithmetic.

The codes of a map are coded one after another, each with a small network that sees the known codes
around it, like a local PixelCNN (van den Oord et al. 2016; Zhang et al. 2022, "Parallel neural
local lossless compression")::

    · · · · · · ·      ×   codes that a code ○ sees: twelve of its own map, up to two rows up
    · × × × × × ·          and two columns to either side
    · × × × × × ·
    · × × ○ · · ·      and, in the level above, the nine around its parent

A code of b bits is coded bit by bit from the highest, so its number is a path down a binary tree of
2ᵇ − 1 nodes. The network gives the log-odds of all nodes in units of 2⁻¹⁰, and the nearest eighth
selects the table, so no floating-point number selects one.

A code depends only on codes to its left, or above it and at most two columns to its right. So all
codes with the same x + 3 y, a *front*, are decoded at once, and in all blocks together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

import numpy as np

from bitstream.arrays import Array, Float64Array, Int16Array, Int32Array, Int64Array
from bitstream.errors import PayloadError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import PRECISION, TableSet
from codec.coding.bits_back_tables import LOG_ODDS_REACH, log_odds_index
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    ExactLayer,
    Integers,
    layer_arrays,
    read_layer,
    rectify,
)
from codec.models.vq.networks import VqConfig
from codec.models.weights_files import stored

Place = tuple[int, int]
"""Rows down and columns to the right, relative to a code."""

REACH = 2
BEFORE: tuple[Place, ...] = tuple(
    (row, column)
    for row in range(-REACH, 1)
    for column in range(-REACH, REACH + 1)
    if row < 0 or column < 0
)
"""Places in its own map that a code sees, in row-major order."""

AROUND: tuple[Place, ...] = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))
"""Places in the level above that it sees, relative to its parent."""

SIDES = 2
"""Inputs that say in which half of its parent a code is, vertically and horizontally."""

TABLE_COUNT = 2 * LOG_ODDS_REACH + 1
_LAYERS = 3
_CODES_AT_ONCE = 2**14  # codes of a front per network call


def network_inputs(config: VqConfig, level: int) -> int:
    """Inputs of the network of a level."""
    return len(BEFORE) * config.embedding + (len(AROUND) * config.embedding + SIDES if level else 0)


@dataclass(frozen=True, eq=False)
class ExactCodePrior:
    """The prior of one level.

    embedding   int16 (codes + 1, embedding) in units of 2⁻¹⁰: for each code, and for positions
                outside the block
    above       the same for the level above, if there is one
    network     three 1×1 layers with ReLU between them; the last has codes − 1 outputs
    tables      257 tables of two symbols, see `codec.coding.bits_back_tables.bit_tables`

    Raises `WeightsMismatchError` for arrays that do not fit together.
    """

    config: VqConfig
    level: int
    embedding: Int16Array
    above: Int16Array | None
    network: tuple[ExactLayer, ...]
    tables: TableSet

    def __post_init__(self) -> None:
        config, codes = self.config, self.config.codes[self.level]
        sizes = (network_inputs(config, self.level), config.hidden, config.hidden, codes - 1)
        for layer, (into, out) in zip(self.network, pairwise(sizes), strict=True):
            if layer.weight.shape != (out, into, 1, 1) or len(layer.bias) != config.knots:
                raise WeightsMismatchError(
                    f"prior of codes: a layer of {list(layer.weight.shape)} and "
                    f"{len(layer.bias)} knots, expected {[out, into, 1, 1]} and {config.knots}"
                )
        tables = self.tables
        if len(tables) != TABLE_COUNT or (tables.sizes != 2).any() or tables.minimums.any():
            raise WeightsMismatchError(
                f"prior of codes: {len(tables)} tables, expected {TABLE_COUNT} of the symbols 0, 1"
            )

    @classmethod
    def from_arrays(
        cls, config: VqConfig, level: int, arrays: Mapping[str, Array], tables: TableSet
    ) -> ExactCodePrior:
        """From `prior.{level}.…`; the inverse of `to_arrays`. Raises `WeightsMismatchError`."""
        name, size = f"prior.{level}.", config.embedding
        above = None
        if level:
            above = stored(arrays, f"{name}above", "int16", config.codes[level - 1] + 1, size)
        return cls(
            config,
            level,
            stored(arrays, f"{name}embedding", "int16", config.codes[level] + 1, size),
            above,
            tuple(read_layer(arrays, f"{name}layers.{number}") for number in range(_LAYERS)),
            tables,
        )

    def to_arrays(self) -> dict[str, Array]:
        """All arrays except the tables, which the levels share."""
        name = f"prior.{self.level}."
        arrays: dict[str, Array] = {f"{name}embedding": self.embedding}
        if self.above is not None:
            arrays[f"{name}above"] = self.above
        for number, layer in enumerate(self.network):
            arrays |= layer_arrays(layer, f"{name}layers.{number}")
        return arrays

    @property
    def depth(self) -> int:
        """Bits of a code."""
        return self.config.depth_of_codes(self.level)

    def encode(
        self,
        blocks: int,
        above: Int32Array | None,
        quality_hundredths: int,
        choose: Callable[[Front, slice, Int32Array], Int32Array],
        encoder: SymbolEncoder,
    ) -> Int32Array:
        """Encode the codes of a level and return them, int32 (blocks, m, m).

        above    codes of the level above, int32 (blocks, m / 2, m / 2)
        choose   is called with a front, a slice of blocks, and the tables (n, codes − 1) of the
                 nodes; returns the codes int32 (n,), block by block
        """
        codes = self._empty(blocks)
        for front in fronts(self.config.grid(self.level)):
            tables, chosen = [], []
            for part in self._parts(blocks, front):
                indexes = self._node_tables(codes, above, front, part, quality_hundredths)
                found = choose(front, part, indexes)
                nodes, _ = paths(found, self.depth)
                tables.append(np.take_along_axis(indexes, nodes, axis=1))
                chosen.append(found)
            numbers, indexes = np.concatenate(chosen), np.concatenate(tables)
            _, bits = paths(numbers, self.depth)
            for bit in range(self.depth):
                encoder.put(
                    np.ascontiguousarray(bits[:, bit]),
                    np.ascontiguousarray(indexes[:, bit]),
                    self.tables,
                )
            self._fill(codes, front, numbers)
        return self._inner(codes)

    def decode(
        self,
        blocks: int,
        above: Int32Array | None,
        quality_hundredths: int,
        decoder: SymbolDecoder,
    ) -> Int32Array:
        """Decode the codes of a level: int32 (blocks, m, m). Raises `PayloadError`."""
        codes = self._empty(blocks)
        for front in fronts(self.config.grid(self.level)):
            indexes = np.concatenate([
                self._node_tables(codes, above, front, part, quality_hundredths)
                for part in self._parts(blocks, front)
            ])  # fmt: skip
            nodes = np.zeros((len(indexes), 1), dtype=np.int64)
            for _ in range(self.depth):
                table = np.take_along_axis(indexes, nodes, axis=1)[:, 0]
                bits = decoder.get(table, self.tables)
                if ((bits < 0) | (bits > 1)).any():
                    raise PayloadError(
                        "a symbol that is neither 0 nor 1 was decoded: the payload is damaged"
                    )
                nodes = 2 * nodes + 1 + bits[:, None]
            numbers = (nodes[:, 0] - (2**self.depth - 1)).astype(np.int32)
            self._fill(codes, front, numbers)
        return self._inner(codes)

    def code_lengths(self, indexes: Int32Array) -> Float64Array:
        """Bits of each code from the tables of the nodes, (n, codes − 1) to (n, codes)."""
        lengths = np.zeros((len(indexes), 1))
        for depth in range(self.depth):
            of_nodes = self._bit_lengths[indexes[:, 2**depth - 1 : 2 ** (depth + 1) - 1]]
            lengths = (lengths[:, :, None] + of_nodes).reshape(len(indexes), -1)
        return lengths

    @cached_property
    def _bit_lengths(self) -> Float64Array:
        """Bits of 0 and of 1 in each table: (257, 2)."""
        frequencies = self.tables.frequencies.reshape(TABLE_COUNT, 3)[:, :2]
        found: Float64Array = PRECISION - np.log2(frequencies)
        return found

    def nats(
        self, codes: Int32Array, above: Int32Array | None, quality_hundredths: int
    ) -> Float64Array:
        """−ln p of a level's codes, by the log-odds before rounding to tables: (blocks,).

        codes, above   as `encode` returns and takes them
        """
        total = np.zeros(len(codes))
        around = self._empty(len(codes))
        around[:, REACH:-REACH, REACH:-REACH] = codes
        for front in fronts(self.config.grid(self.level)):
            nodes, bits = paths(codes[:, front.rows, front.columns].ravel(), self.depth)
            odds = np.concatenate([
                self._node_odds(around, above, front, part, quality_hundredths)
                for part in self._parts(len(codes), front)
            ])  # fmt: skip
            chosen = np.take_along_axis(odds, nodes, axis=1) * 2.0**-ACTIVATION_BITS
            cost = np.logaddexp(0, np.where(bits, -chosen, chosen))
            total += cost.reshape(len(codes), -1).sum(axis=1)
        return total

    def _empty(self, blocks: int) -> Int32Array:
        """Codes with a border of `REACH` around them, all initialised as outside the block."""
        side = self.config.grid(self.level) + 2 * REACH
        return np.full((blocks, side, side), self.config.codes[self.level], dtype=np.int32)

    def _inner(self, codes: Int32Array) -> Int32Array:
        return np.ascontiguousarray(codes[:, REACH:-REACH, REACH:-REACH])

    def _fill(self, codes: Int32Array, front: Front, numbers: Int32Array) -> None:
        codes[:, front.rows + REACH, front.columns + REACH] = numbers.reshape(len(codes), -1)

    def _parts(self, blocks: int, front: Front) -> Iterator[slice]:
        size = max(1, _CODES_AT_ONCE // len(front.rows))
        return (slice(at, at + size) for at in range(0, blocks, size))

    def _node_tables(
        self,
        codes: Int32Array,
        above: Int32Array | None,
        front: Front,
        part: slice,
        quality_hundredths: int,
    ) -> Int32Array:
        """The tables of all nodes for the codes of a front in some blocks: int32 (n, codes − 1)."""
        return log_odds_index(self._node_odds(codes, above, front, part, quality_hundredths))

    def _node_odds(
        self,
        codes: Int32Array,
        above: Int32Array | None,
        front: Front,
        part: slice,
        quality_hundredths: int,
    ) -> Int32Array:
        """The log-odds of these nodes, int32 (n, codes − 1) in units of 2⁻¹⁰."""
        seen = _look(codes[part], front.rows + REACH, front.columns + REACH, BEFORE)
        inputs = [self.embedding[seen].reshape(len(seen), -1)]
        if self.above is not None:
            assert above is not None
            outside = self.config.codes[self.level - 1]
            padded = np.pad(above[part], ((0, 0), (1, 1), (1, 1)), constant_values=outside)
            seen = _look(padded, front.rows // 2 + 1, front.columns // 2 + 1, AROUND)
            inputs.append(self.above[seen].reshape(len(seen), -1))
            halves = np.stack([front.rows % 2, front.columns % 2], axis=1) * 2 - 1
            inputs.append(np.tile(halves << ACTIVATION_BITS, (len(padded), 1)))
        values: Integers = np.concatenate(inputs, axis=1, dtype=np.float64).T
        for layer in self.network:
            if layer is not self.network[0]:
                rectify(values)
            values = layer.apply(layer.inputs(values), quality_hundredths)
        # The bounds are far beyond the last table, and fit int32.
        bounded = np.clip(values, -(2.0**30), 2.0**30)
        return np.ascontiguousarray(bounded.astype(np.int32).T)


@dataclass(frozen=True)
class Front:
    """Positions in a map that are decoded together: rows and columns, int64 (n,), from the top."""

    rows: Int64Array
    columns: Int64Array


@cache
def fronts(side: int) -> tuple[Front, ...]:
    """The fronts of a map of side × side codes, in decoding order."""
    rows, columns = np.indices((side, side)).reshape(2, -1)
    times = columns + (REACH + 1) * rows
    places = [np.flatnonzero(times == time) for time in range(int(times.max()) + 1)]
    return tuple(Front(rows[at], columns[at]) for at in places if len(at))


def paths(codes: Int32Array, depth: int) -> tuple[Int64Array, Int32Array]:
    """The nodes on the path to each code, int64 (n, depth), and its bits, int32 (n, depth)."""
    shifts = np.arange(depth)
    starts = codes[:, None].astype(np.int64) >> (depth - shifts)
    bits = (codes[:, None] >> (depth - 1 - shifts)) & 1
    return starts + 2**shifts - 1, bits.astype(np.int32)


def _look(
    codes: Int32Array, rows: Int64Array, columns: Int64Array, places: tuple[Place, ...]
) -> Int32Array:
    """Codes (blocks, h, w) at places relative to each of n positions: (blocks · n, places)."""
    down, right = np.array(places).T
    found = codes[:, rows[:, None] + down, columns[:, None] + right]
    seen: Int32Array = found.reshape(-1, len(places))
    return seen
