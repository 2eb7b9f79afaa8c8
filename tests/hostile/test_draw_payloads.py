"""Payloads of DRAW that no encoder wrote: a PayloadError, quickly, in little memory."""

from __future__ import annotations

import resource
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitstream import PayloadError, SymbolEncoder
from codec.models.draw.exact import image_levels
from codec.models.draw.recursion import Prior
from tests.codec.models.draw.tiny import coder, scenes
from tests.limits import cpu_limit

ROWS, COLUMNS, QUALITY = 4, 6, 70
MAX_CPU_SECONDS = 4.0
MAX_BYTES = 100 * 2**20


@cache
def payloads() -> tuple[bytes, ...]:
    pixels = scenes(1, seed=50, side=48)[0].transpose(1, 2, 0)[: 8 * ROWS, : 8 * COLUMNS]
    return coder().encode_tile(coder().analyze(pixels, QUALITY), QUALITY)


def decode(layers: tuple[bytes, ...], rows: int = ROWS, columns: int = COLUMNS) -> None:
    coder().decode_tile(layers, rows, columns, QUALITY)


@pytest.mark.parametrize("layer", range(3))
def test_truncated_and_extended_layers_are_refused(layer: int) -> None:
    good = payloads()
    decode(good)
    payload = good[layer]
    cases = [payload[:length] for length in range(1, len(payload), 5)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload, payload + bytes(64)]
    for case in cases:
        with pytest.raises(PayloadError):
            decode((*good[:layer], case, *good[layer + 1 :]))


def test_another_size_and_another_order_are_refused() -> None:
    for rows, columns in ((ROWS, COLUMNS + 1), (ROWS - 1, COLUMNS), (1, 1)):
        with pytest.raises(PayloadError):
            decode(payloads(), rows, columns)
    first, second, third = payloads()
    for layers in ((second, first, third), (first, third, second), (first, first, third)):
        with pytest.raises(PayloadError):
            decode(layers)


@given(st.integers(0, 2), st.binary(min_size=1, max_size=200))
@settings(max_examples=40, deadline=None)
def test_noise_is_refused_in_time(layer: int, noise: bytes) -> None:
    good = payloads()
    if noise == good[layer]:
        return
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with cpu_limit(MAX_CPU_SECONDS), pytest.raises(PayloadError):
        decode((*good[:layer], noise, *good[layer + 1 :]))
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MAX_BYTES


@pytest.mark.parametrize("wild", [2**31 - 1, -(2**31), 2**16])
def test_wild_symbols_are_decoded_as_they_are(wild: int) -> None:
    # Such a file is valid: its picture is not nice, but the same everywhere.
    model = coder()
    network = model.network.at_quality(100 * QUALITY)
    state = network.recursion.begin(1, 16, 16)

    def choose(encoder: SymbolEncoder, level: int, prior: Prior) -> Tensor:
        indexes = network.scale_levels(prior.scale).flatten().to(torch.int32).numpy()
        encoder.put(np.full(indexes.shape, wild, dtype=np.int32), indexes, model.tables)
        return torch.full_like(prior.mean, float(wild))

    layers = []
    for _ in range(model.layers):
        encoder = SymbolEncoder()
        network.recursion.step(state, partial(choose, encoder))
        layers.append(encoder.finish())
    decoded = model.synthesize(model.decode_tile(layers, 2, 2, QUALITY), QUALITY)
    expected = image_levels(state.canvas)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(decoded, expected.numpy())
