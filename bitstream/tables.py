"""Integer probability tables: the only probabilities that the coders ever see.

A table covers the symbols ``minimum .. minimum + n - 1``.  It has n + 1 entries, one for each of
these symbols and a last one for the escape, which stands for every other value.  Entries are at
least 1 and sum to 2**24, so each is a probability in units of 2**-24:

    entry       0          1        ...     n - 1          n
    symbol   minimum  minimum + 1   ...  minimum + n - 1  escape

A certain table has the entries 2**24 and 0: one symbol, no escape.  Its symbols are not coded.

Tables are made once, when a model is exported, and shipped as integers.  Building them uses
floating point; reading them does not, so every machine decodes with the same numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream import escape, limits
from bitstream._constriction import Model, model_from_frequencies
from bitstream.arrays import Array, BoolArray, Float64Array, Int32Array, Int64Array
from bitstream.errors import TableError, UsageError

PRECISION = 24
TOTAL = 1 << PRECISION


_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class TableSet:
    """Tables that share one index space.

    frequencies  int32[total]      entries of all tables, one table after the other
    starts       int32[tables + 1] table t is ``frequencies[starts[t]:starts[t + 1]]``
    minimums     int32[tables]     symbol of the first entry of each table

    The arrays are copied and made read-only.  Raises TableError if a rule is broken.
    """

    frequencies: Int32Array
    starts: Int32Array
    minimums: Int32Array

    def __post_init__(self) -> None:
        for name in ("frequencies", "starts", "minimums"):
            array = np.asarray(getattr(self, name))
            if array.dtype != np.int32 or array.ndim != 1:
                raise TableError(
                    f"{name} is {array.dtype} with {array.ndim} dimensions, expected int32 with 1"
                )
            array = array.copy()
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        self.validate()

    def __len__(self) -> int:
        return len(self.minimums)

    @cached_property
    def sizes(self) -> Int32Array:
        """int32[tables]: symbols in each table, without the escape."""
        sizes: Int32Array = np.diff(self.starts) - np.int32(1)
        return sizes

    @cached_property
    def certain(self) -> BoolArray:
        """bool[tables]: those with one symbol and no escape."""
        certain: BoolArray = self.frequencies[self.starts[:-1]] == TOTAL
        return certain

    def coded(self, indexes: npt.NDArray[np.integer[Any]]) -> Int64Array:
        """Return the places of a message that are coded: those whose table is not certain."""
        first = self._first_uncertain
        if first is not None:
            return np.flatnonzero(indexes >= first)
        return np.flatnonzero(~self.certain.take(indexes))

    @cached_property
    def _first_uncertain(self) -> int | None:
        """The first table after the certain ones; None unless these come before all others."""
        count = int(self.certain.sum())
        return count if self.certain[:count].all() else None

    def validate(self) -> None:
        """Check every rule.  Raises TableError with the first table that breaks one."""
        starts, tables = self.starts.astype(np.int64), len(self.minimums)
        if not 1 <= tables <= limits.MAX_TABLES:
            raise TableError(f"{tables} tables, expected 1 .. {limits.MAX_TABLES}")
        if len(self.frequencies) > limits.MAX_TABLE_ENTRIES:
            raise TableError(
                f"{len(self.frequencies)} entries, but the limit is {limits.MAX_TABLE_ENTRIES}"
            )
        if len(starts) != tables + 1 or starts[0] != 0 or starts[-1] != len(self.frequencies):
            raise TableError(
                f"starts must be {tables + 1} numbers from 0 to {len(self.frequencies)}"
            )
        sizes = np.diff(starts)
        _require(sizes >= 2, "has no symbol beside the escape", sizes)
        lowest = np.minimum.reduceat(self.frequencies, starts[:-1])
        certain = (sizes == 2) & (self.frequencies[starts[:-1]] == TOTAL)
        _require((lowest >= 1) | certain, "has an entry below 1, the lowest is", lowest)
        sums = np.add.reduceat(self.frequencies.astype(np.int64), starts[:-1])
        _require(sums == TOTAL, "must sum to 2**24, but sums to", sums)
        last = self.minimums + sizes - 2
        _require(last <= _INT32_MAX, "reaches past int32, its last symbol is", last)

    def to_arrays(self) -> dict[str, Array]:
        """Return the three arrays by name, to be stored; ``from_arrays`` is the inverse."""
        return {
            "frequencies": self.frequencies,
            "starts": self.starts,
            "minimums": self.minimums,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str = "") -> "TableSet":
        """Rebuild a set from stored arrays, whose names begin with ``prefix``.

        Raises TableError if one is missing or wrong.
        """
        names = [prefix + name for name in ("frequencies", "starts", "minimums")]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise TableError(f"the table set has no array {', '.join(missing)}")
        # The constructor checks dtypes and shapes.
        return cls(*(arrays[name] for name in names))  # type: ignore[arg-type]

    def with_certain(self, tables: BoolArray, symbol: int = 0) -> "TableSet":
        """Return the set with some tables, bool[tables], replaced by certain ones of ``symbol``."""
        pieces = [
            np.array([TOTAL, 0], dtype=np.int32) if certain else entries
            for certain, entries in zip(
                tables, np.split(self.frequencies, self.starts[1:-1]), strict=True
            )
        ]
        return TableSet(
            frequencies=np.concatenate(pieces),
            starts=np.cumsum([0, *map(len, pieces)], dtype=np.int32),
            minimums=np.where(tables, np.int32(symbol), self.minimums),
        )

    def model(self, table: int) -> Model:
        """Return constriction's model of one table, built on first use and kept.

        A certain table has none.
        """
        model = self._models.get(table)
        if model is None:
            entries = self.frequencies[self.starts[table] : self.starts[table + 1]]
            model = self._models[table] = model_from_frequencies(entries)
        return model

    @cached_property
    def _models(self) -> dict[int, Model]:
        return {}

    def code_length_bits(self, symbols: Int32Array, indexes: Int32Array) -> float:
        """Return the ideal code length of the message, escapes included, in bits.

        symbols, indexes: int32[n], as for ``SymbolEncoder.put``.  Raises UsageError.
        """
        check_message(symbols, indexes, self)
        if self.certain.any():
            coded = self.coded(indexes)
            symbols, indexes = symbols[coded], indexes[coded]
        minimums = self.minimums[indexes].astype(np.int64)
        sizes = self.sizes[indexes].astype(np.int64)
        entries = symbols - minimums
        outside = (entries < 0) | (entries >= sizes)
        entries = np.where(outside, sizes, entries)
        frequencies = self.frequencies[self.starts[indexes] + entries]
        bits = PRECISION * len(symbols) - float(np.log2(frequencies).sum())
        if outside.any():
            low = minimums[outside]
            folded = escape.fold(symbols[outside].astype(np.int64), low, low + sizes[outside] - 1)
            classes = escape.classes(folded)
            bits += float((PRECISION - np.log2(escape.class_frequencies()[classes])).sum())
            bits += float(classes.sum())
        return bits


def check_indexes(indexes: Int32Array, tables: TableSet) -> None:
    """Raise UsageError unless ``indexes`` is int32[n] with values 0 .. tables - 1."""
    if indexes.dtype != np.int32 or indexes.ndim != 1:
        raise UsageError(
            f"indexes are {indexes.dtype} with {indexes.ndim} dimensions, expected int32 with 1"
        )
    if indexes.size and not 0 <= indexes.min() <= indexes.max() < len(tables):
        raise UsageError(
            f"indexes are {indexes.min()} .. {indexes.max()}, expected 0 .. {len(tables) - 1}"
        )


def check_message(symbols: Int32Array, indexes: Int32Array, tables: TableSet) -> None:
    """Raise UsageError unless ``symbols`` and ``indexes`` are int32[n] that fit ``tables``.

    Any symbol fits a table, except a certain one.
    """
    if symbols.dtype != np.int32 or symbols.shape != indexes.shape:
        raise UsageError(
            f"symbols are {symbols.dtype}{list(symbols.shape)}, "
            f"expected int32{list(indexes.shape)}, like the indexes"
        )
    check_indexes(indexes, tables)
    certain = tables.certain
    if certain.any():
        # Most symbols are the one that all certain tables code, and need no check of their own.
        only = tables.minimums[certain]
        places = np.flatnonzero((symbols != only[0]) | (only != only[0]).any())
        chosen = indexes.take(places)
        wrong = certain.take(chosen) & (symbols.take(places) != tables.minimums.take(chosen))
        if wrong.any():
            symbol, table = symbols[places[wrong][0]], chosen[wrong][0]
            raise UsageError(
                f"symbol {symbol} has table {table}, which codes {tables.minimums[table]} alone"
            )


def tables_from_pmfs(pmfs: Sequence[tuple[int, Float64Array]]) -> TableSet:
    """Build one table for each ``(minimum, pmf)``.

    pmf: float64[n], n >= 1, probabilities of ``minimum .. minimum + n - 1``; the escape gets what
    is missing to 1.  Raises TableError for negative, infinite or excessive probabilities.
    """
    if not pmfs:
        raise TableError("no probabilities were given, expected at least one table")
    tables = []
    for number, (minimum, pmf) in enumerate(pmfs):
        if not -(2**31) <= minimum <= _INT32_MAX:
            raise TableError(f"table {number}: its first symbol {minimum} is not an int32")
        pmf = np.asarray(pmf, dtype=np.float64)
        if pmf.ndim != 1 or not len(pmf) or not np.isfinite(pmf).all() or pmf.min() < 0:
            raise TableError(f"table {number}: expected a vector of finite probabilities >= 0")
        mass = math.fsum(pmf)
        if mass > 1 + 1e-6:
            raise TableError(f"table {number}: the probabilities sum to {mass}, expected 1 or less")
        tables.append(_integers(np.append(pmf, max(0.0, 1.0 - mass))))
    return TableSet(
        frequencies=np.concatenate(tables),
        starts=np.cumsum([0, *map(len, tables)], dtype=np.int32),
        minimums=np.array([minimum for minimum, _ in pmfs], dtype=np.int32),
    )


def gaussian_tables(
    scales: Float64Array, tail_mass: float = 2.0**-20, max_magnitude: int = 1023
) -> TableSet:
    """Build zero-mean Gaussian tables, integrated over bins of width one.

    scales: float64[tables], standard deviations > 0.  A table reaches to the magnitude beyond
    which at most ``tail_mass`` is left, but no further than ``max_magnitude``; the escape takes
    the rest.  Raises UsageError.
    """
    scales = np.asarray(scales, dtype=np.float64)
    if scales.ndim != 1 or not np.isfinite(scales).all() or (scales <= 0).any():
        raise UsageError("scales must be a vector of finite numbers above 0")
    if not 0 < tail_mass < 1 or max_magnitude < 0:
        raise UsageError(f"tail_mass {tail_mass} or max_magnitude {max_magnitude} is out of range")
    return tables_from_pmfs([_gaussian(float(s), tail_mass, max_magnitude) for s in scales])


def _gaussian(scale: float, tail_mass: float, max_magnitude: int) -> tuple[int, Float64Array]:
    # Twice the upper tail; erfc keeps its relative precision where 1 - erf would cancel.
    def outside(magnitude: int) -> float:
        return math.erfc((magnitude + 0.5) / (scale * math.sqrt(2)))

    tails = [outside(0)]
    while tails[-1] > tail_mass and len(tails) <= max_magnitude:
        tails.append(outside(len(tails)))
    right = -np.diff(np.array(tails)) / 2  # the bins 1, 2, ...
    return 1 - len(tails), np.concatenate([right[::-1], [1 - tails[0]], right])


def _integers(pmf: Float64Array) -> Int32Array:
    """Round probabilities to entries >= 1 that sum to 2**24, by largest remainders.

    Each entry first gets 1; the rest is shared in proportion.  Of equal remainders the first wins.
    """
    shares = pmf / math.fsum(pmf) * (TOTAL - len(pmf))
    floors = np.floor(shares)
    left_over = TOTAL - len(pmf) - int(floors.sum())
    entries = floors.astype(np.int64) + 1
    by_remainder = np.argsort(floors - shares, kind="stable")
    if left_over >= 0:
        entries[by_remainder[:left_over]] += 1
    else:  # rounding in ``shares`` lifted one of them to the next integer
        entries[entries.argmax()] += left_over
    return entries.astype(np.int32)


def _require(good: BoolArray, what: str, values: Array) -> None:
    if not good.all():
        table = int(np.argmin(good))
        raise TableError(
            f"table {table} {what} {values[table]}: the model file is damaged or badly exported"
        )
