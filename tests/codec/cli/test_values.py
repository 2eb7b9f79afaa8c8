"""Sizes, regions and seeds as people type them."""

import pytest

from bitstream import UsageError
from codec.cli.values import parse_noise_seed, parse_region, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12345", 12345),
        ("1B", 1),
        ("20k", 20_000),
        ("1.5M", 1_500_000),
        ("3g", 3 * 10**9),
        ("50Ki", 51_200),
        ("20kB", 20_000),
        ("20KB", 20_000),
        ("50KiB", 51_200),
        ("50kib", 51_200),
        ("1.5 MiB", 1_572_864),
        ("2MB", 2_000_000),
        (" 1GiB ", 2**30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "kB", "-5", "0", "1e3", "5 apples", "5T", "1,5MB", "٣", "0.1B", "9" * 30]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="50KiB"):
        parse_size(text)


def test_regions() -> None:
    assert parse_region("1,2,30,40") == (1, 2, 30, 40)
    assert parse_region(" 0, 0, 1, 1") == (0, 0, 1, 1)
    for text in (
        "",
        "1,2,3",
        "1,2,3,4,5",
        "a,b,c,d",
        "-1,0,2,2",
        "0,0,0,5",
        "0,0,5,0",
        "1.5,0,2,2",
    ):
        with pytest.raises(UsageError, match="X,Y,W,H"):
            parse_region(text)


def test_noise_seeds() -> None:
    assert [parse_noise_seed(text) for text in ("0", " 12 ", str(2**63 - 1))] == [0, 12, 2**63 - 1]
    assert parse_noise_seed("free") is parse_noise_seed(" FREE") is None
    for text in ("", "-1", "1.0", "none", "٣", "9" * 20):
        with pytest.raises(UsageError, match="free"):
            parse_noise_seed(text)
