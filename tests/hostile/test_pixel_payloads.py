"""Payloads of the pixel models that no encoder wrote: PayloadError, in little time and memory."""

from __future__ import annotations

import tracemalloc
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import PayloadError
from codec.models.pixel.coder import WITH_DIFFERENCES, WITH_MAP, PixelCoder, dequantize_pixels
from tests.codec.models.pixel.tiny import (
    Uint8Array,
    drawing,
    from_chroma,
    scene,
    tiny_coder,
    tiny_near_lossless,
)
from tests.limits import check_refusal, cpu_limit

HEIGHT, WIDTH = 11, 14
MAX_CPU_SECONDS = 4.0
MAX_BYTES = 150 * 2**20


MAX_ERRORS = pytest.mark.parametrize("max_error", [0, 1, 16])


def coder_of(max_error: int) -> PixelCoder:
    return tiny_near_lossless(max_error) if max_error else tiny_coder()


@cache
def payload_of_scene(max_error: int = 0) -> bytes:
    coder = coder_of(max_error)
    return coder.encode_tile(coder.analyze(scene(HEIGHT, WIDTH), 100), 100)[0]


def decode(
    payload: bytes, height: int = HEIGHT, width: int = WIDTH, max_error: int = 0
) -> Uint8Array:
    return coder_of(max_error).decode_tile([payload], height, width, 100)


@MAX_ERRORS
def test_truncated_extended_and_empty_payloads_are_refused(max_error: int) -> None:
    payload = payload_of_scene(max_error)
    decode(payload, max_error=max_error)
    cases = [payload[:length] for length in range(0, len(payload), 40)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload, payload + bytes(64)]
    for case in cases:
        with pytest.raises(PayloadError):
            decode(case, max_error=max_error)


@pytest.mark.parametrize("planes", [0, 1, 2, 4, 16, 18, 19, 32, 33, 35, 49, 51, 67, 255])
def test_another_number_of_planes_is_refused(planes: int) -> None:
    with pytest.raises(PayloadError):
        decode(bytes([planes]) + payload_of_scene()[1:])


@MAX_ERRORS
def test_another_size_is_refused(max_error: int) -> None:
    for height, width in ((HEIGHT, WIDTH + 1), (HEIGHT + 1, WIDTH), (WIDTH, HEIGHT), (1, 1)):
        with pytest.raises(PayloadError):
            decode(payload_of_scene(max_error), height, width, max_error)


def test_several_payloads_are_refused() -> None:
    with pytest.raises(PayloadError, match="2 layers"):
        tiny_coder().decode_tile([payload_of_scene()] * 2, HEIGHT, WIDTH, 100)


@pytest.mark.parametrize("content", [b"\1", b"\x55" * 30, b"\xff" * 400])
@pytest.mark.parametrize("planes", [1, 3, 3 | WITH_MAP, 3 | WITH_DIFFERENCES])
@MAX_ERRORS
def test_a_huge_tile_of_few_bytes_is_refused_quickly(
    content: bytes, planes: int, max_error: int
) -> None:
    payload = bytes([planes]) + content
    check_refusal(
        lambda: decode(payload, 4096, 4096, max_error),
        PayloadError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES,
    )


@settings(max_examples=20)
@given(st.integers(1, 5000), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_gives_other_pixels(place: int, change: int) -> None:
    payload = bytearray(payload_of_scene())
    payload[place % len(payload)] ^= change
    with cpu_limit(MAX_CPU_SECONDS):
        try:
            decoded = tiny_coder().decode_tile([bytes(payload)], HEIGHT, WIDTH, 100)
        except PayloadError:
            return
    assert not np.array_equal(decoded.transpose(1, 2, 0), scene(HEIGHT, WIDTH))


@cache
def payload_of_drawing() -> bytes:
    payload = tiny_coder().encode_tile(tiny_coder().analyze(drawing(HEIGHT, WIDTH), 100), 100)[0]
    assert payload[0] == 3 | WITH_MAP
    return payload


@settings(max_examples=60)
@given(st.integers(0, 5000), st.integers(1, 255))
def test_a_changed_byte_of_a_drawing_is_refused_or_gives_other_pixels(
    place: int, change: int
) -> None:
    payload = bytearray(payload_of_drawing())
    payload[place % len(payload)] ^= change
    with cpu_limit(MAX_CPU_SECONDS):
        try:
            found = decode(bytes(payload))
        except PayloadError:
            return
    assert not np.array_equal(found.transpose(1, 2, 0), drawing(HEIGHT, WIDTH))


@cache
def payload_of_differences() -> bytes:
    coder = tiny_coder()
    payload = coder.encode_tile(coder.analyze(from_chroma(48, 60), 100), 100)[0]
    assert payload[0] == 3 | WITH_DIFFERENCES
    return payload


@settings(max_examples=30)
@given(st.one_of(st.integers(0, 400), st.integers(0, 5000)), st.integers(1, 255))
def test_a_changed_byte_of_a_list_or_of_blue_is_refused_or_gives_other_pixels(
    place: int, change: int
) -> None:
    payload = bytearray(payload_of_differences())
    payload[place % len(payload)] ^= change
    with cpu_limit(MAX_CPU_SECONDS):
        try:
            found = decode(bytes(payload), 48, 60)
        except PayloadError:
            return
    assert not np.array_equal(found.transpose(1, 2, 0), from_chroma(48, 60))


def test_differences_that_are_cut_or_of_another_size_are_refused() -> None:
    payload = payload_of_differences()
    for length in range(0, len(payload), 60):
        with pytest.raises(PayloadError):
            decode(payload[:length], 48, 60)
    for height, width in ((48, 61), (49, 60), (1, 1)):
        with pytest.raises(PayloadError):
            decode(payload, height, width)


def test_a_drawing_that_is_cut_or_of_another_size_is_refused() -> None:
    payload = payload_of_drawing()
    for length in range(len(payload)):
        with pytest.raises(PayloadError):
            decode(payload[:length])
    for height, width in ((HEIGHT, WIDTH + 1), (HEIGHT + 1, WIDTH), (WIDTH, HEIGHT), (1, 1)):
        with pytest.raises(PayloadError):
            decode(payload, height, width)


def test_a_large_flat_tile_takes_little_memory() -> None:
    side = 1024
    coder = tiny_coder()
    (payload,) = coder.encode_tile(np.full((3, side, side), 9, np.float32), 100)
    with cpu_limit(60):
        tracemalloc.start()
        coder.decode_tile([payload], side, side, 100)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50 * 2**20


@settings(max_examples=20)
@given(st.integers(1, 5000), st.integers(1, 255), st.integers(1, 16))
def test_a_changed_byte_of_a_nearly_lossless_tile_is_refused_or_decodes_to_pixels(
    place: int, change: int, max_error: int
) -> None:
    payload = bytearray(payload_of_scene(max_error))
    payload[place % len(payload)] ^= change
    with cpu_limit(MAX_CPU_SECONDS):
        try:
            decoded = decode(bytes(payload), max_error=max_error)
        except PayloadError:
            return
    assert not np.array_equal(decoded, decode(payload_of_scene(max_error), max_error=max_error))


def test_symbols_that_pixels_cannot_have_are_refused() -> None:
    centres = np.array([0, 255, 128], np.int32)
    for max_error in (1, 16):
        for symbol in (2**31 - 1, -(2**31), 2**30 // max_error, 300):
            with pytest.raises(PayloadError, match="outside"):
                dequantize_pixels(np.full(3, symbol, np.int32), centres, max_error)
