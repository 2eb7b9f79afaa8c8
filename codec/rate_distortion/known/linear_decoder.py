"""The exact R_p(D) of linear decoders: f(z) = Wz + b.

For each image x,   Z_β(x) = ∫ p(z) exp(−β d(x, f(z))) dz   is a Gaussian integral.  With the
singular value decomposition W = U diag(s) Vᵀ, the projections u = Uᵀ(x − b), the remainder
e = ‖x − b‖² − ‖u‖², and a = 2βs², a standard normal prior and the sum of squared errors give

    −log Z_β = ½ Σ log(1 + a) + β Σ u²/(1 + a) + βe
       D(β)  = Σ s²/(1 + a) + Σ u²/(1 + a)² + e
       R(β)  = ½ Σ [log(1 + a) − a/(1 + a)] + β Σ u² a/(1 + a)²

(the linear case of Huang, Makhzani, Cao and Grosse, ICML 2020).  No matrix is inverted and no sum
cancels, so β may go from 0 to 10⁶ and beyond.  R_p is a function of the given images, not of the
distribution from which they were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import finite_array, finite_number, whole_number

gauss_legendre: Callable[[int], tuple[Float64Array, Float64Array]] = np.polynomial.legendre.leggauss
"""Nodes and weights on [−1, 1], float64 (count,) each."""


def panel_rule(edges: Float64Array, count: int) -> tuple[Float64Array, Float64Array]:
    """Nodes and weights, `count` on each panel between rising `edges` (panels + 1,)."""
    nodes, weights = gauss_legendre(count)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (nodes + 1)).ravel(), (half * weights).ravel()


class _ExactModel(Protocol):
    """What the Legendre transform needs: curves in β on fixed images."""

    def distortion(self, images: npt.ArrayLike, beta: float) -> float: ...

    def rate(self, images: npt.ArrayLike, beta: float) -> float: ...

    def smallest_distortion(self, images: npt.ArrayLike) -> float: ...


def legendre_rate(model: _ExactModel, images: npt.ArrayLike, distortion: float) -> float:
    """sup over β of L(β) − β D, found at D(β) = D by bisection in log β."""
    distortion = finite_number("distortion", distortion)
    if distortion >= model.distortion(images, 0.0):
        return 0.0
    if distortion <= model.smallest_distortion(images):
        return math.inf
    low, high = -1.0, 1.0
    while model.distortion(images, math.exp(low)) < distortion and low > -300:
        low *= 2
    while model.distortion(images, math.exp(high)) > distortion and high < 300:
        high *= 2
    for _ in range(64):
        middle = (low + high) / 2
        if model.distortion(images, math.exp(middle)) > distortion:
            low = middle
        else:
            high = middle
    beta = math.exp((low + high) / 2)
    # L(β) − βD without cancellation: at the root the second term is almost zero.
    return model.rate(images, beta) + beta * (model.distortion(images, beta) - distortion)


@dataclass(frozen=True, eq=False)
class LinearGaussianDecoder:
    """f(z) = Wz + b with z ~ N(0, I).

    weight   W, (n, k)
    offset   b, (n,)

    Images are (m, n); d is the SUM of squared errors over the n pixels.  Raises `UsageError` for
    shapes that do not fit or values that are not finite.
    """

    weight: Float64Array
    offset: Float64Array
    _left: Float64Array = field(init=False, repr=False)
    _singular: Float64Array = field(init=False, repr=False)
    _right: Float64Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weight = finite_array("weight", self.weight, 2)
        offset = finite_array("offset", self.offset, 1)
        if offset.shape != (weight.shape[0],):
            raise UsageError(f"offset has shape {offset.shape}, expected ({weight.shape[0]},)")
        left, singular, right = np.linalg.svd(weight, full_matrices=False)
        # A direction that W reaches only by rounding counts as not reached.
        reached = singular > max(weight.shape) * np.finfo(np.float64).eps * singular.max()
        left, singular, right = left[:, reached], singular[reached], right[reached]
        values = {
            "weight": weight, "offset": offset, "_left": left, "_singular": singular,
            "_right": right,
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def pixels(self) -> int:
        return int(self.weight.shape[0])

    @property
    def dim(self) -> int:
        """k, the dimensions of a code."""
        return int(self.weight.shape[1])

    def decode(self, codes: npt.ArrayLike) -> Float64Array:
        """f(z): (m, k) to (m, n)."""
        array = finite_array("codes", codes, 2)
        if array.shape[1] != self.dim:
            raise UsageError(f"codes have shape {array.shape}, expected (m, {self.dim})")
        images: Float64Array = array @ self.weight.T + self.offset
        return images

    def _projected(self, images: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """For each image u² (m, r), and the part that W cannot reach, e (m,)."""
        array = finite_array("images", images, 2)
        if array.shape[1] != self.pixels:
            raise UsageError(f"images have shape {array.shape}, expected (m, {self.pixels})")
        residual = array - self.offset
        projections = residual @ self._left
        rest = residual - projections @ self._left.T
        return projections**2, (rest**2).sum(axis=1)

    def _shrinkage(self, beta: float) -> tuple[float, Float64Array]:
        """β, checked, and a = 2βs²."""
        beta = finite_number("beta", beta, at_least=0)
        return beta, 2 * beta * self._singular**2

    def _log_reached(self, squares: Float64Array, beta: float) -> Float64Array:
        """log Z_β without the term βe, which is the only one that grows like β: (m, r) to (m,)."""
        beta, a = self._shrinkage(beta)
        logs: Float64Array = -0.5 * np.log1p(a).sum() - beta * (squares / (1 + a)).sum(axis=1)
        return logs

    def log_partition(self, images: npt.ArrayLike, beta: float) -> Float64Array:
        """log Z_β(x) in nats for each image, (m,)."""
        squares, rest = self._projected(images)
        return self._log_reached(squares, beta) - beta * rest

    def image_distortions(self, images: npt.ArrayLike, beta: float) -> Float64Array:
        """E d(x, f(z)) under the posterior of each image, (m,)."""
        squares, rest = self._projected(images)
        _, a = self._shrinkage(beta)
        spread = (self._singular**2 / (1 + a)).sum()
        distortions: Float64Array = spread + (squares / (1 + a) ** 2).sum(axis=1) + rest
        return distortions

    def image_rates(self, images: npt.ArrayLike, beta: float) -> Float64Array:
        """KL(posterior ‖ prior) of each image in nats, (m,)."""
        squares, _ = self._projected(images)
        beta, a = self._shrinkage(beta)
        shared = 0.5 * (np.log1p(a) - a / (1 + a)).sum()
        rates: Float64Array = shared + beta * (squares * (a / (1 + a) ** 2)).sum(axis=1)
        return rates

    def lagrangian(self, images: npt.ArrayLike, beta: float) -> float:
        """L(β) = mean over the images of −log Z_β, nats."""
        return -float(self.log_partition(images, beta).mean())

    def distortion(self, images: npt.ArrayLike, beta: float) -> float:
        """D(β) = L'(β), mean over the images."""
        return float(self.image_distortions(images, beta).mean())

    def rate(self, images: npt.ArrayLike, beta: float) -> float:
        """R(β) = L(β) − βD(β), nats, mean over the images."""
        return float(self.image_rates(images, beta).mean())

    def smallest_distortion(self, images: npt.ArrayLike) -> float:
        """The limit of D(β) as β grows: the error that W cannot reduce."""
        return float(self._projected(images)[1].mean())

    def rate_at(self, images: npt.ArrayLike, distortion: float) -> float:
        """R_p(D) = sup over β of L(β) − βD for these images, nats; ∞ if no code reaches D."""
        return legendre_rate(self, images, distortion)

    def sample(self, count: int, noise_variance: float, seed: int) -> Float64Array:
        """Draw images f(z) + N(0, noise_variance · I), float64 (count, n)."""
        count = whole_number("count", count, at_least=1)
        noise = math.sqrt(finite_number("noise_variance", noise_variance, at_least=0))
        rng = np.random.default_rng(seed)
        images = self.decode(rng.standard_normal((count, self.dim)))
        return images + noise * rng.standard_normal(images.shape)
