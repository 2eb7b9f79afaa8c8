"""The local reference: Gaussians that are fitted to the posterior of each image at each β.

For large β the posterior p(z) exp(−β d(x, f(z))) of one image fills a tiny part of the prior, and
annealing has a long way from one to the other.  From a Gaussian N(μ, P⁻¹) near the posterior the
way is short.  It is fitted by natural-gradient steps on the evidence bound with the Gauss-Newton
Hessian (Khan and Rue 2023, The Bayesian learning rule, section 4), from antithetic samples z± of
the Gaussian itself.  For a component (m, Λ⁻¹) of the prior and d = ‖r(z)‖² + constant, J = ∂r/∂z:

    g = mean[2β Jᵀr] + Λ (μ − m)             P ← (1 − ρ) P + ρ H
    H = Λ + 2β mean[JᵀJ]                     μ ← μ − ρ′ P⁻¹g, clipped to √k in the P-norm

These are means over the Gaussian; with values at its mean (Laplace), the fit may be hundreds of
nats off.  Fits are made at rising β, each starting from the one before, P ← Λ + (P − Λ) β/β′.

A wrong reference does no harm: the bridge is unbiased for any reference, and a bad one shows in the
certificate.  A row whose derivatives are not finite therefore keeps its last fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from codec.priors import GaussianMixture, LatentPrior, StandardNormal, is_normal_or_mixture
from codec.rate_distortion.annealing.jacobian import ResidualJacobian
from codec.rate_distortion.annealing.tempering import TemperedTarget

SAMPLES, ITERATIONS = 2, 2
"""Antithetic samples in each iteration, and iterations at each β of the ladder."""

RESTART_ITERATIONS = 4
"""Iterations of a fit after it has started again at a sample of the prior: with none, it was often
still on its way to a mode when it was needed, or was dropped."""

POLISH_SAMPLES = 4
DRIFT_SAMPLES = 16
DRIFTS = (0.5, 0.4, 0.33, 0.25, 0.2, 0.2)
"""Lengths of the steps that move only μ, to polish the reference at a reported β."""

LARGEST_DRIFT = 3.0
DROP_NATS = 20.0
"""Components whose evidence bound is this far below the image's best are dropped: they would add
nothing to Z. With 10, a fit of codes of 100 dimensions was sometimes dropped that later was the
best: the bound of a fit that is not at its mode yet says little."""

LADDER_RATIO = 1.6
"""Largest ratio of two neighbouring β of the fits."""

LADDER_START = 4.0
"""The fits start at this many times the first β, at a rate of about a nat: up to there a posterior
is so near a component of the prior that one fit finds it."""


@dataclass(frozen=True)
class PriorComponents:
    """A prior Σ_l w_l N(m_l, Λ_l⁻¹): log w (l,), m (l, k) and Λ (l, k, k), float64."""

    log_weight: torch.Tensor
    mean: torch.Tensor
    precision: torch.Tensor
    half_log_det: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "half_log_det", 0.5 * torch.linalg.slogdet(self.precision)[1])

    @classmethod
    def of(cls, prior: LatentPrior, device: torch.device | str) -> PriorComponents | None:
        """The components of a standard normal or a Gaussian mixture; None for other priors."""
        if not is_normal_or_mixture(prior):
            return None
        if isinstance(prior, StandardNormal):
            one = torch.zeros(1, dtype=torch.float64, device=device)
            eye = torch.eye(prior.dim, dtype=torch.float64, device=device)
            return cls(one, one.new_zeros(1, prior.dim), eye[None])
        if isinstance(prior, GaussianMixture):
            factors = torch.linalg.cholesky(prior.covariances.to(device))
            precision = torch.cholesky_inverse(factors)
            return cls(prior.weights.to(device).log(), prior.means.to(device), precision)
        return None


@dataclass(frozen=True)
class LocalReference:
    """q(z) = Σ_j a_j N(z; μ_j, (R_j R_jᵀ)⁻¹), a mixture of J Gaussians for each of n images.

    log_weight  log a_j, float64 (n, J); −∞ for components that an image lacks
    mean        float64 (n, J, k)
    factor      R_j, float64 (n, J, k, k), lower triangular

    In the coordinates u = R_jᵀ(z − μ_j) of component j, its Gaussian is N(0, I).
    """

    log_weight: torch.Tensor
    mean: torch.Tensor
    factor: torch.Tensor
    _inverse: torch.Tensor = field(init=False, repr=False)
    _log_norm: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        eye = torch.eye(self.mean.shape[2], dtype=torch.float64, device=self.mean.device)
        inverse = torch.linalg.solve_triangular(
            self.factor, eye.expand_as(self.factor), upper=False
        )
        object.__setattr__(self, "_inverse", inverse)
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * self.mean.shape[2] * math.log(2 * math.pi)
        object.__setattr__(self, "_log_norm", self.log_weight + log_det - constant)

    @property
    def components(self) -> int:
        """J."""
        return self.mean.shape[1]

    def sample(
        self, chains: int, dtype: torch.dtype, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """u ~ N(0, I) and j ~ a for each chain: (n · chains, k) and int64 (n · chains,)."""
        images, components, dim = self.mean.shape
        label = torch.zeros(images, chains, dtype=torch.int64, device=self.mean.device)
        if components > 1:
            weights = self.log_weight.exp()
            label = torch.multinomial(weights, chains, replacement=True, generator=generator)
        white = torch.randn(images * chains, dim, generator=generator, device=self.mean.device)
        return white.to(dtype), label.view(-1)

    def codes(self, white: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """z = μ_j + R_j⁻ᵀ u: (r, k) with labels (r,) to (r, k), in the precision of u."""
        moved = self._images(white.double()) @ self._inverse + self.mean[:, :, None]
        return self._of_label(moved, label).to(white.dtype)

    def white(self, codes: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """u = R_jᵀ(z − μ_j), the inverse of `codes`."""
        return self._of_label(self._all_white(codes), label).to(codes.dtype)

    def to_white(self, slope: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """A gradient with respect to z (r, k) as one with respect to u."""
        turned = self._images(slope.double()) @ self._inverse.mT
        return self._of_label(turned, label).to(slope.dtype)

    def log_density(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """log q(z) float64 (r,), ∇ log q (r, k), and log a_j q_j(z) / q(z), float64 (r, J)."""
        white = self._all_white(codes)
        logs = self._log_norm[:, :, None] - 0.5 * white.square().sum(3)
        total = torch.logsumexp(logs, 1, keepdim=True)
        shares = logs - total
        gradient = -(shares.exp()[..., None] * (white @ self.factor.mT)).sum(1)
        rows = len(codes)
        return (
            total.reshape(rows),
            gradient.reshape(rows, -1).to(codes.dtype),
            shares.movedim(1, 2).reshape(rows, -1),
        )

    def _images(self, rows: torch.Tensor) -> torch.Tensor:
        """(n · M, k) to (n, 1, M, k)."""
        images, _, dim = self.mean.shape
        return rows.view(images, 1, -1, dim)

    def _all_white(self, codes: torch.Tensor) -> torch.Tensor:
        """R_jᵀ(z − μ_j) for every j, (n, J, M, k)."""
        return (self._images(codes.double()) - self.mean[:, :, None]) @ self.factor

    def _of_label(self, values: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """From values (n, J, M, k), pick those of each row's label, (n · M, k)."""
        images, components, chains, dim = values.shape
        if components > 1:
            index = label.view(images, 1, chains, 1).expand(-1, -1, -1, dim)
            values = values.gather(1, index)
        return values.reshape(images * chains, dim)


