"""The fitted prior of bits, tested on processes with known entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from codec.models.dplc.prior import ExactBitPrior
from training.dplc.prior_fit import fit_prior

SIZE, FLIP = 12, 0.1


def entropy(probability: float) -> float:
    p = probability
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


def chain(count: int, *, seed: int) -> Tensor:
    """Bits that repeat the one before, except for one in ten: bool (count, SIZE)."""
    generator = torch.Generator().manual_seed(seed)
    flips = torch.rand(count, SIZE, generator=generator) < FLIP
    flips[:, 0] = torch.rand(count, generator=generator) < 0.5
    return flips.int().cumsum(1) % 2 == 1


def test_a_chain_costs_its_entropy() -> None:
    fit = fit_prior(chain(4000, seed=0), chain(2000, seed=1), steps=400)
    known = 1 + (SIZE - 1) * entropy(FLIP)
    assert fit.held_out_bits == pytest.approx(known, rel=0.03)
    # The only log-odds that matters is ln 9, and there is nothing on or above the diagonal.
    assert fit.weight.shape == (SIZE, SIZE)
    assert not fit.weight.triu().any()
    assert float(fit.weight.diagonal(-1).mean()) == pytest.approx(math.log(9), rel=0.15)
    assert fit.weight.tril(-2).abs().max() < 0.5
    assert fit.bias.abs().max() < 0.3
    # In fixed point, with its tables, it costs the same.
    unseen = chain(2000, seed=1)
    exact = ExactBitPrior.to_fixed_point(fit.weight, fit.bias)
    cost = float(exact.cost_bits(unseen.numpy()).mean())
    assert cost == pytest.approx(fit.held_out_bits, rel=0.005)


def test_independent_bits_get_no_more_than_their_frequencies() -> None:
    odds = torch.linspace(0.02, 0.98, 8)
    known, unseen = (
        torch.rand(n, 8, generator=torch.Generator().manual_seed(n)) < odds for n in (300, 3000)
    )
    fit = fit_prior(known, unseen, steps=100)
    expected = sum(entropy(float(p)) for p in odds)
    assert fit.held_out_bits == pytest.approx(expected, rel=0.02)


def test_a_copied_bit_is_nearly_free_and_a_constant_one_as_well() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(3000, 1, generator=generator) < 0.5
    bits = torch.cat([first, ~first, torch.ones_like(first)], 1)
    fit = fit_prior(bits[:2000], bits[2000:])
    assert fit.held_out_bits < 1.05
    ExactBitPrior.to_fixed_point(fit.weight, fit.bias)  # fits fixed point


def test_the_penalty_is_the_one_that_codes_held_out_blocks_best() -> None:
    few, unseen = chain(40, seed=2), chain(1000, seed=3)
    both = fit_prior(few, unseen, weight_penalties=(1e-3, 10.0), steps=200)
    each = [fit_prior(few, unseen, weight_penalties=(p,), steps=200) for p in (1e-3, 10.0)]
    best = min(each, key=lambda fit: fit.held_out_bits)
    assert both.held_out_bits == pytest.approx(best.held_out_bits)
    assert both.weight_penalty == best.weight_penalty
    assert torch.equal(both.weight, best.weight)
