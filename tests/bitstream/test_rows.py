"""The ANS stack with a separate table for every symbol."""

import numpy as np
import pytest

from bitstream import AnsCoder, TableSet, UsageError
from bitstream.errors import TableError
from tests.bitstream import oracle
from tests.bitstream.round_trip import Int32Array, int32, random_frequencies


def rows(count: int, entries: int, seed: int = 0) -> Int32Array:
    rng = np.random.default_rng(seed)
    return np.stack([random_frequencies(rng, entries) for _ in range(count)])


@pytest.mark.parametrize("entries", [2, 3, 257])
def test_a_stack_pushes_and_pops_what_the_oracle_does(entries: int) -> None:
    tables = rows(200, entries)
    coder = AnsCoder.seeded(200, seed=1)
    start = coder.to_bytes()
    stack = oracle.Stack(np.frombuffer(start, dtype="<u4").tolist())
    popped = coder.pop_rows(tables)
    assert popped.tolist() == [stack.pop(table.tolist()) for table in tables]
    assert coder.to_bytes() == np.array(stack.to_words(), dtype="<u4").tobytes()
    coder.push_rows(popped, tables)
    assert coder.to_bytes() == start


def test_a_table_set_gives_the_same() -> None:
    tables = rows(50, 9)
    entries = np.random.default_rng(2).integers(0, 8, 50).astype(np.int32)  # 8 is its escape
    by_rows, by_set = AnsCoder.seeded(2, seed=0), AnsCoder.seeded(2, seed=0)
    by_rows.push_rows(entries, tables)
    starts = np.arange(0, tables.size + 1, 9, dtype=np.int32)
    table_set = TableSet(tables.ravel(), starts, np.zeros(50, np.int32))
    by_set.push(entries, np.arange(50, dtype=np.int32), table_set)
    assert by_rows.to_bytes() == by_set.to_bytes()


def test_certain_and_impossible_entries() -> None:
    tables = np.array([[2**24 - 2, 1, 1], [1, 1, 2**24 - 2]], np.int32)
    for entries in (int32(0, 2), int32(2, 0), int32(1, 1)):
        coder = AnsCoder.seeded(2, seed=0)
        start = coder.to_bytes()
        coder.push_rows(entries, tables)
        assert coder.pop_rows(tables).tolist() == entries.tolist()
        assert coder.to_bytes() == start


def test_no_rows_are_no_bits() -> None:
    coder = AnsCoder.seeded(2, seed=0)
    none = np.zeros((0, 4), np.int32)
    coder.push_rows(int32(), none)
    assert coder.pop_rows(none).tolist() == []
    assert coder.to_bytes() == AnsCoder.seeded(2, seed=0).to_bytes()


def test_rows_that_are_no_tables_are_refused() -> None:
    coder = AnsCoder()
    for bad in ([[2**24, 0]], [[2**23, 2**23 + 1]], [[-1, 2**24 + 1]]):
        with pytest.raises(TableError):
            coder.pop_rows(np.array(bad, np.int32))
    good = np.array([[2**23, 2**23]], np.int32)
    for wrong in (good[0], good.astype(np.int64), good[:, :1]):
        with pytest.raises(UsageError):
            coder.pop_rows(wrong)  # type: ignore[arg-type]
    for entries in (int32(2), int32(-1), int32(0, 0), np.zeros(1, np.int64)):
        with pytest.raises(UsageError):
            coder.push_rows(entries, good)  # type: ignore[arg-type]
