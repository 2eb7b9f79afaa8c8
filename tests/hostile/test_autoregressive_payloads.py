"""Payloads of the autoregressive models that no encoder wrote: a PayloadError, quickly."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import PayloadError
from bitstream.arrays import Array, BoolArray, Int32Array
from bitstream.symbols import SymbolEncoder
from codec.models.autoregressive.coder import AutoregressiveCoder
from tests.codec.models.autoregressive.tiny import CONFIGS, coder, pictures
from tests.limits import check_refusal

ROWS, COLUMNS = 2, 3
MAX_CPU_SECONDS = 5.0
MAX_BYTES = 150 * 2**20

NAMES = pytest.mark.parametrize("name", CONFIGS)


@cache
def model_of(name: str) -> AutoregressiveCoder:
    return coder(name)


@cache
def payload_of(name: str) -> bytes:
    model, sheet = model_of(name), pictures(ROWS, COLUMNS, seed=2)
    return model.encode_tile(model.analyze(sheet[:, :, None], 100), 100)[0]


def decode(name: str, payload: bytes, rows: int = ROWS, columns: int = COLUMNS) -> Array:
    return model_of(name).decode_tile([payload], rows, columns, 100)


@NAMES
def test_truncated_extended_and_empty_payloads_are_refused(name: str) -> None:
    payload = payload_of(name)
    decode(name, payload)
    cases = [payload[:length] for length in range(0, len(payload), 101)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload, payload + bytes(64)]
    for case in cases:
        with pytest.raises(PayloadError):
            decode(name, case)


@NAMES
def test_another_number_of_blocks_or_layers_is_refused(name: str) -> None:
    for rows, columns in ((ROWS, COLUMNS + 1), (ROWS, COLUMNS - 1), (1, 1)):
        with pytest.raises(PayloadError):
            decode(name, payload_of(name), rows, columns)
    with pytest.raises(PayloadError, match="layers"):
        model_of(name).decode_tile([payload_of(name)] * 2, ROWS, COLUMNS, 100)


@NAMES
@settings(derandomize=True, max_examples=20, deadline=None)
@given(data=st.binary(max_size=300))
def test_random_payloads_are_refused(name: str, data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(name, data)


@NAMES
def test_every_flipped_bit_is_refused(name: str) -> None:
    payload = payload_of(name)
    for bit in range(0, 8 * len(payload), 997):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PayloadError):
            decode(name, bytes(damaged))


@NAMES
@pytest.mark.parametrize("fill", [b"\x01", b"\xff", b"\x55"])
def test_a_huge_sheet_from_few_bytes_is_refused_quickly(name: str, fill: bytes) -> None:
    decode(name, payload_of(name))
    announced = 147 * 147 * 784  # the pixels of the sheet that the header announces
    check_refusal(
        lambda: decode(name, fill * 256, 147, 147),
        PayloadError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES + announced,
    )


def test_a_symbol_that_is_no_pixel_is_refused() -> None:
    model = model_of("digits-fvsbn")
    encoder = SymbolEncoder()

    def code(group: slice, place: int, indexes: Int32Array) -> BoolArray:
        pixels = np.zeros(len(indexes), np.int32)
        pixels[2] = 2 if place == 5 else 0
        encoder.put(pixels, indexes, model.tables)
        return pixels > 0

    model.sweep(ROWS * COLUMNS, code)
    with pytest.raises(PayloadError, match="neither 0 nor 1"):
        decode("digits-fvsbn", encoder.finish())
