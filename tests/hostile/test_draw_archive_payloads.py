"""Payloads of the DRAW archive that no encoder wrote: a PayloadError, quickly, in little memory."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import PayloadError, write_varint
from codec.models.draw.recursion import DrawConfig
from codec.models.sheets import sheet_of
from tests.codec.models.draw.tiny_archive import BINARY, COLOUR, SIDE, archive, images
from tests.limits import check_refusal

ROWS, COLUMNS = 3, 4
LARGEST = 147  # blocks on a side, as a sheet of 28×28 pixels may have
MAX_CPU_SECONDS = 4.0
MAX_BYTES = 50 * 2**20
CONFIGS = pytest.mark.parametrize("config", [BINARY, COLOUR], ids=["binary", "colour"])


@cache
def payload_of(config: DrawConfig) -> bytes:
    model = archive(config)
    pixels = sheet_of(images(config, ROWS * COLUMNS, 1), ROWS, COLUMNS)
    return model.encode_tile(model.analyze(pixels, 70), 70)[0]


def decode(config: DrawConfig, payload: bytes, rows: int = ROWS, columns: int = COLUMNS) -> None:
    archive(config).decode_tile([payload], rows, columns, 70)


@CONFIGS
def test_truncated_extended_and_empty_payloads_are_refused(config: DrawConfig) -> None:
    payload = payload_of(config)
    decode(config, payload)
    cases = [payload[:length] for length in range(0, len(payload), len(payload) // 12)]
    cases += [payload[:at] for at in (1, 2, 3, len(payload) - 4, len(payload) - 1)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload, payload + bytes(64)]
    for case in cases:
        with pytest.raises(PayloadError):
            decode(config, case)


@CONFIGS
def test_another_number_of_blocks_or_layers_is_refused(config: DrawConfig) -> None:
    for rows, columns in ((ROWS, COLUMNS + 1), (ROWS, COLUMNS - 1), (1, 1)):
        with pytest.raises(PayloadError):
            decode(config, payload_of(config), rows, columns)
    with pytest.raises(PayloadError, match="2 layers"):
        archive(config).decode_tile([payload_of(config), b""], ROWS, COLUMNS, 70)


@CONFIGS
@settings(derandomize=True, max_examples=30, deadline=None)
@given(data=st.binary(max_size=600))
def test_random_payloads_are_refused(config: DrawConfig, data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(config, data)


@CONFIGS
def test_every_flipped_bit_is_refused(config: DrawConfig) -> None:
    payload = payload_of(config)
    for bit in range(0, 8 * len(payload), 8 * len(payload) // 12 + 1):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PayloadError):
            decode(config, bytes(damaged))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([1, 24], "stage -1"),
        ([0] * 40, "stage"),
        ([26], "13 groups of 1 blocks"),
        ([2**62], "groups"),
        ([0, 0, 0], "ends in the sizes"),
    ],
)
def test_groups_that_no_encoder_writes_are_refused(runs: list[int], message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        decode(BINARY, b"".join(map(write_varint, runs)))


@CONFIGS
@pytest.mark.parametrize("stage", [0, 1, 12])
@pytest.mark.parametrize("fill", [b"\x00", b"\xff", b"\x55"])
def test_a_huge_sheet_from_few_bytes_is_refused_quickly(
    config: DrawConfig, stage: int, fill: bytes
) -> None:
    _, size = archive(config).stage(stage)
    count = LARGEST * LARGEST
    payload = bytes(stage) + write_varint(2 * -(-count // size)) + fill * 255 + b"\x01"
    payload_of(config)  # so that what is made on first use exists
    announced = config.channels * count * SIDE**2  # the pixels of the sheet
    check_refusal(
        lambda: decode(config, payload, LARGEST, LARGEST),
        PayloadError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES + announced,
    )


def test_a_cheap_block_over_and_over_is_bounded_by_its_bytes() -> None:
    # Random bytes that suffice for some blocks: the decoder stops where they end.
    noise = np.random.default_rng(3).bytes(400)
    with pytest.raises(PayloadError):
        decode(BINARY, bytes(2) + write_varint(2 * LARGEST) + noise, 1, LARGEST)
