"""Exactly known sources and models, only for tests: biased bits, and mixtures as priors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import finite_array, finite_number, whole_number
from codec.rate_distortion.known.linear_decoder import (
    LinearGaussianDecoder,
    legendre_rate,
    panel_rule,
)


def binary_entropy(probability: npt.ArrayLike) -> Float64Array:
    """h(p) = −p log p − (1−p) log(1−p) in nats, elementwise, with h(0) = h(1) = 0."""
    p = np.asarray(probability, dtype=np.float64)
    other = 1 - p
    inside = np.where((p > 0) & (p < 1), p, 0.5)
    entropy = -inside * np.log(inside) - (1 - inside) * np.log1p(-inside)
    return np.where((p > 0) & (other > 0), entropy, 0.0)


@dataclass(frozen=True)
class BernoulliSource:
    """Bits that are 1 with probability `probability`; distortion is the share of wrong bits.

    R(D) = h(p) − h(D) for D < min(p, 1−p), else 0 (Cover and Thomas, theorem 10.3.1); nats per bit
    of the source.  Raises `UsageError` unless 0 < probability < 1.
    """

    probability: float

    def __post_init__(self) -> None:
        """Check the probability."""
        number = finite_number("probability", self.probability)
        if not 0 < number < 1:
            raise UsageError(f"probability is {number:g}, expected between 0 and 1, both excluded")
        object.__setattr__(self, "probability", number)

    @property
    def max_distortion(self) -> float:
        """min(p, 1−p): the distortion at rate 0."""
        return min(self.probability, 1 - self.probability)

    def distortion(self, beta: float) -> float:
        """D(β) = min(1/(1+e^β), p, 1−p)."""
        beta = finite_number("beta", beta, at_least=0)
        return min(math.exp(-beta) / (1 + math.exp(-beta)), self.max_distortion)

    def rate(self, beta: float) -> float:
        """R at D(β), nats."""
        return self.rate_at(self.distortion(beta))

    def lagrangian(self, beta: float) -> float:
        """L(β) = min over D of R(D) + βD, nats."""
        return self.rate(beta) + beta * self.distortion(beta)

    def rate_at(self, distortion: float) -> float:
        """R(D) in nats for D of at least 0."""
        distortion = finite_number("distortion", distortion, at_least=0)
        if distortion >= self.max_distortion:
            return 0.0
        return float(binary_entropy(self.probability) - binary_entropy(distortion))

    def distortion_at(self, rate_nats: float) -> float:
        """D(R), the inverse of `rate_at`: 0 from the source's entropy on."""
        rate_nats = finite_number("rate_nats", rate_nats, at_least=0)
        target = float(binary_entropy(self.probability)) - rate_nats
        if target <= 0:
            return 0.0
        low, high = 0.0, self.max_distortion
        # h rises on [0, ½]; two hundred halvings reach the smallest possible number.
        for _ in range(200):
            middle = (low + high) / 2
            if float(binary_entropy(middle)) < target:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def sample(self, count: int, seed: int) -> npt.NDArray[np.int64]:
        """Draw `count` bits, int64 (count,)."""
        count = whole_number("count", count, at_least=1)
        draws = np.random.default_rng(seed).random(count)
        return (draws < self.probability).astype(np.int64)


