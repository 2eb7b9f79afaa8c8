"""A short bridge from a local reference to the posterior at one β, by sequential Monte Carlo.

For q = Σ_j a_j q_j and π(z) = p(z) exp(−β d(x, f(z))), the path in s = 0 … 1 is, with Δ = log π/q,

    γ_s(z, j) = a_j q_j(z) · exp(s Δ(z)),        ∫ Σ_j γ_0 = 1,   ∫ Σ_j γ_1 = Z_β(x)

    t = 1 … T:   log w += (s_t − s_{t−1}) Δ(z)                       weight first
                 resample the chains of an image if its effective sample size is small
                 (z, j) ← a move that leaves γ_{s_t} invariant       none after the last weight

A move is Hamiltonian in the coordinates u = R_jᵀ(z − μ_j), where γ_s is N(u; 0, I) exp(s Δ): half a
kick by s ∇Δ, an exact rotation of (u, momentum), half a kick (the splitting of Neal 2011, section
5.5.1).  Then j is redrawn from its distribution given z, a_j q_j(z)/q(z), which does not depend on
s.  Ẑ is unbiased for any reference that was fixed before, so −log Ẑ is an upper bound on average.

For the other side, the moves are run backwards (j first) from an exact sample z* of the posterior.
A pass with chain 0 pinned to that path bounds log Z from above: conditional sequential Monte Carlo,
as in `bdmc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from codec.rate_distortion.annealing.local_reference import LocalReference
from codec.rate_distortion.annealing.sampler import RESAMPLE_BELOW, ChainWeights
from codec.rate_distortion.annealing.tempering import Rows, TemperedTarget


@dataclass(frozen=True)
class BridgePlan:
    """Everything that a bridge depends on besides its reference, data and random numbers.

    powers     s_0 = 0 < … < s_T = 1
    angles     rotation of each step of the moves at s_1 … s_{T−1}, radians
    leapfrogs  steps of those moves
    jitter     interval of the random factor on the angle of each trajectory
    resample   False for plain annealed importance sampling
    """

    beta: float
    powers: tuple[float, ...]
    angles: tuple[float, ...]
    leapfrogs: tuple[int, ...]
    jitter: tuple[float, float] = (0.7, 1.3)
    resample: bool = True

    @property
    def steps(self) -> int:
        """T, the number of weights."""
        return len(self.powers) - 1


@dataclass(frozen=True)
class BridgeResult:
    """The result of one pass for n images.

    log_partition_nats, distortion, ess_fraction, excess   float64 (n,), as in `AnnealingResult`
    acceptance   mean over all moves; 1 if there were none
    """

    log_partition_nats: torch.Tensor
    distortion: torch.Tensor
    ess_fraction: torch.Tensor
    excess: torch.Tensor
    acceptance: float


@dataclass
class BridgeParticles(Rows):
    """Codes with their labels and the values at them; r rows, image-major.

    white       u for the row's own label, (r, k)
    label       j, int64 (r,)
    distortion  float64 (r,)
    ratio       Δ, float64 (r,); −∞ if the decoder is undefined there
    slope       ∇Δ with respect to z, (r, k)
    shares      log a_j q_j(z) / q(z), float64 (r, J)
    """

    white: torch.Tensor
    label: torch.Tensor
    distortion: torch.Tensor
    ratio: torch.Tensor
    slope: torch.Tensor
    shares: torch.Tensor


class Bridge:
    """The path γ_s of n images at one β; rows of `target` are images × chains."""

    def __init__(self, target: TemperedTarget, reference: LocalReference, beta: float) -> None:
        self.target, self.reference, self.beta = target, reference, beta

    def start(self, chains: int, generator: torch.Generator) -> BridgeParticles:
        """Draw from γ_0 = a_j q_j."""
        dtype = self.target.targets.dtype
        return self._at(*self.reference.sample(chains, dtype, generator))

    def end(self, codes: torch.Tensor, generator: torch.Generator) -> BridgeParticles:
        """Exact posterior samples (n, k), one for each image, with labels drawn given z."""
        codes = codes.to(self.target.targets.dtype)
        _, _, shares = self.reference.log_density(codes)
        label = _draw(shares, generator)
        return self._at(self.reference.white(codes, label), label)

    def relabel(self, particles: BridgeParticles, generator: torch.Generator) -> BridgeParticles:
        """Draw j given z, without evaluating the decoder."""
        if self.reference.components == 1:
            return particles
        codes = self.reference.codes(particles.white, particles.label)
        label = _draw(particles.shares, generator)
        return BridgeParticles(self.reference.white(codes, label), label, *particles.tensors()[2:])

    def move(
        self, particles: BridgeParticles, plan: BridgePlan, t: int, generator: torch.Generator
    ) -> tuple[BridgeParticles, torch.Tensor]:
        """The Hamiltonian move at s_t given the labels, and its acceptance probabilities (r,)."""
        power, angle = plan.powers[t], plan.angles[t - 1]
        return self.hamiltonian_move(
            particles, power, angle, plan.leapfrogs[t - 1], plan.jitter, generator
        )

    def hamiltonian_move(
        self,
        particles: BridgeParticles,
        power: float,
        angle: float,
        leapfrog: int,
        jitter: tuple[float, float],
        generator: torch.Generator,
    ) -> tuple[BridgeParticles, torch.Tensor]:
        """Like `move`, at any s."""
        white = particles.white
        rows, device, dtype = len(white), white.device, white.dtype
        momentum = torch.randn(white.shape, generator=generator, device=device).to(dtype)
        low, high = jitter
        draws = torch.rand(rows, 1, generator=generator, device=device)
        angles = (angle * (low + (high - low) * draws)).to(dtype)
        cosine, sine = angles.cos(), angles.sin()
        before = _energy(particles, momentum, power)
        moved, force = particles, self._force(particles, power)
        for index in range(leapfrog):
            momentum = momentum + 0.5 * angles * force
            turned = moved.white * cosine + momentum * sine
            momentum = momentum * cosine - moved.white * sine
            moved = self._at(turned, particles.label, exact=index == leapfrog - 1)
            force = self._force(moved, power)
            momentum = momentum + 0.5 * angles * force
        change = before - _energy(moved, momentum, power)
        acceptance = torch.nan_to_num(change, nan=-torch.inf).clamp(max=0).exp()
        accepted = (
            torch.rand(rows, generator=generator, device=device, dtype=torch.float64) < acceptance
        )
        return moved.where(accepted, particles), acceptance

    def _at(
        self, white: torch.Tensor, label: torch.Tensor, *, exact: bool = True
    ) -> BridgeParticles:
        codes = self.reference.codes(white, label)
        found = self.target.evaluate(codes, exact=exact)
        log_density, gradient, shares = self.reference.log_density(codes)
        slope = found.prior_gradient - self.beta * found.distortion_gradient - gradient
        ratio = found.log_prior - self.beta * found.distortion - log_density
        return BridgeParticles(white, label, found.distortion, ratio, slope, shares)

    def _force(self, particles: BridgeParticles, power: float) -> torch.Tensor:
        return power * self.reference.to_white(particles.slope, particles.label)


def _energy(particles: BridgeParticles, momentum: torch.Tensor, power: float) -> torch.Tensor:
    squares = particles.white.double().square().sum(1) + momentum.double().square().sum(1)
    return 0.5 * squares - power * particles.ratio


def _draw(log_shares: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One index for each row of log probabilities (r, J)."""
    return torch.multinomial(log_shares.exp(), 1, generator=generator)[:, 0]


