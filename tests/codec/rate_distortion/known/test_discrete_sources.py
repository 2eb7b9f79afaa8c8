"""Blahut-Arimoto on sources with known curves, its bounds, and the ceiling of a sample."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bitstream.errors import UsageError
from codec.rate_distortion.known import GaussianSource
from codec.rate_distortion.known import discrete_sources as module
from codec.rate_distortion.known.discrete_sources import blahut_arimoto, empirical_rate_distortion
from tests.codec.rate_distortion.known.exact_references import BernoulliSource

HAMMING = 1 - np.eye(2)


@pytest.mark.parametrize("probability", [0.5, 0.3, 0.02])
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0, 8.0, 1e5])
def test_bernoulli(probability: float, beta: float) -> None:
    source = BernoulliSource(probability)
    point = blahut_arimoto([1 - probability, probability], HAMMING, beta)
    assert point.converged
    assert point.gap_nats <= 1e-8
    truth = source.lagrangian(beta)
    assert point.lagrangian_low_nats - 1e-12 <= truth <= point.lagrangian_nats + 1e-12
    # Below the slope at D_max a range of D shares the Lagrangian: (D, R) is looser than L.
    assert point.rate_nats == pytest.approx(source.rate(beta), abs=1e-5)
    assert point.distortion == pytest.approx(source.distortion(beta), abs=1e-5)
    assert point.reproduction_probabilities.sum() == pytest.approx(1)


def test_bounds_enclose_the_truth_before_convergence() -> None:
    source = BernoulliSource(0.3)
    truth = source.lagrangian(1.5)
    gaps = []
    for iterations in (0, 1, 2, 5, 10):
        point = blahut_arimoto([0.7, 0.3], HAMMING, 1.5, max_iterations=iterations)
        assert point.lagrangian_low_nats <= truth + 1e-12
        assert point.lagrangian_nats >= truth - 1e-12
        assert point.rate_nats >= source.rate_at(point.distortion) - 1e-12
        gaps.append(point.gap_nats)
    assert gaps[0] > 0.01
    assert gaps[-1] < gaps[0]
    assert not blahut_arimoto([0.7, 0.3], HAMMING, 1.5, max_iterations=0).converged


def test_large_costs_do_not_leave_float64() -> None:
    rng = np.random.default_rng(0)
    point = blahut_arimoto(np.full(5, 0.2), 1e4 + 1e4 * rng.random((5, 8)), 100.0)
    assert math.isfinite(point.lagrangian_nats)
    assert point.lagrangian_low_nats <= point.lagrangian_nats


def test_discretised_gaussian_approaches_the_continuous_curve() -> None:
    x = np.linspace(-6, 6, 241)
    p = np.exp(-0.5 * x**2)
    point = blahut_arimoto(
        p / p.sum(), (x[:, None] - x) ** 2, 2.0, tolerance_nats=1e-4, max_iterations=3000
    )
    source = GaussianSource((1.0,))
    assert point.gap_nats < 0.01
    assert point.lagrangian_nats == pytest.approx(source.lagrangian(2.0), abs=2e-3)


def test_empirical_curve_carries_its_ceiling() -> None:
    samples = GaussianSource((1.2, 1.1)).sample(256, seed=0)
    betas = (0.0, 1.0, 20.0, 1e5)
    curve = empirical_rate_distortion(samples, betas, squared_error="mean", tolerance_nats=1e-2)
    assert curve.ceiling_bits == pytest.approx(8)
    assert curve.near_ceiling == (False, False, False, True)
    rates = [point.rate_nats for point in curve.points]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0, abs=1e-12)
    assert rates[-1] == pytest.approx(curve.ceiling_nats, abs=1e-3)
    assert curve.points[-1].distortion == pytest.approx(0, abs=1e-8)
    assert "mean of squared errors" in curve.convention
    content = json.loads(json.dumps(curve.to_json()))
    assert content["points"][3]["near_ceiling"] is True
    # β per mean is twice β per sum in two dimensions.
    total = empirical_rate_distortion(samples, (10.0,), tolerance_nats=1e-2)
    assert total.points[0].rate_nats == pytest.approx(rates[2], abs=0.02)


def test_blocks_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = GaussianSource((1.0, 0.5, 0.2)).sample(60, seed=1)
    whole = empirical_rate_distortion(samples, (2.0,), max_iterations=30)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 500)
    monkeypatch.setattr(module, "KERNEL_ENTRIES", 0)
    blocks = empirical_rate_distortion(samples, (2.0,), max_iterations=30)
    assert blocks.points[0].rate_nats == pytest.approx(whole.points[0].rate_nats, rel=1e-9)
    assert blocks.points[0].gap_nats == pytest.approx(whole.points[0].gap_nats, rel=1e-6)


def test_one_sample_has_rate_zero_and_is_marked() -> None:
    curve = empirical_rate_distortion([[1.0, 2.0]], (1.0,))
    assert curve.points[0].rate_nats == curve.points[0].distortion == curve.ceiling_nats == 0
    assert curve.near_ceiling == (True,)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: blahut_arimoto([0.5, 0.6], HAMMING, 1.0),
        lambda: blahut_arimoto([1.5, -0.5], HAMMING, 1.0),
        lambda: blahut_arimoto([1.0], HAMMING, 1.0),
        lambda: blahut_arimoto([], HAMMING, 1.0),
        lambda: blahut_arimoto([0.5, 0.5], np.full((2, 2), np.nan), 1.0),
        lambda: blahut_arimoto([0.5, 0.5], HAMMING, -1.0),
        lambda: blahut_arimoto([0.5, 0.5], HAMMING, math.inf),
        lambda: empirical_rate_distortion(np.zeros((0, 2)), (1.0,)),
        lambda: empirical_rate_distortion(np.full((3, 2), np.nan), (1.0,)),
        lambda: empirical_rate_distortion(np.zeros((3, 2)), ()),
        lambda: empirical_rate_distortion(np.zeros((3, 2)), (2.0, 1.0)),
        lambda: empirical_rate_distortion(np.zeros((3, 2)), (1.0,), reproductions=np.zeros((3, 1))),
        lambda: empirical_rate_distortion(
            np.zeros((3, 2)), (1.0,), squared_error="half"  # type: ignore[arg-type]
        ),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_used(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError):
        wrong()
