"""Optimal reproductions, found as particles that descend the rate-distortion loss.

For particles y_j with weights w_j and samples x_i under ρ = s‖x − y‖² let

    φ_i = −log Σ_j w_j e^{−λρ(x_i, y_j)},     loss = mean φ_i ≥ min R + λD,
    c(y) = (1/m) Σ_i e^{φ_i − λρ(x_i, y)}.

Wasserstein gradient descent moves y_j against the gradient of −c at y_j, and the hybrid also takes
the Blahut-Arimoto step w_j ← w_j c(y_j)  (Yang, Eckstein, Nutz and Mandt, "Estimating the
rate-distortion function by Wasserstein gradient descent", NeurIPS 2023).  With the learning rate
1/(2sλ), the default, a step at c(y_j) = 1 is the mean shift of expectation maximisation.

The loss is that of the EMPIRICAL measure of the samples: it is no bound for the population, and
its rate cannot exceed log min(m, n).  `ParticleSolution.evaluate` measures the particles on fresh
samples, which does give a bound for the population.

Certificates.  loss − log sup_y c(y) is below the empirical optimum (Csiszár's dual).
`support_gap_nats` takes the supremum over the particles only, so it only tells whether the weights
are right for these places; `searched_gap_nats` takes it over all y found by ascent from many
samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import finite_array, positive_number, whole_number
from codec.rate_distortion.bounds.mode_search import SearchEffort, highest_modes
from codec.rate_distortion.bounds.sandwich import SquaredErrorUnits, squared_error_scale
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.estimates import BoundPoint, bound_point
from codec.rate_distortion.tensor_checks import row_blocks, seeded_generator

BLOCK_ENTRIES = 2**21
SMALLEST_WEIGHT = 1e-250
LARGEST_STEP = 1.0
"""In units of the way to the mean of a particle's samples; a step above 2 would raise the loss."""


