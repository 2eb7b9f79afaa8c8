"""Varints."""

import pytest

from bitstream import PayloadError, TruncatedError, UsageError, read_varint, write_varint


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**14, "808001"),
        (2**63 - 1, "ffffffffffffffff7f"),
    ],
)
def test_exact_bytes(value: int, form: str) -> None:
    data = bytes.fromhex(form)
    assert write_varint(value) == data
    assert read_varint(data) == (value, len(data))
    assert read_varint(b"x" + data + b"x", 1) == (value, 1 + len(data))


@pytest.mark.parametrize("value", [-1, 2**63])
def test_numbers_out_of_range_are_not_written(value: int) -> None:
    with pytest.raises(UsageError):
        write_varint(value)


@pytest.mark.parametrize("form", ["8000", "ff00", "80808000", "80" * 9 + "01", "ff" * 20])
def test_overlong_numbers_are_refused(form: str) -> None:
    with pytest.raises(PayloadError):
        read_varint(bytes.fromhex(form))


@pytest.mark.parametrize("form", ["", "80", "ffff"])
def test_cut_numbers_are_refused(form: str) -> None:
    with pytest.raises(TruncatedError):
        read_varint(bytes.fromhex(form))
