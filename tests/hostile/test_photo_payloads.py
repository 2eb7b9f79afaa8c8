"""Photo files with correct checksums whose tiles no encoder wrote are refused at little cost."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import codec
from bitstream import Container, container_from_bytes, container_to_bytes
from bitstream.errors import PayloadError
from bitstream.varint import read_varint, write_varint
from tests.codec.tiny import photographs
from tests.limits import check_refusal

pytestmark = pytest.mark.usefixtures("tiny_weights")

MAX_CPU_SECONDS = 2.0
MAX_BYTES = 64 * 2**20
NOISE = np.random.default_rng(0).bytes(300)


@pytest.fixture
def good() -> Container:
    """One tile in one layer."""
    container = container_from_bytes(codec.compress(photographs(1)[0], quality=60))
    payload = b"".join(layer[0] for layer in container.payloads)
    return replace(container, header=replace(container.header, layers=1), payloads=((payload,),))


def refused(container: Container, payload: bytes, side: int | None = None) -> None:
    """Assert that a file of one tile with this payload, in one layer or three, is refused."""
    header = container.header
    if side is not None:
        header = replace(header, width=side, height=side, tile_size=4096)
    half = len(payload) // 2
    for layers in ([payload], [payload, b"", b""], [payload[:half], payload[half:], b""]):
        data = container_to_bytes(
            replace(
                container,
                header=replace(header, layers=len(layers)),
                payloads=tuple((layer,) for layer in layers),
            )
        )
        for read in (codec.decompress, codec.verify):
            check_refusal(
                partial(read, data),
                PayloadError,
                cpu_seconds=MAX_CPU_SECONDS,
                peak_bytes=MAX_BYTES,
            )


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x20", b"\x80", b"\x00" + NOISE, write_varint(31) + NOISE, write_varint(769) + NOISE,
        write_varint(2**60) + NOISE, b"\xff" * 300, write_varint(768) + NOISE,
        write_varint(768) + b"\x01" + bytes(299),
    ],
    ids=[
        "empty", "no stack", "half a varint", "no channels", "less than a group", "too many",
        "many", "an endless varint", "noise", "zeros",
    ],
)  # fmt: skip
def test_payloads_that_are_none(good: Container, payload: bytes) -> None:
    refused(good, payload)


@pytest.mark.parametrize("channels", [32, 768])
def test_the_largest_tile_of_few_bytes(good: Container, channels: int) -> None:
    refused(good, write_varint(channels) + NOISE, 4096)


def test_pieces_of_a_good_payload(good: Container) -> None:
    payload = good.payloads[0][0]
    channels, offset = read_varint(payload)
    for other in (
        payload[:-1], payload[: len(payload) // 2], payload + b"\x01", payload + payload,
        payload[offset:], write_varint(channels + 1) + payload,
    ):  # fmt: skip
        refused(good, other)
    for side in (16, 129, 512):
        refused(good, payload, side)
