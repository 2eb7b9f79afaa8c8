"""Closed forms: limits, inverses, derivatives, agreement with sampling, and published numbers."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitstream.errors import UsageError
from codec.rate_distortion.known import (
    DeconvolutionSource,
    GaussianPerception,
    GaussianSource,
)
from tests.codec.rate_distortion.known.exact_references import BernoulliSource, binary_entropy

LN2 = math.log(2)
NERD_GAUSSIAN = GaussianSource(tuple(4 * math.exp(-k) for k in range(40)))


def slope(function: object, beta: float, step: float = 1e-5) -> float:
    """Central difference of a Lagrangian."""
    assert callable(function)
    return float(function(beta + step) - function(beta - step)) / (2 * step)


@pytest.mark.parametrize(
    ("beta", "bits", "distortion"),
    [
        (20, 11.146, 0.1657), (10, 8.591, 0.2926), (6, 6.842, 0.4492), (3, 4.842, 0.7826),
        (1, 2.336, 1.815), (0.25, 0.500, 4.328),
    ],
)  # fmt: skip
def test_gaussian_gives_the_known_points_of_the_40_d_source(
    beta: float, bits: float, distortion: float
) -> None:
    assert NERD_GAUSSIAN.rate(beta) / LN2 == pytest.approx(bits, abs=6e-4)
    assert NERD_GAUSSIAN.distortion(beta) == pytest.approx(distortion, abs=6e-4)


def test_gaussian_gives_the_known_intercept_of_the_2_d_source() -> None:
    # Mean squared error with multiplier 3 is the sum with 3/2.
    source = GaussianSource((1.20553, 1.08977))
    assert source.lagrangian(1.5) == pytest.approx(2.23505, abs=1e-5)
    assert source.rate(1.5) == pytest.approx(1.23505, abs=1e-5)
    assert source.distortion(1.5) / 2 == pytest.approx(1 / 3)


def test_gaussian_derivative_limits_and_samples() -> None:
    for variances in ((1.0,), (3.0, 0.5, 0.5, 0.01), (2.0, 0.0, 1.0)):
        known = GaussianSource(variances)
        for beta in (0.7, 5.0, 80.0):
            assert slope(known.lagrangian, beta) == pytest.approx(known.distortion(beta), rel=1e-6)
    source = GaussianSource((2.0, 1.0))
    assert source.lagrangian(0.0) == source.rate(0.0) == 0
    assert source.distortion(0.0) == pytest.approx(3.0)
    # R(D) is the supremum of its tangents.
    tangents = [
        source.lagrangian(beta) - beta * source.distortion(1.3)
        for beta in np.geomspace(0.01, 100, 4000)
    ]
    assert max(tangents) == pytest.approx(source.rate(1.3), abs=1e-5)
    samples = source.sample(50_000, seed=3)
    assert samples.var(axis=0) == pytest.approx([2.0, 1.0], rel=0.03)
    assert bool((samples == source.sample(50_000, seed=3)).all())


def test_bernoulli() -> None:
    source = BernoulliSource(0.3)
    assert source.rate_at(0.0) == pytest.approx(float(binary_entropy(0.3)))
    assert source.rate_at(0.1) / LN2 == pytest.approx(0.881291 - 0.468996, abs=1e-6)
    assert source.rate_at(0.3) == source.rate(0.0) == source.rate(0.5) == 0
    for distortion in (1e-6, 0.01, 0.1, 0.29):
        rate = source.rate_at(distortion)
        assert source.distortion_at(rate) == pytest.approx(distortion, rel=1e-6)
    assert source.distortion_at(5.0) == 0
    for beta in (0.3, 1.5, 4.0):
        assert slope(source.lagrangian, beta) == pytest.approx(source.distortion(beta), abs=1e-8)
    assert source.lagrangian(1e4) == pytest.approx(float(binary_entropy(0.3)))
    assert source.sample(20_000, seed=1).mean() == pytest.approx(0.3, abs=0.01)
    assert binary_entropy([0, 0.5, 1]).tolist() == pytest.approx([0, LN2, 0])


def test_perfect_realism_costs_at_most_twice_the_error() -> None:
    source = GaussianPerception(2.25)
    assert source.distortion_at(0.0) == pytest.approx(2 * 2.25)
    for bits in (0.1, 1.0, 3.0, 12.0):
        known = 2 * 2.25 * (1 - math.sqrt(1 - 2 ** (-2 * bits)))
        distortion = source.distortion_at(bits * LN2)
        assert distortion == pytest.approx(known, rel=1e-7)
        assert source.rate_at(distortion) == pytest.approx(bits * LN2, rel=1e-9)
        least = 2.25 * 2 ** (-2 * bits)
        assert least < distortion <= 2 * least + 1e-12
    # Where 1 − ρ is far below the resolution of 1.
    assert source.rate_at(source.distortion_at(40.0)) == pytest.approx(40.0)


@pytest.mark.parametrize("perception", [0.0, 0.01, 0.2, 1.0, 3.0])
def test_perception_formula(perception: float) -> None:
    variance, deviation = 2.25, 1.5
    source = GaussianPerception(variance)
    for distortion in (0.01, 0.3, 1.0, 2.0, 2.2, 3.0, 4.0):
        smallest = deviation - math.sqrt(perception)
        if math.sqrt(perception) <= deviation - math.sqrt(abs(variance - distortion)):
            product = variance * smallest**2
            covariance = (variance + smallest**2 - distortion) / 2
            known = 0.5 * math.log(product / (product - covariance**2))
        else:
            known = max(0.0, 0.5 * math.log(variance / distortion))
        rate = source.rate_at(distortion, perception)
        assert rate == pytest.approx(known, rel=1e-9, abs=1e-12)
        if rate > 0:
            assert source.distortion_at(rate, perception) == pytest.approx(distortion, rel=1e-9)
        assert rate >= source.rate_at(distortion, perception + 0.1)
    assert source.rate_at(0.5, 100.0) == pytest.approx(0.5 * math.log(variance / 0.5))
    assert source.rate_at(0.0, perception) == math.inf


@pytest.mark.parametrize("dim", [2, 3, 5, 10])
@pytest.mark.parametrize("noise_variance", [1e-4, 0.1, 3.0])
def test_deconvolution_density_integrates_to_one(dim: int, noise_variance: float) -> None:
    source = DeconvolutionSource(dim, noise_variance, radius=1.5)
    radii, weights = source.radial_quadrature()
    assert math.fsum(weights) == pytest.approx(1, abs=1e-9)
    # E ‖X‖² = r² + d s².
    assert weights @ radii**2 == pytest.approx(1.5**2 + dim * noise_variance, rel=1e-9)


@pytest.mark.parametrize("dim", [2, 5, 10])
def test_deconvolution_entropy_agrees_with_sampling(dim: int) -> None:
    source = DeconvolutionSource(dim, 0.1)
    norms = np.linalg.norm(source.sample(40_000, seed=dim), axis=1)
    surprise = source._shifted_surprise(norms)
    error = surprise.std() / 200
    assert abs(surprise.mean() - source.optimal_loss()) < 4 * error
    assert source.beta == pytest.approx(10)


def test_deconvolution_limits() -> None:
    # In three dimensions E exp(κ u₁) is sinh κ / κ.
    points = np.array([[0.3, 0.4, 1.2], [0.0, 0.0, 0.01]])
    norms = np.linalg.norm(points, axis=1)
    kappa = norms / 0.1
    known = (norms**2 + 1) / 0.2 - np.log(np.sinh(kappa) / kappa)
    source = DeconvolutionSource(3, 0.1)
    assert source._shifted_surprise(norms) == pytest.approx(known, rel=1e-12)
    # A sphere that is small compared with the noise leaves a Gaussian without information about Y:
    # the rate, the loss minus d/2, is 0.
    assert DeconvolutionSource(4, 1.0, radius=1e-4).optimal_loss() == pytest.approx(2, abs=1e-8)
    # A circle of circumference 2πr located to within s: h(Y) − ½ log(2πe s²).
    fine = DeconvolutionSource(2, 1e-6)
    located = math.log(2 * math.pi) - 0.5 * math.log(2 * math.pi * math.e * 1e-6)
    assert fine.optimal_loss() - 1 == pytest.approx(located, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: GaussianSource(()),
        lambda: GaussianSource((1.0, math.nan)),
        lambda: GaussianSource((1.0, -1.0)),
        lambda: GaussianSource((0.0,)),
        lambda: GaussianSource((1.0,)).lagrangian(-1.0),
        lambda: GaussianSource((1.0,)).sample(0, seed=0),
        lambda: BernoulliSource(0.0),
        lambda: BernoulliSource(math.nan),
        lambda: GaussianPerception(0.0),
        lambda: GaussianPerception().rate_at(0.5, -0.1),
        lambda: DeconvolutionSource(1),
        lambda: DeconvolutionSource(2, 0.0),
    ],
)
def test_arguments_that_cannot_be_used(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError):
        wrong()


def test_closed_forms_load_no_torch() -> None:
    code = (
        "import sys, codec.rate_distortion.known, codec.rate_distortion.known.discrete_sources\n"
        "assert 'torch' not in sys.modules"
    )
    root = Path(__file__).parents[4]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
