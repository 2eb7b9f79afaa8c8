"""The losses of the generative families against closed forms, brute force and identities."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.generative.config import GENERATIVE_PRESETS
from training.generative.gan import (
    Critic,
    binarized_representation_entropy,
    correlation_penalty,
    gradient_penalty,
    marginal_entropy_penalty,
    pattern_entropy_bits,
    soft_signs,
)
from training.generative.learner import nearest_figures, squared_error
from training.generative.rae import fit_mixture
from training.generative.vae import VaeLearner, binarize, kl_to_standard_normal
from training.generative.wae import (
    SCALES,
    WaeLearner,
    inverse_multiquadric_mmd,
    reconstruction_error,
)

TINY = GENERATIVE_PRESETS["digits-tiny"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hadamard(order: int) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < order:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def test_kl_is_that_of_torch() -> None:
    mean, log_variance = normal(5, 3), normal(5, 3, seed=1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_elbo_terms_are_densities(likelihood: str) -> None:
    model = dataclasses.replace(TINY.model, likelihood=likelihood)
    torch.manual_seed(0)
    learner = VaeLearner(dataclasses.replace(TINY, model=model), autocast=False)
    x = binarize(torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(2)))
    nll, kl, error = learner.terms(x, torch.Generator().manual_seed(5))
    mean, log_variance = learner.encoder(x)
    assert log_variance is not None
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5))
    z = mean + noise * (0.5 * log_variance).exp()
    density: torch.distributions.Distribution
    if likelihood == "gaussian":
        deviation = (0.5 * learner.log_variance).exp()
        density = torch.distributions.Normal(learner.decoder(z), deviation)
    else:
        density = torch.distributions.Bernoulli(logits=learner.decoder.logits(z))
    torch.testing.assert_close(nll, -density.log_prob(x).flatten(1).sum(1))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(kl, kl_to_standard_normal(mean, log_variance))
    torch.testing.assert_close(error, squared_error(x, learner.decoder(z)))


def test_losses_are_float32_under_autocast() -> None:
    torch.manual_seed(0)
    learner = VaeLearner(TINY, autocast=True)
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    assert {term.dtype for term in learner.terms(x, torch.Generator())} == {torch.float32}


def test_binarisation_is_fixed_and_has_the_pixels_mean() -> None:
    images = torch.full((50, 1, 28, 28), 0.3)
    first = binarize(images)
    assert torch.equal(first, binarize(images))
    assert set(first.flatten().tolist()) == {0.0, 1.0}
    assert abs(float(first.mean()) - 0.3) < 0.01


def test_mmd_is_its_double_sum() -> None:
    a, b = normal(7, 3), normal(7, 3, seed=1) + 0.5

    def kernel(x: Tensor, y: Tensor) -> float:
        distance = float((x - y).square().sum())
        return sum(6 * s / (6 * s + distance) for s in SCALES)

    pairs = [(i, j) for i in range(7) for j in range(7)]
    within = sum(kernel(s[i], s[j]) for s in (a, b) for i, j in pairs if i != j) / 42
    between = sum(kernel(a[i], b[j]) for i, j in pairs) / 49
    assert float(inverse_multiquadric_mmd(a, b)) == pytest.approx(within - 2 * between, abs=1e-5)


def test_mmd_tells_distributions_apart() -> None:
    def mmd(other: Tensor) -> float:
        return float(inverse_multiquadric_mmd(normal(800, 4), other))

    assert abs(mmd(normal(800, 4, seed=1))) < 0.01
    assert mmd(normal(800, 4, seed=1) + 0.3) > 0.02
    assert mmd(normal(800, 4, seed=1) * 0.7) > 0.02


def test_mmd_of_equal_codes_has_a_gradient() -> None:
    codes = torch.ones(4, 3, requires_grad=True)
    inverse_multiquadric_mmd(codes, torch.ones(4, 3)).backward()  # type: ignore[no-untyped-call]
    assert codes.grad is not None
    assert torch.isfinite(codes.grad).all()


class Bowl(nn.Module):
    """D(x) = ½‖x‖²: its gradient is x."""

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return 0.5 * x.square().flatten(1).sum(1), []


def test_gradient_penalty_takes_the_norm_over_the_whole_image() -> None:
    x = normal(5, 3, 4, 4)
    penalty, _ = gradient_penalty(Bowl(), x)  # type: ignore[arg-type]
    expected = np.mean([(float(image.norm()) - 1) ** 2 for image in x])
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


class Plane(nn.Module):
    """D(x) = ⟨w, x⟩: its gradient is w everywhere."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = nn.Parameter(slope)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return (x * self.slope).flatten(1).sum(1), []


