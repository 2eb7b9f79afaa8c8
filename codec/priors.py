"""Prior densities over codes z: the p(z) of a generative model.

Two are built in; any other object with `dim`, `sample` and `log_prob` is a prior, too.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

from bitstream.errors import UsageError
from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.priors"):
    import torch

Numbers: TypeAlias = "torch.Tensor | npt.ArrayLike"


@runtime_checkable
class LatentPrior(Protocol):
    """A density p(z) over codes of `dim` dimensions, differentiable in z."""

    dim: int

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw `count` codes, float (count, dim), on the generator's device."""

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats: (…, dim) to (…)."""


class StandardNormal:
    """N(0, I) in `dim` dimensions.

    shape  dimensions k of a code, or the shape in which the decoder takes it, such as (4, 7, 7)

    `sample` and `log_prob` use flat codes in either case; callers that also have a decoder reshape
    the codes for it.  Raises `UsageError` unless all numbers are at least 1.
    """

    def __init__(self, shape: int | Sequence[int]) -> None:
        try:
            self.shape = tuple(shape) if isinstance(shape, Sequence) else (operator.index(shape),)
            fine = all(type(side) is not bool and operator.index(side) > 0 for side in self.shape)
        except TypeError:
            fine = False
        if not fine or not self.shape or isinstance(shape, bool):
            raise UsageError(
                f"a prior of {shape!r} dimensions: expected at least 1, in whole numbers"
            )
        self.dim = math.prod(self.shape)

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw `count` codes, float32 (count, dim)."""
        device = "cpu" if generator is None else generator.device
        return torch.randn(count, self.dim, generator=generator, device=device)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats: (…, dim) to (…)."""
        return -0.5 * z.square().sum(-1) - 0.5 * self.dim * math.log(2 * math.pi)

    def __repr__(self) -> str:
        return f"StandardNormal({self.dim if len(self.shape) == 1 else self.shape})"


class GaussianMixture:
    """Σ_m w_m N(μ_m, Σ_m) with full covariances.

    weights      (m,) positive, normalised here: a tensor, array or list, as the others
    means        (m, k)
    covariances  (m, k, k) symmetric and positive definite
    Raises `UsageError` for shapes that do not fit, values that are not finite, or a covariance
    that is not symmetric or not positive definite.
    """

    def __init__(self, weights: Numbers, means: Numbers, covariances: Numbers) -> None:
        weights, means, covariances = map(_tensor_of, (weights, means, covariances))
        count, dim = means.shape if means.ndim == 2 else (0, 0)
        if count < 1 or weights.shape != (count,) or covariances.shape != (count, dim, dim):
            raise UsageError(
                f"a mixture with weights {tuple(weights.shape)}, means {tuple(means.shape)} and "
                f"covariances {tuple(covariances.shape)}: expected (m,), (m, k) and (m, k, k)"
            )
        finite = all(bool(torch.isfinite(t).all()) for t in (weights, means, covariances))
        if not finite or bool((weights <= 0).any()):
            raise UsageError("a mixture needs finite parameters and positive weights")
        apart = (covariances - covariances.mT).abs().flatten(1).amax(1)
        if bool((apart > 1e-3 * covariances.abs().flatten(1).amax(1)).any()):
            raise UsageError("a covariance of the mixture is not symmetric")
        # Factored once, in float64, because a covariance may be nearly singular.
        factors, odd = torch.linalg.cholesky_ex(covariances.double())
        if bool((odd != 0).any()):
            raise UsageError("a covariance of the mixture is not positive definite")
        self.dim = dim
        self.weights = weights.double() / weights.double().sum()
        self.means = means.double()
        self.covariances = covariances.double()
        self._factors = factors
        identity = torch.eye(dim, dtype=torch.float64, device=means.device)
        whitening = torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)
        self._log_scale = (
            self.weights.log()
            - factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            - 0.5 * dim * math.log(2 * math.pi)
        )
        self._whitening = whitening

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw `count` codes, float32 (count, dim)."""
        device = self.means.device if generator is None else generator.device
        component = torch.multinomial(
            self.weights.to(device), count, replacement=True, generator=generator
        )
        noise = torch.randn(
            count, self.dim, generator=generator, device=device, dtype=torch.float64
        )
        factors = self._factors.to(device)[component]
        spread = torch.einsum("nij,nj->ni", factors, noise)
        return (self.means.to(device)[component] + spread).float()

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats: (…, dim) to (…), in the precision of z."""
        means, whitening = self.means.to(z), self._whitening.to(z)
        white = torch.einsum("mij,...mj->...mi", whitening, z[..., None, :] - means)
        return torch.logsumexp(self._log_scale.to(z) - 0.5 * white.square().sum(-1), dim=-1)

    def __repr__(self) -> str:
        return f"GaussianMixture(components={len(self.weights)}, dim={self.dim})"


def _tensor_of(numbers: Numbers) -> torch.Tensor:
    try:
        return torch.as_tensor(numbers)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"the parameters of a mixture are not numbers: {error}") from error


def is_normal_or_mixture(prior: LatentPrior) -> bool:
    """Whether a prior is a `StandardNormal` or `GaussianMixture` itself: a subclass may have
    another density.
    """
    return type(prior) in (StandardNormal, GaussianMixture)
