"""Gaussian vectors and the dithered quantiser against closed forms and sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.dplc.dithered_normal import DitheredNormal
from bitstream.errors import UsageError
from codec.rate_distortion.known.perception import (
    GaussianPerception,
    gaussian_information,
    linear_distortion,
)
from codec.rate_distortion.metrics import gaussian_wasserstein

LN2 = math.log(2)


def covariance(size: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    root = np.random.default_rng(seed).normal(size=(size, size + 2))
    found: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = root @ root.T / size
    return found


def test_information_of_independent_pairs_adds_up() -> None:
    correlations = np.array([0.0, 0.3, -0.9])
    scales = np.array([2.0, 0.1, 30.0])
    cross = np.diag(correlations * scales)
    expected = -0.5 * np.log(1 - correlations**2).sum()
    found = gaussian_information(np.eye(3), np.diag(scales**2), cross)
    assert found == pytest.approx(expected)
    # Rotating either side changes nothing.
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    assert gaussian_information(turn @ turn.T, np.diag(scales**2), turn @ cross) == pytest.approx(
        expected
    )


def test_information_is_that_of_the_determinants() -> None:
    joint = covariance(5, 1)
    first, second, cross = joint[:2, :2], joint[2:, 2:], joint[:2, 2:]
    parts = np.linalg.slogdet(first)[1] + np.linalg.slogdet(second)[1]
    expected = 0.5 * (parts - np.linalg.slogdet(joint)[1])
    assert gaussian_information(first, second, cross) == pytest.approx(expected)
    assert gaussian_information(second, first, cross.T) == pytest.approx(expected)
    assert gaussian_information(np.eye(1), np.eye(1), np.eye(1)) == math.inf


def test_wasserstein_and_error_of_gaussians() -> None:
    first, second = covariance(3, 0), covariance(3, 1)
    assert gaussian_wasserstein(first, first) == pytest.approx(0, abs=1e-9)
    assert gaussian_wasserstein(np.diag([1.0, 9.0]), np.diag([4.0, 1.0])) == pytest.approx(5)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values)) @ vectors.T
    joint = np.linalg.eigvalsh(root @ second @ root)
    expected = np.trace(first) + np.trace(second) - 2 * np.sqrt(joint).sum()
    assert gaussian_wasserstein(first, second) == pytest.approx(expected)
    assert gaussian_wasserstein(second, first) == pytest.approx(expected)
    # No coupling is closer than W₂; the distance of the independent one is the sum of the traces.
    assert linear_distortion(first, second, np.zeros((3, 3))) > expected
    assert linear_distortion(first, first, first) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bits", [0.1, 1.0, 4.0])
def test_the_test_channel_reaches_the_closed_form(bits: float) -> None:
    variance = 2.25
    correlation = math.sqrt(1 - 2 ** (-2 * bits))
    own = np.array([[variance]])
    cross = correlation * own
    assert gaussian_information(own, own, cross) == pytest.approx(bits * LN2)
    best = GaussianPerception(variance).distortion_at(bits * LN2)
    assert linear_distortion(own, own, cross) == pytest.approx(best)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: gaussian_information(np.eye(2), np.eye(2), np.eye(3)),
        lambda: gaussian_information(np.ones((2, 2)), np.eye(2), np.eye(2)),
        lambda: gaussian_information(np.ones((2, 3)), np.eye(2), np.eye(2)),
        lambda: gaussian_wasserstein(np.eye(2), np.eye(3)),
        lambda: linear_distortion(np.eye(2), np.eye(2), np.eye(3)),
        lambda: linear_distortion(*([np.ones((2, 3))] * 3)),
        lambda: DitheredNormal(0.0),
        lambda: DitheredNormal(100.0),
        lambda: DitheredNormal.of_rate(0.0),
        lambda: DitheredNormal.of_rate(99.0),
    ],
)
def test_arguments_that_cannot_be_used(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError):
        wrong()


def test_fine_steps_follow_the_laws_of_high_rate() -> None:
    quantizer = DitheredNormal(0.05)
    assert quantizer.rate_bits == pytest.approx(
        0.5 * math.log2(2 * math.pi * math.e) - math.log2(0.05), abs=2e-4
    )
    assert quantizer.least_distortion == pytest.approx(0.05**2 / 12, rel=2e-3)
    # There realism by transport is almost free, and a random decoder doubles the error.
    assert quantizer.transport_distortion == pytest.approx(0.05**2 / 12, rel=2e-3)
    best = GaussianPerception().distortion_at(quantizer.rate_bits * LN2)
    assert quantizer.transport_distortion / best == pytest.approx(
        2 * math.pi * math.e / 12, rel=0.01
    )


@pytest.mark.parametrize("bits", [0.05, 0.5, 3.0])
def test_decoders_against_sampling(bits: float) -> None:
    quantizer = DitheredNormal.of_rate(bits)
    assert quantizer.rate_bits == pytest.approx(bits, rel=1e-6)
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=200_000), rng.random(200_000) - 0.5
    centre = quantizer.step * (np.rint(x / quantizer.step + noise) - noise)
    assert (np.abs(centre - x) <= quantizer.step / 2 + 1e-9).all()
    mean, moved = quantizer.mean(centre), quantizer.transport(centre)
    drawn = quantizer.random(centre, rng.random(len(centre)))
    assert (np.abs(centre - drawn) <= quantizer.step / 2 + 1e-9).all()
    for decoded, expected in (
        (mean, quantizer.least_distortion),
        (drawn, quantizer.random_distortion),
        (moved, quantizer.transport_distortion),
    ):
        assert ((decoded - x) ** 2).mean() == pytest.approx(expected, rel=0.02)
    levels = np.linspace(-2.5, 2.5, 11)
    normal = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in levels])
    for decoded in (drawn, moved):
        law = np.searchsorted(np.sort(decoded), levels) / len(decoded)
        assert law == pytest.approx(normal, abs=0.005)
    best = GaussianPerception().distortion_at(bits * LN2)
    least = GaussianPerception().distortion_at(bits * LN2, 1.0)
    assert best <= quantizer.transport_distortion <= quantizer.random_distortion
    assert quantizer.least_distortion >= least


def test_decoders_are_odd_and_reach_far_into_the_tails() -> None:
    quantizer = DitheredNormal(0.5)
    centre = np.linspace(0, 7, 29)
    uniform = np.full(29, 0.25)
    for decoded in (quantizer.mean(centre), quantizer.transport(centre)):
        assert (np.diff(decoded) > 0).all()
        assert (np.abs(decoded - centre) < 0.25).all()
    assert quantizer.mean(-centre) == pytest.approx(-quantizer.mean(centre))
    assert quantizer.transport(-centre) == pytest.approx(-quantizer.transport(centre))
    assert quantizer.random(-centre, uniform)[1:] == pytest.approx(
        -quantizer.random(centre, uniform)[1:]
    )
