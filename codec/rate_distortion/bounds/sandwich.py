"""A lower bound on R(D) of any source that can be sampled, from Csiszár's dual.

For every positive function u and every λ ≥ 0

    R(D) + λD  ≥  E[−log u(X)] − log sup_y E[e^{−λρ(X, y)} / u(X)],

and with k samples,  C_k = sup_y (1/k) Σ_i e^{−λρ(x_i, y)} / u(x_i)  and any α > 0,

    ξ = −(1/k) Σ_i log u(x_i) − C_k/α − log α + 1                    E ξ ≤ R(D) + λD

(Yang and Mandt, "Towards empirical sandwich bounds on the rate-distortion function", ICLR 2022).
The logarithm is linearised at α, and E C_k is above the supremum of the expectation, so the
expectation of ξ is below the bound for every k; samples and α are independent of the training.

Our own part: u is a Gaussian fitted to the source times a small network, mixed with a wider
Gaussian.  At the optimum u is as small as the source's density, so a single outlying sample would
decide C_k; the wide part bounds 1/u there and costs little elsewhere.  The evaluated network is the
average over the later part of the training.

The supremum is searched by ascent from many samples (`mode_search`).  A search that misses it
gives a bound that is too high; the effort is recorded in the result.
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import finite_number, positive_number, whole_number
from codec.rate_distortion.bounds.mode_search import (
    SearchEffort,
    highest_modes,
    log_kernel_sum,
    seeded_linear,
)
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.estimates import PlainResult, student_quantile_975
from codec.rate_distortion.tensor_checks import SampleSource, seeded_generator, source_tensor

SquaredErrorUnits = Literal["sum", "mean", "half_sum"]
"""ρ = ‖x − y‖², ‖x − y‖²/d, or ½‖x − y‖²."""

TRAINING_EFFORT = SearchEffort(candidates=256, starts=16, steps=6, finalists=4, final_steps=8)
EVALUATION_EFFORT = SearchEffort(candidates=1024, starts=64, steps=15, finalists=8, final_steps=60)
WIDE_SHARE, WIDE_VARIANCE = 0.1, 3.0
"""Share of the wide Gaussian in u, and its variance relative to the source's."""
PILOT_SAMPLES = 4096
LARGEST_LOG_RATIO = 100.0
"""Between the suprema of two samples; above it, the linearised logarithm gives a useless bound."""

ALPHA_REPEATS = 4


def squared_error_scale(units: str, dim: int) -> float:
    """The factor of ‖x − y‖² in ρ; raises `UsageError` for unknown units."""
    scales = {"sum": 1.0, "mean": 1.0 / dim, "half_sum": 0.5}
    if units not in scales:
        known = ", ".join(get_args(SquaredErrorUnits))
        raise UsageError(f"squared_error is {units!r}, expected one of {known}")
    return scales[units]


@dataclass(frozen=True)
class SourceLowerBound(PlainResult):
    """R(D) ≥ intercept_nats − beta · D for every D: a stochastic lower bound from fresh samples.

    intercept_nats                mean of ξ over the repeats, nats
    intercept_low_nats, _high_    95 % interval of its expectation, by Student's t over the repeats
    log_supremum_nats             log of the mean of C_k
    estimates_nats                ξ of each repeat
    samples                       k, fresh in each repeat
    convention                    the distortion in words
    effort                        how widely the supremum was searched
    """

    beta: float
    intercept_nats: float
    intercept_low_nats: float
    intercept_high_nats: float
    log_supremum_nats: float
    estimates_nats: tuple[float, ...]
    samples: int
    training_steps: int
    training_samples: int
    convention: str
    seed: int
    effort: SearchEffort = field(default=EVALUATION_EFFORT)

    def rate_at(self, distortion: float) -> float:
        """The bound on R(D) in nats, at least 0."""
        distortion = finite_number("distortion", distortion, at_least=0)
        return max(0.0, self.intercept_nats - self.beta * distortion)


