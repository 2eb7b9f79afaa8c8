"""Payloads of the lossless model that no encoder wrote: PayloadError, in little time and memory."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import PayloadError
from tests.codec.models.pixel.tiny import scene, tiny_coder
from tests.limits import check_refusal, cpu_limit

HEIGHT, WIDTH = 11, 14
MAX_CPU_SECONDS = 4.0
MAX_BYTES = 150 * 2**20


@cache
def payload_of_scene() -> bytes:
    coder = tiny_coder()
    return coder.encode_tile(coder.analyze(scene(HEIGHT, WIDTH), 100), 100)[0]


def decode(payload: bytes, height: int = HEIGHT, width: int = WIDTH) -> None:
    tiny_coder().decode_tile([payload], height, width, 100)


def test_truncated_extended_and_empty_payloads_are_refused() -> None:
    payload = payload_of_scene()
    decode(payload)
    cases = [payload[:length] for length in range(0, len(payload), 40)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload, payload + bytes(64)]
    for case in cases:
        with pytest.raises(PayloadError):
            decode(case)


@pytest.mark.parametrize("planes", [0, 1, 2, 4, 255])
def test_another_number_of_planes_is_refused(planes: int) -> None:
    with pytest.raises(PayloadError):
        decode(bytes([planes]) + payload_of_scene()[1:])


def test_another_size_is_refused() -> None:
    for height, width in ((HEIGHT, WIDTH + 1), (HEIGHT + 1, WIDTH), (WIDTH, HEIGHT), (1, 1)):
        with pytest.raises(PayloadError):
            decode(payload_of_scene(), height, width)


def test_several_payloads_are_refused() -> None:
    with pytest.raises(PayloadError, match="2 layers"):
        tiny_coder().decode_tile([payload_of_scene()] * 2, HEIGHT, WIDTH, 100)


@pytest.mark.parametrize("content", [b"\1", b"\x55" * 30, b"\xff" * 400])
@pytest.mark.parametrize("planes", [1, 3])
def test_a_huge_tile_of_few_bytes_is_refused_quickly(content: bytes, planes: int) -> None:
    payload = bytes([planes]) + content
    check_refusal(
        lambda: decode(payload, 4096, 4096),
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
