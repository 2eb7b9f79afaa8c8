"""Symbols to bytes and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import (
    AnsCoder,
    PayloadError,
    SymbolDecoder,
    SymbolEncoder,
    TableSet,
    UsageError,
    gaussian_tables,
    tables_from_pmfs,
)
from tests.bitstream import oracle
from tests.bitstream.round_trip import (
    Int32Array,
    check_round_trip,
    int32,
    random_message,
    random_tables,
)
from tests.limits import cpu_limit

# Three symbols -1, 0, 1 with 1/4, 1/2 and 1/4 minus one unit for the escape; and a wider table.
SMALL = TableSet(int32(2**22, 2**23, 2**22 - 1, 1, 2**23, 2**23), int32(0, 4, 6), int32(-1, 5))


def test_exact_bytes() -> None:
    message = int32(0, 1, 5, -1, 0, 0, 5), int32(0, 0, 1, 0, 0, 0, 1), SMALL
    # Sorted: 0 1 -1 0 0 | 5 5.  Nine bits for the symbols, sixteen for the end mark.
    assert check_round_trip(message).hex() == "a32aab"


def test_exact_bytes_with_escapes() -> None:
    message = int32(2, -2, 100, -(2**31), 2**31 - 1), int32(0, 0, 0, 0, 1), SMALL
    # v: 1, 2, 2 * 98 + 1 = 0b11000101, 2 (2**31 - 2) + 2 and 2 (2**31 - 7) + 1; see FORMAT.md
    numbers = [1, 2, 197, 2**32 - 2, 2**32 - 13]
    table_0, table_1 = [2**22, 2**23, 2**22 - 1, 1], [2**23, 2**23]
    classes = [2**23 - 9, *(2**k for k in range(22, 0, -1)), *[1] * 11]
    expected = [(3, table_0)] * 4 + [(1, table_1)]
    expected += [(k, classes) for k in (0, 1, 7, 31, 31)]
    for bit in range(30, -1, -1):
        expected += [(v >> bit & 1, [2**23, 2**23]) for v in numbers if v >> (bit + 1)]
    assert check_round_trip(message) == oracle.range_encode(expected)


def test_an_empty_stream_is_no_bytes() -> None:
    assert check_round_trip() == b""
    assert check_round_trip((int32(), int32(), SMALL)) == b""


def test_a_put_of_nothing_changes_nothing() -> None:
    message, nothing = (int32(1), int32(0), SMALL), (int32(), int32(), SMALL)
    assert check_round_trip(nothing, message, nothing) == check_round_trip(message)


def test_certain_symbols_cost_almost_nothing() -> None:
    certain = tables_from_pmfs([(0, np.array([1.0]))])
    n = 100_000
    assert len(check_round_trip((np.zeros(n, np.int32), np.zeros(n, np.int32), certain))) <= 5


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), chosen=st.integers(0, 31))
def test_symbols_of_certain_tables_are_left_out(seed: int, chosen: int) -> None:
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, 5)
    symbols, indexes, _ = random_message(rng, tables, 60)
    certain = np.array([bool(chosen >> table & 1) for table in range(5)])
    some = tables.with_certain(certain, -3)
    symbols[certain[indexes]] = -3
    others = ~certain[indexes]
    expected = check_round_trip((symbols[others], indexes[others], tables))
    assert check_round_trip((symbols, indexes, some)) == expected
    stack = AnsCoder.seeded(64, 1)
    bits = stack.bits
    stack.push(symbols, indexes, some)
    np.testing.assert_array_equal(stack.pop(indexes, some), symbols)
    assert stack.bits == bits


def test_certain_symbols_alone_are_no_bytes() -> None:
    tables = SMALL.with_certain(np.array([True, False]))
    assert check_round_trip((int32(0, 0), int32(0, 0), tables)) == b""
    with pytest.raises(UsageError, match="codes 0 alone"):
        SymbolEncoder().put(int32(0, 1), int32(0, 0), tables)


@pytest.mark.parametrize(
    "value", [-(2**31), -(2**31) + 1, -3, -2, 2, 3, 4, 5, 2**31 - 2, 2**31 - 1]
)
def test_escape_extremes(value: int) -> None:
    check_round_trip((int32(value), int32(0), SMALL))
    edges = TableSet(int32(2**24 - 1, 1, 2**24 - 1, 1), int32(0, 2, 4), int32(-(2**31), 2**31 - 1))
    check_round_trip((int32(value, value), int32(0, 1), edges))


def test_code_length_counts_escapes() -> None:
    rng = np.random.default_rng(0)
    tables = random_tables(rng, 5)
    message = random_message(rng, tables, 3000, escapes=0.05)
    ideal_bytes = tables.code_length_bits(*message[:2]) / 8
    assert ideal_bytes <= len(check_round_trip(message)) <= 1.001 * ideal_bytes + 8


def test_more_than_256_tables() -> None:
    rng = np.random.default_rng(0)
    tables = random_tables(rng, 300)
    message = random_message(rng, tables, 2000, escapes=0.01)
    # Using a wrong table would cost far more than the ideal.
    ideal_bytes = tables.code_length_bits(*message[:2]) / 8
    assert len(check_round_trip(message)) <= ideal_bytes + 8


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.data())
def test_every_message_survives(data: st.DataObject) -> None:
    tables = random_tables(np.random.default_rng(data.draw(st.integers(0, 99))), 4)
    values = st.one_of(st.integers(-40, 40), st.integers(-(2**31), 2**31 - 1))
    messages = []
    for length in data.draw(st.lists(st.integers(0, 12), max_size=3)):
        symbols = data.draw(st.lists(values, min_size=length, max_size=length))
        indexes = data.draw(st.lists(st.integers(0, 3), min_size=length, max_size=length))
        messages.append((int32(*symbols), int32(*indexes), tables))
    check_round_trip(*messages)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.binary(max_size=24), st.integers(0, 60))
def test_any_bytes_decode_canonically_or_not_at_all(data: bytes, count: int) -> None:
    tables = gaussian_tables(np.array([0.3, 5.0]), tail_mass=0.01)
    indexes = (np.arange(count) % 2).astype(np.int32)
    decoder = SymbolDecoder(data)
    try:
        symbols = decoder.get(indexes, tables)
        decoder.finish()
    except PayloadError:
        return
    encoder = SymbolEncoder()
    encoder.put(symbols, indexes, tables)
    assert encoder.finish() == data


@pytest.mark.parametrize("minimum", [-(2**31), 2**31 - 1])
def test_escapes_past_int32_are_refused(minimum: int) -> None:
    # The table covers one end of int32.  v = 2 and v = 3 lie next to it, below and above.
    tables = TableSet(int32(2**23, 2**23), int32(0, 2), int32(minimum))
    classes = [2**23 - 9, *(2**k for k in range(22, 0, -1)), *[1] * 11]
    table, fair = [2**23, 2**23], [2**23, 2**23]
    for v in (2, 3):
        data = oracle.range_encode([(1, table), (1, classes), (v & 1, fair)])
        decoder = SymbolDecoder(data)
        if (v == 2) == (minimum > 0):
            assert decoder.get(int32(0), tables).tolist() == [
                minimum - 1 if v == 2 else minimum + 2
            ]
            decoder.finish()
        else:
            with pytest.raises(PayloadError, match="int32"):
                decoder.get(int32(0), tables)


def payload() -> tuple[bytes, Int32Array, TableSet]:
    rng = np.random.default_rng(4)
    symbols, indexes, tables = random_message(rng, random_tables(rng, 3), 200, escapes=0.02)
    encoder = SymbolEncoder()
    encoder.put(symbols, indexes, tables)
    return encoder.finish(), indexes, tables


def decode(data: bytes, indexes: Int32Array, tables: TableSet) -> None:
    decoder = SymbolDecoder(data)
    decoder.get(indexes, tables)
    decoder.finish()


def test_cut_payloads_are_refused() -> None:
    data, indexes, tables = payload()
    for length in range(len(data)):
        with pytest.raises(PayloadError):
            decode(data[:length], indexes, tables)


@pytest.mark.parametrize(
    "tail", [b"\0", b"\1", b"\x80", b"\xff", b"\0\0\0\1", bytes(100), b"a" * 9]
)
def test_bytes_left_over_are_refused(tail: bytes) -> None:
    data, indexes, tables = payload()
    with pytest.raises(PayloadError):
        decode(data + tail, indexes, tables)


def test_too_few_and_too_many_symbols_are_refused() -> None:
    data, indexes, tables = payload()
    for wrong in (
        indexes[:-1],
        np.append(indexes, int32(0)),
        indexes[:0],
        int32(*indexes, *indexes),
    ):
        with pytest.raises(PayloadError):
            decode(data, wrong, tables)


def test_a_decoder_that_lost_its_place_finds_out() -> None:
    # Indexes that differ from the encoder's, as in a codec that computes them in floating point.
    data, indexes, tables = payload()
    for place in range(0, len(indexes), 10):
        wrong = indexes.copy()
        wrong[place] = (wrong[place] + 1) % 3
        with pytest.raises(PayloadError):
            decode(data, wrong, tables)


@pytest.mark.parametrize("filler", [0x00, 0x7F, 0x80, 0xFF])
def test_constant_payloads_are_refused(filler: int) -> None:
    _, indexes, tables = payload()
    for length in (0, 1, 7, 8, 9, 100, 1000):
        with pytest.raises(PayloadError):
            decode(bytes([filler]) * length, indexes, tables)


@pytest.mark.parametrize(
    ("symbols", "indexes"),
    [
        (int32(1), int32(2)),
        (int32(1), int32(-1)),
        (int32(1, 2), int32(0)),
        (np.array([1]), int32(0)),
        (int32(1), np.array([0])),
        (int32(1).reshape(1, 1), int32(0).reshape(1, 1)),
    ],
)
def test_wrong_arguments_are_usage_errors(symbols: Int32Array, indexes: Int32Array) -> None:
    with pytest.raises(UsageError):
        SymbolEncoder().put(symbols, indexes, SMALL)
    with pytest.raises(UsageError):
        SMALL.code_length_bits(symbols, indexes)
    if symbols.shape == int32(1).shape and symbols.dtype == np.int32:
        with pytest.raises(UsageError):
            SymbolDecoder(b"abc").get(indexes, SMALL)


def test_bits_back_recovers_the_bits() -> None:
    # A latent costs its bits under the prior minus those under the posterior that it comes from.
    prior, posterior = gaussian_tables(np.array([8.0])), gaussian_tables(np.array([2.0]))
    stack = AnsCoder.seeded(200, seed=7)
    before, bits = stack.to_bytes(), stack.bits
    indexes = np.zeros(300, dtype=np.int32)
    latent = stack.pop(indexes, posterior)
    assert 1.5 < latent.std() < 2.5
    stack.push(latent, indexes, prior)
    expected = prior.code_length_bits(latent, indexes) - posterior.code_length_bits(latent, indexes)
    assert abs(stack.bits - bits - expected) < 2
    assert (stack.pop(indexes, prior) == latent).all()
    stack.push(latent, indexes, posterior)
    assert stack.to_bytes() == before


@pytest.mark.parametrize("data", [b"abc", bytes(4), b"abcd" + bytes(4)])
def test_bytes_that_are_no_stack_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadError):
        AnsCoder(data)


def test_seeded_stacks_are_reproducible() -> None:
    assert AnsCoder.seeded(2, seed=0).to_bytes().hex() == "cfeb0fa3f8bd10c5"
    with pytest.raises(UsageError):
        AnsCoder.seeded(-1, seed=0)


def test_decoding_past_the_end_stops_early() -> None:
    tables = gaussian_tables(np.array([4.0]))
    indexes = np.zeros(20_000_000, dtype=np.int32)
    # Decoding everything would take much longer.
    with cpu_limit(2), pytest.raises(PayloadError, match="past their end"):
        SymbolDecoder(b"").get(indexes, tables)


def test_messages_longer_than_a_piece_survive() -> None:
    tables = gaussian_tables(np.array([0.3, 4.0]))
    rng = np.random.default_rng(0)
    symbols = rng.integers(-3, 4, 200_000).astype(np.int32)
    indexes = np.ones(200_000, dtype=np.int32)
    check_round_trip((symbols, indexes, tables))
