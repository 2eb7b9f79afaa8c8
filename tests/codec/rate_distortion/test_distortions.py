"""Distortions: values, gradients, and the densities that belong to them."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from codec import UsageError
from codec.rate_distortion.distortions import (
    DeepFeatureDistance,
    Distortion,
    GaussianNLL,
    MeanSquaredError,
    OneMinusMsSsim,
    SumSquaredError,
    find_distortion,
)

IMAGES = torch.rand(5, 1, 6, 4, generator=torch.Generator().manual_seed(0))
OTHERS = torch.rand(5, 1, 6, 4, generator=torch.Generator().manual_seed(1))


def test_squared_errors() -> None:
    expected = ((IMAGES - OTHERS) ** 2).sum((1, 2, 3))
    assert torch.allclose(SumSquaredError()(IMAGES, OTHERS), expected)
    assert torch.allclose(MeanSquaredError()(IMAGES, OTHERS), expected / 24)


def test_negative_log_likelihood() -> None:
    normal = torch.distributions.Normal(OTHERS, math.sqrt(0.3))
    expected = -normal.log_prob(IMAGES).sum((1, 2, 3))  # type: ignore[no-untyped-call]
    assert torch.allclose(GaussianNLL(0.3)(IMAGES, OTHERS), expected)
    for variance in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="variance"):
            GaussianNLL(variance)


def test_deep_features() -> None:
    features = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 3))
    distance = DeepFeatureDistance(features, "a layer")
    targets = distance.prepare(IMAGES)
    expected = (features(IMAGES) - features(OTHERS)).square().sum(1)
    assert torch.allclose(distance(targets, OTHERS), expected)
    assert "a layer" in distance.convention


def test_a_network_of_features_is_evaluated_and_the_callers_stays_as_it_is() -> None:
    features = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(24), torch.nn.Dropout(0.5)
    )
    before = copy.deepcopy(features.state_dict())
    distance = DeepFeatureDistance(features, "a layer")
    targets = distance.prepare(IMAGES)
    found = distance(targets, OTHERS)
    assert torch.equal(found, distance(targets, OTHERS))
    assert torch.allclose(found[:1], distance(targets[:1], OTHERS[:1]))
    assert features.training
    assert all(torch.equal(before[name], now) for name, now in features.state_dict().items())


@pytest.mark.parametrize(
    "distortion",
    [
        SumSquaredError(),
        MeanSquaredError(),
        GaussianNLL(0.2),
        DeepFeatureDistance(torch.nn.Flatten(), "pixels"),
    ],
    ids=lambda d: type(d).__name__,
)
def test_simulated_targets_follow_the_density(distortion: SumSquaredError) -> None:
    # Under p ∝ exp(−β d) with d = c ‖·‖² + constant, β (d − constant) is half a chi-squared
    # variable with as many degrees of freedom as there are samples: mean n/2, variance n/2.
    beta, count = 1.7, 2000
    generator = torch.Generator().manual_seed(2)
    centre = OTHERS[:1].expand(count, -1, -1, -1)
    targets = distortion.simulate(centre, beta, generator)
    least = distortion(_prepared(distortion, centre[:1]), centre[:1])
    values = beta * (distortion(targets, centre) - least)
    assert float(values.mean()) == pytest.approx(12, abs=0.4)
    assert float(values.var()) == pytest.approx(12, abs=1.5)


def _prepared(distortion: Distortion, images: torch.Tensor) -> torch.Tensor:
    prepare = getattr(distortion, "prepare", None)
    prepared: torch.Tensor = images if prepare is None else prepare(images)
    return prepared


@pytest.mark.parametrize("side", [7, 28, 64, 200])
def test_ms_ssim_at_any_size(side: int) -> None:
    images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(3))
    noisy = (images + 0.2 * torch.randn(images.shape)).clamp(0, 1).requires_grad_()
    distance = OneMinusMsSsim()
    assert torch.allclose(distance(images, images), torch.zeros(2), atol=1e-5)
    values = distance(images, noisy)
    assert (values > 0.005).all()
    (gradient,) = torch.autograd.grad(values.sum(), noisy)
    assert torch.isfinite(gradient).all()
    with pytest.raises(UsageError, match="expected images"):
        distance(images[0, 0], noisy[0, 0])


def test_ms_ssim_against_a_library() -> None:
    library = pytest.importorskip("pytorch_msssim")
    images = torch.rand(2, 3, 176, 192, generator=torch.Generator().manual_seed(4))
    noisy = (images + 0.1 * torch.randn(images.shape)).clamp(0, 1)
    expected = 1 - library.ms_ssim(images, noisy, data_range=1.0, size_average=False)
    assert torch.allclose(OneMinusMsSsim()(images, noisy), expected, atol=1e-5)


def test_found_by_name() -> None:
    assert isinstance(find_distortion("sse"), SumSquaredError)
    assert isinstance(find_distortion("mse"), MeanSquaredError)
    own = GaussianNLL(1.0)
    assert find_distortion(own) is own
    with pytest.raises(UsageError, match="'nll' is unknown"):
        find_distortion("nll")
