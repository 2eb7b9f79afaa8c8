"""Integer tables: rules, builders, storage."""

import math
from typing import Any

import numpy as np
import pytest

from bitstream import (
    TableError,
    TableSet,
    UsageError,
    gaussian_tables,
    limits,
    tables_from_pmfs,
)
from tests.bitstream.round_trip import Int32Array, int32, random_tables

TOTAL = 2**24


def entries(tables: TableSet, table: int) -> list[int]:
    frequencies: list[int] = tables.frequencies[
        tables.starts[table] : tables.starts[table + 1]
    ].tolist()
    return frequencies


BROKEN = {
    "sum too small": (int32(TOTAL - 2, 1), int32(0, 2), int32(0)),
    "sum too large": (int32(TOTAL, 1), int32(0, 2), int32(0)),
    "sum wraps around": (int32(*[2**30] * 4, TOTAL), int32(0, 5), int32(0)),
    "second table": (int32(TOTAL - 1, 1, 1, 1), int32(0, 2, 4), int32(0, 0)),
    "entry of zero": (int32(TOTAL - 1, 0, 1), int32(0, 3), int32(0)),
    "certain of an escape": (int32(0, TOTAL), int32(0, 2), int32(0)),
    "certain of more than one": (int32(TOTAL, 0, 0), int32(0, 3), int32(0)),
    "negative entry": (int32(TOTAL + 1, -1), int32(0, 2), int32(0)),
    "escape alone": (int32(TOTAL), int32(0, 1), int32(0)),
    "no tables": (int32(), int32(0), int32()),
    "starts too short": (int32(TOTAL - 1, 1), int32(0), int32(0)),
    "starts past the end": (int32(TOTAL - 1, 1), int32(0, 3), int32(0)),
    "starts not at zero": (int32(1, TOTAL - 1, 1), int32(1, 3), int32(0)),
    "starts not ascending": (int32(TOTAL - 1, 1), int32(0, 9, 2), int32(0, 0)),
    "symbols past int32": (int32(TOTAL - 2, 1, 1), int32(0, 3), int32(2**31 - 1)),
    "wrong dtype": (np.array([TOTAL - 1.0, 1.0]), int32(0, 2), int32(0)),
    "wrong shape": (int32(TOTAL - 1, 1).reshape(1, 2), int32(0, 2), int32(0)),
}


@pytest.mark.parametrize("arrays", BROKEN.values(), ids=BROKEN.keys())
def test_broken_tables_are_refused(arrays: tuple[Int32Array, Int32Array, Int32Array]) -> None:
    with pytest.raises(TableError):
        TableSet(*arrays)


def test_too_many_tables_and_entries_are_refused() -> None:
    many = limits.MAX_TABLES + 1
    frequencies = np.tile(int32(TOTAL - 1, 1), many)
    starts = np.arange(0, 2 * many + 1, 2, dtype=np.int32)
    with pytest.raises(TableError, match="tables"):
        TableSet(frequencies, starts, np.zeros(many, dtype=np.int32))
    size = limits.MAX_TABLE_ENTRIES + 1
    wide = np.ones(size, dtype=np.int32)
    wide[0] += TOTAL - size
    with pytest.raises(TableError, match="entries"):
        TableSet(wide, int32(0, size), int32(0))


def test_tables_are_copied_and_read_only() -> None:
    frequencies = int32(TOTAL - 1, 1)
    tables = TableSet(frequencies, int32(0, 2), int32(0))
    frequencies[0] = 0
    assert entries(tables, 0) == [TOTAL - 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        tables.frequencies[0] = 0


def test_tables_survive_storage() -> None:
    tables = random_tables(np.random.default_rng(0), 20)
    again = TableSet.from_arrays(tables.to_arrays())
    for name, array in tables.to_arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array, strict=True)
    with pytest.raises(TableError, match="minimums"):
        TableSet.from_arrays({"frequencies": tables.frequencies, "starts": tables.starts})


def test_rounding_is_by_largest_remainder_and_the_first_of_equals() -> None:
    # Each entry first gets 1; of 2**24 - 4 units the three thirds get 5592404 each, exactly.
    assert entries(tables_from_pmfs([(0, np.full(3, 1 / 3))]), 0) == [5592405, 5592405, 5592405, 1]
    # 2**24 - 3 units in halves: the unit left over goes to the first.
    assert entries(tables_from_pmfs([(0, np.full(2, 0.5))]), 0) == [2**23, 2**23 - 1, 1]
    assert entries(tables_from_pmfs([(0, np.array([0.0, 1.0]))]), 0) == [1, TOTAL - 2, 1]
    assert entries(tables_from_pmfs([(0, np.array([0.25]))]), 0) == [2**22 + 1, 3 * 2**22 - 1]


