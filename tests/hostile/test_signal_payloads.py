"""Bytes of signals that no encoder wrote: a typed error, in little time and memory."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitstream.chunks import SIGNATURE, VERSION, write_chunk
from bitstream.errors import (
    ChecksumError,
    DuplicateChunkError,
    EmptyFileError,
    HeaderError,
    LimitError,
    MissingChunkError,
    NotACaloFileError,
    PayloadError,
    StreamError,
    TruncatedError,
)
from bitstream.grammar import SIGNAL_CHUNK
from bitstream.varint import write_varint
from codec.loading import ENVIRONMENT_VARIABLE, hash_weights
from codec.signals import MAX_SAMPLES, compress_signal, decompress_signal
from tests.codec.models.signal.tiny import tiny_coder, tone, write_tiny_signal
from tests.limits import check_refusal

COUNT = 90
MAX_CPU_SECONDS = 4.0
MAX_BYTES = 150 * 2**20


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_signal(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def _tiny_weights(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(weights.parent))


@cache
def coded() -> bytes:
    return tiny_coder().encode(tone(COUNT).astype(np.int32), 2, (-(2**15), 2**15 - 1))


def written(
    weights: Path,
    payload: bytes,
    *,
    kind: int = 0,
    unused: int = 0,
    count: int = COUNT,
    lanes: int = 2,
) -> bytes:
    """Bytes of a signal with a correct CRC."""
    numbers = write_varint(count) + write_varint(lanes)
    fo = io.BytesIO()
    fo.write(SIGNATURE + bytes([VERSION]))
    write_chunk(
        fo, SIGNAL_CHUNK, bytes([kind, unused]) + hash_weights(weights)[:8] + numbers + payload
    )
    return fo.getvalue()


def test_what_is_written_here_is_what_the_encoder_writes(weights: Path) -> None:
    assert written(weights, coded()) == compress_signal(tone(COUNT), lanes=2)


def test_truncated_extended_and_empty_payloads_are_refused(weights: Path) -> None:
    payload = coded()
    cases = [payload[:length] for length in range(0, len(payload), 20)]
    cases += [payload[1:], payload + b"\0", payload + b"\1", payload + payload]
    for case in cases:
        with pytest.raises(PayloadError):
            decompress_signal(written(weights, case))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kind": 3}, HeaderError),
        ({"kind": 255}, HeaderError),
        ({"unused": 16}, HeaderError),
        ({"kind": 1, "unused": 8}, HeaderError),
        ({"lanes": 0}, HeaderError),
        ({"lanes": 257, "count": 1000}, HeaderError),
        ({"lanes": COUNT + 1}, HeaderError),
        ({"count": 0, "lanes": 1}, PayloadError),
        ({"count": COUNT - 1}, PayloadError),
        ({"count": COUNT + 1}, PayloadError),
        ({"count": MAX_SAMPLES + 1}, LimitError),
        ({"count": MAX_SAMPLES, "lanes": 256}, PayloadError),
        ({"kind": 2}, PayloadError),
        ({"lanes": 3}, PayloadError),
    ],
)
def test_headers_that_do_not_fit_are_refused(
    weights: Path, changes: dict[str, int], error: type[StreamError]
) -> None:
    with pytest.raises(error):
        decompress_signal(written(weights, coded(), **changes))


def test_bytes_that_are_no_signal_are_refused() -> None:
    data = compress_signal(tone(COUNT))
    for case, error in (
        (b"", EmptyFileError),
        (b"RIFF" + bytes(40), NotACaloFileError),
        (data[:-1], TruncatedError),
        (data[:20], TruncatedError),
        (data + b"\0", TruncatedError),
        (data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], ChecksumError),
    ):
        with pytest.raises(error):
            decompress_signal(case)
    fo = io.BytesIO()
    fo.write(SIGNATURE + bytes([VERSION]))
    write_chunk(fo, SIGNAL_CHUNK, bytes(9))
    with pytest.raises(TruncatedError):
        decompress_signal(fo.getvalue())


def test_ancillary_chunks_are_ignored_and_others_refused() -> None:
    samples = tone(COUNT)
    start = SIGNATURE + bytes([VERSION])
    signal = compress_signal(samples).removeprefix(start)

    def chunk(kind: bytes) -> bytes:
        fo = io.BytesIO()
        write_chunk(fo, kind, b"some bytes")
        return fo.getvalue()

    data = start + chunk(b"rate") + chunk(b"rate") + signal + chunk(b"name")
    np.testing.assert_array_equal(decompress_signal(data), samples)
    for content, error in (
        (chunk(b"RATE") + signal, MissingChunkError),
        (signal + chunk(b"RATE"), MissingChunkError),
        (signal + signal, DuplicateChunkError),
        (chunk(b"rate"), TruncatedError),
        (signal + chunk(b"rate")[:-1], TruncatedError),
    ):
        with pytest.raises(error):
            decompress_signal(start + content)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(payload=st.binary(max_size=120))
def test_any_payload_is_a_signal_or_a_payload_error(weights: Path, payload: bytes) -> None:
    try:
        found = decompress_signal(written(weights, payload, count=40))
    except PayloadError:
        return
    assert len(found) == 40


def test_a_header_that_announces_much_is_refused_soon(weights: Path) -> None:
    payload = np.random.default_rng(0).bytes(4000)
    data = written(weights, payload, count=4000 * 8 * 2**11, lanes=256)
    check_refusal(
        lambda: decompress_signal(data),
        PayloadError,
        cpu_seconds=MAX_CPU_SECONDS,
        peak_bytes=MAX_BYTES,
    )
