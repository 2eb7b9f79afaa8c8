"""What the photo model minimises: rate and distortion, at a quality drawn for each crop."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.models.photo.network import Forward, lagrange_multiplier
from codec.models.photo_next.visual_error import VISUAL_SCALE, visual_error

# Bits per pixel of photographs at λ = 0.013, and how they grow with λ (measured on a pilot).
_REFERENCE_LAMBDA, _REFERENCE_BPP, _RATE_EXPONENT = 0.013, 0.5, 0.5


def sample_positions(batch: int, generator: torch.Generator) -> Tensor:
    """Quality positions in [0, 1]: uniform, and the rates people use most a second time."""
    wide = torch.rand(batch, generator=generator)
    usual = 0.15 + 0.6 * torch.rand(batch, generator=generator)
    return torch.where(torch.rand(batch, generator=generator) < 0.6, wide, usual)


def rate_distortion_loss(
    output: Forward, pixels: Tensor, position: Tensor, *, visual: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """λ·distortion + bits per pixel, weighted so that every quality counts alike.

    The distortion is 255²·MSE, of which the share `visual`, 0 .. 1, is replaced by the scaled
    `visual_error`.

    The high qualities cost tens of times the bits of the low ones; dividing by the rate
    expected at λ makes a relative saving worth the same everywhere, which is what a
    Bjøntegaard difference measures. Returns (loss, bpp, mse), the last two per sample.
    """
    lagrange = lagrange_multiplier(position)
    area = pixels.shape[2] * pixels.shape[3]
    bpp = (output.latent_bits + output.hyper_bits) / area
    mse = (output.reconstruction - pixels).square().flatten(1).mean(1)
    expected = _REFERENCE_BPP * (lagrange / _REFERENCE_LAMBDA) ** _RATE_EXPONENT
    distortion = 255**2 * mse
    if visual:
        seen = visual_error(pixels, output.reconstruction)
        distortion = (1 - visual) * distortion + visual * VISUAL_SCALE * seen
    loss = (lagrange * distortion + bpp) / (expected + 0.1)
    return loss.mean(), bpp.detach(), mse.detach()
