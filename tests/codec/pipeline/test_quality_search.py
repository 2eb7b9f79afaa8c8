"""The search for a size or a score, on codecs whose behaviour is known exactly."""

import math
from collections.abc import Callable

import pytest

from bitstream import UsageError
from codec.pipeline.quality_search import (
    MAX_EFFORT_TRIALS,
    MAX_TRIALS,
    PSNR,
    SSIMULACRA2,
    largest_within,
    smallest_reaching,
)


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
        # The next quality tried above it does not fit, so the step was found.
        assert 2 * len(trial.data) > limit


@pytest.mark.parametrize("name", ["exponential", "linear", "steep end"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_psnr_is_reached_and_close(name: str, share: float) -> None:
    codec = FakeCodec(CURVES[name])
    low, high = (10 * math.log10(round(codec.size(q))) for q in (1, 100))
    goal = low + share * (high - low)
    trial = smallest_reaching(codec.compress, PSNR, codec.psnr_db, goal)
    assert trial.score is not None
    assert goal <= trial.score <= goal + 0.1
    assert trial.score == codec.psnr_db(trial.data)
    assert len(codec.qualities) <= MAX_TRIALS


@pytest.mark.parametrize("goal", [-50, -3.5, 0, 40, 82])
def test_a_score_below_zero_is_a_target_as_well(goal: float) -> None:
    codec = FakeCodec(CURVES["linear"])

    def score(data: bytes) -> float:
        return 100 - 3000 / len(data) * 150  # from about −165 to 93, rising ever more slowly

    trial = smallest_reaching(codec.compress, SSIMULACRA2, score, goal)
    assert trial.score is not None
    # Where the curve is steepest, a hundredth of quality is a third of a point.
    assert goal <= trial.score <= goal + 0.35
    assert score(codec.compress(trial.quality - 0.2)) < goal


def test_ends_of_the_range() -> None:
    codec = FakeCodec(CURVES["linear"])
    assert largest_within(codec.compress, 1700).quality == 1
    assert largest_within(codec.compress, 10**9).quality == 100
    assert smallest_reaching(codec.compress, PSNR, codec.psnr_db, 1.0).quality == 1


def test_out_of_reach_says_what_was_reached() -> None:
    codec = FakeCodec(CURVES["linear"])
    with pytest.raises(UsageError, match=r"at quality 1 the file has 1700 bytes.* 1699"):
        largest_within(codec.compress, 1699)
    assert codec.qualities == [1]
    with pytest.raises(UsageError, match=r"at quality 100 the PSNR is 48\.51 dB.* 60 dB"):
        smallest_reaching(codec.compress, PSNR, codec.psnr_db, 60)
    with pytest.raises(
        UsageError, match=r"the SSIMULACRA2 is -12\.50, but the target is -10: give"
    ):
        smallest_reaching(codec.compress, SSIMULACRA2, lambda data: -12.5, -10)


def test_a_perfect_picture_counts_as_reached() -> None:
    codec = FakeCodec(CURVES["linear"])
    trial = smallest_reaching(
        codec.compress, PSNR, lambda data: math.inf if len(data) > 30_000 else 20.0, 40
    )
    assert len(trial.data) > 30_000


class FakeEffort(FakeCodec):
    """The same files, smaller by what an effort saves, with a slightly lower PSNR."""

    def __init__(self, size: Callable[[float], float], saving: float, loss_db: float = 0) -> None:
        super().__init__(lambda quality: size(quality) * (1 - saving))
        self.saving, self.loss_db = saving, loss_db

    def psnr_db(self, data: bytes) -> float:
        return 10 * math.log10(len(data) / (1 - self.saving)) - self.loss_db


@pytest.mark.parametrize("name", ["exponential", "linear", "steep end"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("saving", [0.0, 0.08, 0.2])
def test_a_size_is_met_with_the_whole_effort(name: str, share: float, saving: float) -> None:
    fast = FakeCodec(CURVES[name])
    best = FakeEffort(CURVES[name], saving)
    high = min(fast.size(100), best.size(100))
    limit = round(fast.size(1) + share * (high - fast.size(1)))
    trial = largest_within(fast.compress, limit, best.compress)
    assert len(trial.data) <= limit
    assert trial.quality in best.qualities
    assert len(best.qualities) <= MAX_EFFORT_TRIALS
    assert trial.trials == len(fast.qualities) + len(best.qualities)
    assert len(trial.data) >= 0.98 * limit


@pytest.mark.parametrize("name", ["exponential", "linear", "steep end"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
@pytest.mark.parametrize("loss_db", [0.0, 0.15, -0.1])
def test_a_psnr_is_reached_with_the_whole_effort(name: str, share: float, loss_db: float) -> None:
    fast, best = FakeCodec(CURVES[name]), FakeEffort(CURVES[name], 0.1, loss_db)

    def psnr_db(data: bytes) -> float:
        whose = best if best.qualities else fast
        return whose.psnr_db(data)

    low, high = (10 * math.log10(fast.size(q)) - 0.2 * (q == 100) for q in (1, 100))
    goal = low + share * (high - low)
    trial = smallest_reaching(fast.compress, PSNR, psnr_db, goal, best.compress)
    assert trial.score is not None
    assert goal <= trial.score <= goal + 0.1
    assert trial.quality in best.qualities
    assert len(best.qualities) <= MAX_EFFORT_TRIALS


def test_a_file_of_one_pass_stands_in_where_the_effort_misses() -> None:
    fast = FakeCodec(CURVES["linear"])
    trial = largest_within(fast.compress, 20_000, lambda quality: bytes(20_001))
    assert 0.99 * 20_000 < len(trial.data) <= 20_000
    assert trial.quality in fast.qualities
    goal = 10 * math.log10(20_000)
    trial = smallest_reaching(
        fast.compress,
        PSNR,
        lambda data: min(fast.psnr_db(data), 99),
        goal,
        lambda quality: bytes(9_999),
    )
    assert trial.quality in fast.qualities
    assert trial.score is not None
    assert trial.score >= goal


def test_an_effort_meets_what_one_pass_does_not() -> None:
    fast, best = FakeCodec(CURVES["linear"]), FakeEffort(CURVES["linear"], 0.2)
    trial = largest_within(fast.compress, 1500, best.compress)
    assert (trial.quality, len(trial.data), trial.trials) == (1, 1360, 2)
    with pytest.raises(UsageError, match="1700 bytes"):
        largest_within(fast.compress, 1300, best.compress)
