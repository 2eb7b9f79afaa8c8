"""The fast coders agree with the slow ones byte for byte."""

import numpy as np

from bitstream import AnsCoder, RangeDecoder, RangeEncoder, TableSet
from tests.bitstream import oracle
from tests.bitstream.round_trip import int32, random_message, random_tables


def table_list(tables: TableSet, table: int) -> list[int]:
    frequencies: list[int] = tables.frequencies[
        tables.starts[table] : tables.starts[table + 1]
    ].tolist()
    return frequencies


def random_entries(
    rng: np.random.Generator, tables: TableSet, length: int
) -> list[tuple[int, int]]:
    """Draw (entry, table) pairs: by probability, uniformly, or always the least probable."""
    way = rng.integers(3)
    pairs = []
    for table in rng.integers(0, len(tables), length).tolist():
        frequencies = np.array(table_list(tables, table))
        if way == 0:
            entry = int(rng.choice(len(frequencies), p=frequencies / 2**24))
        elif way == 1:
            entry = int(rng.integers(len(frequencies)))
        else:
            entry = int(frequencies.argmin())
        pairs.append((entry, table))
    return pairs


def test_range_coder_equals_the_oracle_on_thousands_of_messages() -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        tables = random_tables(rng, int(rng.integers(1, 4)))
        pairs = random_entries(rng, tables, int(rng.integers(0, 40)))
        encoder = RangeEncoder()
        for entry, table in pairs:
            encoder.encode(int32(entry), tables, table)
        data = encoder.finish()
        lists = [table_list(tables, table) for _, table in pairs]
        entries = [entry for entry, _ in pairs]
        assert data == oracle.range_encode(list(zip(entries, lists, strict=True)))
        assert oracle.range_decode(data, lists) == entries
        decoder = RangeDecoder(data)
        assert [int(decoder.decode(tables, table, 1)[0]) for _, table in pairs] == entries
        decoder.finish()


def test_ans_coder_equals_the_oracle_on_thousands_of_messages() -> None:
    rng = np.random.default_rng(2)
    for _ in range(2000):
        tables = random_tables(rng, int(rng.integers(1, 4)))
        symbols, _, _ = random_message(rng, tables, int(rng.integers(1, 20)))
        table = int(rng.integers(len(tables)))
        size = int(tables.sizes[table])
        entries = symbols % size
        seed = rng.integers(1, 2**32, int(rng.integers(0, 4)), dtype=np.uint32)
        coder, stack = AnsCoder(seed.astype("<u4").tobytes()), oracle.Stack(seed.tolist())
        coder.push(entries + tables.minimums[table], np.full_like(entries, table), tables)
        frequencies = table_list(tables, table)
        for entry in reversed(entries.tolist()):
            stack.push(entry, frequencies)
        assert coder.to_bytes() == np.array(stack.to_words(), dtype="<u4").tobytes()
        popped = coder.pop(np.full_like(entries, table), tables) - tables.minimums[table]
        assert popped.tolist() == [stack.pop(frequencies) for _ in entries] == entries.tolist()


def test_a_stack_seeded_with_random_bits_pops_what_the_oracle_pops() -> None:
    rng = np.random.default_rng(3)
    for seed in range(300):
        tables = random_tables(rng, 1)
        coder = AnsCoder.seeded(8, seed)
        stack = oracle.Stack(np.frombuffer(coder.to_bytes(), dtype="<u4").tolist())
        for _ in range(20):
            entry = stack.pop(table_list(tables, 0))
            if entry == tables.sizes[0]:
                break  # the fast coder would go on to pop the escaped value
            assert coder.pop(int32(0), tables).tolist() == [entry + tables.minimums[0]]


def test_long_carries_are_resolved() -> None:
    # Entry 1 of this table keeps the middle of the interval, so the carry is open for many words.
    tables = TableSet(int32(2**23 - 1, 2, 2**23 - 1), int32(0, 3), int32(0))
    for last in (0, 1, 2):
        pairs = [(1, 0)] * 200 + [(last, 0)] * 3
        encoder = RangeEncoder()
        for entry, table in pairs:
            encoder.encode(int32(entry), tables, table)
        assert encoder.finish() == oracle.range_encode(
            [(entry, table_list(tables, 0)) for entry, _ in pairs]
        )
