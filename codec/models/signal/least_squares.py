"""Backward-adaptive linear prediction by least squares, in integer arithmetic.

After every block the weights are refitted to the decoded samples; recent samples count most, and
those that were hard to predict count least. The decoder does the same, so no weights are stored.
The differences of samples are predicted, because their covariances have a smaller range, for which
64-bit integers are precise enough.

Sums are integers that float64 holds: every product of scaled differences is below 2⁴², and every
sum below 2⁵³, so any order of summation gives the same result. The elimination is in int64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float64Array, Int64Array

BLOCK = 32
"""Samples between two fits."""
WEIGHT_BITS = 16
"""Fraction bits of the weights."""
WEIGHT_LIMIT = 2**20
"""Largest magnitude of weights, 16 in real numbers."""
FEATURE_LIMIT = 2**20
"""Largest magnitude of scaled differences."""

_TOP = 32
"""Covariances are scaled so that the largest on the diagonal is between 2³¹ and 2³²."""
_COVARIANCE_LIMIT = 2.0**45
"""Limit of covariances, reached only if the target is far louder than all samples before it."""
_QUOTIENT_BITS = 28
_LARGEST = 2**62
_RIDGE = 2**6
"""Added to the scaled diagonal, whose largest value is at most 2³²."""
_FLOOR = 16.0
"""Added to the diagonal before scaling, so that all weights are 0 before anything was seen."""
_COARSE_BITS = 24
"""Fraction bits of the quotients by which weights are multiplied; with values up to ±32, the
products fit int64."""


@dataclass(frozen=True)
class Fit:
    """A predictor: it uses `order` differences, and remembers about 2^forget blocks."""

    order: int
    forget: int


class Predictor:
    """The weights of one predictor in all lanes.

    weights   integers (order, lanes) in float64, in units of 2⁻¹⁶, oldest difference first
    """

    def __init__(self, fit: Fit, lanes: int) -> None:
        self.fit = fit
        self.weights: Float64Array = np.zeros((fit.order, lanes))
        self._sums = np.zeros((lanes, fit.order + 1, fit.order + 1))

    def learn(self, features: Float64Array) -> None:
        """Update the weights with a block.

        features   integers (lanes, n, order + 1): for each sample, the preceding differences, and
                   its own as the last one, all scaled alike
        """
        self._sums -= np.floor(self._sums * 2.0**-self.fit.forget)
        self._sums += features.transpose(0, 2, 1) @ features
        self.weights = solve(self._sums)


def solve(sums: Float64Array) -> Float64Array:
    """Weights (p, n), integers in float64 in units of 2⁻¹⁶, from covariances (n, p + 1, p + 1).

    The last row and column are those of the target. Gaussian elimination of the upper triangle,
    then substitution from the last row up, with 28 fraction bits::

        qᵢ = round(Mⱼᵢ / Mⱼⱼ)      Mₖᵢ −= round(Mⱼₖ qᵢ)      for i ≥ k > j
    """
    order = sums.shape[1] - 1
    diagonal = np.arange(order)
    covariances = np.array(sums.transpose(1, 2, 0), order="C")
    covariances[diagonal, diagonal] += _FLOOR
    exponents = np.frexp(covariances[diagonal, diagonal].max(axis=0))[1]
    # Scaling by a power of two is exact; fractions are rounded down.
    np.floor(np.ldexp(covariances, _TOP - exponents), out=covariances)
    np.clip(covariances, -_COVARIANCE_LIMIT, _COVARIANCE_LIMIT, out=covariances)
    matrix: Int64Array = covariances.astype(np.int64)
    matrix[diagonal, diagonal] += _RIDGE
    quotients = np.zeros_like(matrix)
    half = np.int64(1 << (_QUOTIENT_BITS - 1))
    for j in range(order):
        row = matrix[j, j:]
        np.clip(row, -(1 << (_TOP + 1)), 1 << (_TOP + 1), out=row)
        pivot = np.maximum(row[0], _RIDGE)
        found = quotients[j, j + 1 :]
        np.left_shift(row[1:], _QUOTIENT_BITS, out=found)
        found += pivot >> 1
        found //= pivot
        # Limits all products to 62 bits.
        largest = _LARGEST // np.maximum(np.abs(row[1:]).max(axis=0), 1)
        np.clip(found, -largest, largest, out=found)
        # In two blocks, to skip part of the unused lower triangle.
        count = order - j
        middle = (count + 1) // 2
        for begin, end in ((0, middle), (middle, count)):
            change = row[1 + begin : 1 + end, None] * found[None, begin:]
            change += half
            change >>= _QUOTIENT_BITS
            matrix[j + 1 + begin : j + 1 + end, j + 1 + begin :] -= change
    weights: Int64Array = quotients[:order, order].copy()
    quotients >>= _QUOTIENT_BITS - _COARSE_BITS
    np.clip(quotients, -(32 << _COARSE_BITS), 32 << _COARSE_BITS, out=quotients)
    weight_limit = WEIGHT_LIMIT << (_QUOTIENT_BITS - WEIGHT_BITS)
    for j in range(order - 1, -1, -1):
        np.clip(weights[j], -weight_limit, weight_limit, out=weights[j])
        weights[:j] -= (quotients[:j, j] * weights[j] + (1 << (_COARSE_BITS - 1))) >> _COARSE_BITS
    drop = _QUOTIENT_BITS - WEIGHT_BITS
    rounded: Float64Array = ((weights + (1 << (drop - 1))) >> drop).astype(np.float64)
    return rounded
