"""Linear prediction by least squares in integer arithmetic, the same on every machine.

Every pixel has its own predictor: the weights c that would have best predicted the decoded pixels
around it. With the features f of those pixels (differences of their neighbours) and their
targets t, c solves (Σ w f fᵀ + ridge) c = Σ w f t. The idea is from Wu, Barthel and Zhang 1998,
"Piecewise 2D autoregression for predictive image coding", and Meyer and Tischer 2001,
"Glicbawls"; the weights w fall with distance, because the sums of a pixel are those of its
neighbours multiplied by factors below 1.

All numbers are integers that float64 holds exactly. Every product stays below 2⁵³, so only `floor`
rounds, and a quotient of integers below 2⁴⁴ and 2²⁸ cannot round up to the next integer.
"""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Float64Array

FEATURES = 7
SIDE = FEATURES + 1
"""Rows of the matrix: the features, and the target as the last one."""

ROWS, COLUMNS = np.triu_indices(SIDE)
"""The order of the 36 sums of a pixel: the upper triangle in row-major order."""

RIDGE = 64
"""Added to the diagonal, so that all weights are 0 before anything was seen."""

FRACTION_BITS = 16
"""Fraction bits of the weights and quotients."""
PIVOT_LIMIT = 2**28
"""Largest magnitude in a pivot row."""
WEIGHT_LIMIT = 2**22
"""Largest magnitude of weights and quotients, 64 in real numbers."""

_FEW = 2
"""Up to this many pixels, Python integers are faster than arrays."""
_UNIT = 2.0**-FRACTION_BITS
_DIAGONAL = np.arange(FEATURES)


def products(features: Float64Array) -> Float64Array:
    """The products that pixels add to their sums: features with the target (8, n) to (36, n)."""
    result: Float64Array = features.take(ROWS, 0)
    result *= features.take(COLUMNS, 0)
    return result


def solve(sums: Float64Array, matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Weights (7, n) in units of 2⁻¹⁶, and the energy (n,) of the target that they leave.

    sums     integers (36, n): sums of products over the surrounding pixels
    matrix   float64 (8, 8, n), work space that is overwritten

    Gaussian elimination of the upper triangle, then substitution from the last row up::

        qᵢ = ⌊Mⱼᵢ 2¹⁶ / Mⱼⱼ⌋      Mₖᵢ −= ⌊Mⱼₖ qᵢ 2⁻¹⁶⌋      for i ≥ k > j
    """
    if sums.shape[1] <= _FEW:
        found = [_solve_one(column) for column in sums.T.astype(np.int64).tolist()]
        return np.array([c for c, _ in found], np.float64).T, np.array([e for _, e in found], float)
    matrix[ROWS, COLUMNS] = sums
    matrix[_DIAGONAL, _DIAGONAL] += RIDGE
    for j in range(FEATURES):
        row = matrix[j, j:]
        np.minimum(row, PIVOT_LIMIT, out=row)
        np.maximum(row, -PIVOT_LIMIT, out=row)
        pivot = np.maximum(row[0], RIDGE)
        quotients = row[1:] * 2.0**FRACTION_BITS
        quotients /= pivot
        np.floor(quotients, out=quotients)
        np.minimum(quotients, WEIGHT_LIMIT, out=quotients)
        np.maximum(quotients, -WEIGHT_LIMIT, out=quotients)
        scaled = quotients * _UNIT
        # In two blocks, to skip part of the unused lower triangle.
        half = (FEATURES - j + 1) // 2
        for block in (slice(0, half), slice(half, None)):
            rest = matrix[j + 1 :, j + 1 :][block, block.start :]
            change = row[1:][block, None] * scaled[None, block.start :]
            np.floor(change, out=change)
            rest -= change
        row[1:] = quotients
    weights: Float64Array = matrix[:FEATURES, FEATURES].copy()
    for j in range(FEATURES - 1, 0, -1):
        np.clip(weights[j], -WEIGHT_LIMIT, WEIGHT_LIMIT, out=weights[j])
        change = matrix[:j, j] * weights[j]
        change *= _UNIT
        np.floor(change, out=change)
        weights[:j] -= change
    np.clip(weights[0], -WEIGHT_LIMIT, WEIGHT_LIMIT, out=weights[0])
    return weights, matrix[FEATURES, FEATURES]


def _solve_one(sums: list[int]) -> tuple[list[int], int]:
    """`solve` for one pixel: its sums (36) to its weights (7) and the energy."""
    rest = iter(sums)
    rows = [[next(rest) for _ in range(SIDE - j)] for j in range(SIDE)]  # from the diagonal on
    quotients: list[list[int]] = []
    for j in range(FEATURES):
        rows[j][0] += RIDGE
    for j in range(FEATURES):
        row = _within(PIVOT_LIMIT, rows[j])
        pivot = max(row[0], RIDGE)
        found = _within(WEIGHT_LIMIT, [(value << FRACTION_BITS) // pivot for value in row[1:]])
        for k in range(j + 1, SIDE):
            factor, below = row[k - j], rows[k]
            for i, quotient in enumerate(found[k - j - 1 :]):
                below[i] -= factor * quotient >> FRACTION_BITS
        quotients.append(found)
    weights = [found[-1] for found in quotients]
    for j in range(FEATURES - 1, -1, -1):
        weights[j] = weight = max(-WEIGHT_LIMIT, min(weights[j], WEIGHT_LIMIT))
        for k in range(j):
            weights[k] -= quotients[k][j - k - 1] * weight >> FRACTION_BITS
    return weights, rows[FEATURES][0]


def _within(limit: int, values: list[int]) -> list[int]:
    if max(values) <= limit and min(values) >= -limit:
        return values
    return [max(-limit, min(value, limit)) for value in values]
