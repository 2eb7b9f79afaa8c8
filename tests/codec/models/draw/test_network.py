"""Distributions of DRAW: they sum to one, and no gradient is lost in their tails."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from codec.models.draw.network import (
    DrawNetwork,
    bernoulli_nats,
    bin_bits,
    conditional_means,
    gaussian_kl,
    logistic_nats,
)
from codec.models.draw.recursion import DrawConfig

LEVELS = (2 * torch.arange(256, dtype=torch.float64) - 255) / 256


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("log_scale", [-3.0, 0.0, 2.5, 5.0])
@pytest.mark.parametrize("mean", [0.0, 0.4, -7.3])
def test_bins_sum_to_one(log_scale: float, mean: float) -> None:
    symbols = torch.arange(-2000, 2001, dtype=torch.float64)
    scale = torch.full_like(symbols, log_scale)
    total = torch.exp2(-bin_bits(symbols - mean, scale)).sum()
    assert float(total) == pytest.approx(1, abs=1e-9)
    single = torch.exp2(-bin_bits((symbols - mean).float(), scale.float())).sum()
    assert float(single) == pytest.approx(1, abs=1e-4)


def test_bins_are_a_density_convolved_with_a_uniform() -> None:
    noise = torch.rand(400_000, generator=torch.Generator().manual_seed(1)) - 0.5
    drawn = 0.7 * torch.randn(400_000, generator=torch.Generator().manual_seed(2)) + noise
    for offset in (0.0, 0.9, -1.6):
        near = ((drawn - offset).abs() < 0.05).double().mean() / 0.1
        log_scale = torch.tensor(math.log(0.7))
        expected = torch.exp2(-bin_bits(torch.tensor(offset), log_scale))
        assert float(near) == pytest.approx(float(expected), rel=0.03)


def test_far_bins_cost_what_they_should_and_are_pulled_back() -> None:
    offset = torch.tensor([0.0, 0.9, -30.0, 1000.0, 20_000.0], requires_grad=True)
    scale = torch.tensor([-3.0, -3.0, 0.0, 5.0, -3.0], requires_grad=True)
    bits = bin_bits(offset, scale)
    # −log₂ of the nearest end's density, far outside: (|offset| − ½)² / (2 σ² ln 2).
    expected = 19_999.5**2 * math.exp(6) / 2 / math.log(2)
    assert float(bits[4].detach()) == pytest.approx(expected, rel=1e-3)
    bits.sum().backward()  # type: ignore[no-untyped-call]
    assert offset.grad is not None
    assert scale.grad is not None
    assert torch.isfinite(offset.grad).all()
    assert torch.isfinite(scale.grad).all()
    assert (offset.grad[[1, 3, 4]] > 1e-3).all()
    assert offset.grad[2] < -1
    assert (scale.grad[1:] < 0).all()


@pytest.mark.parametrize("mean", [0.0, -0.3, 0.995, -5.0, 40.0])
@pytest.mark.parametrize("scale", [-20.0, -7.0, -3.0, 0.0, 2.0, 20.0])
def test_logistics_sum_to_one_over_all_levels(mean: float, scale: float) -> None:
    canvas = torch.tensor([mean, scale]).double().reshape(1, 2, 1, 1).expand(256, 2, 1, 1)
    nats = logistic_nats(canvas, LEVELS.reshape(-1, 1, 1, 1))
    assert nats.shape == (256, 1, 1, 1)
    assert float(torch.exp(-nats).sum()) == pytest.approx(1, abs=1e-9)


def test_logistics_are_differences_of_the_distribution_function() -> None:
    canvas = torch.tensor([0.1, -2.0]).double().reshape(1, 2, 1, 1).expand(256, 2, 1, 1)
    found = torch.exp(-logistic_nats(canvas, LEVELS.reshape(-1, 1, 1, 1))).flatten()
    edges = torch.cat([torch.tensor([-math.inf]), (LEVELS[1:] + LEVELS[:-1]) / 2,
                       torch.tensor([math.inf])])  # fmt: skip
    function = torch.sigmoid((edges - 0.1) * math.exp(2))
    torch.testing.assert_close(found, function.diff())


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_each_channel_sums_to_one_given_those_before(channel: int) -> None:
    canvas = normal(1, 9, 2, 3).expand(256, 9, 2, 3)
    chosen = LEVELS[torch.randint(256, (3, 2, 3), generator=torch.Generator().manual_seed(3))]
    image = chosen.repeat(256, 1, 1, 1)
    image[:, channel] = LEVELS[:, None, None]
    total = torch.exp(-logistic_nats(canvas, image)[:, channel]).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_channels_depend_on_those_before_only() -> None:
    canvas, image = normal(1, 9, 1, 1), torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    before = logistic_nats(canvas, image).flatten()
    for channel, changed in ((0, [0, 1, 2]), (1, [1, 2]), (2, [2])):
        other = image.clone()
        other[:, channel] = LEVELS[40]
        differs = (logistic_nats(canvas, other).flatten() != before).tolist()
        assert differs == [number in changed for number in range(3)]


def test_without_coefficients_channels_are_independent() -> None:
    canvas = normal(2, 9, 3, 3)
    canvas[:, 6:] = 0
    mean, scale = conditional_means(canvas, normal(2, 3, 3, 3, seed=1))
    assert torch.equal(mean, canvas[:, :3])
    assert torch.equal(scale, canvas[:, 3:6].clamp(-7, 2))
    grey = normal(2, 2, 3, 3)
    assert torch.equal(conditional_means(grey, normal(2, 1, 3, 3))[0], grey[:, :1])


def test_coefficients_move_means_by_what_was_off() -> None:
    canvas, image = torch.zeros(1, 9, 1, 1), torch.tensor([0.5, -0.25, 0.0]).reshape(1, 3, 1, 1)
    canvas[0, :3, 0, 0] = torch.tensor([0.1, 0.2, 0.3])
    canvas[0, 6:, 0, 0] = torch.tensor([0.3, -0.4, 2.0])
    a, b, c = (math.tanh(x) for x in (0.3, -0.4, 2.0))
    mean, _ = conditional_means(canvas, image)
    expected = [0.1, 0.2 + a * 0.4, 0.3 + b * 0.4 + c * -0.45]
    torch.testing.assert_close(mean.flatten(), torch.tensor(expected))


@pytest.mark.parametrize("error", [-1e-6, 0.0, 1e-6])
def test_levels_are_told_apart_though_not_exact(error: float) -> None:
    image = (LEVELS + error).float().reshape(-1, 1, 1, 1)
    canvas = torch.tensor([0.0, -1.0]).reshape(1, 2, 1, 1).expand(256, 2, 1, 1)
    rough = logistic_nats(canvas, image)
    exact = logistic_nats(canvas.double(), LEVELS.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(rough.double(), exact, rtol=1e-4, atol=1e-4)


def test_gradients_of_logistics_are_finite_and_right() -> None:
    far = torch.tensor([-200.0, -1.0, 0.0, 0.7, 200.0])
    scales = torch.tensor([-30.0, -7.0, -1.0, 2.0, 30.0])
    mean, scale, image = torch.meshgrid(far, scales, LEVELS.float()[[0, 1, 128, 254, 255]],
                                        indexing="ij")  # fmt: skip
    canvas = torch.stack([mean, scale], 2).flatten(0, 1).flatten(2)[:, :, None]
    canvas = canvas.reshape(25, 2, 1, 5).requires_grad_()
    logistic_nats(canvas, image.reshape(25, 1, 1, 5)).sum().backward()  # type: ignore[no-untyped-call]
    assert canvas.grad is not None
    assert torch.isfinite(canvas.grad).all()
    near = 0.3 * normal(3, 9, 2, 2)
    levels = LEVELS[torch.tensor([0, 100, 255])].reshape(3, 1, 1, 1).expand(3, 3, 2, 2)
    assert torch.autograd.gradcheck(lambda c: logistic_nats(c, levels), near.requires_grad_())


def test_kl_and_bernoulli_are_those_of_torch() -> None:
    mean, log_variance = normal(50), normal(50, seed=1)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)
    x = (normal(50, seed=2) > 0).double()
    density = torch.distributions.Bernoulli(logits=mean)
    torch.testing.assert_close(bernoulli_nats(mean, x), -density.log_prob(x))  # type: ignore[no-untyped-call]


def test_quality_moves_biases_and_steps_between_knots() -> None:
    config = DrawConfig(3, "gaussian", "uniform", 1, 2, (4,), (2,), knots=3)
    network = DrawNetwork(config).requires_grad_(False)
    network.log_steps[0].copy_(torch.tensor([2.0, 1.0, 0.5]).log()[:, None].expand(3, 2))
    bias = torch.arange(3.0)[:, None].expand(3, 12)
    network.biases["paint"].copy_(bias)
    network.set_quality(torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(network.step(0)[:, 0, 0, 0], torch.tensor([2.0, 1.5, 0.5]))
    painted = network.convolve("paint", torch.zeros(3, 4, 1, 1))
    torch.testing.assert_close(painted[:, 0, 0, 0], torch.tensor([0.0, 0.5, 2.0]))
    network.set_quality(None)  # the best one
    torch.testing.assert_close(network.step(0)[:, 0, 0], torch.tensor([0.5, 0.5]))
