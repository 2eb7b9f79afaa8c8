"""The weights of the chains, and what they say about the error of log Ẑ."""

import math

import torch

from codec.rate_distortion.annealing.sampler import ChainWeights
from codec.rate_distortion.annealing.tempering import Particles

IMAGES, CHAINS = 20_000, 20
SPREAD = 0.5


def test_the_excess_is_the_bias_of_the_logarithm() -> None:
    """Log-normal weights, independent after each resampling: E[−log Ẑ] is half the variance."""
    generator = torch.Generator().manual_seed(0)
    weights = ChainWeights(IMAGES, CHAINS, torch.device("cpu"))
    nothing = torch.zeros(IMAGES * CHAINS, 1)
    particles = Particles(nothing, *[nothing[:, 0].double()] * 2, *[nothing] * 2)
    everyone = torch.ones(IMAGES, dtype=torch.bool)
    for _ in range(4):
        draws = torch.randn(IMAGES * CHAINS, generator=generator, dtype=torch.float64)
        weights.add(SPREAD * draws - SPREAD**2 / 2)  # the mean of exp is 1
        particles = weights.resample(particles, everyone, generator)
    bias = -weights.log_mean()
    expected = 4 * 0.5 * math.expm1(SPREAD**2) / CHAINS  # 0.028
    assert abs(bias.mean() - expected) < 0.004
    assert abs(weights.excess().mean() - expected) < 0.004


def test_equal_weights_and_images_that_are_not_resampled() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = ChainWeights(2, 4, torch.device("cpu"))
    assert weights.excess().tolist() == [0.0, 0.0]
    weights.add(torch.tensor([0.0, 0.0, -1e9, -1e9] * 2, dtype=torch.float64))
    # Two effective chains of four, whether or not they were resampled.
    nothing = torch.zeros(8, 1)
    particles = Particles(nothing, *[nothing[:, 0].double()] * 2, *[nothing] * 2)
    weights.resample(particles, torch.tensor([True, False]), generator)
    assert torch.allclose(weights.excess(), torch.tensor([0.125, 0.125], dtype=torch.float64))
