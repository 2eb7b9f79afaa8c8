"""Figures of the networks of the distribution-preserving codec on held-out images, at each rate."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.models.dplc.networks import DplcNetworks
from training.generative.wae import inverse_multiquadric_mmd

DECODES = 10
"""Number of pictures of the same symbols over which the variance is taken."""
VARIANCE_IMAGES = 500
MMD_IMAGES = 2000
_AT_ONCE = 500


def draw_noise(networks: DplcNetworks, count: int, rate: int, generator: torch.Generator) -> Tensor:
    """Noise of `count` blocks, on the CPU: uniform (count, noise, m, m), or z without symbols."""
    config = networks.config
    if not config.rates[rate]:
        return torch.randn(count, config.code, generator=generator)
    shape = (count, config.noise, config.grid, config.grid)
    return torch.rand(shape, generator=generator) - 0.5


@torch.no_grad()
def rate_figures(networks: DplcNetworks, images: Tensor) -> dict[str, float]:
    """Figures by name, "…_s8" for 8 symbols per position; the same on every call.

    images  float32 (n, C, s, s) in [0, 1]

    mse             mean squared error of pixels in [0, 1], one picture for each image
    mmd             squared maximum mean discrepancy of z = B(E(X)) and N(0, I); at 0 symbols
                    z is a sample of N(0, I). If B gives codes, of codes and the flow's samples,
                    both less the mean of the samples and over their deviation
    pixel_variance  variance of a pixel in [0, 1] over pictures of the same symbols, mean over
                    pixels and images: 0 if the symbols determine the picture
    """
    found: dict[str, float] = {}
    config = networks.config
    for rate, symbols in enumerate(config.rates):
        generator = torch.Generator().manual_seed(rate)
        error, given, variances = 0.0, [], []
        for number, batch in enumerate(torch.split(images, _AT_ONCE)):
            x = batch.to(next(networks.parameters()).device)
            signs = torch.where(networks.analyze(x, rate) >= 0, 0.5, -0.5)
            mapped = _mapped(networks, signs, rate, generator)
            decoded = networks.logits(mapped, rate).sigmoid()
            error += float((decoded - x).double().square().sum())
            given.append(mapped.cpu())
            if number * _AT_ONCE < VARIANCE_IMAGES and config.noise:
                again = [
                    networks.logits(_mapped(networks, signs, rate, generator), rate).sigmoid()
                    for _ in range(DECODES)
                ]
                variances.append(torch.stack(again).var(0).flatten(1).mean(1).cpu())
        found[f"mse_s{symbols}"] = error / images.numel()
        if config.noise:
            values = torch.cat(given)[:MMD_IMAGES]
            found[f"mmd_s{symbols}"] = _discrepancy(networks, values, rate)
            found[f"pixel_variance_s{symbols}"] = float(torch.cat(variances).mean())
    return found


def _discrepancy(networks: DplcNetworks, values: Tensor, rate: int) -> float:
    """MMD² of what B gives and what it should give."""
    size, flow = networks.config.code, networks.generator.flow
    aim = torch.randn(len(values), size, generator=torch.Generator().manual_seed(rate))
    if networks.config.gives_codes(rate):
        assert flow is not None
        aim = flow(aim.to(flow.shift.device)).cpu()
        mean, deviation = aim.mean(0), aim.std(0)
        values, aim = (values - mean) / deviation, (aim - mean) / deviation
    return float(inverse_multiquadric_mmd(values, aim))


def _mapped(networks: DplcNetworks, signs: Tensor, rate: int, generator: torch.Generator) -> Tensor:
    noise = draw_noise(networks, len(signs), rate, generator).to(signs.device)
    return networks.mapped(signs, noise, rate)