def test_gradient_penalties_of_a_plane() -> None:
    slope = normal(3, 2, 2)
    slope[:, 0, 1] = 0  # a pixel that the critic ignores
    plane, x = Plane(slope), normal(5, 3, 2, 2, seed=1)
    image, _ = gradient_penalty(plane, x)  # type: ignore[arg-type]
    assert image.item() == pytest.approx((float(slope.norm()) - 1) ** 2, rel=1e-5)
    channels, _ = gradient_penalty(plane, x, "channels")  # type: ignore[arg-type]
    pixels = [(float(slope[:, i, j].norm()) - 1) ** 2 for i in range(2) for j in range(2)]
    assert channels.item() == pytest.approx(np.mean(pixels), rel=1e-5)
    channels.backward()  # type: ignore[no-untyped-call]
    assert plane.slope.grad is not None
    assert torch.isfinite(plane.slope.grad).all()


def test_a_critic_that_obeys_the_penalty_on_channels_is_as_steep_as_its_pixels_together() -> None:
    plane, x = Plane(torch.ones(1, 8, 8)), normal(2, 1, 8, 8)
    assert gradient_penalty(plane, x, "channels")[0].item() == 0  # type: ignore[arg-type]
    image = gradient_penalty(plane, x)[0].item()  # type: ignore[arg-type]
    assert image == pytest.approx((8 - 1) ** 2)


def test_reconstruction_errors_have_their_units() -> None:
    x, y = torch.zeros(4, 1, 5, 5), torch.full((4, 1, 5, 5), 0.1)
    y[2:] = 0.3
    assert float(reconstruction_error(x, y, "sse")) == pytest.approx(25 * (0.01 + 0.09) / 2)
    # Pixels in [−1, 1] differ by twice as much.
    assert float(reconstruction_error(x, y, "rmse")) == pytest.approx(math.sqrt(0.2**2 / 2 + 0.18))


def test_gradient_penalty_moves_the_critic_to_slope_one() -> None:
    torch.manual_seed(0)
    critic = Critic(GENERATIVE_PRESETS["mnist-convgan"])
    x = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    adam = torch.optim.Adam(critic.parameters(), lr=3e-3)
    before = gradient_penalty(critic, x)[0].item()
    for _ in range(40):
        adam.zero_grad()
        gradient_penalty(critic, x)[0].backward()  # type: ignore[no-untyped-call]
        adam.step()
    assert gradient_penalty(critic, x)[0].item() < 0.1 * before


@pytest.mark.parametrize("preset", ["mnist-gan-10", "mnist-convgan"])
def test_the_critic_shows_its_pre_activations(preset: str) -> None:
    torch.manual_seed(0)
    critic = Critic(GENERATIVE_PRESETS[preset])
    values, hidden = critic(torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1)))
    assert values.shape == (3,)
    assert len(hidden) == len(GENERATIVE_PRESETS[preset].critic)
    last = torch.nn.functional.leaky_relu(hidden[-1], 0.2).flatten(1)
    torch.testing.assert_close(critic.layers[-1](last)[:, 0], values)


def test_entropy_of_activation_patterns() -> None:
    h = torch.ones(8, 4)
    h[::2, 0] = -1  # active for half of the images
    h[0, 1] = 0  # for 7 of 8
    h[:, 3] = -3  # never
    of_second = -(7 / 8 * math.log2(7 / 8) + 1 / 8 * math.log2(1 / 8))
    assert pattern_entropy_bits([h[:, :1]]) == 1
    assert pattern_entropy_bits([h[:, :2].view(8, 2, 1), h[:, 2:]]) == pytest.approx(
        (1 + of_second) / 4
    )


