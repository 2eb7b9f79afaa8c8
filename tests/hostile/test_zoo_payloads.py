"""Payloads of compressai that no encoder wrote: a PayloadError, quickly, in little memory."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import PayloadError, SymbolEncoder
from codec.models.compressai.coder import HyperPrior, ZooCoder
from tests.codec.models.compressai.tiny import HYPER_LATENTS, KINDS, LATENTS, coder, latents_of
from tests.limits import check_refusal

ROWS, COLUMNS = 6, 7
MAX_CPU_SECONDS = 2.0
MAX_BYTES = 50 * 2**20


@cache
def model_named(architecture: str) -> ZooCoder:
    return coder(architecture)


@cache
def payload_of(architecture: str) -> bytes:
    model = model_named(architecture)
    return model.encode_tile(latents_of(model, ROWS, COLUMNS), 75)[0]


def decode(architecture: str, payload: bytes, rows: int = ROWS, columns: int = COLUMNS) -> None:
    model_named(architecture).decode_tile([payload], rows, columns, 75)


@pytest.mark.parametrize("architecture", KINDS)
def test_truncated_extended_and_empty_payloads_are_refused(architecture: str) -> None:
    payload = payload_of(architecture)
    decode(architecture, payload)
    cases = [payload[:length] for length in range(0, len(payload), 29)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload]
    for case in cases:
        with pytest.raises(PayloadError):
            decode(architecture, case)
    with pytest.raises(PayloadError, match="2 layers"):
        model_named(architecture).decode_tile([payload, payload], ROWS, COLUMNS, 75)


@pytest.mark.parametrize("architecture", KINDS)
def test_another_size_of_tile_is_refused(architecture: str) -> None:
    for rows, columns in ((ROWS, COLUMNS + 2), (ROWS - 2, COLUMNS), (1, 1)):
        with pytest.raises(PayloadError):
            decode(architecture, payload_of(architecture), rows, columns)


def test_a_payload_of_another_architecture_is_refused() -> None:
    for one, other in zip(KINDS, (*KINDS[1:], KINDS[0]), strict=True):
        with pytest.raises(PayloadError):
            decode(one, payload_of(other))


@pytest.mark.parametrize("architecture", KINDS)
@settings(derandomize=True, max_examples=25, deadline=None)
@given(data=st.binary(max_size=600))
def test_random_payloads_are_refused(architecture: str, data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(architecture, data)


@pytest.mark.parametrize("architecture", KINDS)
def test_flipped_bits_are_refused(architecture: str) -> None:
    payload = payload_of(architecture)
    for bit in range(0, 8 * len(payload), 149):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PayloadError):
            decode(architecture, bytes(damaged))


@pytest.mark.parametrize("architecture", KINDS)
@pytest.mark.parametrize("fill", [b"\x00", b"\xff", b"\x55"])
def test_a_huge_tile_from_few_bytes_is_refused_quickly(architecture: str, fill: bytes) -> None:
    payload = fill * 255 + b"\x01"
    with pytest.raises(PayloadError):  # tables are built on first use
        decode(architecture, payload, 256, 256)
    check_refusal(
        lambda: decode(architecture, payload, 256, 256),
        PayloadError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES,
    )


def put(
    encoder: SymbolEncoder, hyper: HyperPrior, scales: torch.Tensor, value: int
) -> torch.Tensor:
    symbols = torch.full(scales.shape, value, dtype=torch.int32)
    encoder.put(symbols.flatten().numpy(), hyper.indexes(scales), hyper.tables)
    return symbols


@pytest.mark.parametrize("architecture", KINDS)
@pytest.mark.parametrize("value", [2**31 - 1, -(2**31)])
def test_enormous_symbols_are_drawn_as_pixels(architecture: str, value: int) -> None:
    model = model_named(architecture)
    hyper = model.network.hyper
    channels, shape = (LATENTS, (4, 4)) if hyper is None else (HYPER_LATENTS, (1, 1))
    factorized = model.network.factorized
    encoder = SymbolEncoder()
    indexes = factorized.indexes(*shape)
    symbols = np.full(channels * shape[0] * shape[1], value, dtype=np.int32)
    encoder.put(symbols, indexes, factorized.tables)
    if hyper is not None:
        values = factorized.values(torch.from_numpy(symbols).reshape(channels, *shape))
        parameters = hyper.synthesis(values.double()[None])[0]
        if hyper.context is None:
            put(encoder, hyper, parameters[:LATENTS], value)
        else:
            hyper.context.scan(parameters, lambda scales, *_: put(encoder, hyper, scales, value))
    latents = model.decode_tile([encoder.finish()], 4, 4, 75)
    assert model.synthesize(latents, 75).shape == (64, 64, 3)
