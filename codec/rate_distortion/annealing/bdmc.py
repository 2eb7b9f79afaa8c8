"""The certificate: bidirectional Monte Carlo at every reported β, on simulated data.

For data x drawn from the tempered model itself, z* ~ p(z), x ~ p(x|z*) ∝ exp(−β d(x, f(z*))), the
code z* is an exact sample of the posterior at β, and log Z_β(x) can be bounded from both sides:

    lower   a forward pass as in the measurement             E log Ẑ ≤ log Z
    upper   the same pass with one chain forced along a path  E log Ẑ ≥ log Z
            that was run backwards from z* (conditional sequential Monte Carlo)

(Grosse, Ghahramani and Adams 2015, Sandwiching the marginal likelihood; Grosse, Ancha and Roy
2016.)  The mean of upper − lower bounds the bias of the measurement on such data.  Real images may
be harder, so it proves nothing about them, but it reveals chains that do not mix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from codec.priors import LatentPrior
from codec.rate_distortion.annealing.executors import Tick
from codec.rate_distortion.annealing.sampler import (
    RESAMPLE_BELOW,
    AnnealingPlan,
    ChainWeights,
    move,
)
from codec.rate_distortion.annealing.tempering import Decode, Particles, TemperedTarget
from codec.rate_distortion.distortions import Distortion


@dataclass(frozen=True)
class BdmcResult:
    """Bounds on log Z_β in nats, float64 (B, m): m simulated images at each of B reported β."""

    lower: torch.Tensor
    upper: torch.Tensor
    gradients: int
    jacobian_products: int = 0

    @property
    def gap_nats(self) -> torch.Tensor:
        """Mean over the simulated images of upper − lower, (B,)."""
        return (self.upper - self.lower).mean(1)


def can_simulate(distortion: Distortion) -> bool:
    """Whether exp(−β d) is proportional to a density over images that can be sampled."""
    return hasattr(distortion, "simulate")


def simulate_images(
    decode: Decode,
    prior: LatentPrior,
    distortion: Distortion,
    betas: Sequence[float],
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each β draw z* ~ p(z) and x ∝ exp(−β d(x, f(z*))): codes (n, k) and targets (n, …)."""
    codes = prior.sample(len(betas), generator).to(generator.device)
    simulator: Any = distortion
    with torch.no_grad():
        decoded = decode(codes)
    targets, begin = [], 0
    for beta, group in groupby(betas):
        end = begin + len(list(group))
        targets.append(simulator.simulate(decoded[begin:end], beta, generator))
        begin = end
    return codes, torch.cat(targets)


def bidirectional_bounds(
    decode: Decode,
    prior: LatentPrior,
    distortion: Distortion,
    plan: AnnealingPlan,
    *,
    simulations: int,
    chains: int,
    generator: torch.Generator,
    gradient_dtype: torch.dtype = torch.float32,
    tick: Tick | None = None,
) -> BdmcResult:
    """Bound log Z_β from both sides for `simulations` images at every reported β of the plan.

    All β are annealed together: images are sorted by descending β, and an image stops once its β is
    reached.  The bounds at β = 0, where Z = 1, are zero.
    """
    points = [index for index in plan.reported if index > 0]
    ends = [index for index in reversed(points) for _ in range(simulations)]
    device = generator.device
    zero = torch.zeros(len(plan.reported) - len(points), simulations, dtype=torch.float64)
    zero = zero.to(device)
    if not points:
        return BdmcResult(zero, zero, 0)
    codes, targets = simulate_images(
        decode, prior, distortion, [plan.betas[end] for end in ends], generator
    )
    options: dict[str, Any] = {"gradient_dtype": gradient_dtype}
    single = TemperedTarget(decode, prior, distortion, targets, **options)
    path = _backward_path(single, plan, ends, codes, generator)
    tick = tick or _silent
    rows = targets.repeat_interleave(chains, 0)
    target = TemperedTarget(decode, prior, distortion, rows, **options)
    lower = _forward(target, plan, ends, chains, generator, None, lambda at: tick(at / 2))
    upper = _forward(target, plan, ends, chains, generator, path, lambda at: tick(0.5 + at / 2))
    rising = [
        torch.cat([zero, bound.view(len(points), simulations).flip(0)]) for bound in (lower, upper)
    ]
    return BdmcResult(rising[0], rising[1], single.gradients + target.gradients)


def _silent(share: float) -> None:
    """Tell nobody."""


def _active(ends: list[int], t: int) -> int:
    """How many of the images, sorted by descending end, are still annealed at temperature t."""
    return sum(end >= t for end in ends)


def _backward_path(
    target: TemperedTarget,
    plan: AnnealingPlan,
    ends: list[int],
    codes: torch.Tensor,
    generator: torch.Generator,
) -> list[Particles]:
    """States z_0 … z_K of one chain for each image, run from its exact sample down to β = 0.

    The moves are reversible, so each kernel is its own reversal.
    """
    particles = target.evaluate(codes)
    path = []
    for t in range(plan.temperatures, 0, -1):
        active = _active(ends, t)
        if not active:
            path.append(particles.select(slice(0, 0)))
            continue
        here = particles.select(slice(0, active)).clone()
        path.append(here)
        moved, _ = move(target, here, plan, t, generator)
        particles.put(slice(0, active), moved)
    path.append(particles)
    return path[::-1]


def _forward(
    target: TemperedTarget,
    plan: AnnealingPlan,
    ends: list[int],
    chains: int,
    generator: torch.Generator,
    path: list[Particles] | None,
    tick: Tick,
) -> torch.Tensor:
    """log Ẑ of each image at its own end; with a path, chain 0 of every image follows it."""
    rows = len(ends) * chains
    particles = target.evaluate(target.prior.sample(rows, generator).to(generator.device))
    if path is not None:
        particles.put(slice(0, None, chains), path[0])
    weights = ChainWeights(len(ends), chains, generator.device)
    for t in range(1, plan.temperatures + 1):
        active = _active(ends, t)
        if not active:
            break
        now = slice(0, active * chains)
        rise = plan.betas[t] - plan.betas[t - 1]
        weights.add(-rise * particles.distortion[now])
        if plan.resample:
            chosen = weights.ess_fraction() < RESAMPLE_BELOW
            chosen[active:] = False
            resample = weights.resample if path is None else weights.resample_beside_first
            particles = resample(particles, chosen, generator)
        moved, _ = move(target, particles.select(now), plan, t, generator)
        if path is not None:
            moved.put(slice(0, None, chains), path[t])
        if active == len(ends):
            particles = moved
        else:
            particles.put(now, moved)
        tick(t / plan.temperatures)
    return torch.logsumexp(weights.log, 1) - math.log(chains)