@dataclass(frozen=True, eq=False)
class MixtureLinearDecoder:
    """f(z) = Wz + b with z from Σ_m w_m N(μ_m, Σ_m); d is the SUM of squared errors.

    In the coordinates of a component, z = μ_m + C_m ε with Σ_m = C_m C_mᵀ, the model is a
    `LinearGaussianDecoder`; the components' partition functions add.

    weight, offset   W (n, k) and b (n,)
    mixture_weights  w, (m,), positive, normalised here
    means            μ, (m, k)
    covariances      Σ, (m, k, k), positive definite
    Raises `UsageError` for other values.
    """

    weight: Float64Array
    offset: Float64Array
    mixture_weights: Float64Array
    means: Float64Array
    covariances: Float64Array
    _parts: tuple[LinearGaussianDecoder, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the parameters and build the decoder of each component."""
        weight = finite_array("weight", self.weight, 2)
        offset = finite_array("offset", self.offset, 1)
        mixture = finite_array("mixture_weights", self.mixture_weights, 1)
        means = finite_array("means", self.means, 2)
        covariances = finite_array("covariances", self.covariances, 3)
        count, dim = len(mixture), weight.shape[1]
        if means.shape != (count, dim) or covariances.shape != (count, dim, dim):
            raise UsageError(
                f"means {means.shape} and covariances {covariances.shape}: expected "
                f"{(count, dim)} and {(count, dim, dim)} for {count} components"
            )
        if bool((mixture <= 0).any()):
            raise UsageError(f"mixture_weights {mixture.tolist()}: expected positive numbers")
        try:
            factors = np.linalg.cholesky(covariances)
        except np.linalg.LinAlgError as error:
            raise UsageError("a covariance of the mixture is not positive definite") from error
        parts = tuple(
            LinearGaussianDecoder(weight @ factor, offset + weight @ mean)
            for factor, mean in zip(factors, means, strict=True)
        )
        values = {
            "weight": weight, "offset": offset, "mixture_weights": mixture / mixture.sum(),
            "means": means, "covariances": covariances, "_parts": parts,
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _log_joint(self, images: npt.ArrayLike, beta: float) -> Float64Array:
        """log w_m + log Z_β of component m without the common −βe, (images, m)."""
        logs = [part._log_reached(part._projected(images)[0], beta) for part in self._parts]
        joint: Float64Array = np.stack(logs, axis=1) + np.log(self.mixture_weights)
        return joint

    def log_partition(self, images: npt.ArrayLike, beta: float) -> Float64Array:
        """log Z_β(x) in nats for each image, in closed form, (images,)."""
        # The components reach the same pixels, so the part that W cannot reach, e, is common.
        _, rest = self._parts[0]._projected(images)
        reached = np.logaddexp.reduce(self._log_joint(images, beta), axis=1)
        return np.asarray(reached - beta * rest)

    def responsibilities(self, images: npt.ArrayLike, beta: float) -> Float64Array:
        """Posterior probability of each component, (images, m)."""
        joint = self._log_joint(images, beta)
        shares: Float64Array = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
        return shares

    def lagrangian(self, images: npt.ArrayLike, beta: float) -> float:
        """L(β) = mean over the images of −log Z_β, nats."""
        return -float(self.log_partition(images, beta).mean())

    def distortion(self, images: npt.ArrayLike, beta: float) -> float:
        """D(β) = L'(β), mean over the images."""
        parts = [part.image_distortions(images, beta) for part in self._parts]
        shares = self.responsibilities(images, beta)
        return float((shares * np.stack(parts, axis=1)).sum(axis=1).mean())

    def rate(self, images: npt.ArrayLike, beta: float) -> float:
        """R(β) = L − βD, nats: the components' rates plus the cost of choosing the component."""
        parts = [part.image_rates(images, beta) for part in self._parts]
        shares = self.responsibilities(images, beta)
        inside = np.where(shares > 0, shares, 1.0)
        choice = shares * (np.log(inside) - np.log(self.mixture_weights))
        return float((shares * np.stack(parts, axis=1) + choice).sum(axis=1).mean())

    def smallest_distortion(self, images: npt.ArrayLike) -> float:
        """The limit of D(β) as β grows: the error that W cannot reduce."""
        return self._parts[0].smallest_distortion(images)

    def rate_at(self, images: npt.ArrayLike, distortion: float) -> float:
        """R_p(D) = sup over β of L(β) − βD for these images, nats; ∞ if no code reaches D."""
        return legendre_rate(self, images, distortion)

    def log_partition_by_quadrature(self, images: npt.ArrayLike, beta: float) -> Float64Array:
        """log Z_β(x) for codes of ONE dimension by Gauss-Legendre panels, (images,).

        It shares no algebra with `log_partition`: the prior's density times exp(−βd) is summed
        directly.  Raises `UsageError` for codes of more dimensions.
        """
        if self.weight.shape[1] != 1:
            raise UsageError(
                f"quadrature is for k = 1, this decoder has k = {self.weight.shape[1]}"
            )
        beta = finite_number("beta", beta, at_least=0)
        array = finite_array("images", images, 2)
        self._parts[0]._projected(array)
        return np.array([self._integrate(image, beta) for image in array])

    def _integrate(self, image: Float64Array, beta: float) -> float:
        means, variances = self.means[:, 0], self.covariances[:, 0, 0]
        slope = self.weight[:, 0]
        precisions = 1 / variances + 2 * beta * float(slope @ slope)
        pull = means / variances + 2 * beta * float(slope @ (image - self.offset))
        # The location of a component times the likelihood is only used to place the panels.
        centres, widths = pull / precisions, 1 / np.sqrt(precisions)
        steps = np.arange(-14, 15)
        edges = np.unique((centres[:, None] + widths[:, None] * steps).ravel())
        z, weights = panel_rule(edges, 32)
        log_prior = np.logaddexp.reduce(
            np.log(self.mixture_weights)
            - 0.5 * np.log(2 * math.pi * variances)
            - 0.5 * (z[:, None] - means) ** 2 / variances,
            axis=1,
        )
        errors = ((image - self.offset - z[:, None] * slope) ** 2).sum(axis=1)
        return float(np.logaddexp.reduce(np.log(weights) + log_prior - beta * errors))
