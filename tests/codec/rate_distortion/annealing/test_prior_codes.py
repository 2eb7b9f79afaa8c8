"""Codes of the prior as a check: closed forms, and a mode that one image alone has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from bitstream.arrays import Float64Array
from codec.priors import StandardNormal
from codec.rate_distortion.annealing.prior_codes import GROUP, GROUPS, prior_estimates, too_high
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.summary import summarize
from codec.rate_distortion.distortions import OneMinusMsSsim, SumSquaredError
from codec.rate_distortion.model_curve import UntrustedCurveError

BETAS = (0.0, 0.5, 2.0)


def estimates_of(scale: float, images: torch.Tensor, seed: int = 0) -> Float64Array:
    generator = torch.Generator().manual_seed(seed)
    return prior_estimates(
        lambda z: scale * z, StandardNormal(1), SumSquaredError(), images, BETAS, generator
    )


def exact(scale: float, images: torch.Tensor) -> Float64Array:
    """−log Z of x = scale · z + noise of variance 1 / 2β, (n, B)."""
    found = np.zeros((len(images), len(BETAS)))
    for at, beta in enumerate(BETAS[1:], 1):
        variance = scale**2 + 0.5 / beta
        squares = images.square().sum(1).double().numpy() / (2 * variance)
        found[:, at] = squares + 0.5 * math.log(2 * beta * variance)
    return found


def test_the_estimates_are_those_of_a_linear_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.linspace(-2, 2, 9)[:, None]
    found = estimates_of(1.5, images)
    assert found.shape == (GROUPS, 9, len(BETAS))
    total = np.logaddexp.reduce(found, 0) - math.log(GROUPS)
    assert total == pytest.approx(-exact(1.5, images), abs=0.15)
    assert total[:, 0] == pytest.approx(0, abs=1e-12)
    # The size of a block does not change the numbers.
    monkeypatch.setattr("codec.rate_distortion.annealing.prior_codes.BLOCK_VALUES", 30)
    assert estimates_of(1.5, images) == pytest.approx(found, rel=1e-6)


def test_other_distortions_and_undefined_codes() -> None:
    images = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))

    def decode(z: torch.Tensor) -> torch.Tensor:
        made = torch.sigmoid(z)[:, :, None, None].expand(-1, 1, 12, 12).clone()
        made[z[:, 0] > 0] = torch.nan
        return made

    found = prior_estimates(
        decode,
        StandardNormal(1),
        OneMinusMsSsim(),
        images,
        (1.0,),
        torch.Generator().manual_seed(0),
    )
    # Half of the codes count as infinitely far away, and no distortion is above 1.
    assert (found < math.log(0.65)).all()
    assert (found > math.log(0.35) - 1).all()


def test_an_exact_curve_is_never_too_high() -> None:
    for seed in range(30):
        images = 1.5 * torch.randn(40, 1, generator=torch.Generator().manual_seed(seed))
        estimates = estimates_of(1.5, images, seed)
        assert not too_high(exact(1.5, images), estimates).any()


def test_curves_that_are_too_high_by_little_and_by_much() -> None:
    images = 1.5 * torch.randn(40, 1, generator=torch.Generator().manual_seed(1))
    estimates, right = estimates_of(1.5, images), exact(1.5, images)
    # All images: what a certified point may be off by passes.
    assert not too_high(right + 0.15, estimates).any()
    assert too_high(right + 0.6, estimates) == pytest.approx([0.6, 0.6, 0.6], abs=0.1)
    # One image of 40: 8 nats are 0.2 nats on average, 16 are 0.4.
    for nats, found in ((8, 0.0), (16, 0.4)):
        wrong = right.copy()
        wrong[3, 2] += nats
        assert too_high(wrong, estimates)[2] == pytest.approx(found, abs=0.02)


def test_no_code_near_an_image() -> None:
    estimates = np.full((GROUPS, 2, 1), -np.inf)
    assert too_high(np.array([[5.0], [6.0]]), estimates).tolist() == [0.0]
    # One code in a thousand says nothing about a mean.
    estimates[0] = [[math.log(1 / GROUP)], [math.log(1 / GROUP)]]
    assert too_high(np.full((2, 1), 9.0), estimates).tolist() == [0.0]


def test_a_mode_that_a_single_image_has_is_seen() -> None:
    def decode(z: torch.Tensor) -> torch.Tensor:
        dip = 1.5 * torch.exp(-(((z - 2.4) / 0.08) ** 2))
        return z - dip + 8.2 * torch.sigmoid(40 * (z - 2.6))

    # Behind a dip and a jump lies 0.5 % of the prior, and one of these images. Local fits that
    # rise with β stay before the dip. Chains from the prior find the way.
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(60, 1, generator=generator).clamp(max=2.2)
    codes[7] = 2.8
    images = decode(codes) + 0.1 * torch.randn(60, 1, generator=generator)
    options: dict[str, Any] = {
        "betas": [0.3, 30.0, 100.0],
        "temperatures": 100,
        "chains": 8,
        "simulations": 4,
    }
    local = rd_samples(decode, StandardNormal(1), images, modes=1, reference="local", **options)
    prior = rd_samples(decode, StandardNormal(1), images, reference="prior", **options)
    error = (local.log_partition - prior.log_partition).mean(0)
    assert error[2] > 1
    assert local.unseen is not None
    assert local.unseen[1:] == pytest.approx(error[1:], rel=0.2)
    assert prior.unseen is not None
    assert not prior.unseen.any()
    with pytest.raises(UntrustedCurveError, match="codes of the prior show that L is"):
        summarize(local)
    assert any(summarize(prior).certified)
