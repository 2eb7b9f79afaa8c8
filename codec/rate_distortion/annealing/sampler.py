"""One annealing pass: from the prior at β = 0 through a fixed plan of temperatures, by sequential
Monte Carlo (Del Moral, Doucet and Jasra 2006) or, without resampling, annealed importance
sampling (Neal 2001).

    t = 1 … K:   log w −= (β_t − β_{t−1}) · d(x, f(z_{t−1}))      weight first
                 resample the chains of an image if its effective sample size is under half
                 z_t ← Hamiltonian move that leaves p(z) exp(−β_t d) invariant

For each image the product of mean incremental weights is an unbiased estimate of Z_β, so the mean
of −log Ẑ is above L(β) on average: a stochastic upper bound, at every temperature of a pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from codec.rate_distortion.annealing.executors import Tick
from codec.rate_distortion.annealing.tempering import (
    Particles,
    Rows,
    TemperedTarget,
    hamiltonian_move,
)

AnyRows = TypeVar("AnyRows", bound=Rows)

RESAMPLE_BELOW = 0.5
"""Resample an image's chains if their effective sample size is below this share of them."""


@dataclass(frozen=True)
class AnnealingPlan:
    """Everything that a pass depends on besides its data and random numbers; index 0 is β = 0.

    betas      K + 1 rising temperatures
    steps      leapfrog step size at each, in units of `scales`
    scales     square root of the inverse mass at each, float32 (K + 1, k, k); (K + 1, k) diagonals
    leapfrogs  number of leapfrog steps of the move at each
    reported   indexes of the β that are reported
    jitter     interval of the random factor on the step size of each trajectory
    resample   False for plain annealed importance sampling
    """

    betas: tuple[float, ...]
    steps: tuple[float, ...]
    scales: torch.Tensor
    leapfrogs: tuple[int, ...]
    reported: tuple[int, ...]
    jitter: tuple[float, float] = (0.7, 1.3)
    resample: bool = True

    @property
    def temperatures(self) -> int:
        """Number of temperatures above β = 0."""
        return len(self.betas) - 1

    def only(self, points: Sequence[int]) -> AnnealingPlan:
        """The plan for only some of the reported β, given by rising indexes, up to the last one."""
        reported = tuple(self.reported[point] for point in points)
        end = reported[-1] + 1
        return replace(
            self,
            betas=self.betas[:end],
            steps=self.steps[:end],
            scales=self.scales[:end],
            leapfrogs=self.leapfrogs[:end],
            reported=reported,
        )


@dataclass(frozen=True)
class AnnealingResult:
    """The result of one pass for n images and B reported β.

    log_partition_nats   float64 (n, B), −log Ẑ_β
    distortion           float64 (n, B), mean under the self-normalised weights
    ess_fraction         float64 (n, B), smallest effective sample size up to this β / chains
    excess               float64 (n, B), as `ChainWeights.excess`
    acceptance           float64 (B,)
    gradients            number of decoder gradients taken
    jacobian_products    number of products of a Jacobian and a vector
    """

    log_partition_nats: torch.Tensor
    distortion: torch.Tensor
    ess_fraction: torch.Tensor
    excess: torch.Tensor
    acceptance: torch.Tensor
    gradients: int
    jacobian_products: int = 0


def anneal(
    target: TemperedTarget,
    plan: AnnealingPlan,
    *,
    chains: int,
    generator: torch.Generator,
    tick: Tick | None = None,
) -> AnnealingResult:
    """Run a pass on the rows of `target` (images × chains)."""
    rows = len(target.targets)
    images = rows // chains
    codes = target.prior.sample(rows, generator).to(target.targets.device)
    before = target.gradients
    particles = target.evaluate(codes)
    weights = ChainWeights(images, chains, codes.device)
    smallest = torch.ones(images, dtype=torch.float64, device=codes.device)
    columns: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float]] = []
    reported = set(plan.reported)
    if 0 in reported:
        start = torch.zeros(images, dtype=torch.float64, device=codes.device)
        columns.append((start, weights.mean_of(particles.distortion), smallest, start, 1.0))
    for t in range(1, plan.temperatures + 1):
        weights.add(-(plan.betas[t] - plan.betas[t - 1]) * particles.distortion)
        share = weights.ess_fraction()
        smallest = torch.minimum(smallest, share)
        if plan.resample:
            particles = weights.resample(particles, share < RESAMPLE_BELOW, generator)
        particles, acceptance = move(target, particles, plan, t, generator)
        if t in reported:
            columns.append(
                (
                    -weights.log_mean(),
                    weights.mean_of(particles.distortion),
                    smallest,
                    weights.excess(),
                    float(acceptance.mean()),
                )
            )
        if tick is not None:
            tick(t / plan.temperatures)
    return AnnealingResult(
        torch.stack([column[0] for column in columns], 1),
        torch.stack([column[1] for column in columns], 1),
        torch.stack([column[2] for column in columns], 1),
        torch.stack([column[3] for column in columns], 1),
        torch.tensor([column[4] for column in columns], dtype=torch.float64),
        target.gradients - before,
    )


