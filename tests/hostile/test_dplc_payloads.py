"""Payloads of model 3 that no encoder wrote: a typed error, quickly, in little memory."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import (
    Container,
    PayloadError,
    StreamError,
    SymbolEncoder,
    container_from_bytes,
    container_to_bytes,
)
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.dplc.tiny import COLOUR, coder, scene
from tests.limits import check_refusal, cpu_limit

ROWS, COLUMNS, QUALITY = 3, 4, 100
MAX_CPU_SECONDS = 2.0
MAX_BYTES = 50 * 2**20


@cache
def payload() -> bytes:
    pixels = scene(32 * ROWS, 32 * COLUMNS)
    return coder().encode_tile(coder().analyze(pixels, QUALITY), QUALITY)[0]


def decode(data: bytes, rows: int = ROWS, columns: int = COLUMNS, quality: float = QUALITY) -> None:
    coder().decode_tile([data], rows, columns, quality)


def test_truncated_extended_and_empty_payloads_are_refused() -> None:
    good = payload()
    decode(good)
    cases = [good[:length] for length in range(len(good))]
    cases += [good[1:], good + b"\0", good + b"\1", good + good, good + bytes(64)]
    for case in cases:
        with pytest.raises(PayloadError):
            decode(case)


def test_another_number_of_blocks_or_rate_is_refused() -> None:
    for rows, columns in ((ROWS, COLUMNS + 1), (ROWS, COLUMNS - 1), (1, 1), (40, 40)):
        with pytest.raises(PayloadError):
            decode(payload(), rows, columns)
    for quality in (1, 50):
        with pytest.raises(PayloadError):
            decode(payload(), quality=quality)


def test_more_layers_than_the_model_has_are_refused() -> None:
    with pytest.raises(PayloadError, match="2 layers"):
        coder().decode_tile([payload(), b""], ROWS, COLUMNS, QUALITY)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([1, 50, 100]))
def test_random_payloads_are_refused(data: bytes, quality: float) -> None:
    if quality == 1 and not data:
        return  # which is right if there are no symbols
    with pytest.raises(PayloadError):
        decode(data, quality=quality)


def test_flipped_bits_are_refused_or_give_other_symbols() -> None:
    expected = coder().decode_tile([payload()], ROWS, COLUMNS, QUALITY)
    missed = 0
    for bit in range(8 * len(payload())):
        damaged = bytearray(payload())
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = coder().decode_tile([bytes(damaged)], ROWS, COLUMNS, QUALITY)
        except PayloadError:
            continue
        missed += 1
        assert (found != expected).any()
    # The end mark misses one case of damage in 2¹⁶.
    assert missed <= 1


def test_a_symbol_that_is_no_bit_is_refused() -> None:
    prior = coder().priors[2]
    assert prior is not None
    index = np.full(ROWS * COLUMNS, ((int(prior.bias[0]) + 64) >> 7) + 128, dtype=np.int32)
    for wild in (2, -1, 2**31 - 1, -(2**31)):
        symbols = np.zeros(ROWS * COLUMNS, dtype=np.int32)
        symbols[5] = wild
        encoder = SymbolEncoder()
        encoder.put(symbols, index, prior.tables)
        with pytest.raises(PayloadError, match="neither 0 nor 1"):
            decode(encoder.finish())


@pytest.mark.parametrize("fill", [b"\x00", b"\xff", b"\x55"])
def test_a_huge_sheet_from_few_bytes_is_refused_quickly(fill: bytes) -> None:
    data = fill * 255 + b"\x01"
    check_refusal(
        lambda: decode(data, 128, 128),
        PayloadError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES,
    )


def test_the_largest_sheet_is_decoded_in_little_time() -> None:
    blocks = 4096 // COLOUR.side
    rng = np.random.default_rng(0)
    latents = rng.normal(0, 1, (COLOUR.symbols(2), blocks, blocks)).astype(np.float32)
    (data,) = coder().encode_tile(latents, QUALITY)
    with cpu_limit(8):
        found = coder().decode_tile([data], blocks, blocks, QUALITY)
        coder().add_noise(found, QUALITY, 1)
    np.testing.assert_array_equal(found, np.where(latents >= 0, 0.5, -0.5))


@cache
def file() -> bytes:
    container = compress_picture(
        Picture(scene(40, 50)), coder(), quality=QUALITY, noise_seed=12345678901
    )
    return container_to_bytes(container)


def opened(data: bytes) -> Container:
    container = container_from_bytes(data)
    if container.header.model_id == 3:
        decompress_container(container, coder())
    return container


def test_every_flipped_bit_of_a_file_with_a_seed_is_noticed() -> None:
    opened(file())
    for bit in range(8 * len(file())):
        damaged = bytearray(file())
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            opened(bytes(damaged))
    for length in range(len(file())):
        with pytest.raises(StreamError):
            opened(file()[:length])


@pytest.mark.parametrize(
    "changes", [{"width": 4096, "height": 4096}, {"width": 2**20, "height": 9}]
)
def test_a_header_of_a_huge_picture_is_refused_quickly(changes: dict[str, int]) -> None:
    container = container_from_bytes(file())
    header = dataclasses.replace(container.header, **changes, tile_size=4096)  # type: ignore[arg-type]
    payloads = ((container.payloads[0][0],) * header.tile_count,)
    huge = dataclasses.replace(container, header=header, payloads=payloads)
    announced = 3 * 4096 * 4096  # the pixels of the picture
    check_refusal(
        lambda: decompress_container(huge, coder()),
        StreamError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES + announced,
    )