def cross(
    bridge: Bridge,
    plan: BridgePlan,
    *,
    chains: int,
    generator: torch.Generator,
    path: list[BridgeParticles] | None = None,
) -> BridgeResult:
    """One pass over the bridge; with a path of `way_back`, chain 0 of every image follows it."""
    images = len(bridge.target.targets) // chains
    particles = bridge.start(chains, generator)
    pinned = slice(0, None, chains)
    if path is not None:
        particles.put(pinned, path[0])
    weights = ChainWeights(images, chains, particles.white.device)
    smallest = torch.ones(images, dtype=torch.float64, device=particles.white.device)
    accepted: list[float] = []
    for t in range(1, plan.steps + 1):
        weights.add((plan.powers[t] - plan.powers[t - 1]) * particles.ratio)
        share = weights.ess_fraction()
        smallest = torch.minimum(smallest, share)
        if t == plan.steps:
            break
        if plan.resample:
            resample = weights.resample if path is None else weights.resample_beside_first
            particles = resample(particles, share < RESAMPLE_BELOW, generator)
        particles, acceptance = bridge.move(particles, plan, t, generator)
        particles = bridge.relabel(particles, generator)
        accepted.append(float(acceptance.mean()))
        if path is not None:
            particles.put(pinned, path[t])
    return BridgeResult(
        -weights.log_mean(),
        weights.mean_of(particles.distortion),
        smallest,
        weights.excess(),
        sum(accepted) / len(accepted) if accepted else 1.0,
    )


def way_back(
    bridge: Bridge, plan: BridgePlan, codes: torch.Tensor, generator: torch.Generator
) -> list[BridgeParticles]:
    """States at t = 0 … T−1 of one chain for each image, run from its exact sample (n, k).

    A pass moves and then relabels, so its reversal relabels and then moves.
    """
    particles = bridge.end(codes, generator)
    path = [particles.clone()]
    for t in range(plan.steps - 1, 0, -1):
        particles = bridge.relabel(particles, generator)
        particles, _ = bridge.move(particles, plan, t, generator)
        path.append(particles.clone())
    return path[::-1]
