"""Prior densities compared with torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from codec import UsageError
from codec.priors import GaussianMixture, LatentPrior, StandardNormal

WEIGHTS = torch.tensor([1.0, 3.0])
MEANS = torch.tensor([[0.0, 1.0], [-2.0, 0.5]])
COVARIANCES = torch.tensor([[[1.0, 0.3], [0.3, 0.5]], [[0.2, 0.0], [0.0, 2.0]]])


def test_standard_normal() -> None:
    prior = StandardNormal(3)
    codes = prior.sample(4, torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(codes).sum(1)  # type: ignore[no-untyped-call]
    assert torch.allclose(prior.log_prob(codes), expected)
    assert torch.equal(codes, prior.sample(4, torch.Generator().manual_seed(0)))
    assert isinstance(prior, LatentPrior)
    with pytest.raises(UsageError, match="0 dimensions"):
        StandardNormal(0)


def test_gaussian_mixture_density() -> None:
    prior = GaussianMixture(WEIGHTS, MEANS, COVARIANCES)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(WEIGHTS),
        torch.distributions.MultivariateNormal(MEANS, COVARIANCES),
    )
    codes = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(1))
    wanted = expected.log_prob(codes)  # type: ignore[no-untyped-call]
    assert torch.allclose(prior.log_prob(codes), wanted, atol=1e-5)
    assert isinstance(prior, LatentPrior)


def test_gaussian_mixture_of_arrays_and_lists() -> None:
    tensors = GaussianMixture(WEIGHTS, MEANS, COVARIANCES)
    codes = tensors.sample(5)
    arrays = GaussianMixture(WEIGHTS.numpy(), MEANS.double().numpy(), COVARIANCES.numpy())
    lists = GaussianMixture([1, 3], MEANS.tolist(), COVARIANCES.tolist())
    for other in (arrays, lists):
        assert torch.allclose(other.log_prob(codes), tensors.log_prob(codes))


def test_gaussian_mixture_samples() -> None:
    prior = GaussianMixture(WEIGHTS, MEANS, COVARIANCES)
    codes = prior.sample(20_000, torch.Generator().manual_seed(2))
    assert codes.dtype == torch.float32
    mean = (WEIGHTS[:, None] * MEANS).sum(0) / 4
    assert torch.allclose(codes.mean(0), mean, atol=0.05)
    second = COVARIANCES + MEANS[:, :, None] * MEANS[:, None, :]
    expected = (WEIGHTS[:, None, None] * second).sum(0) / 4 - mean[:, None] * mean[None]
    assert torch.allclose(codes.T.cov(), expected, atol=0.08)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        (WEIGHTS, MEANS[0], COVARIANCES, "expected"),
        (WEIGHTS[:1], MEANS, COVARIANCES, "expected"),
        (WEIGHTS, MEANS, COVARIANCES[:, :1], "expected"),
        (-WEIGHTS, MEANS, COVARIANCES, "positive weights"),
        (WEIGHTS, MEANS * torch.nan, COVARIANCES, "finite"),
        (WEIGHTS, MEANS, -COVARIANCES, "not positive definite"),
        # Such as a Cholesky factor by mistake.
        (WEIGHTS, MEANS, torch.linalg.cholesky(COVARIANCES), "not symmetric"),
        ("weights", MEANS, COVARIANCES, "not numbers"),
    ],
)
def test_bad_mixtures(
    weights: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        GaussianMixture(weights, means, covariances)


@pytest.mark.parametrize("shape", [0, -1, 2.0, True, "ab", (), (3, 0), (3, 2.5), (3, True), None])
def test_dimensions_that_are_no_whole_numbers(shape: Any) -> None:
    with pytest.raises(UsageError, match="expected at least 1"):
        StandardNormal(shape)
