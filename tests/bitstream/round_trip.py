"""Messages for the coder tests, and the one round-trip check that all of them use."""

import numpy as np
import numpy.typing as npt

from bitstream import AnsCoder, SymbolDecoder, SymbolEncoder, TableSet

Int32Array = npt.NDArray[np.int32]
Message = tuple[Int32Array, Int32Array, TableSet]  # symbols, indexes, tables


def check_round_trip(*messages: Message) -> bytes:
    """Assert that both coders return the messages and end clean; return the range coder's bytes."""
    encoder = SymbolEncoder()
    for message in messages:
        encoder.put(*message)
    data = encoder.finish()
    assert encoder.finish() == data, "finish must not change the encoder"
    decoder = SymbolDecoder(data)
    for symbols, indexes, tables in messages:
        np.testing.assert_array_equal(decoder.get(indexes, tables), symbols, strict=True)
    decoder.finish()

    stack = AnsCoder.seeded(3, seed=0)
    before = stack.to_bytes()
    for message in messages:
        stack.push(*message)
    stack = AnsCoder(stack.to_bytes())
    for symbols, indexes, tables in reversed(messages):
        np.testing.assert_array_equal(stack.pop(indexes, tables), symbols, strict=True)
    assert stack.to_bytes() == before, "popping everything must restore the first bits"
    return data


def int32(*values: int) -> Int32Array:
    return np.array(values, dtype=np.int32)


def random_frequencies(rng: np.random.Generator, entries: int) -> Int32Array:
    """Return a random valid table: flat, peaked or with many entries of 1."""
    weights = rng.random(entries) ** rng.choice([0.0, 1.0, 8.0, 40.0])
    shares = np.floor(weights / weights.sum() * (2**24 - entries)).astype(np.int64) + 1
    shares[rng.integers(entries)] += 2**24 - shares.sum()
    frequencies: Int32Array = shares.astype(np.int32)
    return frequencies


def random_tables(rng: np.random.Generator, count: int) -> TableSet:
    """Return ``count`` tables of 1 to 40 symbols around zero."""
    tables = [random_frequencies(rng, int(rng.integers(2, 42))) for _ in range(count)]
    return TableSet(
        frequencies=np.concatenate(tables),
        starts=np.cumsum([0, *map(len, tables)], dtype=np.int32),
        minimums=rng.integers(-30, 10, count).astype(np.int32),
    )


def random_message(
    rng: np.random.Generator, tables: TableSet, length: int, escapes: float = 0.0
) -> Message:
    """Draw entries by their probability, and a share of escaped values from all of int32."""
    indexes = rng.integers(0, len(tables), length).astype(np.int32)
    symbols = np.empty(length, dtype=np.int32)
    for k, table in enumerate(indexes):
        entries = tables.frequencies[tables.starts[table] : tables.starts[table + 1] - 1]
        symbols[k] = tables.minimums[table] + rng.choice(len(entries), p=entries / entries.sum())
    strange = rng.random(length) < escapes
    symbols[strange] = rng.integers(-(2**31), 2**31, int(strange.sum()))
    return symbols, indexes, tables