class DualFunction(nn.Module):
    """log u(x), (k, d) to (k,); starts as the log-density of a Gaussian mixed with a wider one."""

    mean: torch.Tensor
    whitening: torch.Tensor

    def __init__(self, pilot: torch.Tensor, hidden: tuple[int, ...], seed: int) -> None:
        super().__init__()
        points = pilot.double().cpu()
        count, dim = points.shape
        centred = points - points.mean(dim=0)
        covariance = centred.T @ centred / count
        # A little of the mean variance keeps the covariance of a source on a subspace invertible.
        ridge = 1e-4 * float(covariance.diagonal().mean()) + 1e-12
        factor = torch.linalg.cholesky(covariance + ridge * torch.eye(dim, dtype=torch.float64))
        identity = torch.eye(dim, dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        self.register_buffer("mean", points.mean(dim=0).float())
        self.register_buffer("whitening", inverse.float())
        self.dim = dim
        generator = torch.Generator().manual_seed(seed)
        widths = (2 * dim, *hidden)
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            layers += [seeded_linear(wide, narrow, generator), nn.Softplus()]
        self.network = nn.Sequential(*layers, seeded_linear(widths[-1], 1, None))
        self.curvature = nn.Parameter(torch.zeros(dim))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """(k, d) to (k,)."""
        white = (points - self.mean) @ self.whitening.T
        squares = white.square()
        norms = squares.sum(1)
        # The squares are bounded, so the network changes u near the samples, not far outside.
        features = torch.cat([white, squares / (1 + squares / 9)], dim=1)
        narrow = self.network(features)[:, 0] - 0.5 * squares @ self.curvature.exp()
        wide = -0.5 * norms / WIDE_VARIANCE - 0.5 * self.dim * math.log(WIDE_VARIANCE)
        return torch.logaddexp(math.log(1 - WIDE_SHARE) + narrow, math.log(WIDE_SHARE) + wide)


def source_lower_bound(
    sample: SampleSource,
    *,
    beta: float,
    squared_error: SquaredErrorUnits = "sum",
    hidden: tuple[int, ...] = (64, 64),
    steps: int = 400,
    training_samples: int = 2048,
    learning_rate: float = 1e-3,
    samples: int = 16_384,
    repeats: int = 10,
    seed: int = 0,
    effort: SearchEffort = EVALUATION_EFFORT,
    device: torch.device | str = "cpu",
) -> SourceLowerBound:
    """Train u, then estimate the bound on fresh samples.

    sample         (count, seed) to independent samples (count, d) of the source; samples drawn
                   from a finite set only bound the curve of that set
    beta           λ, positive, in inverse units of the distortion
    squared_error  the units of ρ
    samples, repeats   k and the number of independent estimates, at least 5
    Raises `UsageError` for arguments that do not fit, `MeasurementError` if training diverges.
    """
    beta = positive_number("beta", beta)
    positive_number("learning_rate", learning_rate)
    for name, value, least in (
        ("steps", steps, 0), ("training_samples", training_samples, 16),
        ("samples", samples, 16), ("repeats", repeats, 5), ("seed", seed, 0),
    ):  # fmt: skip
        whole_number(name, value, at_least=least)
    quantile = student_quantile_975(repeats - 1)
    device = torch.device(device)
    seeds = iter(_seeds(seed, steps + ALPHA_REPEATS + repeats + 2))
    generator = seeded_generator(next(seeds), device)
    pilot = source_tensor(sample, PILOT_SAMPLES, next(seeds), device)
    tau = beta * squared_error_scale(squared_error, pilot.shape[1])
    dual = DualFunction(pilot, hidden, seed).to(device)
    averaged = copy.deepcopy(dual)
    optimizer = torch.optim.Adam(dual.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * _schedule(step, steps)
        points = source_tensor(sample, training_samples, next(seeds), device)
        log_u = dual(points)
        places, _ = highest_modes(
            points, -log_u.detach(), tau, effort=TRAINING_EFFORT, generator=generator
        )
        # The place of the supremum is held fixed, since moving it has only a second-order effect.
        supremum = log_kernel_sum(places[:1], points, -log_u, tau)[0] - math.log(len(points))
        loss = log_u.mean() + supremum
        if not bool(torch.isfinite(loss)):
            raise MeasurementError(f"the dual bound diverged in step {step}: lower learning_rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _average(averaged, dual, step, steps)

    def estimate(k_seed: int) -> tuple[float, float]:
        points = source_tensor(sample, samples, k_seed, device)
        with torch.no_grad():
            log_u = averaged(points).double()
        places, _ = highest_modes(points, -log_u.float(), tau, effort=effort, generator=generator)
        heights = log_kernel_sum(places.double(), points.double(), -log_u, tau)
        return -float(log_u.mean()), float(heights.max()) - math.log(samples)

    pilots = [estimate(next(seeds))[1] for _ in range(ALPHA_REPEATS)]
    log_alpha = float(np.logaddexp.reduce(pilots)) - math.log(len(pilots))
    pairs = [estimate(next(seeds)) for _ in range(repeats)]
    highest = max(log_supremum - log_alpha for _, log_supremum in pairs)
    if not highest < LARGEST_LOG_RATIO:
        raise MeasurementError(
            f"the dual bound says nothing here: its supremum varies by a factor of e^{highest:.0f} "
            "between samples; lower beta, use fewer dimensions, or raise samples"
        )
    estimates = [
        first - math.exp(log_supremum - log_alpha) - log_alpha + 1 for first, log_supremum in pairs
    ]
    mean = math.fsum(estimates) / repeats
    half_width = quantile * float(np.std(estimates, ddof=1)) / math.sqrt(repeats)
    return SourceLowerBound(
        beta=beta,
        intercept_nats=mean,
        intercept_low_nats=mean - half_width,
        intercept_high_nats=mean + half_width,
        log_supremum_nats=float(np.logaddexp.reduce([high for _, high in pairs]))
        - math.log(repeats),
        estimates_nats=tuple(estimates),
        samples=samples,
        training_steps=steps,
        training_samples=training_samples,
        convention=f"{squared_error} of squared errors over {pilot.shape[1]} dimensions",
        seed=seed,
        effort=effort,
    )


def _seeds(seed: int, count: int) -> list[int]:
    """Independent seeds, so that no training sample is drawn again for the estimate."""
    words = np.random.SeedSequence(seed).generate_state(count, np.uint32)
    return [int(word) for word in words]


def _schedule(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.02


def _average(averaged: nn.Module, trained: nn.Module, step: int, steps: int) -> None:
    """Mean of the parameters over the second half of the training."""
    begin = steps // 2
    if step < begin:
        return
    with torch.no_grad():
        for mean, value in zip(averaged.parameters(), trained.parameters(), strict=True):
            mean.lerp_(value, 1 / (step - begin + 1))
