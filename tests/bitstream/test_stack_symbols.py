"""Symbols on an ANS stack: the same messages back, and no other bytes are accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream import PayloadError, TableSet, UsageError, gaussian_tables
from bitstream.arrays import Int32Array
from bitstream.symbols import StackDecoder, StackEncoder
from bitstream.tables import TOTAL
from tests.limits import cpu_limit

TABLES = gaussian_tables(np.array([0.1, 0.5, 4.0, 30.0])).with_certain(
    np.array([True, False, False, False])
)
SYMBOLS = np.array([0, 3, -7, 1, 90000, -(2**31)], dtype=np.int32)
INDEXES = np.array([0, 1, 2, 1, 2, 3], dtype=np.int32)


def encoded(*messages: tuple[Int32Array, Int32Array], tables: TableSet = TABLES) -> bytes:
    encoder = StackEncoder()
    for symbols, indexes in messages:
        encoder.put(symbols, indexes, tables)
    return b"".join(encoder.finish())


def decoded(data: bytes, indexes: Int32Array) -> Int32Array:
    decoder = StackDecoder(data)
    symbols = decoder.get(indexes, TABLES)
    decoder.finish()
    return symbols


def random_message(count: int, seed: int = 1) -> tuple[Int32Array, Int32Array]:
    rng = np.random.default_rng(seed)
    indexes = rng.integers(0, 4, count).astype(np.int32)
    spreads = np.array([0, 0.5, 4, 30])[indexes]
    return np.rint(rng.normal(0, 1, count) * spreads).astype(np.int32), indexes


def test_messages_come_back_in_their_order() -> None:
    other = random_message(5000)
    data = encoded((SYMBOLS, INDEXES), other, (SYMBOLS[:0], INDEXES[:0]))
    decoder = StackDecoder(data)
    for symbols, indexes in ((SYMBOLS, INDEXES), other):
        np.testing.assert_array_equal(decoder.get(indexes, TABLES), symbols)
    assert decoder.get(INDEXES[:0], TABLES).shape == (0,)
    decoder.finish()


def test_the_bytes_are_those_of_the_stack() -> None:
    assert encoded() == bytes([0x18, 0x41])
    table = TableSet(
        frequencies=np.array([2**22, 2**23, 2**22], dtype=np.int32),
        starts=np.array([0, 3], dtype=np.int32),
        minimums=np.array([0], dtype=np.int32),
    )
    symbols, indexes = np.array([1, 0], dtype=np.int32), np.zeros(2, dtype=np.int32)
    state = 0x1841
    for symbol in (0, 1):  # the last one first
        frequency, below = ((2**22, 0), (2**23, 2**22))[symbol]
        state = (state // frequency << 24) + below + state % frequency
    assert encoded((symbols, indexes), tables=table) == state.to_bytes(3, "big")


def test_the_size_is_the_code_length_and_two_bytes() -> None:
    symbols, indexes = random_message(20_000)
    data = encoded((symbols, indexes))
    bits = TABLES.code_length_bits(symbols, indexes)
    assert 0 <= len(data) - bits / 8 <= 4


def test_the_first_messages_need_only_their_own_bytes() -> None:
    messages = [random_message(count, count) for count in (3000, 0, 700, 2, 5000)]
    encoder = StackEncoder()
    for symbols, indexes in messages:
        encoder.put(symbols, indexes, TABLES)
    parts = encoder.finish()
    assert len(parts) == len(messages)
    assert parts[1] == b""
    for known in range(1, len(messages) + 1):
        decoder = StackDecoder(b"".join(parts[:known]))
        for symbols, indexes in messages[:known]:
            np.testing.assert_array_equal(decoder.get(indexes, TABLES), symbols)
        assert decoder.unread_bytes == 0
    decoder.finish()
    bits = TABLES.code_length_bits(*messages[0])
    assert abs(len(parts[0]) - bits / 8) <= 8


def test_unread_bytes_are_those_of_later_messages() -> None:
    encoder = StackEncoder()
    for message in (random_message(500, 3), random_message(4000, 4)):
        encoder.put(*message, TABLES)
    first, second = encoder.finish()
    decoder = StackDecoder(first + second)
    decoder.get(random_message(500, 3)[1], TABLES)
    assert decoder.unread_bytes == len(second)
    decoder.get(random_message(4000, 4)[1], TABLES)
    decoder.finish()


@pytest.mark.parametrize("cut", [1, 2, 4, 400])
def test_bytes_that_are_cut_or_longer_are_refused(cut: int) -> None:
    symbols, indexes = random_message(5000)
    data = encoded((symbols, indexes))
    for damaged in (
        data[:-cut],
        data[cut:],
        bytes([7] * cut) + data,
        data + bytes(cut),
        bytes(cut) + data,
    ):
        with pytest.raises(PayloadError):
            decoded(damaged, indexes)


@given(st.binary(max_size=60))
def test_accepted_bytes_are_those_that_the_symbols_encode_to(data: bytes) -> None:
    indexes = np.array([1, 2, 3, 1], dtype=np.int32)
    try:
        symbols = decoded(data, indexes)
    except PayloadError:
        return
    assert encoded((symbols, indexes)) == data


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20))
def test_all_symbols_round_trip(values: list[int]) -> None:
    symbols = np.array(values, dtype=np.int32)
    indexes = np.arange(len(values), dtype=np.int32) % 3 + 1
    np.testing.assert_array_equal(decoded(encoded((symbols, indexes)), indexes), symbols)


@pytest.mark.parametrize("data", [b"\x18\x41", b"\x01", bytes(range(1, 200)), b"\xff" * 40])
def test_few_bytes_do_not_decode_to_many_symbols(data: bytes) -> None:
    indexes = np.full(2**24, 3, dtype=np.int32)
    with cpu_limit(5), pytest.raises(PayloadError):
        StackDecoder(data).get(indexes, TABLES)


def test_no_bytes_are_refused() -> None:
    with pytest.raises(PayloadError, match="0 bytes"):
        StackDecoder(b"")


def test_a_symbol_that_its_certain_table_has_not_is_refused() -> None:
    with pytest.raises(UsageError):
        encoded((np.ones(1, dtype=np.int32), np.zeros(1, dtype=np.int32)))


@pytest.mark.parametrize("width", [3, 4, 65])
def test_entries_of_rows_come_back_among_other_messages(width: int) -> None:
    rng = np.random.default_rng(width)
    weights = rng.integers(1, 2**17, (300, width)).astype(np.int32)
    weights[:, 1] = 1
    weights[:, -2] += TOTAL - weights.sum(axis=1, dtype=np.int32)
    entries = rng.integers(0, width, 300).astype(np.int32)
    entries[:2] = 0, width - 1
    encoder = StackEncoder()
    encoder.put(SYMBOLS, INDEXES, TABLES)
    encoder.put_rows(entries, weights)
    encoder.put_rows(entries[:0], weights[:0])
    encoder.put(SYMBOLS, INDEXES, TABLES)
    bits = encoder.code_length_bits()
    data = b"".join(encoder.finish())
    own = np.take_along_axis(weights, entries[:, None].astype(np.int64), 1)
    message = TABLES.code_length_bits(SYMBOLS, INDEXES)
    assert bits == pytest.approx(2 * message - np.log2(own / TOTAL).sum())
    assert 8 * len(data) == pytest.approx(bits, abs=64)
    decoder = StackDecoder(data)
    decoder.get(INDEXES, TABLES)
    np.testing.assert_array_equal(decoder.get_rows(weights), entries)
    assert decoder.get_rows(weights[:0]).shape == (0,)
    np.testing.assert_array_equal(decoder.get(INDEXES, TABLES), SYMBOLS)
    decoder.finish()
    with pytest.raises(PayloadError, match="ran out"):
        StackDecoder(data[:5]).get_rows(weights)
