"""The exact curves of linear decoders, and every identity that they must satisfy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.known import (
    GaussianSource,
    LinearGaussianDecoder,
)
from tests.codec.rate_distortion.known.exact_references import MixtureLinearDecoder


def decoder(pixels: int = 7, dim: int = 3) -> LinearGaussianDecoder:
    rng = np.random.default_rng(pixels)
    return LinearGaussianDecoder(rng.normal(size=(pixels, dim)), rng.normal(size=pixels))


def mixture(dim: int) -> MixtureLinearDecoder:
    rng = np.random.default_rng(5)
    factors: Float64Array = rng.normal(size=(3, dim, dim)) + 2 * np.eye(dim)
    return MixtureLinearDecoder(
        rng.normal(size=(4, dim)),
        rng.normal(size=4),
        np.array([0.5, 0.3, 0.2]),
        3 * rng.normal(size=(3, dim)),
        np.einsum("mij,mkj->mik", factors, factors),
    )


IMAGES = np.random.default_rng(0).normal(size=(6, 7)) * 2
SHAPES = [(7, 3), (3, 3), (2, 5)]


@pytest.mark.parametrize(("pixels", "dim"), SHAPES)
@pytest.mark.parametrize("beta", [0.0, 1e-3, 1.0, 50.0])
def test_partition_is_a_gaussian_density(pixels: int, dim: int, beta: float) -> None:
    # Z_β(x) (β/π)^{n/2} is the density of N(b, W Wᵀ + I/2β) at x.
    model, images = decoder(pixels, dim), IMAGES[:, :pixels]
    if beta == 0:
        assert model.log_partition(images, 0.0) == pytest.approx(np.zeros(6), abs=1e-12)
        return
    covariance = model.weight @ model.weight.T + np.eye(pixels) / (2 * beta)
    residual = images - model.offset
    quadratic = (residual @ np.linalg.inv(covariance) * residual).sum(axis=1)
    log_density = -0.5 * (quadratic + np.linalg.slogdet(2 * math.pi * covariance)[1])
    known = log_density - 0.5 * pixels * math.log(beta / math.pi)
    assert model.log_partition(images, beta) == pytest.approx(known, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("pixels", "dim"), SHAPES)
def test_posterior_gives_the_same_rate_and_distortion(pixels: int, dim: int) -> None:
    model, images, beta = decoder(pixels, dim), IMAGES[:, :pixels], 2.5
    covariance = np.linalg.inv(np.eye(dim) + 2 * beta * model.weight.T @ model.weight)
    means = 2 * beta * (images - model.offset) @ model.weight @ covariance
    spread = np.trace(model.weight @ covariance @ model.weight.T)
    errors = ((images - model.decode(means)) ** 2).sum(axis=1) + spread
    assert model.image_distortions(images, beta) == pytest.approx(errors)
    log_det = np.linalg.slogdet(covariance)[1]
    rates = 0.5 * (np.trace(covariance) + (means**2).sum(axis=1) - dim - log_det)
    assert model.image_rates(images, beta) == pytest.approx(rates)


def test_sampling_codes_agrees() -> None:
    model, images, beta = decoder(), IMAGES, 0.05
    codes = np.random.default_rng(1).standard_normal((200_000, 3))
    errors = ((images[:, None] - model.decode(codes)) ** 2).sum(axis=2)
    weights = np.exp(-beta * errors)
    assert model.log_partition(images, beta) == pytest.approx(
        np.log(weights.mean(axis=1)), abs=0.02
    )
    sampled = (weights * errors).sum(axis=1) / weights.sum(axis=1)
    assert model.image_distortions(images, beta) == pytest.approx(sampled, rel=0.02)


def test_lagrangian_derivative_and_parts() -> None:
    model = decoder()
    for beta in (0.01, 0.5, 20.0):
        step = 1e-4 * beta
        slope = (model.lagrangian(IMAGES, beta + step) - model.lagrangian(IMAGES, beta - step)) / (
            2 * step
        )
        assert slope == pytest.approx(model.distortion(IMAGES, beta), rel=1e-6)
        parts = model.rate(IMAGES, beta) + beta * model.distortion(IMAGES, beta)
        assert parts == pytest.approx(model.lagrangian(IMAGES, beta), rel=1e-10)


def test_stable_from_zero_to_a_million() -> None:
    model, betas = decoder(), np.concatenate([[0.0], np.geomspace(1e-12, 1e6, 60)])
    rates = np.array([model.rate(IMAGES, beta) for beta in betas])
    distortions = np.array([model.distortion(IMAGES, beta) for beta in betas])
    lagrangians = np.array([model.lagrangian(IMAGES, beta) for beta in betas])
    assert rates[0] == 0
    assert bool((np.diff(rates) >= -1e-15).all())
    assert bool((np.diff(distortions) <= 1e-12).all())
    assert lagrangians == pytest.approx(rates + betas * distortions, rel=1e-9, abs=1e-12)
    # At high β the rate grows by k/2 for each e-fold.
    growth = model.rate(IMAGES, 1e6) - model.rate(IMAGES, 1e5)
    assert growth == pytest.approx(1.5 * math.log(10), rel=1e-3)
    assert distortions[-1] == pytest.approx(model.smallest_distortion(IMAGES), rel=1e-5)


def test_rate_at_a_distortion() -> None:
    model = decoder()
    for beta in (1e-3, 0.1, 7.0, 1e5):
        distortion = model.distortion(IMAGES, beta)
        assert model.rate_at(IMAGES, distortion) == pytest.approx(
            model.rate(IMAGES, beta), rel=1e-6, abs=1e-9
        )
    assert model.rate_at(IMAGES, model.distortion(IMAGES, 0.0) + 1) == 0
    assert model.rate_at(IMAGES, model.smallest_distortion(IMAGES) - 1) == math.inf


def test_optimal_linear_decoder_reaches_the_gaussian_source() -> None:
    source, beta = GaussianSource((2.0, 0.7, 0.1)), 2.0
    kept = np.maximum(0, np.array(source.variances) - 0.5 / beta)
    model = LinearGaussianDecoder(np.diag(np.sqrt(kept)), np.zeros(3))
    images = source.sample(100_000, seed=4)
    images *= np.sqrt(np.array(source.variances) / (images**2).mean(axis=0))
    # L depends on the images through their second moments alone, which are exact here.
    assert model.lagrangian(images, beta) == pytest.approx(source.lagrangian(beta), rel=1e-9)
    assert model.rate_at(images, source.distortion(beta)) == pytest.approx(source.rate(beta))


def test_sampled_images_have_the_model_s_covariance() -> None:
    model = decoder(3, 2)
    images = model.sample(100_000, noise_variance=0.5, seed=2)
    expected = model.weight @ model.weight.T + 0.5 * np.eye(3)
    assert np.cov(images.T) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("beta", [0.0, 0.01, 1.0, 300.0, 1e6])
def test_mixture_in_closed_form_agrees_with_quadrature(beta: float) -> None:
    model = mixture(1)
    images = IMAGES[:, :4] * 2
    closed = model.log_partition(images, beta)
    assert model.log_partition_by_quadrature(images, beta) == pytest.approx(
        closed, rel=1e-10, abs=1e-9
    )


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_mixture_identities(dim: int) -> None:
    model, images = mixture(dim), IMAGES[:, :4]
    for beta in (0.05, 1.0, 30.0):
        step = 1e-4 * beta
        slope = (model.lagrangian(images, beta + step) - model.lagrangian(images, beta - step)) / (
            2 * step
        )
        distortion = model.distortion(images, beta)
        assert slope == pytest.approx(distortion, rel=1e-5)
        assert model.rate(images, beta) + beta * distortion == pytest.approx(
            model.lagrangian(images, beta), rel=1e-9
        )
        assert model.rate_at(images, distortion) == pytest.approx(
            model.rate(images, beta), rel=1e-6, abs=1e-8
        )
    assert model.rate(images, 0.0) == pytest.approx(0, abs=1e-12)


def test_mixture_of_one_standard_normal_is_the_plain_model() -> None:
    plain = decoder()
    one = MixtureLinearDecoder(
        plain.weight, plain.offset, np.ones(1), np.zeros((1, 3)), np.eye(3)[None]
    )
    assert one.log_partition(IMAGES, 3.0) == pytest.approx(plain.log_partition(IMAGES, 3.0))
    assert one.rate(IMAGES, 3.0) == pytest.approx(plain.rate(IMAGES, 3.0))


@pytest.mark.parametrize("beta", [1e3, 1e9, 1e15])
def test_mixture_at_high_beta_loses_no_digits(beta: float) -> None:
    model, images = mixture(2), 50 * IMAGES[:, :4]
    shares = model.responsibilities(images, beta)
    assert shares.sum(axis=1) == pytest.approx(np.ones(6), rel=1e-12)
    assert model.distortion(images, beta) >= model.smallest_distortion(images) * (1 - 1e-12)


def test_decoder_with_a_direction_that_does_nothing() -> None:
    weight = np.outer([1.0, 2.0, 3.0], [1.0, 1.0])
    model = LinearGaussianDecoder(weight, np.zeros(3))
    same = LinearGaussianDecoder(np.sqrt(2) * weight[:, :1], np.zeros(3))
    for beta in (0.3, 1e6):
        assert model.rate(IMAGES[:, :3], beta) == pytest.approx(same.rate(IMAGES[:, :3], beta))
    nothing = LinearGaussianDecoder(np.zeros((3, 2)), np.zeros(3))
    assert nothing.rate(IMAGES[:, :3], 5.0) == 0


def _mixture_of(weights: list[float], covariances: Float64Array) -> MixtureLinearDecoder:
    return MixtureLinearDecoder(
        np.ones((2, 1)), np.zeros(2), np.array(weights), np.zeros((2, 1)), covariances
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LinearGaussianDecoder(np.ones(3), np.ones(3)),
        lambda: LinearGaussianDecoder(np.ones((3, 2)), np.ones(2)),
        lambda: LinearGaussianDecoder(np.full((3, 2), np.nan), np.ones(3)),
        lambda: decoder().lagrangian(IMAGES, -1.0),
        lambda: decoder().lagrangian(IMAGES[:, :5], 1.0),
        lambda: decoder().lagrangian(IMAGES[:0], 1.0),
        lambda: decoder().lagrangian(np.where(IMAGES > 1, np.nan, IMAGES), 1.0),
        lambda: decoder().rate_at(IMAGES, math.nan),
        lambda: decoder().decode(np.zeros((2, 4))),
        lambda: mixture(2).log_partition_by_quadrature(IMAGES[:, :4], 1.0),
        lambda: _mixture_of([0.5, -0.5], np.ones((2, 1, 1))),
        lambda: _mixture_of([0.5, 0.5], -np.ones((2, 1, 1))),
        lambda: _mixture_of([0.5, 0.5], np.ones((1, 1, 1))),
    ],
)
def test_arguments_that_cannot_be_used(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError):
        wrong()
