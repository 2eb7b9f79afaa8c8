"""The pilot round chooses the temperatures, the step sizes and the range of β.

What it learns from some of the images is then fixed, and the measuring round uses other random
numbers, so no adaptation can bias Ẑ.  The pilot's own estimates of L have a small bias from
adaptation; they only tell where local references are doubtful (`choice`).

Temperatures are placed at equal increments of thermodynamic length, ∫ √(E_x Var_β[d]) dβ, on which
the variance of the log weights depends (Gelman and Meng 1998; Grosse, Maddison and Salakhutdinov
2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from bitstream.arrays import Float64Array
from codec.rate_distortion.annealing.sampler import AnnealingPlan, ChainWeights
from codec.rate_distortion.annealing.settings import MoveSettings
from codec.rate_distortion.annealing.tempering import Particles, TemperedTarget, hamiltonian_move
from codec.rate_distortion.errors import MeasurementError

ESS_PER_STEP = 0.9
"""At each temperature step of the pilot, this share of the chains stays effective."""

MOVES_PER_STEP = 3
FLAT_BELOW = 0.004
"""The automatic range ends where doubling β would lower D by less than about this share of D."""

LARGEST_RANGE = 1e7
LARGEST_STEPS = 2000


@dataclass
class PilotTrace:
    """What the pilot recorded at each of its own temperatures.

    distortions   d of the chains of every image after the moves at a temperature, float64 (n, m)
    """

    beta: list[float] = field(default_factory=list)
    variance: list[float] = field(default_factory=list)
    distortion: list[float] = field(default_factory=list)
    log_step: list[float] = field(default_factory=list)
    scale: list[Float64Array] = field(default_factory=list)
    distortions: list[torch.Tensor] = field(default_factory=list)

    def log_partition(self, betas: Sequence[float]) -> Float64Array:
        """L of the images at rising β up to the last temperature, (n, B).

        Chains at a temperature below β are weighted by exp(−(β − temperature) d), as in the
        pilot's next step.
        """
        columns, passed = [], 0
        total = torch.zeros(len(self.distortions[0]), dtype=torch.float64)

        def rise(beta: float) -> torch.Tensor:
            seen = self.distortions[passed]
            mean = torch.logsumexp(-(beta - self.beta[passed]) * seen, 1) - math.log(seen.shape[1])
            return total - mean

        for beta in betas:
            while passed + 1 < len(self.beta) and self.beta[passed + 1] <= beta:
                total = rise(self.beta[passed + 1])
                passed += 1
            columns.append(rise(beta))
        return torch.stack(columns, 1).numpy()

    def length(self) -> Float64Array:
        """Thermodynamic length from β = 0 to each temperature, trapezoidal."""
        beta, root = np.array(self.beta), np.sqrt(np.array(self.variance))
        # Between two temperatures √Var falls about as 1/β, so the logarithmic mean integrates it.
        left, right = root[:-1], root[1:]
        log_ratio = np.log(np.maximum(left, 1e-300) / np.maximum(right, 1e-300))
        near = np.abs(log_ratio) < 1e-6
        mean = np.where(near, (left + right) / 2, (left - right) / np.where(near, 1, log_ratio))
        return np.concatenate([[0.0], np.cumsum(mean * np.diff(beta))])


def run_pilot(
    target: TemperedTarget,
    *,
    chains: int,
    settings: MoveSettings,
    generator: torch.Generator,
    largest_beta: float | None,
    tick: Callable[[int], None] | None = None,
) -> PilotTrace:
    """Anneal the rows of `target` adaptively, up to `largest_beta` or until D is flat (None).

    tick   called with the number of temperatures so far

    Raises `MeasurementError` when the distortion is the same for all codes.
    """
    rows = len(target.targets)
    images = rows // chains
    particles = target.evaluate(target.prior.sample(rows, generator).to(target.targets.device))
    weights = ChainWeights(images, chains, particles.codes.device)
    trace = PilotTrace()
    step, beta = 0.5, 0.0
    covariance = _covariance(particles, images, chains, settings)
    scale = _square_root(covariance, rows - images, settings)
    _record(trace, beta, particles, images, chains, step, scale)
    if not math.isfinite(trace.variance[0]):
        raise MeasurementError(
            "the distortion is NaN or infinite for some codes that the prior gives: "
            "the decoder, or the distortion, has to be finite for all of them"
        )
    if not trace.variance[0] > 0:
        raise MeasurementError(
            "the distortion is the same for every code that the prior gives: "
            "the decoder ignores its input, or there is only one code"
        )
    while largest_beta is None or beta < largest_beta:
        step_up = rise(particles.distortion.view(images, chains))
        # At most doubling β keeps a lucky estimate from leaping over a transition.
        beta = beta + step_up if beta == 0 else min(beta + step_up, 2 * beta)
        if largest_beta is not None:
            beta = min(beta, largest_beta)
        weights.log = -(beta - trace.beta[-1]) * particles.distortion.view(images, chains)
        everyone = torch.ones(images, dtype=torch.bool, device=weights.log.device)
        particles = weights.resample(particles, everyone, generator)
        for _ in range(MOVES_PER_STEP):
            particles, acceptance = hamiltonian_move(
                target,
                particles,
                beta,
                step=step,
                scale=scale,
                leapfrog=leapfrog_steps(settings, step),
                jitter=settings.jitter,
                generator=generator,
            )
            step *= math.exp(0.7 * (float(acceptance.mean()) - settings.target_acceptance))
            step = min(max(step, 1e-4), 2.0)
        # Averaging with the previous estimate halves the noise, and lags little.
        covariance = (covariance + _covariance(particles, images, chains, settings)) / 2
        scale = _square_root(covariance, rows - images, settings)
        _record(trace, beta, particles, images, chains, step, scale)
        if tick is not None:
            tick(len(trace.beta))
        if largest_beta is None and _flat(trace):
            break
        if len(trace.beta) > LARGEST_STEPS:
            raise MeasurementError(
                f"the pilot needs more than {LARGEST_STEPS} temperatures to reach "
                f"beta {largest_beta:g} (now {beta:g}): lower the largest beta"
            )
    return trace


def leapfrog_steps(settings: MoveSettings, step: float) -> int:
    """Leapfrog steps that make a trajectory of the wanted length, at least one."""
    return min(max(round(settings.trajectory / step), 1), settings.leapfrog)


def first_beta(trace: PilotTrace) -> float:
    """The β at which the rate is about 0.05 nats: near β = 0, R(β) ≈ β² Var₀[d] / 2."""
    return math.sqrt(0.1 / trace.variance[0])


def automatic_betas(trace: PilotTrace, count: int) -> tuple[float, ...]:
    """`count` values of β, evenly spaced in log β, from `first_beta` to the end of the trace."""
    low, high = first_beta(trace), trace.beta[-1]
    return tuple(float(b) for b in np.geomspace(min(low, high / 2), high, count))


def make_plan(
    trace: PilotTrace,
    betas: Sequence[float],
    *,
    temperatures: int,
    settings: MoveSettings,
    resample: bool = True,
    device: torch.device | str = "cpu",
) -> AnnealingPlan:
    """Place `temperatures` at equal thermodynamic length, with every reported β among them.

    The length between two reported β determines how many temperatures lie between them, so the
    total may be a few more than asked for, and is never below the number of reported β.
    """
    known_beta, known_length = np.array(trace.beta), trace.length()
    positive = [beta for beta in betas if beta > 0]
    ends = np.array([0.0, *positive])
    at = np.interp(ends, known_beta, known_length)
    total = max(float(at[-1]), 1e-300)
    schedule = [0.0]
    reported = [] if len(positive) == len(betas) else [0]
    for low, high, low_at, high_at in zip(ends, ends[1:], at, at[1:], strict=False):
        count = max(1, round(temperatures * (high_at - low_at) / total))
        inner = np.interp(np.linspace(low_at, high_at, count + 1)[1:-1], known_length, known_beta)
        inner = np.clip(inner, np.nextafter(low, high), np.nextafter(high, low))
        schedule += [float(beta) for beta in np.unique(inner) if low < beta < high]
        schedule.append(float(high))
        reported.append(len(schedule) - 1)
    where = np.interp(schedule, known_beta, known_length)
    steps = np.exp(np.interp(where, known_length, trace.log_step))
    # Means of lower triangular matrices with positive diagonals are such matrices as well.
    entries = np.stack(trace.scale).reshape(len(known_length), -1)
    columns = [np.interp(where, known_length, column) for column in entries.T]
    scales = np.stack(columns, axis=1).reshape(len(where), *trace.scale[0].shape)
    return AnnealingPlan(
        betas=tuple(schedule),
        steps=tuple(float(step) for step in steps),
        scales=torch.tensor(scales, dtype=torch.float32, device=device),
        leapfrogs=tuple(leapfrog_steps(settings, step) for step in steps),
        reported=tuple(reported),
        jitter=settings.jitter,
        resample=resample,
    )


def rise(distortion: torch.Tensor, share: float = ESS_PER_STEP) -> float:
    """The step Δβ after which the mean effective share of the chains (n, m) is `share`."""
    spread = float(distortion.std(1).mean())
    low, high = 0.0, 20 / max(spread, 1e-300)
    for _ in range(50):
        middle = (low + high) / 2
        log = -middle * distortion
        size = (2 * torch.logsumexp(log, 1) - torch.logsumexp(2 * log, 1)).exp().mean()
        if float(size) / distortion.shape[1] > share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _flat(trace: PilotTrace) -> bool:
    beta, variance, distortion = trace.beta[-1], trace.variance[-1], trace.distortion[-1]
    # dD/dβ = −Var, so doubling β lowers D by about β · Var.
    flat = beta * variance < FLAT_BELOW * abs(distortion)
    return flat or beta > LARGEST_RANGE * trace.beta[1]


def _record(
    trace: PilotTrace,
    beta: float,
    particles: Particles,
    images: int,
    chains: int,
    step: float,
    scale: torch.Tensor,
) -> None:
    distortion = particles.distortion.view(images, chains)
    trace.beta.append(beta)
    trace.variance.append(float(distortion.var(1).mean()))
    trace.distortion.append(float(distortion.mean()))
    trace.log_step.append(math.log(step))
    trace.scale.append(scale.double().cpu().numpy())
    trace.distortions.append(torch.nan_to_num(distortion, posinf=1e300).cpu())


def _covariance(
    particles: Particles, images: int, chains: int, settings: MoveSettings
) -> torch.Tensor:
    """Mean covariance of the codes within images, float64 (k, k), or only its diagonal, (k,)."""
    codes = particles.codes.double().view(images, chains, -1)
    centred = (codes - codes.mean(1, keepdim=True)).flatten(0, 1)
    freedom = images * (chains - 1)
    if settings.precondition != "dense":
        return centred.square().sum(0) / freedom
    return centred.T @ centred / freedom


def _square_root(covariance: torch.Tensor, freedom: int, settings: MoveSettings) -> torch.Tensor:
    """Root of the covariance as the settings use it, float32: lower triangular (k, k), or (k,).

    freedom   degrees of freedom of the estimate; the fewer, the more the diagonal counts
    """
    if settings.precondition != "dense":
        variances = covariance.clamp(min=1e-12)
        if settings.precondition == "none":
            variances = variances.mean().expand(len(variances))
        return variances.sqrt().float()
    diagonal = torch.diag(covariance.diagonal().clamp(min=1e-12))
    trust = freedom / (freedom + len(covariance))
    shrunk = trust * covariance + (1 - trust) * diagonal + 1e-6 * diagonal
    root, failed = torch.linalg.cholesky_ex(shrunk)
    return (diagonal.sqrt() if bool(failed) else root).float()