def test_escapes_get_what_is_missing() -> None:
    assert entries(tables_from_pmfs([(7, np.array([0.5, 0.25]))]), 0)[-1] == 2**22


@pytest.mark.parametrize("pmf", [[], [-0.1, 1], [math.nan], [math.inf], [0.7, 0.7], [[0.5]]])
def test_impossible_probabilities_are_refused(pmf: list[Any]) -> None:
    with pytest.raises(TableError):
        tables_from_pmfs([(0, np.array(pmf, dtype=np.float64))])


def test_no_probabilities_and_wide_minimums_are_refused() -> None:
    with pytest.raises(TableError):
        tables_from_pmfs([])
    with pytest.raises(TableError):
        tables_from_pmfs([(2**31, np.array([1.0]))])


def test_gaussian_tables_are_gaussian_to_the_tails() -> None:
    scales = np.geomspace(0.11, 256, 64)
    tables = gaussian_tables(scales)
    for table, scale in enumerate(scales):
        found = np.array(entries(tables, table)) / TOTAL
        minimum, n = int(tables.minimums[table]), int(tables.sizes[table])
        assert n == 1 - 2 * minimum, "symmetric about zero"
        assert -minimum <= 1023
        cdf = [0.5 * math.erfc(-(minimum + k - 0.5) / (scale * math.sqrt(2))) for k in range(n + 1)]
        np.testing.assert_allclose(found[:-1], np.diff(cdf), rtol=1e-3, atol=2 / TOTAL)
        mass = math.erfc((0.5 - minimum) / (scale * math.sqrt(2)))
        np.testing.assert_allclose(found[-1], mass, rtol=1e-3, atol=2 / TOTAL)
        assert mass <= 2**-20 or minimum == -1023


@pytest.mark.parametrize("scales", [[0.0], [-1.0], [math.nan], [[1.0]]])
def test_impossible_scales_are_refused(scales: list[Any]) -> None:
    with pytest.raises(UsageError):
        gaussian_tables(np.array(scales))


def test_code_length_of_a_known_message() -> None:
    tables = TableSet(int32(2**23, 2**22, 2**22), int32(0, 3), int32(0))
    assert tables.code_length_bits(int32(0, 0, 1), int32(0, 0, 0)) == 4
    # Escape 2 bits; v = 2 for -1 has class 1, which costs 2 bits, and then one bit.
    assert tables.code_length_bits(int32(-1), int32(0)) == 5
    assert tables.code_length_bits(int32(), int32()) == 0


def test_some_tables_become_certain() -> None:
    tables = gaussian_tables(np.array([0.2, 1.0, 3.0]))
    assert not tables.certain.any()
    some = tables.with_certain(np.array([True, False, True]))
    assert some.certain.tolist() == [True, False, True]
    assert (entries(some, 0), int(some.minimums[0])) == ([TOTAL, 0], 0)
    assert entries(some, 1) == entries(tables, 1)
    assert int(some.minimums[1]) == int(tables.minimums[1])
    # Their symbols cost nothing.
    two = some.code_length_bits(int32(0, 1, 0), int32(0, 1, 2))
    assert two == tables.code_length_bits(int32(1), int32(1))
    again = TableSet.from_arrays(some.to_arrays())
    np.testing.assert_array_equal(again.certain, some.certain)


def test_a_certain_table_codes_one_symbol_alone() -> None:
    tables = gaussian_tables(np.array([0.2, 1.0])).with_certain(np.array([True, False]), 5)
    assert tables.code_length_bits(int32(5, 5), int32(0, 0)) == 0
    with pytest.raises(UsageError, match="symbol 4 has table 0, which codes 5 alone"):
        tables.code_length_bits(int32(5, 4), int32(0, 0))


@pytest.mark.parametrize(("symbol", "table"), [(0, 0), (5, 1)])
def test_certain_tables_may_code_different_symbols(symbol: int, table: int) -> None:
    tables = gaussian_tables(np.array([0.2, 1.0, 3.0]))
    tables = tables.with_certain(np.array([True, False, False]), 5)
    tables = tables.with_certain(np.array([False, True, False]), 0)
    assert tables.certain.tolist() == [True, True, False]
    tables.code_length_bits(int32(5, 0, 7), int32(0, 1, 2))
    with pytest.raises(UsageError, match=f"symbol {symbol} has table {table}, which codes"):
        tables.code_length_bits(int32(5, symbol), int32(0, table))
