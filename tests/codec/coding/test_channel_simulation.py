"""Relative entropy coding: shared candidates, the chosen sample's distribution, and its cost."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from bitstream.errors import UsageError
from codec.coding import channel_simulation as rec
from codec.coding.prior_tables import normal_distribution
from tests.limits import cpu_limit

Float64Array = npt.NDArray[np.float64]


def chosen(
    mean: Float64Array, variance: Float64Array, streams: int, count: int | None = None
) -> tuple[npt.NDArray[np.int64], Float64Array]:
    """Indexes and samples of `streams` streams."""
    indexes = [rec.select(mean, variance, stream, count) for stream in range(streams)]
    samples = [
        rec.candidates(stream, 1, len(mean), index)[0] for stream, index in enumerate(indexes)
    ]
    return np.array(indexes), np.array(samples)


def test_candidates_are_fixed_for_good() -> None:
    drawn = rec.candidates(3, 2, 2)
    expected = [[1.26881646, -1.18445355], [-0.38279349, 1.89955433]]
    np.testing.assert_allclose(drawn, expected, atol=1e-8)


def test_one_candidate_is_found_without_the_others() -> None:
    drawn = rec.candidates(77, 50, 3)
    np.testing.assert_array_equal(rec.candidates(77, 1, 3, 49)[0], drawn[49])
    assert not (rec.candidates(78, 50, 3) == drawn).any()
    assert abs(rec.candidates(0, 20_000, 1).std() - 1) < 0.02
    with pytest.raises(UsageError):
        rec.candidates(0, 2**16, 1)
    with pytest.raises(UsageError):
        rec.candidates(0, 1, 256)


def test_the_choice_has_the_law_of_importance_sampling() -> None:
    # With few candidates the law is far from q, which shows the effect of ordering.
    mean, variance = np.array([1.0]), np.array([0.25])
    streams, count = 4000, 3
    indexes = np.array([rec.select(mean, variance, s, count) for s in range(streams)])
    drawn = np.stack([rec.candidates(s, count, 1)[:, 0] for s in range(streams)])
    log_weights = 0.5 * (drawn**2 - (drawn - 1) ** 2 / 0.25)
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    law = weights / weights.sum(axis=1, keepdims=True)
    # The sample has the law whatever its place: places are compared by the rank of their weight.
    ranks = np.argsort(np.argsort(law, axis=1), axis=1)
    law = np.sort(law, axis=1)
    indexes = ranks[np.arange(streams), indexes]
    for number in range(count):
        expected, found = law[:, number].sum(), (indexes == number).sum()
        deviation = math.sqrt((law[:, number] * (1 - law[:, number])).sum())
        assert abs(found - expected) < 4 * deviation


@pytest.mark.parametrize(
    ("mean", "variance"),
    [([0.4], [0.5]), ([1.2], [0.05]), ([1.0, -0.7], [0.1, 0.2]), ([2.5, 0.3], [0.3, 0.1])],
)
def test_bias_of_the_bounded_scheme_is_small(mean: list[float], variance: list[float]) -> None:
    # At N = 2^(KL + 5) mean and spread of the sample are those of q within 0.08 of its standard
    # deviation, and no probability of a half line differs by more than 0.05; this is mostly the
    # noise of 1,500 samples (standard error 0.026).
    centre, spread = np.array(mean), np.sqrt(np.array(variance))
    _, samples = chosen(centre, spread**2, 1500)
    white = (samples - centre) / spread
    assert np.abs(white.mean(axis=0)).max() < 0.08
    assert np.abs(white.std(axis=0) - 1).max() < 0.08
    for column in white.T:
        distribution = normal_distribution(np.sort(column))
        steps = (np.arange(len(column)) + 0.5) / len(column)
        assert np.abs(distribution - steps).max() < 0.05


def test_bias_shows_where_candidates_are_too_few() -> None:
    mean, variance = np.array([3.0]), np.array([0.01])  # KL 9.1 bits
    _, samples = chosen(mean, variance, 300, count=2**4)
    assert samples.mean() < 2.5, "16 candidates do not reach so far into the tail"


@pytest.mark.parametrize(
    ("mean", "variance"), [([0.0], [0.9]), ([1.0], [0.2]), ([1.5, -0.5], [0.02, 0.05])]
)
def test_the_index_costs_kl_and_a_little(mean: list[float], variance: list[float]) -> None:
    centre, spread = np.array(mean), np.array(variance)
    kl = float(rec.kl_bits(centre, spread).sum())
    indexes, _ = chosen(centre, spread, 300)
    values = indexes + 1.0
    classes = np.floor(np.log2(values)).astype(int)
    masses = rec.zipf_class_masses(rec.zipf_exponent(kl))
    bits = classes - np.log2(masses[classes])
    assert bits.mean() <= kl + math.log2(kl + 1) + 4


def test_time_is_bounded() -> None:
    with cpu_limit(3):
        index = rec.select(np.array([60.0]), np.array([1e-6]), 0)
    assert 0 <= index < rec.MAX_CANDIDATES
    assert rec.candidate_count(0.0) == 32
    assert rec.candidate_count(6.0) == 2**11
    assert rec.candidate_count(1e9) == rec.MAX_CANDIDATES


def test_classes_follow_the_law_of_zipf() -> None:
    masses = rec.zipf_class_masses(1.5)
    weights = np.arange(1, 2**16) ** -1.5
    assert masses.sum() == pytest.approx(1)
    assert masses[0] == pytest.approx(1 / weights.sum())
    assert masses[2] == pytest.approx(weights[3:7].sum() / weights.sum())
    assert 1 < rec.zipf_exponent(20) < rec.zipf_exponent(2) < 2


def test_blocks_are_balanced() -> None:
    bits = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    blocks = rec.balanced_blocks(bits, 9.0)
    sums = np.bincount(blocks, bits)
    assert len(sums) == 3
    assert sums.tolist() == [7.0, 7.0, 7.0]
    assert rec.balanced_blocks(np.zeros(3), 9.0).tolist() == [0, 0, 0]
    assert sorted(rec.balanced_blocks(np.array([40.0, 40.0]), 9.0)) == [0, 1]


def test_kl_is_that_of_gaussians() -> None:
    assert rec.kl_bits(np.array([0.0]), np.array([1.0])) == 0
    found = rec.kl_bits(np.array([1.0]), np.array([0.25]))[0]
    assert found == pytest.approx((1 + 0.25 - 1 + math.log(4)) / 2 / math.log(2))


def test_candidates_of_many_streams_are_those_of_each() -> None:
    streams = np.array([0, 9, 5, 21608 * 255, 5, 2**20], dtype=np.int64)
    indexes = np.array([0, 65534, 3, 65534, 2, 40], dtype=np.int64)
    for dimensions in (1, 3, 255):
        found = rec.candidates_at(streams, indexes, dimensions)
        for row, stream, index in zip(found, streams.tolist(), indexes.tolist(), strict=True):
            np.testing.assert_array_equal(row, rec.candidates(stream, 1, dimensions, index)[0])
    assert rec.candidates_at(streams[:0], indexes[:0], 2).shape == (0, 2)
    for bad_indexes, bad_dimensions in ((indexes + 1, 3), (indexes - 1, 3), (indexes, 256)):
        with pytest.raises(UsageError, match="expected"):
            rec.candidates_at(streams, bad_indexes, bad_dimensions)
