"""Rate, distortion and perception of Gaussian variables, in closed form.

    R(D, P) = min I(X; X̂)   with   E (X − X̂)² ≤ D   and   W₂²(law of X, law of X̂) ≤ P

after Zhang, Qian, Chen and Khisti, "Universal rate-distortion-perception representations for
lossy compression" (NeurIPS 2021), theorem 1.  Perfect realism, P = 0, costs at most twice the
mean squared error.  The theorem assumes common randomness of encoder and decoder.

For linear maps of Gaussian vectors, the same three quantities follow from covariances:
`gaussian_information`, `linear_distortion`, and `gaussian_wasserstein` of
`codec.rate_distortion.metrics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import finite_array, finite_number, positive_number


@dataclass(frozen=True)
class GaussianPerception:
    """X ~ N(0, variance); squared error and squared 2-Wasserstein distance; rates in nats.

    The optimum is jointly Gaussian.  With correlation ρ the rate is −½ log(1 − ρ²); for X̂ of
    standard deviation τ the distortion is σ² + τ² − 2ρστ and W₂² is (σ − τ)².
    Raises `UsageError` for a variance that is not positive, or negative arguments.
    """

    variance: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "variance", positive_number("variance", self.variance))

    def rate_at(self, distortion: float, perception: float = 0.0) -> float:
        """R(D, P) in nats; ∞ at D = 0."""
        distortion = finite_number("distortion", distortion, at_least=0)
        perception = finite_number("perception", perception, at_least=0)
        if distortion == 0:
            return math.inf
        deviation = math.sqrt(self.variance)
        smallest = max(0.0, deviation - math.sqrt(perception))
        free = math.sqrt(max(0.0, self.variance - distortion))
        if smallest <= free:
            # The unconstrained optimum has deviation √(σ² − D) and is realistic enough.
            return max(0.0, 0.5 * math.log(self.variance / distortion))
        # 1 − ρ and 1 + ρ separately: near ρ = 1 the difference would lose every digit.
        scale = 2 * deviation * smallest
        below = (distortion - (deviation - smallest) ** 2) / scale
        correlation = 1 - below
        if correlation <= 0:
            return 0.0
        return -0.5 * (math.log(below) + math.log1p(correlation))

    def distortion_at(self, rate_nats: float, perception: float = 0.0) -> float:
        """D(R, P), the least distortion at a rate in nats; at P = 0 it is 2σ²(1 − √(1 − e^{−2R})).

        For R in bits, replace e^{−2R} by 2^{−2R}.
        """
        rate_nats = finite_number("rate_nats", rate_nats, at_least=0)
        perception = finite_number("perception", perception, at_least=0)
        deviation = math.sqrt(self.variance)
        remaining = math.exp(-2 * rate_nats)
        correlation = math.sqrt(-math.expm1(-2 * rate_nats))
        # The unconstrained optimum has τ = ρσ; perception requires at least σ − √P.
        wanted = max(correlation * deviation, deviation - math.sqrt(perception))
        # (σ−τ)² + 2στ(1−ρ), with 1 − ρ = (1 − ρ²)/(1 + ρ).
        below = remaining / (1 + correlation)
        return (deviation - wanted) ** 2 + 2 * deviation * wanted * below


def gaussian_information(
    first: npt.ArrayLike, second: npt.ArrayLike, cross: npt.ArrayLike
) -> float:
    """I(X; Z) in nats of jointly Gaussian vectors, ½ log(det Σ_X det Σ_Z / det Σ).

    first, second   covariances (k, k) and (m, m), positive definite
    cross           E X Zᵀ (k, m) after subtracting the means
    Returns ∞ if one vector is a function of the other in some direction.  Raises `UsageError` for
    other shapes, or if first or second is not positive definite.
    """
    own, other = _covariance("first", first), _covariance("second", second)
    joint = finite_array("cross", cross, 2)
    if joint.shape != (len(own), len(other)):
        raise UsageError(f"cross has shape {joint.shape}, expected {(len(own), len(other))}")
    # Canonical correlations: the determinant of I − C Cᵀ, with both vectors whitened.
    white = np.linalg.solve(np.linalg.cholesky(own), joint)
    white = np.linalg.solve(np.linalg.cholesky(other), white.T)
    correlations = np.linalg.svd(white, compute_uv=False)
    if bool((correlations >= 1).any()):
        return math.inf
    return float(-0.5 * np.log1p(-(correlations**2)).sum())


def linear_distortion(first: npt.ArrayLike, second: npt.ArrayLike, cross: npt.ArrayLike) -> float:
    """E ‖X − Z‖² of vectors (k,) with equal means: tr Σ_X + tr Σ_Z − 2 tr E X Zᵀ.

    Raises `UsageError` unless all three are (k, k).
    """
    values = [finite_array(n, v, 2) for n, v in zip(_NAMES, (first, second, cross), strict=True)]
    if len({value.shape for value in values} | {values[0].T.shape}) != 1:
        raise UsageError(f"shapes {[value.shape for value in values]}, expected one (k, k)")
    own, other, joint = (float(np.trace(value)) for value in values)
    return own + other - 2 * joint


_NAMES = ("first", "second", "cross")


def _covariance(name: str, values: npt.ArrayLike) -> Float64Array:
    matrix = finite_array(name, values, 2)
    if matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise UsageError(f"{name} has shape {matrix.shape}, expected a symmetric matrix")
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        raise UsageError(f"{name} is not positive definite")
    return matrix