def move(
    target: TemperedTarget,
    particles: Particles,
    plan: AnnealingPlan,
    t: int,
    generator: torch.Generator,
) -> tuple[Particles, torch.Tensor]:
    """The plan's move at temperature t."""
    return hamiltonian_move(
        target,
        particles,
        plan.betas[t],
        step=plan.steps[t],
        scale=plan.scales[t],
        leapfrog=plan.leapfrogs[t],
        jitter=plan.jitter,
        generator=generator,
    )


class ChainWeights:
    """Log weights of images × chains in float64, and the running product of mean weights."""

    def __init__(self, images: int, chains: int, device: torch.device) -> None:
        self.log = torch.zeros(images, chains, dtype=torch.float64, device=device)
        self._variance = self.log.new_zeros(images)

    def add(self, increments: torch.Tensor) -> None:
        """Multiply the weights of the first images by exp(increments), (r,)."""
        chains = self.log.shape[1]
        self.log[: len(increments) // chains] += increments.view(-1, chains)

    def log_mean(self) -> torch.Tensor:
        """log Ẑ of each image, (n,)."""
        return torch.logsumexp(self.log, 1) - math.log(self.log.shape[1])

    def ess_fraction(self) -> torch.Tensor:
        """Effective sample size (Σw)² / Σw² over the number of chains, (n,)."""
        sums = 2 * torch.logsumexp(self.log, 1) - torch.logsumexp(2 * self.log, 1)
        return torch.nan_to_num(sums.exp() / self.log.shape[1], nan=0.0)

    def excess(self) -> torch.Tensor:
        """By how many nats −log Ẑ is too high in expectation, as far as the weights say, (n,).

        Ẑ is unbiased and nearly log-normal, so this is half the variance of log Ẑ (Pitt et al.
        2012, On some properties of Markov chain Monte Carlo simulation methods based on the
        particle filter), to which every resampling, like the end, adds 1/ESS − 1/m.
        """
        return 0.5 * (self._variance + self._new_variance())

    def _new_variance(self) -> torch.Tensor:
        """1/ESS − 1/m of the present weights, (n,)."""
        return (1 / self.ess_fraction() - 1) / self.log.shape[1]

    def mean_of(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of values (r,) under the normalised weights, (n,)."""
        normalised = torch.softmax(self.log, 1)
        # Weight zero times an undefined distortion counts as zero.
        terms = normalised * values.view(self.log.shape)
        return torch.where(normalised > 0, terms, 0).sum(1)

    def resample(
        self, particles: AnyRows, chosen: torch.Tensor, generator: torch.Generator
    ) -> AnyRows:
        """Systematic resampling of the chains of the chosen images, (n,) bool."""
        if not bool(chosen.any()):
            return particles
        images, chains = self.log.shape
        points = torch.rand(images, 1, generator=generator, dtype=torch.float64,
                            device=self.log.device)  # fmt: skip
        points = (points + torch.arange(chains, device=self.log.device)) / chains
        ancestors = torch.searchsorted(torch.softmax(self.log, 1).cumsum(1), points)
        return self.replace(particles, ancestors.clamp(max=chains - 1), chosen)

    def resample_beside_first(
        self, particles: AnyRows, chosen: torch.Tensor, generator: torch.Generator
    ) -> AnyRows:
        """Conditional multinomial resampling: chain 0 stays, the others are redrawn."""
        if not bool(chosen.any()):
            return particles
        chains = self.log.shape[1]
        ancestors = torch.multinomial(
            torch.softmax(self.log, 1), chains, replacement=True, generator=generator
        )
        ancestors[:, 0] = 0
        return self.replace(particles, ancestors, chosen)

    def replace(self, particles: AnyRows, ancestors: torch.Tensor, chosen: torch.Tensor) -> AnyRows:
        """Give the chosen images the chains of these ancestors (n, m) and equal weights."""
        images, chains = self.log.shape
        own = torch.arange(chains, device=ancestors.device)
        ancestors = torch.where(chosen[:, None], ancestors, own)
        first = torch.arange(images, device=ancestors.device)[:, None] * chains
        self._variance = torch.where(chosen, self._variance + self._new_variance(), self._variance)
        mean = self.log_mean()[:, None].expand_as(self.log)
        self.log = torch.where(chosen[:, None], mean, self.log)
        return particles.select((first + ancestors).reshape(-1))
