"""One step of the annealing: the target p(z) · exp(−β d(x, f(z))) at a slope β, and its moves.

Rows are image × chain, image-major: row i · chains + m is chain m of image i.  The decoder and its
gradient, which are costly, are called once for all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import torch

from codec.priors import LatentPrior
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.errors import MeasurementError

Decode = Callable[[torch.Tensor], torch.Tensor]

MOST_UNDEFINED = 0.01
"""Largest share of codes near the prior (see `REACH`) for which the decoder may be undefined."""

REACH = 100.0
"""Codes more than this many times larger than the largest initial one come from a trajectory that
diverged; the decoder's output for them says nothing about the model."""


@dataclass
class Rows:
    """A dataclass of tensors that share their first axis, a row for each particle."""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All tensors, in the order of the fields."""
        return tuple(getattr(self, item.name) for item in fields(self))

    def select(self, rows: torch.Tensor | slice) -> Self:
        """The particles of these rows."""
        return type(self)(*(tensor[rows] for tensor in self.tensors()))

    def where(self, condition: torch.Tensor, other: Self) -> Self:
        """These rows where the condition (r,) holds, those of `other` elsewhere."""
        return type(self)(
            *(
                torch.where(condition[:, None] if mine.ndim == 2 else condition, mine, theirs)
                for mine, theirs in zip(self.tensors(), other.tensors(), strict=True)
            )
        )

    def put(self, rows: torch.Tensor | slice, other: Self) -> None:
        """Overwrite rows in place."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine[rows] = theirs

    def clone(self) -> Self:
        """A copy that shares no memory."""
        return type(self)(*(tensor.clone() for tensor in self.tensors()))


@dataclass
class Particles(Rows):
    """Codes and the values at them; r rows of k dimensions.

    codes                 float32 (r, k)
    distortion            float64 (r,), d(x, f(z))
    log_prior             float64 (r,), log p(z)
    distortion_gradient   float32 (r, k)
    prior_gradient        float32 (r, k)
    """

    codes: torch.Tensor
    distortion: torch.Tensor
    log_prior: torch.Tensor
    distortion_gradient: torch.Tensor
    prior_gradient: torch.Tensor


class TemperedTarget:
    """p(z) exp(−β d(x, f(z))) for all β at once, on fixed targets, one row per image and chain.

    `gradient_dtype` is the arithmetic of the leapfrog steps inside a trajectory.  With bfloat16
    the force is approximate but deterministic, so the trajectory stays reversible and
    volume-preserving; the acceptance uses the exact energy, and the target does not change.
    """

    def __init__(
        self,
        decode: Decode,
        prior: LatentPrior,
        distortion: Distortion,
        targets: torch.Tensor,
        *,
        gradient_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.decode, self.prior, self.distortion = decode, prior, distortion
        self.targets = targets
        self.gradient_dtype = gradient_dtype
        self.gradients = 0
        """Decoder gradients so far, counted for each row."""
        self._undefined = 0
        self._reach: float | None = None

    def evaluate(self, codes: torch.Tensor, *, exact: bool = True) -> Particles:
        """Values and gradients at codes (r, k), for the first r rows of the targets.

        NaN and infinity become infinite distortion, so such codes are never accepted.

        Raises `MeasurementError` if there is no gradient, or if too many values are undefined.
        """
        codes = codes.detach().requires_grad_(True)
        reduced = not exact and self.gradient_dtype != torch.float32
        with torch.enable_grad():
            with torch.autocast(codes.device.type, self.gradient_dtype, enabled=reduced):
                decoded = self.decode(codes)
            values = self.distortion(self.targets[: len(codes)], decoded.to(self.targets.dtype))
            log_prior = self.prior.log_prob(codes)
            gradient = self._gradient(values, codes, "the distortion of the decoded images")
            prior_gradient = self._gradient(log_prior, codes, "the prior's log_prob")
        self.gradients += len(codes)
        defined = torch.isfinite(values) & torch.isfinite(gradient).all(1)
        if self._reach is None:
            self._reach = REACH * float(codes.detach().abs().max())
        if not bool(defined.all()):
            near = codes.detach().abs().amax(1) < self._reach
            self._undefined += int((near & ~defined).sum())
            if self._undefined > max(10, MOST_UNDEFINED * self.gradients):
                raise MeasurementError(
                    "the decoder or the distortion gives NaN or infinity for codes near the prior "
                    f"({self._undefined} of {self.gradients} evaluations); "
                    "a curve of such a model would mean nothing"
                )
            values = torch.where(defined, values, torch.inf)
            gradient = torch.where(defined[:, None], gradient, 0)
        return Particles(
            codes.detach(),
            values.detach().double(),
            torch.nan_to_num(log_prior.detach().double(), nan=-torch.inf),
            gradient,
            torch.nan_to_num(prior_gradient),
        )

    def _gradient(self, values: torch.Tensor, codes: torch.Tensor, what: str) -> torch.Tensor:
        if not values.requires_grad:
            raise MeasurementError(
                f"{what} has no gradient with respect to the codes; Hamiltonian moves need one: "
                "compute it with differentiable torch operations, without no_grad and detach"
            )
        (gradient,) = torch.autograd.grad(values.sum(), codes, allow_unused=True)
        if gradient is None:
            raise MeasurementError(f"{what} does not depend on the codes")
        return gradient.detach().to(codes.dtype)


def hamiltonian_move(
    target: TemperedTarget,
    particles: Particles,
    beta: float,
    *,
    step: float | torch.Tensor,
    scale: torch.Tensor,
    leapfrog: int,
    jitter: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Particles, torch.Tensor]:
    """One Hamiltonian Monte Carlo move at β for all rows (Neal 2011, MCMC using Hamiltonian
    dynamics); returns the particles and the acceptance probability (r,).

    step      leapfrog step size in units of `scale`; one number, or (r, 1)
    scale     a square root C of the inverse mass, M⁻¹ = C Cᵀ, (k, k), ideally that of the
              covariance; or its diagonal (k,)
    jitter    each row's step size is multiplied by a uniform draw from this interval, so that
              trajectories on a Gaussian target do not return to their start
    """
    codes = particles.codes
    rows, device = len(codes), codes.device
    momentum = torch.randn(codes.shape, generator=generator, device=device)
    low, high = jitter
    steps = step * (low + (high - low) * torch.rand(rows, 1, generator=generator, device=device))
    start_kinetic = 0.5 * momentum.double().square().sum(1)
    moved = particles

    def times(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left * right if right.ndim == 1 else left @ right

    turned = scale if scale.ndim == 1 else scale.T
    force = times(particles.prior_gradient - beta * particles.distortion_gradient, scale)
    for index in range(leapfrog):
        momentum = momentum + 0.5 * steps * force
        last = index == leapfrog - 1
        moved = target.evaluate(moved.codes + steps * times(momentum, turned), exact=last)
        force = times(moved.prior_gradient - beta * moved.distortion_gradient, scale)
        momentum = momentum + 0.5 * steps * force
    end_kinetic = 0.5 * momentum.double().square().sum(1)
    log_ratio = (
        moved.log_prior
        - beta * moved.distortion
        - end_kinetic
        - (particles.log_prior - beta * particles.distortion - start_kinetic)
    )
    acceptance = torch.nan_to_num(log_ratio, nan=-torch.inf).clamp(max=0).exp()
    draws = torch.rand(rows, generator=generator, device=device, dtype=torch.float64)
    accepted = draws < acceptance
    return moved.where(accepted, particles), acceptance