def fit_ladder(first: float, reported: Sequence[float]) -> list[float]:
    """The β > 0 of the fits: the reported ones, and enough before and between them.

    first   a β at which the rate is about 0.05 nats
    """
    ladder: list[float] = []
    low = min(LADDER_START * first, reported[0])
    for high in reported:
        steps = max(1, math.ceil(math.log(high / low) / math.log(LADDER_RATIO)))
        if not ladder and high > low:
            ladder.append(low)
        ladder += [low * (high / low) ** (step / steps) for step in range(1, steps)]
        ladder.append(high)
        low = high
    return ladder


class LocalFits:
    """Gaussians of n images × J components, carried up in β."""

    def __init__(
        self,
        target: TemperedTarget,
        components: PriorComponents,
        jacobian: ResidualJacobian,
        *,
        modes: int,
        generator: torch.Generator,
    ) -> None:
        """Start at the prior.

        target   has one row for each image, and counts the gradients
        modes    fits for each component of the prior; all but the first start at its samples
        """
        self._target, self._jacobian, self._generator = target, jacobian, generator
        self._prior = components
        self._label = torch.arange(len(components.mean), device=components.mean.device)
        self._label = self._label.repeat(modes)
        images, count = len(target.targets), len(self._label)
        self._mean = components.mean[self._label].repeat(images, 1, 1)
        self._precision = components.precision[self._label].repeat(images, 1, 1, 1)
        bound = components.log_weight[self._label] - math.log(modes)
        self._bound = bound.repeat(images, 1)
        self._alive = torch.ones(images, count, dtype=torch.bool, device=bound.device)
        self._modes = modes
        self._beta = 0.0
        if modes > 1:
            later = torch.arange(count, device=bound.device) >= count // modes
            self._scatter(torch.arange(images, device=bound.device), later.expand(images, -1))

    def advance(self, beta: float, images: torch.Tensor) -> None:
        """Advance the fits of these images (indexes) to β; the others stay as they are."""
        if self._modes > 1 and self._beta > 0:
            self._restart(images, self._duplicates(images))
        image, component = self._pairs(images)
        mean, precision = self._mean[image, component], self._precision[image, component]
        if self._beta > 0:
            own = self._prior.precision[self._label[component]]
            precision = own + (precision - own) * (beta / self._beta)
        factor, precision = _factor(precision)
        for length in (1.0,) * (ITERATIONS - 1) + (0.7,):
            mean, precision, factor, bound = self._step(
                image, component, mean, precision, factor, beta, SAMPLES, share=0.6, length=length
            )
        self._mean[image, component], self._precision[image, component] = mean, precision
        self._bound[image, component] = bound
        self._beta = beta
        best = self._bound.masked_fill(~self._alive, -torch.inf).amax(1, keepdim=True)
        falling = self._alive & (self._bound < best - DROP_NATS)
        self._alive[images] &= ~falling[images]

    def polished(self, beta: float, images: torch.Tensor) -> LocalReference:
        """The reference of these images at β, which the fits have reached; they do not change."""
        image, component = self._pairs(images)
        mean, precision = self._mean[image, component], self._precision[image, component]
        factor, precision = _factor(precision)
        mean, _, factor, _ = self._step(
            image, component, mean, precision, factor, beta, POLISH_SAMPLES, share=0.5, length=0.5
        )
        mean, bound = self._drift(image, component, mean, factor, beta)
        return self._packed(images, image, component, mean, factor, bound)

    def _pairs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        which, component = torch.nonzero(self._alive[images], as_tuple=True)
        return images[which], component

    def _restart(self, images: torch.Tensor, which: torch.Tensor) -> None:
        """Scatter the fits marked by `which` (images, J), and advance them to the β of the rest."""
        self._scatter(images, which)
        row, component = torch.nonzero(which, as_tuple=True)
        image = images[row]
        mean, precision = self._mean[image, component], self._precision[image, component]
        factor, precision = _factor(precision)
        for _ in range(RESTART_ITERATIONS):
            mean, precision, factor, _ = self._step(
                image, component, mean, precision, factor, self._beta, SAMPLES, share=0.6, length=1
            )
        self._mean[image, component], self._precision[image, component] = mean, precision

    def _scatter(self, images: torch.Tensor, which: torch.Tensor) -> None:
        """Restart the fits marked by `which` (images, J) at samples of the prior's components."""
        row, component = torch.nonzero(which, as_tuple=True)
        label = self._label[component]
        noise = torch.randn(
            len(row), self._mean.shape[2], generator=self._generator, device=self._mean.device
        )
        factor = torch.linalg.cholesky(self._prior.precision)[label]
        start = torch.linalg.solve_triangular(factor.mT, noise.double()[..., None], upper=True)
        at = images[row], component
        self._mean[at] = self._prior.mean[label] + start[..., 0]
        self._precision[at] = self._prior.precision[label]

    def _duplicates(self, images: torch.Tensor) -> torch.Tensor:
        """Fits that coincide with an earlier one of the same component of the prior, (images, J).

        For small β the posterior has one mode, and all fits meet there; once it splits, fits that
        still coincide are of no use.
        """
        mean, alive = self._mean[images], self._alive[images]
        apart = mean[:, :, None] - mean[:, None]
        length = (apart @ self._precision[images] * apart).sum(-1)
        near = (length < mean.shape[2]) & (self._label[:, None] == self._label)
        near &= alive[:, :, None] & alive[:, None]
        return near.tril(-1).any(2)

    def _samples(
        self, mean: torch.Tensor, factor: torch.Tensor, samples: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Antithetic u (p, S, k) and z, float64."""
        half = torch.randn(len(mean), samples // 2, mean.shape[1], generator=self._generator,
                           device=mean.device).double()  # fmt: skip
        white = torch.cat([half, -half], 1)
        moved = torch.linalg.solve_triangular(factor.mT, white.mT, upper=True).mT
        return white, mean[:, None] + moved

    def _evidence(
        self,
        component: torch.Tensor,
        white: torch.Tensor,
        codes: torch.Tensor,
        factor: torch.Tensor,
        penalty: torch.Tensor,
    ) -> torch.Tensor:
        """Mean of log w_l N(z; m_l, Λ_l⁻¹) − β d − log q(z), up to the constant of d, (p,)."""
        label = self._label[component]
        centred = codes - self._prior.mean[label][:, None]
        precision = self._prior.precision[label]
        energy = 0.5 * ((centred @ precision) * centred).sum(-1)
        log_det = self._prior.half_log_det[label]
        own = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        weight = self._prior.log_weight[label] - math.log(self._modes)
        terms = 0.5 * white.square().sum(-1) - energy - penalty
        return terms.mean(1) + weight + log_det - own

    def _step(
        self,
        image: torch.Tensor,
        component: torch.Tensor,
        mean: torch.Tensor,
        precision: torch.Tensor,
        factor: torch.Tensor,
        beta: float,
        samples: int,
        *,
        share: float,
        length: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """One iteration with Jacobians on pairs (image, component): new μ, P, R, and old bound."""
        pairs, dim = mean.shape
        white, codes = self._samples(mean, factor, samples)
        hessian, gradient = torch.empty_like(precision), torch.empty_like(mean)
        squares = torch.empty(pairs, samples, dtype=torch.float64, device=mean.device)
        targets = self._target.targets
        chunk = max(1, self._jacobian.rows_at_a_time(targets, dim) // samples)
        for begin in range(0, pairs, chunk):
            part = slice(begin, begin + chunk)
            rows = targets[image[part]].repeat_interleave(samples, 0)
            at = codes[part].reshape(-1, dim).to(targets.dtype)
            residual, jacobian = self._jacobian(rows, at)
            count = len(at) // samples
            tall = jacobian.reshape(count, -1, dim)
            hessian[part] = (tall.mT @ tall).double() / samples
            pulled = tall.mT @ residual.reshape(count, -1, 1)
            gradient[part] = pulled[..., 0].double() / samples
            squares[part] = residual.double().square().sum(1).view(count, samples)
        label = self._label[component]
        own = self._prior.precision[label]
        hessian = own + 2 * beta * hessian
        gradient = 2 * beta * gradient + (own @ (mean - self._prior.mean[label])[..., None])[..., 0]
        bound = self._evidence(component, white, codes, factor, beta * squares)
        found = (1 - share) * precision + share * hessian
        new_factor, odd = torch.linalg.cholesky_ex(found)
        fine = (odd == 0) & torch.isfinite(gradient).all(1)
        whole = fine[:, None, None]
        found = torch.where(whole, found, precision)
        new_factor = torch.where(whole, new_factor, factor)
        gradient = torch.where(fine[:, None], gradient, 0)
        mean = mean - length * _clipped(new_factor, gradient, math.sqrt(dim))
        return mean, found, new_factor, torch.nan_to_num(bound, nan=-torch.inf)

    def _drift(
        self,
        image: torch.Tensor,
        component: torch.Tensor,
        mean: torch.Tensor,
        factor: torch.Tensor,
        beta: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps of μ along the gradient with P fixed, to remove what the Jacobians' noise left."""
        source = self._target
        target = TemperedTarget(
            source.decode,
            source.prior,
            source.distortion,
            source.targets[image].repeat_interleave(DRIFT_SAMPLES, 0),
        )
        label = self._label[component]
        own, dim = self._prior.precision[label], mean.shape[1]
        bound = mean.new_zeros(len(mean))
        for length in DRIFTS:
            white, codes = self._samples(mean, factor, DRIFT_SAMPLES)
            found = target.evaluate(codes.reshape(-1, dim).to(source.targets.dtype))
            pulled = found.distortion_gradient.double().view(-1, DRIFT_SAMPLES, dim).mean(1)
            pulled = beta * pulled
            pulled = pulled + (own @ (mean - self._prior.mean[label])[..., None])[..., 0]
            penalty = beta * found.distortion.view(-1, DRIFT_SAMPLES)
            bound = self._evidence(component, white, codes, factor, penalty)
            mean = mean - length * _clipped(factor, pulled, LARGEST_DRIFT)
        source.gradients += target.gradients
        return mean, torch.nan_to_num(bound, nan=-torch.inf, neginf=-1e300)

    def _packed(
        self,
        images: torch.Tensor,
        image: torch.Tensor,
        component: torch.Tensor,
        mean: torch.Tensor,
        factor: torch.Tensor,
        bound: torch.Tensor,
    ) -> LocalReference:
        """A reference of the components that are not dropped, with weights exp(bound)."""
        alive = self._alive[images]
        row, slot = torch.nonzero(alive, as_tuple=True)
        slot = alive.cumsum(1)[row, slot] - 1
        width, dim = int(alive.sum(1).max()), mean.shape[1]
        weights = mean.new_full((len(images), width), -torch.inf)
        means = mean.new_zeros(len(images), width, dim)
        factors = torch.eye(dim, dtype=mean.dtype, device=mean.device)
        factors = factors.repeat(len(images), width, 1, 1)
        weights[row, slot], means[row, slot], factors[row, slot] = bound, mean, factor
        if self._modes > 1:
            weights = weights - _multiplicity(weights, means, factors).log()
        return LocalReference(torch.log_softmax(weights, 1), means, factors)


def _factor(precision: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower triangular R with R Rᵀ = P, and P; P is reduced to its diagonal if it has no R."""
    factor, odd = torch.linalg.cholesky_ex(precision)
    if bool((odd != 0).any()):
        diagonal = precision.diagonal(dim1=-2, dim2=-1).abs()
        diagonal = torch.nan_to_num(diagonal, nan=1.0, posinf=1.0).clamp(min=1e-6)
        broken = (odd != 0)[..., None, None]
        precision = torch.where(broken, torch.diag_embed(diagonal), precision)
        factor = torch.where(broken, torch.diag_embed(diagonal.sqrt()), factor)
    return factor, precision


def _clipped(factor: torch.Tensor, gradient: torch.Tensor, largest: float) -> torch.Tensor:
    """P⁻¹g for P = R Rᵀ, clipped to length `largest` in the P-norm; 0 where g is not finite."""
    gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
    step = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    length = (step * gradient).sum(-1).clamp(min=1e-24).sqrt()
    return step * (largest / length).clamp(max=1.0)[:, None]


def _multiplicity(
    weights: torch.Tensor, means: torch.Tensor, factors: torch.Tensor
) -> torch.Tensor:
    """How many of an image's components coincide with each, (n, J): these share their weight."""
    apart = (means[:, None] - means[:, :, None])[..., None, :] @ factors[:, :, None]
    near = apart.square().sum((-1, -2)) < means.shape[2]
    near &= torch.isfinite(weights)[:, None]
    return near.sum(2).clamp(min=1).to(weights.dtype)