@dataclass(frozen=True, eq=False)
class ParticleSolution:
    """Particles, and what they achieve on the samples that they were fitted to.

    particles (n, d), weights (n,)   float64
    loss_nats                        mean φ, the empirical Lagrangian: the minimum of
                                     rate + beta · distortion
    rate_nats, distortion            mutual information and distortion of the optimal conditional
    support_gap_nats                 log max_j c(y_j): gap to the best weights for these particles
    searched_gap_nats                log of the highest c(y) found: gap to the empirical optimum if
                                     the search was complete
    ceiling_nats                     log min(samples, particles): no rate can be larger
    """

    particles: Float64Array = field(repr=False)
    weights: Float64Array = field(repr=False)
    beta: float
    loss_nats: float
    rate_nats: float
    distortion: float
    support_gap_nats: float
    searched_gap_nats: float
    ceiling_nats: float
    samples: int
    steps: int
    squared_error: SquaredErrorUnits
    seed: int

    def evaluate(self, samples: npt.ArrayLike) -> BoundPoint:
        """The upper bound on the population's R(D) from fresh samples (m, d), with intervals.

        Fresh means that the particles were not fitted to them.  A single sample gives NaN
        intervals.  Raises `UsageError` for samples of other dimensions or not finite.
        """
        points = finite_array("samples", samples, 2)
        dim = self.particles.shape[1]
        if points.shape[1] != dim:
            raise UsageError(f"samples have shape {points.shape}, expected (m, {dim})")
        swarm = _Swarm(
            torch.tensor(self.particles),
            torch.tensor(self.weights).log(),
            self.beta * squared_error_scale(self.squared_error, dim),
        )
        phi, distances = swarm.measure(torch.tensor(points))
        errors = (distances * swarm.tau / self.beta).numpy()
        rates = np.maximum(0.0, phi.numpy() - self.beta * errors)
        return bound_point(self.beta, rates, errors, seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`, without the particles."""
        names = (
            "beta", "loss_nats", "rate_nats", "distortion", "support_gap_nats",
            "searched_gap_nats", "ceiling_nats", "samples", "steps", "squared_error", "seed",
        )  # fmt: skip
        content: dict[str, Any] = {name: getattr(self, name) for name in names}
        return {**content, "particles": len(self.particles)}


@dataclass
class _Swarm:
    places: torch.Tensor
    log_weights: torch.Tensor
    tau: float

    def _blocks(self, points: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Samples and their squared distances to the particles, by blocks."""
        norms = self.places.square().sum(1)
        for part in row_blocks(points, max(1, BLOCK_ENTRIES // len(self.places))):
            squares = part.square().sum(1)[:, None] + norms - 2 * part @ self.places.T
            yield part, squares.clamp_min(0)

    def measure(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """φ and the expected squared distance of each sample, (m,) each."""
        found = []
        for _, squares in self._blocks(points):
            exponents = self.log_weights - self.tau * squares
            phi = -torch.logsumexp(exponents, dim=1)
            shares = (exponents + phi[:, None]).exp()
            found.append((phi, (shares * squares).sum(1)))
        phis, distances = zip(*found, strict=True)
        return torch.cat(phis), torch.cat(distances)

    def pull(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """c(y_j), (n,), and (1/m) Σ_i e^{φ_i − λρ_ij} x_i, (n, d)."""
        growth, moment = torch.zeros_like(self.log_weights), torch.zeros_like(self.places)
        for part, squares in self._blocks(points):
            exponents = -self.tau * squares
            phi = -torch.logsumexp(exponents + self.log_weights, dim=1, keepdim=True)
            kernels = (exponents + phi).exp()
            growth += kernels.sum(0)
            moment += kernels.T @ part
        return growth / len(points), moment / len(points)

    def reweight(self, growth: torch.Tensor, power: float) -> None:
        """w ← w c^power, normalised."""
        weights = (self.log_weights.exp() * growth**power).clamp_min(SMALLEST_WEIGHT)
        self.log_weights = (weights / weights.sum()).log()


@torch.no_grad()
def particle_descent(
    samples: npt.ArrayLike,
    *,
    beta: float,
    particles: int = 200,
    squared_error: SquaredErrorUnits = "sum",
    steps: int = 300,
    learning_rate: float | None = None,
    reweight: bool = True,
    batch: int | None = None,
    seed: int = 0,
    effort: SearchEffort | None = None,
    device: torch.device | str = "cpu",
) -> ParticleSolution:
    """Fit particles to the empirical measure of the samples.

    samples        (m, d), finite
    beta           λ, positive, in inverse units of the distortion
    particles      n; they start at random samples
    squared_error  units of ρ: sum, mean or half_sum of squared errors
    learning_rate  learning rate of the particles; None is 1/(2sλ)
    reweight       also take the Blahut-Arimoto step on the weights (the hybrid); else they stay 1/n
    batch          samples in each step, with steps that shrink towards 0; None takes all samples
    A `batch` leaves noise in places and weights, which the certificates show.  Raises
    `UsageError` for arguments that do not fit, `MeasurementError` if the particles diverge.
    """
    points = torch.tensor(finite_array("samples", samples, 2), device=torch.device(device))
    count, dim = points.shape
    beta = positive_number("beta", beta)
    scale = squared_error_scale(squared_error, dim)
    whole_number("particles", particles, at_least=1)
    whole_number("steps", steps, at_least=0)
    if batch is not None:
        whole_number("batch", batch, at_least=1)
    tau = beta * scale
    rate = (
        1.0 if learning_rate is None else positive_number("learning_rate", learning_rate) * 2 * tau
    )
    generator = seeded_generator(seed, points.device)
    # Centred, so that few digits cancel in the expanded squares.
    centre = points.mean(dim=0)
    points = points - centre
    order = torch.randperm(count, generator=generator, device=points.device)
    start = order.repeat(-(-particles // count))[:particles]
    jitter = torch.randn(
        (particles, dim), generator=generator, device=points.device, dtype=points.dtype
    )
    # Particles that start at the same place would stay together.
    spread = 1e-3 * float(points.square().mean().sqrt()) if particles > count else 0.0
    places = points[start] + spread * jitter
    swarm = _Swarm(places, torch.full_like(places[:, 0], -math.log(particles)), tau)
    for step in range(steps):
        chosen, decay = points, 1.0
        if batch is not None:
            # Steps that shrink to zero average out the noise of the batches.
            decay = 1 - step / steps
            chosen = points[
                torch.randint(count, (batch,), generator=generator, device=points.device)
            ]
        growth, moment = swarm.pull(chosen)
        # −∇ is 2sλ (moment − c y); a step goes no further than to the samples' mean.
        pace = torch.where(growth * rate > LARGEST_STEP, LARGEST_STEP / growth, rate)
        swarm.places = swarm.places + decay * pace[:, None] * (
            moment - growth[:, None] * swarm.places
        )
        if not bool(torch.isfinite(swarm.places).all()):
            raise MeasurementError(f"the particles diverged in step {step}: lower learning_rate")
        if reweight:
            swarm.reweight(growth, decay * min(1.0, len(chosen) / count))
    return _solution(swarm, points, centre, beta, squared_error, steps, seed, effort, generator)


def _solution(
    swarm: _Swarm,
    points: torch.Tensor,
    centre: torch.Tensor,
    beta: float,
    squared_error: SquaredErrorUnits,
    steps: int,
    seed: int,
    effort: SearchEffort | None,
    generator: torch.Generator,
) -> ParticleSolution:
    growth, _ = swarm.pull(points)
    phi, distances = swarm.measure(points)
    support_gap = max(0.0, math.log(float(growth.max())))
    _, heights = highest_modes(
        points, phi - math.log(len(points)), swarm.tau, effort=effort or SearchEffort(),
        generator=generator,
    )  # fmt: skip
    loss = float(phi.mean())
    distortion = float(distances.mean()) * swarm.tau / beta
    moved = swarm.log_weights.exp() * growth
    drift = float(torch.xlogy(moved, growth).sum())
    return ParticleSolution(
        particles=np.asarray((swarm.places + centre).cpu().numpy()),
        weights=np.asarray(swarm.log_weights.exp().cpu().numpy()),
        beta=beta,
        loss_nats=loss,
        rate_nats=max(0.0, loss - beta * distortion - drift),
        distortion=distortion,
        support_gap_nats=support_gap,
        searched_gap_nats=max(support_gap, float(heights.max())),
        ceiling_nats=math.log(min(len(points), len(swarm.places))),
        samples=len(points),
        steps=steps,
        squared_error=squared_error,
        seed=seed,
    )
