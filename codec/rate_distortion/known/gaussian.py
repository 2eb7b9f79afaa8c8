"""Independent Gaussians, whose rate-distortion function is reverse water-filling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import finite_array, finite_number, whole_number


@dataclass(frozen=True)
class GaussianSource:
    """Independent N(0, variances[i]); distortion is the SUM of squared errors over the dimensions.

    Reverse water-filling (Cover and Thomas, theorem 10.3.3): each dimension keeps the error
    min(θ, σ²), where the water level is θ = 1/(2β).  For the MEAN of squared errors with
    multiplier λ take β = λ / d and divide distortions by d.

    variances  d variances, at least 0 and not all 0; any sequence, stored as a tuple
    Raises `UsageError` for other values.
    """

    variances: tuple[float, ...]

    def __post_init__(self) -> None:
        array = finite_array("variances", self.variances, 1)
        if bool((array < 0).any()) or not bool((array > 0).any()):
            raise UsageError(f"variances {array.tolist()}: expected at least 0 and not all 0")
        object.__setattr__(self, "variances", tuple(float(v) for v in array))

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return len(self.variances)

    def _errors(self, beta: float) -> Float64Array:
        beta = finite_number("beta", beta, at_least=0)
        level = math.inf if beta == 0 else 0.5 / beta
        errors: Float64Array = np.minimum(level, np.array(self.variances))
        return errors

    def distortion(self, beta: float) -> float:
        """D(β) = Σ min(1/(2β), σ²)."""
        return math.fsum(self._errors(beta))

    def rate(self, beta: float) -> float:
        """R at D(β), nats: Σ ½ log(σ² / min(1/(2β), σ²))."""
        errors = self._errors(beta)
        variances = np.array(self.variances)
        wet = variances > errors
        return 0.5 * math.fsum(np.log(variances[wet] / errors[wet]))

    def lagrangian(self, beta: float) -> float:
        """L(β) = min over D of R(D) + βD, nats."""
        return self.rate(beta) + beta * self.distortion(beta)

    def sample(self, count: int, seed: int) -> Float64Array:
        """Draw `count` vectors, float64 (count, d)."""
        count = whole_number("count", count, at_least=1)
        noise = np.random.default_rng(seed).standard_normal((count, self.dim))
        samples: Float64Array = noise * np.sqrt(np.array(self.variances))
        return samples
