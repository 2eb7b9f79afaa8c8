"""Damaged and malicious files get a typed error, quickly and in little memory."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import (
    Container,
    PayloadError,
    StreamError,
    SymbolDecoder,
    SymbolEncoder,
    TruncatedError,
    container_from_bytes,
    container_to_bytes,
    gaussian_tables,
    read_container,
    read_tiles,
    scan,
)
from tests import limits
from tests.bitstream.files import RICH, SMALL
from tests.hostile.cases import CASES

MAX_CPU_SECONDS = 0.5
MAX_BYTES = 50 * 2**20


@pytest.mark.parametrize(("data", "error"), CASES.values(), ids=CASES.keys())
def test_each_case_gets_its_own_error(data: bytes, error: type[StreamError]) -> None:
    for read in (container_from_bytes, lambda data: scan(io.BytesIO(data))):
        with pytest.raises(StreamError) as caught:
            read(data)
        assert caught.type is error
        assert len(str(caught.value)) > 20, "the message must help"
        assert not re.search(r"\bb['\"]|\\x", str(caught.value)), "bytes are not shown as Python's"
    if error is not TruncatedError:
        with pytest.raises(error):
            container_from_bytes(data, partial=True)


def check_refusal(call: Callable[[], object], error: type[StreamError] = StreamError) -> None:
    limits.check_refusal(call, error, cpu_seconds=MAX_CPU_SECONDS, peak_bytes=MAX_BYTES)


@pytest.mark.parametrize("data", [data for data, _ in CASES.values()], ids=CASES.keys())
def test_each_case_is_refused_quickly_and_in_little_memory(data: bytes) -> None:
    check_refusal(lambda: container_from_bytes(data))


def test_an_announced_gigabyte_is_not_allocated_for_a_file_on_disk(tmp_path: Path) -> None:
    # A buffered file allocates all that a read requests, even if the file is shorter.
    path = tmp_path / "announced.calo"
    path.write_bytes(CASES["one gigabyte announced"][0])

    def read() -> None:
        with path.open("rb") as fo:
            read_container(fo)

    check_refusal(read)


@pytest.mark.parametrize("data", [SMALL, RICH], ids=["small", "rich"])
def test_a_file_cut_anywhere_is_refused(data: bytes) -> None:
    for length in range(1, len(data)):
        with pytest.raises(TruncatedError):
            container_from_bytes(data[:length])
        with pytest.raises(TruncatedError):
            scan(io.BytesIO(data[:length]))


@pytest.mark.parametrize("data", [SMALL, RICH], ids=["small", "rich"])
def test_every_flipped_bit_is_noticed(data: bytes) -> None:
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            container_from_bytes(bytes(damaged))


def test_flipped_bits_are_noticed_when_single_tiles_are_read() -> None:
    size = len(RICH)
    for bit in range(8 * size):
        damaged = bytearray(RICH)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            selection = read_tiles(io.BytesIO(bytes(damaged)), [2])
        except StreamError:
            continue
        # Only damage in a chunk that was not read may go unnoticed.
        assert selection == read_tiles(io.BytesIO(RICH), [2])


def mutate(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, piece in edits:
        place %= len(data) + 1
        if kind == "substitute":
            data = data[:place] + piece + data[place + len(piece) :]
        elif kind == "insert":
            data = data[:place] + piece + data[place:]
        elif kind == "delete":
            data = data[:place] + data[place + len(piece) :]
        else:  # splice: continue with the same file from another place
            data = data[:place] + RICH[len(piece) * 7 :]
    return data


edits = st.lists(
    st.tuples(
        st.sampled_from(["substitute", "insert", "delete", "splice"]),
        st.integers(0, 2**16),
        st.binary(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=4,
)


@settings(derandomize=True, max_examples=500, deadline=None)
@given(st.sampled_from([SMALL, RICH]), edits)
def test_mutated_files_are_refused_or_unchanged(
    data: bytes, changes: list[tuple[str, int, bytes]]
) -> None:
    mutated = mutate(data, changes)
    for partial in (False, True):
        try:
            container = container_from_bytes(mutated, partial=partial)
        except StreamError:
            continue
        assert isinstance(container, Container)
        # Only a file that is intact again is accepted, or the first layers of one.
        assert not container.complete or container_to_bytes(container) == mutated


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_files_are_refused(data: bytes, signed: bool) -> None:
    with pytest.raises(StreamError):
        container_from_bytes((SMALL[:9] if signed else b"") + data)


TABLES = gaussian_tables(np.geomspace(0.11, 64, 16))
INDEXES = (np.arange(20_000) % 16).astype(np.int32)


def decode(data: bytes) -> None:
    decoder = SymbolDecoder(data)
    decoder.get(INDEXES, TABLES)
    decoder.finish()


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 50_000, b"\xff" * 50_000, b"\x55" * 50_000, b"\x01", b"\xff" * 8, b"\xaa" * 7],
    ids=["empty", "zeros", "ones", "alternating", "one byte", "top of the range", "seven bytes"],
)
def test_payloads_that_are_no_messages_are_refused_quickly(data: bytes) -> None:
    check_refusal(lambda: decode(data), PayloadError)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.binary(max_size=4000))
def test_random_payloads_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(data)


def test_a_message_of_nothing_but_escapes_is_read_in_bounded_time() -> None:
    symbols = np.full(len(INDEXES), -(2**31), dtype=np.int32)
    encoder = SymbolEncoder()
    encoder.put(symbols, INDEXES, TABLES)
    data = encoder.finish()
    with limits.cpu_limit(MAX_CPU_SECONDS):
        assert (SymbolDecoder(data).get(INDEXES, TABLES) == symbols).all()
