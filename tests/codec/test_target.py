"""The search for a size or a PSNR, on codecs that are known exactly."""

import math
from collections.abc import Callable

import pytest

from bitstream import UsageError
from codec.target import MAX_TRIALS, largest_within, smallest_reaching


class FakeCodec:
    """Files of a known size for each quality; counts how many were written."""

    def __init__(self, size: Callable[[float], float]) -> None:
        self.size = size
        self.qualities: list[float] = []

    def compress(self, quality: float) -> bytes:
        self.qualities.append(quality)
        return bytes(round(self.size(quality)))

    def psnr_db(self, data: bytes) -> float:
        return 10 * math.log10(len(data))


CURVES: dict[str, Callable[[float], float]] = {
    "exponential": lambda q: 500 * 1.06**q,
    "linear": lambda q: 1000 + 700 * q,
    "steep end": lambda q: 1000 + 10 * q + (q / 30) ** 9,
    "steps": lambda q: 1000 * 2 ** (q // 12),
    "not monotone": lambda q: 2000 + 800 * q + 900 * math.sin(3 * q),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_size_fits_and_is_close(name: str, share: float) -> None:
    codec = FakeCodec(CURVES[name])
    low, high = codec.size(1), codec.size(100)
    limit = round(low + share * (high - low))
    trial = largest_within(codec.compress, limit)
    assert len(trial.data) <= limit
    assert len(codec.qualities) == trial.trials <= MAX_TRIALS
    assert trial.quality in codec.qualities
    assert trial.quality == round(trial.quality, 2)
    if name in ("exponential", "linear"):
        assert len(trial.data) >= 0.998 * limit
    if name == "steps":
        # The next quality tried above it does not fit: the step was found.
        assert 2 * len(trial.data) > limit


@pytest.mark.parametrize("name", ["exponential", "linear", "steep end"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_psnr_is_reached_and_close(name: str, share: float) -> None:
    codec = FakeCodec(CURVES[name])
    low, high = (10 * math.log10(round(codec.size(q))) for q in (1, 100))
    goal = low + share * (high - low)
    trial = smallest_reaching(codec.compress, codec.psnr_db, goal)
    assert trial.psnr_db is not None
    assert goal <= trial.psnr_db <= goal + 0.1
    assert trial.psnr_db == codec.psnr_db(trial.data)
    assert len(codec.qualities) <= MAX_TRIALS


def test_ends_of_the_range() -> None:
    codec = FakeCodec(CURVES["linear"])
    assert largest_within(codec.compress, 1700).quality == 1
    assert largest_within(codec.compress, 10**9).quality == 100
    assert smallest_reaching(codec.compress, codec.psnr_db, 1.0).quality == 1


def test_out_of_reach_says_what_was_reached() -> None:
    codec = FakeCodec(CURVES["linear"])
    with pytest.raises(UsageError, match=r"at quality 1 the file has 1700 bytes.* 1699"):
        largest_within(codec.compress, 1699)
    assert codec.qualities == [1]
    with pytest.raises(UsageError, match=r"at quality 100 the PSNR is 48\.51 dB.* 60 dB"):
        smallest_reaching(codec.compress, codec.psnr_db, 60)


def test_a_perfect_picture_counts_as_reached() -> None:
    codec = FakeCodec(CURVES["linear"])
    trial = smallest_reaching(
        codec.compress, lambda data: math.inf if len(data) > 30_000 else 20.0, 40
    )
    assert len(trial.data) > 30_000