def test_bre_of_orthogonal_patterns_is_zero() -> None:
    # All columns except the first of a Hadamard matrix are balanced, and its rows are orthogonal.
    patterns = hadamard(16)[:, 1:]
    assert float(marginal_entropy_penalty(patterns)) == 0
    assert float(correlation_penalty(patterns)) == 0
    assert float(binarized_representation_entropy([5 * patterns])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("units", [16, 4096])
def test_bre_of_constant_patterns(units: int) -> None:
    patterns = hadamard(16)[3].repeat(8, units // 16)
    assert float(marginal_entropy_penalty(patterns)) == 1
    margin = 3 / math.sqrt(units)  # which vanishes for wide layers
    assert float(correlation_penalty(patterns)) == pytest.approx(1 - margin)
    total = binarized_representation_entropy([patterns, patterns])
    assert float(total) == pytest.approx(2 - margin, abs=0.01)


def test_bre_of_opposite_patterns() -> None:
    # Units are balanced, although all images share one pattern up to its sign.
    signs = torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    patterns = signs * torch.ones(8, 64)
    assert float(marginal_entropy_penalty(patterns)) == 0
    assert float(correlation_penalty(patterns)) == pytest.approx(1 - 3 / 8)


def test_bre_of_random_signs_is_near_zero() -> None:
    patterns = normal(64, 1024).sign()
    assert float(marginal_entropy_penalty(patterns)) == pytest.approx(1 / 64, rel=0.2)
    assert float(correlation_penalty(patterns)) < 1e-4


def test_soft_signs_have_a_gradient_and_bear_zeros() -> None:
    h = normal(6, 5).requires_grad_(True)
    torch.testing.assert_close(soft_signs(h), h.sign(), atol=0.05, rtol=0)
    soft_signs(h).sum().backward()  # type: ignore[no-untyped-call]
    assert h.grad is not None
    assert (h.grad > 0).all()
    assert torch.equal(soft_signs(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_the_mixture_is_in_the_codes_own_coordinates() -> None:
    centres = torch.tensor([[300.0, 0.0], [0.0, -200.0]])
    codes = torch.cat([centres[0] + 10 * normal(600, 2), centres[1] + normal(300, 2, seed=1)])
    prior = fit_mixture(codes, 2)
    order = prior.weights.argsort(descending=True)
    torch.testing.assert_close(prior.weights[order], torch.tensor([2 / 3, 1 / 3]).double())
    torch.testing.assert_close(prior.means[order].float(), centres, atol=2.0, rtol=0)
    deviations = prior.covariances[order].diagonal(dim1=1, dim2=2).sqrt().float()
    torch.testing.assert_close(deviations[0], torch.tensor([10.0, 10.0]), rtol=0.1, atol=0)
    # It is a density: the mean log-density of its own samples is minus the entropy, here that of
    # two Gaussians that do not overlap.
    entropy = -sum(
        w * (w.log() - 0.5 * torch.linalg.slogdet(2 * math.pi * math.e * c)[1])
        for w, c in zip(prior.weights, prior.covariances, strict=True)
    )
    samples = prior.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert -float(prior.log_prob(samples).mean()) == pytest.approx(float(entropy), abs=0.05)


def test_nearest_figures_see_dropped_modes_and_strange_samples() -> None:
    model = dataclasses.replace(TINY.model, family="wae", likelihood=None)
    torch.manual_seed(0)
    learner = WaeLearner(dataclasses.replace(TINY, model=model), autocast=False)
    with torch.no_grad():
        for layer in learner.decoder.layers:
            assert isinstance(layer.weight, Tensor)
            layer.weight.zero_()
            assert isinstance(layer.bias, Tensor)
            layer.bias.zero_()  # every sample is grey 0.5
    grey = torch.full((4, 1, 28, 28), 0.5)
    half = torch.cat([grey, grey + 0.1])
    assert nearest_figures(learner.model(), grey)["nearest_data_sse"] == pytest.approx(0, abs=1e-3)
    figures = nearest_figures(learner.model(), half)
    assert figures["nearest_data_sse"] == pytest.approx(0, abs=1e-3)
    assert figures["nearest_sample_sse"] == pytest.approx(0.5 * 784 * 0.01, rel=1e-3)
    far = nearest_figures(learner.model(), grey + 0.1)
    assert far["nearest_data_sse"] == pytest.approx(784 * 0.01, rel=1e-3)
