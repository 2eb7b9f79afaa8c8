"""Payloads of the VAE models that no encoder wrote: a PayloadError, quickly, in little memory."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import PayloadError, SymbolEncoder, write_varint
from bitstream.ans_coder import AnsCoder
from codec.coding.channel_simulation import INDEX_BITS
from codec.coding.prior_tables import uniform_tables
from codec.models.base import LoadedModel
from codec.models.vae.sample_coders import RelativeEntropyCoder, VariationalBayesianCoder
from tests.codec.models.vae.tiny import NAMES, binary, bits_back, digits, lossy, sheet
from tests.limits import check_refusal, cpu_limit

ROWS, COLUMNS = 3, 4
MAX_CPU_SECONDS = 2.0
MAX_BYTES = 50 * 2**20


def model_named(name: str) -> LoadedModel:
    return bits_back() if name == "vae-bits-back" else lossy(name)


@cache
def payload_of(name: str) -> bytes:
    pixels = binary(sheet(digits(ROWS * COLUMNS, seed=1), COLUMNS))
    model = model_named(name)
    return model.encode_tile(model.analyze(np.repeat(pixels[:, :, None], 3, axis=2), 70), 70)[0]


def decode(name: str, payload: bytes, rows: int = ROWS, columns: int = COLUMNS) -> None:
    model_named(name).decode_tile([payload], rows, columns, 70)


@pytest.mark.parametrize("name", NAMES)
def test_truncated_extended_and_empty_payloads_are_refused(name: str) -> None:
    payload = payload_of(name)
    decode(name, payload)
    cases = [payload[:length] for length in range(0, len(payload), 3)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload, payload + bytes(64)]
    for case in cases:
        with pytest.raises(PayloadError):
            decode(name, case)


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_blocks_is_refused(name: str) -> None:
    for rows, columns in ((ROWS, COLUMNS + 1), (ROWS, COLUMNS - 1), (1, 1)):
        with pytest.raises(PayloadError):
            decode(name, payload_of(name), rows, columns)


@pytest.mark.parametrize("name", NAMES)
def test_another_quality_is_refused_or_gives_other_codes(name: str) -> None:
    model = model_named(name)
    if name == "vae-bits-back":
        pytest.skip("its payload does not depend on the quality")
    expected = model.decode_tile([payload_of(name)], ROWS, COLUMNS, 70)
    try:
        found = model.decode_tile([payload_of(name)], ROWS, COLUMNS, 30)
    except PayloadError:
        return
    assert not np.array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, max_examples=60, deadline=None)
@given(data=st.binary(max_size=600))
def test_random_payloads_are_refused(name: str, data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(name, data)


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_bit_is_refused_or_harmless(name: str) -> None:
    payload = payload_of(name)
    # The archive runs two networks for each image until it sees the damage.
    for bit in range(0, 8 * len(payload), 97 if name == "vae-bits-back" else 5):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            decode(name, bytes(damaged))
        except PayloadError:
            continue
        # The range coder's end mark misses one case of damage in 2¹⁶; the stack practically none.
        assert name != "vae-bits-back"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", [b"\x00", b"\xff", b"\x55"])
def test_a_huge_sheet_from_few_bytes_is_refused_quickly(name: str, fill: bytes) -> None:
    payload = write_varint(16) + fill * 255 + b"\x01" if name == "vae-bits-back" else fill * 256
    payload += b"\x01" * (-(len(payload) - 1) % 4 if name == "vae-bits-back" else 0)
    with pytest.raises(PayloadError):  # tables are built on first use
        decode(name, payload, 147, 147)
    # The archive holds the pixels of the sheet that the header announces.
    announced = 147 * 147 * 784 if name == "vae-bits-back" else 0
    check_refusal(
        lambda: decode(name, payload, 147, 147),
        PayloadError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES + announced,
    )


def test_an_index_class_that_does_not_exist_is_refused() -> None:
    coder = lossy("vae-rec").coder
    assert isinstance(coder, RelativeEntropyCoder)
    _, tables = coder.layout(7000)
    for bad in (INDEX_BITS, 40, -1):
        classes = np.zeros(ROWS * COLUMNS * len(tables), np.int32)
        classes[3] = bad
        encoder = SymbolEncoder()
        encoder.put(classes, np.tile(tables, ROWS * COLUMNS), coder.tables)
        with pytest.raises(PayloadError, match="class"):
            decode("vae-rec", encoder.finish())


def test_a_point_outside_the_dyadic_grid_is_refused() -> None:
    coder = lossy("vae-vbq").coder
    assert isinstance(coder, VariationalBayesianCoder)
    (message,) = coder.messages(lossy("vae-vbq").posterior(np.zeros((8, 3, 4), np.float32)), 7000)
    for bad in (0, -5, 2**20):
        symbols = message.symbols.copy()
        symbols[7] = bad
        encoder = SymbolEncoder()
        encoder.put(symbols, message.indexes, message.tables)
        with pytest.raises(PayloadError, match="grid"):
            decode("vae-vbq", encoder.finish())


def test_enormous_symbols_are_drawn_as_finite_pixels() -> None:
    for name in ("vae-round", "vae-dither"):
        model = lossy(name)
        (message,) = model.coder.messages(model.posterior(np.zeros((8, 3, 4), np.float32)), 7000)
        symbols = np.full_like(message.symbols, 2**31 - 1)
        encoder = SymbolEncoder()
        encoder.put(symbols, message.indexes, message.tables)
        codes = model.decode_tile([encoder.finish()], ROWS, COLUMNS, 70)
        assert np.isfinite(codes).all()
        model.synthesize(codes, 70)


@pytest.mark.parametrize("words", [0, 15, 2**14 + 1, 2**40])
def test_a_seed_of_a_strange_size_is_refused(words: int) -> None:
    body = AnsCoder.seeded(64, 0).to_bytes()
    with pytest.raises(PayloadError, match="seed"):
        decode("vae-bits-back", write_varint(words) + body)


@pytest.mark.parametrize("name", NAMES)
def test_more_layers_than_the_model_has_are_refused(name: str) -> None:
    with pytest.raises(PayloadError, match="2 layers"):
        model_named(name).decode_tile([payload_of(name), b""], ROWS, COLUMNS, 70)


def test_the_largest_sheet_of_the_largest_indexes_is_decoded_in_little_time() -> None:
    # 65,000 parts with their last candidates; one by one they would take ten seconds.
    coder = lossy("vae-rec").coder
    assert isinstance(coder, RelativeEntropyCoder)
    _, tables = coder.layout(10_000)
    classes = np.full(147 * 147 * len(tables), INDEX_BITS - 1, dtype=np.int32)
    encoder = SymbolEncoder()
    encoder.put(classes, np.tile(tables, 147 * 147), coder.tables)
    encoder.put((1 << classes) - 1, classes, uniform_tables(INDEX_BITS - 1))
    payload = encoder.finish()
    with cpu_limit(6):
        lossy("vae-rec").decode_tile([payload], 147, 147, 100)
