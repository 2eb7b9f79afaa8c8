"""The photo model's network: warm start, conditioning on quality, budget of work."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch.nn import functional as F

from codec.models.layers import QualityTable
from codec.models.photo.code_length import gaussian_bits, logistic_bits, lower_bound
from codec.models.photo.network import (
    PhotoConfig,
    PhotoModel,
    _dct_filters,
    lagrange_multiplier,
    quality_position,
    uniform_step,
)
from tests.codec.tiny import TINY


def test_filters_are_orthonormal() -> None:
    filters = _dct_filters(384).flatten(1)
    torch.testing.assert_close(filters @ filters.t(), torch.eye(384), atol=1e-5, rtol=0)


def test_the_untrained_model_is_the_linear_transform() -> None:
    torch.manual_seed(0)
    model = PhotoModel(PhotoConfig(latent_channels=768, blocks_16=1, blocks_8=1, blocks_4=1))
    pixels = torch.rand(1, 3, 64, 128)
    position = torch.tensor([0.5])
    with torch.no_grad():
        latents, _ = model.analyze(pixels, position)
        # All 768 coefficients, no rounding: the transform is a rotation and its inverse.
        torch.testing.assert_close(model.synthesize(latents, position), pixels, atol=1e-4, rtol=0)
    step = uniform_step(lagrange_multiplier(position))
    scaled = (latents * step).square().sum()
    torch.testing.assert_close(scaled, (pixels - 0.5).square().sum(), rtol=1e-3, atol=0)


def test_patch_synthesis_is_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    layer = PhotoModel(TINY).synthesis.linear
    torch.nn.init.normal_(layer.bias)
    latents = torch.randn(2, 32, 3, 5)
    expected = F.conv_transpose2d(latents, layer.weight, layer.bias, stride=16)
    torch.testing.assert_close(layer(latents), expected, atol=1e-4, rtol=1e-4)


def test_uniform_step_minimises_the_high_rate_loss() -> None:
    multiplier = torch.tensor(0.013, dtype=torch.float64)
    best = uniform_step(multiplier)

    def loss(step: torch.Tensor) -> float:
        return float(multiplier * 255**2 * step**2 / 12 - 3 * torch.log2(step))

    assert loss(best) < min(loss(best * 0.99), loss(best * 1.01))


@pytest.mark.parametrize("value", [0.0, 0.4, 3.0, -25.0])
def test_bits_are_those_of_the_integrated_density(value: float) -> None:
    scale = 2.5
    normal = statistics.NormalDist(0.0, scale)
    mass = normal.cdf(value + 0.5) - normal.cdf(value - 0.5)
    values, scales = torch.full((1, 1), value).double(), torch.full((1, 1), scale).double()
    assert float(gaussian_bits(values, scales)) == pytest.approx(
        -math.log2(max(mass, 1e-9)), rel=1e-3
    )
    logistic = torch.sigmoid((values + 0.5) / scale) - torch.sigmoid((values - 0.5) / scale)
    assert float(logistic_bits(values, scales)) == pytest.approx(-float(logistic.log2()), rel=1e-6)


def test_lower_bound_lets_gradients_back_in() -> None:
    values = torch.tensor([-1.0, 2.0], requires_grad=True)
    total = lower_bound(values, 0.0).sum()
    (down,) = torch.autograd.grad(total, values, retain_graph=True)
    (up,) = torch.autograd.grad(-total, values)
    assert down.tolist() == [0.0, 1.0]  # a step down would go further below the bound
    assert up.tolist() == [-1.0, -1.0]


def test_quality_tables_interpolate() -> None:
    table = QualityTable(3, 1, torch.tensor([[0.0], [1.0], [5.0]]))
    at = table(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 2.0])).flatten()
    assert at.tolist() == [0.0, 0.5, 1.0, 3.0, 5.0, 5.0]
    assert (quality_position(1), quality_position(100)) == (0.0, 1.0)


def test_training_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    model = PhotoModel(TINY)
    with torch.no_grad():  # branches start silent; wake them, so that gradients can pass
        assert model.context is not None
        steps = (model.context.black, model.context.second, model.context.third)
        for layer in (model.analysis.out, model.synthesis.out, *(step.out for step in steps)):
            torch.nn.init.normal_(layer.weight, std=0.1)
    output = model(torch.rand(3, 3, 64, 64), torch.tensor([0.1, 0.5, 0.9]))
    (
        output.reconstruction.square().mean() + output.latent_bits.sum() + output.hyper_bits.sum()
    ).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_work_and_size_stay_within_budget() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = PhotoModel().eval()
    position, pixels = torch.tensor([0.5]), torch.zeros(1, 3, 256, 256)

    def kilo_mac_per_pixel(counter: FlopCounterMode) -> float:
        return float(counter.get_total_flops()) / 2 / 256**2 / 1000

    with torch.no_grad():
        with FlopCounterMode(display=False) as encoding:
            latents, hyper = model.analyze(pixels, position)
        with FlopCounterMode(display=False) as decoding:
            model.code(latents, hyper, position)
    assert 2 < kilo_mac_per_pixel(encoding) + kilo_mac_per_pixel(decoding) <= 60
    assert 2 < kilo_mac_per_pixel(decoding) <= 25
    assert sum(p.numel() for p in model.parameters()) <= 8_000_000
