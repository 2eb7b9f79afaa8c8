"""Annealed importance sampling as it was published with the rate-distortion curves of generative
models (Huang, Makhzani, Cao and Grosse, ICML 2020), as a baseline for other methods.

Sigmoid schedule, unit mass, no resampling, no jitter; every chain has its own step size, raised by
2 % after moves that leave its cumulative acceptance above 0.65 and lowered by 2 % otherwise.  A
first round tunes the step sizes for each temperature and chain, a second one measures with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bitstream.arrays import Float64Array
from codec.rate_distortion.annealing.sampler import AnnealingResult, ChainWeights
from codec.rate_distortion.annealing.tempering import TemperedTarget, hamiltonian_move

LEAPFROG_STEPS = 20
WANTED_ACCEPTANCE = 0.65
FIRST_STEP = 0.01
STEP_RANGE = (1e-4, 0.5)
SIGMOID_RANGE = 10.0


def sigmoid_schedule(largest_beta: float, temperatures: int) -> Float64Array:
    """β_0 = 0 … β_K = `largest_beta` along a sigmoid over [−10, 10]; float64 (K + 1,)."""
    curve = 1 / (1 + np.exp(-np.linspace(-SIGMOID_RANGE, SIGMOID_RANGE, temperatures + 1)))
    schedule: Float64Array = largest_beta * (curve - curve[0]) / (curve[-1] - curve[0])
    return schedule


def reference_ais(
    target: TemperedTarget, betas: Sequence[float], *, temperatures: int, chains: int, seed: int
) -> AnnealingResult:
    """Tune, then measure, on the rows of `target` (images × chains).

    The reported β are inserted into the schedule.  `gradients` counts both rounds.
    """
    schedule = np.union1d(sigmoid_schedule(max(betas), temperatures), betas)
    reported = {int(index) for index in np.searchsorted(schedule, betas)}
    rows, device = len(target.targets), target.targets.device
    before = target.gradients
    steps = torch.zeros(len(schedule), rows, 1, device=device)
    _round(target, schedule, reported, steps, chains, seed, tune=True)
    columns = _round(target, schedule, reported, steps, chains, seed + 1, tune=False)
    return AnnealingResult(
        torch.stack([column[0] for column in columns], 1),
        torch.stack([column[1] for column in columns], 1),
        torch.stack([column[2] for column in columns], 1),
        torch.stack([column[3] for column in columns], 1),
        torch.tensor([column[4] for column in columns], dtype=torch.float64),
        target.gradients - before,
    )


def _round(
    target: TemperedTarget,
    schedule: Float64Array,
    reported: set[int],
    steps: torch.Tensor,
    chains: int,
    seed: int,
    *,
    tune: bool,
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float]]:
    """One round; with `tune` it writes the step sizes, else it reads them."""
    device = target.targets.device
    generator = torch.Generator(device).manual_seed(seed)
    rows = len(target.targets)
    particles = target.evaluate(target.prior.sample(rows, generator).to(device))
    weights = ChainWeights(rows // chains, chains, device)
    unit = torch.eye(particles.codes.shape[1], device=device)
    step = torch.full((rows, 1), FIRST_STEP, device=device)
    accepted = torch.zeros(rows, 1, device=device)
    columns = []
    for t in range(1, len(schedule)):
        beta = float(schedule[t])
        weights.add(-(beta - float(schedule[t - 1])) * particles.distortion)
        if not tune:
            step = steps[t]
        particles, acceptance = hamiltonian_move(
            target,
            particles,
            beta,
            step=step,
            scale=unit,
            leapfrog=LEAPFROG_STEPS,
            jitter=(1.0, 1.0),
            generator=generator,
        )
        if tune:
            steps[t] = step
            accepted += acceptance[:, None].float()
            factor = torch.where(accepted / t > WANTED_ACCEPTANCE, 1.02, 0.98)
            step = (step * factor).clamp(*STEP_RANGE)
        elif t in reported:
            columns.append(
                (
                    -weights.log_mean(),
                    weights.mean_of(particles.distortion),
                    weights.ess_fraction(),
                    weights.excess(),
                    float(acceptance.mean()),
                )
            )
    return columns
