"""The certificate: the truth lies between both bounds, and their gap shows a bad pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codec.priors import StandardNormal
from codec.rate_distortion.annealing.bdmc import BdmcResult, bidirectional_bounds, can_simulate
from codec.rate_distortion.annealing.sampler import AnnealingPlan
from codec.rate_distortion.annealing.tempering import Decode
from codec.rate_distortion.distortions import OneMinusMsSsim, SumSquaredError

REPORTED = (0.5, 5.0, 50.0)


def plan_of(temperatures: int, *, resample: bool = True) -> AnnealingPlan:
    """Temperatures evenly in log β, with the step that suits a standard normal posterior."""
    inner = np.geomspace(0.01, REPORTED[-1], temperatures)
    betas = (0.0, *sorted({*inner.tolist(), *REPORTED}))
    # The posterior of z → z with squared error has the variance 1 / (1 + 2β).
    scales = torch.stack([torch.eye(2) * (1 + 2 * beta) ** -0.5 for beta in betas])
    return AnnealingPlan(
        betas=betas,
        steps=(0.7,) * len(betas),
        scales=scales,
        leapfrogs=(2,) * len(betas),
        reported=(0, *(betas.index(beta) for beta in REPORTED)),
        resample=resample,
    )


def identity(codes: torch.Tensor) -> torch.Tensor:
    return 1 * codes


def bounds(plan: AnnealingPlan, decode: Decode = identity, simulations: int = 60) -> BdmcResult:
    return bidirectional_bounds(
        decode,
        StandardNormal(2),
        SumSquaredError(),
        plan,
        simulations=simulations,
        chains=8,
        generator=torch.Generator().manual_seed(3),
    )


@pytest.mark.parametrize("resample", [True, False])
def test_the_truth_lies_between(resample: bool) -> None:
    # E log Z over simulated data, x ~ N(0, 1 + 1/2β) in each of two dimensions:
    # −½ log(1 + 2β) − β x²/(1 + 2β), whose mean is −½ (log(1 + 2β) + 1).
    found = bounds(plan_of(60, resample=resample))
    truth = [0.0] + [-(np.log1p(2 * beta) + 1) for beta in REPORTED]
    noise = 3 * np.sqrt(2 * 0.25 / 60)  # β x²/(1 + 2β) is half a chi-squared variable
    assert (found.lower.mean(1).numpy() < np.array(truth) + noise).all()
    assert (found.upper.mean(1).numpy() > np.array(truth) - noise).all()
    assert found.gap_nats[0] == 0
    assert found.gap_nats.max() < 0.15
    assert found.gradients > 0


def test_few_temperatures_show_in_the_gap() -> None:
    coarse, fine = bounds(plan_of(3)), bounds(plan_of(60))
    assert coarse.gap_nats[-1] > 0.5
    assert coarse.gap_nats[-1] > 4 * fine.gap_nats[-1]


def test_a_sampler_that_misses_a_mode_is_found_out() -> None:
    # Distant codes map to a second place that short trajectories hardly reach.
    def two_places(codes: torch.Tensor) -> torch.Tensor:
        return torch.tanh(40 * (codes - 2.2)) * 3 + 0.1 * codes

    plan = plan_of(20)
    stuck = AnnealingPlan(
        plan.betas,
        (0.05,) * len(plan.betas),
        plan.scales,
        (1,) * len(plan.betas),
        plan.reported,
    )
    assert bounds(stuck, two_places).gap_nats[-1] > 0.5


def test_same_generator_same_bounds() -> None:
    first, second = bounds(plan_of(5), simulations=4), bounds(plan_of(5), simulations=4)
    assert torch.equal(first.lower, second.lower)
    assert torch.equal(first.upper, second.upper)
    assert first.lower.shape == (4, 4)


def test_who_can_be_simulated() -> None:
    assert can_simulate(SumSquaredError())
    assert not can_simulate(OneMinusMsSsim())
