"""Linear prediction by least squares: integers as described, near the real solution."""

from __future__ import annotations

import numpy as np
import pytest

from bitstream.arrays import Float64Array
from codec.models.signal.least_squares import BLOCK, FEATURE_LIMIT, Fit, Predictor, solve

FRACTION, COARSE = 28, 24


def covariances(order: int, seed: int, scale: float = 30.0, count: int = 400) -> Float64Array:
    """Covariances of a resonant signal, (order + 1, order + 1), with the target last."""
    rng = np.random.default_rng(seed)
    signal = np.zeros(count)
    for t in range(2, count):
        signal[t] = 1.7 * signal[t - 1] - 0.85 * signal[t - 2] + scale * rng.normal()
    rows = np.lib.stride_tricks.sliding_window_view(np.rint(signal), order + 1)
    sums: Float64Array = rows.T @ rows
    return sums


def solved_in_plain_integers(sums: Float64Array) -> list[int]:
    """The same as `solve` for one lane, written from its description."""

    def within(limit: int, value: int) -> int:
        return max(-limit, min(value, limit))

    order = len(sums) - 1
    matrix = [[int(value) for value in row] for row in sums]
    for j in range(order):
        matrix[j][j] += 16
    up = 32 - max(matrix[j][j] for j in range(order)).bit_length()
    matrix = [[within(2**45, v << up if up >= 0 else v >> -up) for v in row] for row in matrix]
    quotients: list[list[int]] = []
    for j in range(order):
        matrix[j][j] += 64
    for j in range(order):
        row = [within(2**33, value) for value in matrix[j][j:]]
        pivot = max(row[0], 64)
        limit = 2**62 // max(1, *map(abs, row[1:]))
        found = [within(limit, ((v << FRACTION) + (pivot >> 1)) // pivot) for v in row[1:]]
        for k in range(j + 1, order + 1):
            for i in range(k, order + 1):
                change = row[k - j] * found[i - j - 1]
                matrix[k][i] -= (change + 2 ** (FRACTION - 1)) >> FRACTION
        quotients.append(found)
    weights = [found[-1] for found in quotients]
    for j in range(order - 1, -1, -1):
        weights[j] = within(2**32, weights[j])
        for k in range(j):
            quotient = within(2**29, quotients[k][j - k - 1] >> (FRACTION - COARSE))
            weights[k] -= (quotient * weights[j] + 2 ** (COARSE - 1)) >> COARSE
    return [(weight + 2**11) >> 12 for weight in weights]


@pytest.mark.parametrize(("order", "scale"), [(2, 30.0), (7, 1.0), (16, 2000.0), (32, 30.0)])
def test_it_is_the_arithmetic_of_integers(order: int, scale: float) -> None:
    sums = np.stack([covariances(order, seed, scale) for seed in range(3)])
    sums[2] = 0
    sums[2, -1, -1] = 2.0**50  # a target that is far louder than all earlier samples
    found = solve(sums)
    for lane in range(3):
        assert found[:, lane].tolist() == solved_in_plain_integers(sums[lane])


def test_it_is_near_the_real_solution() -> None:
    sums = covariances(16, seed=3)
    exact = np.linalg.solve(sums[:-1, :-1] + 16 * np.eye(16), sums[:-1, -1])
    np.testing.assert_allclose(solve(sums[None])[:, 0] / 2**16, exact, atol=2e-3)


def test_a_lane_knows_nothing_of_others_and_sums_stay_as_they_are() -> None:
    sums = np.stack([covariances(8, seed) for seed in range(4)])
    before = sums.copy()
    together = solve(sums)
    for lane in range(4):
        np.testing.assert_array_equal(solve(sums[lane : lane + 1])[:, 0], together[:, lane])
    np.testing.assert_array_equal(sums, before)


def test_sums_are_exact_however_loud_a_signal_is() -> None:
    predictor = Predictor(Fit(4, 5), 2)
    loud = np.full((2, BLOCK, 5), float(FEATURE_LIMIT))
    for _ in range(400):
        predictor.learn(loud)
    assert np.abs(predictor._sums).max() < 2**53
    assert not (predictor._sums % 1).any()
    assert np.abs(predictor.weights).max() < 2**21
