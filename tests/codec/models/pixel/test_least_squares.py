"""Least squares in integers: equal to Python's integers, and near the real solution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bitstream.arrays import Float64Array
from codec.models.pixel.least_squares import (
    COLUMNS,
    FEATURES,
    FRACTION_BITS,
    PIVOT_LIMIT,
    RIDGE,
    ROWS,
    SIDE,
    WEIGHT_LIMIT,
    products,
    solve,
)


def sums_of(features: npt.NDArray[np.int64]) -> Float64Array:
    """Sums of samples (n, 8) in the form of one pixel: (36, 1)."""
    found: Float64Array = products(features.T.astype(np.float64)).sum(axis=1, keepdims=True)
    return found


def solved(sums: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Weights and energies, checked not to depend on how many pixels are solved at once."""
    one, *others = (
        solve(several, np.full((SIDE, SIDE, several.shape[1]), np.nan))
        for several in (np.tile(sums, copies) for copies in (1, 2, 3, 20))
    )
    for copies, (weights, energy) in zip((2, 3, 20), others, strict=True):
        np.testing.assert_array_equal(weights, np.tile(one[0], copies))
        np.testing.assert_array_equal(energy, np.tile(one[1], copies))
    return one


def by_python(sums: list[int]) -> tuple[list[int], int]:
    """The same in integers of any size."""

    def within(value: int, limit: int) -> int:
        return max(-limit, min(limit, value))

    m = [[0] * SIDE for _ in range(SIDE)]
    for line, column, value in zip(ROWS.tolist(), COLUMNS.tolist(), sums, strict=True):
        m[line][column] = value + (RIDGE if line == column < FEATURES else 0)
    q = [[0] * SIDE for _ in range(SIDE)]
    for j in range(FEATURES):
        row = [within(value, PIVOT_LIMIT) for value in m[j]]
        pivot = max(row[j], RIDGE)
        for i in range(j + 1, SIDE):
            q[j][i] = within((row[i] << FRACTION_BITS) // pivot, WEIGHT_LIMIT)
        for k in range(j + 1, SIDE):
            for i in range(k, SIDE):
                m[k][i] -= row[k] * q[j][i] >> FRACTION_BITS
    weights = [q[j][FEATURES] for j in range(FEATURES)]
    for j in reversed(range(FEATURES)):
        weights[j] = within(weights[j], WEIGHT_LIMIT)
        for i in range(j):
            weights[i] -= q[i][j] * weights[j] >> FRACTION_BITS
    return weights, m[FEATURES][FEATURES]


@pytest.mark.parametrize("largest", [1, 30, 1000, 2**13, 2**21])
def test_it_computes_what_integers_of_any_size_give(largest: int) -> None:
    rng = np.random.default_rng(largest)
    for count in (1, 3, 40):
        features = rng.integers(-largest, largest + 1, (count, SIDE))
        features[:, 2] = features[:, 1]  # a matrix that only the ridge keeps regular
        sums = np.clip(sums_of(features), -(2**30), 2**30)
        weights, energy = solved(sums)
        expected = by_python([int(value) for value in sums[:, 0]])
        assert (weights[:, 0].tolist(), energy[0]) == expected


def test_sums_that_no_pixels_have_stay_exact_too() -> None:
    rng = np.random.default_rng(3)
    sums = rng.integers(-(2**30), 2**30, (len(ROWS), 50)).astype(np.float64)
    weights, energy = solved(sums)
    for column in range(50):
        expected = by_python([int(value) for value in sums[:, column]])
        assert (weights[:, column].tolist(), energy[column]) == expected


def test_it_is_near_to_the_solution_in_real_numbers() -> None:
    rng = np.random.default_rng(0)
    features = rng.integers(-200, 201, (60, SIDE))
    truth = np.array([0.7, -0.2, 0.4, 0.0, 0.1, -0.5, 0.3])
    features[:, -1] = np.rint(features[:, :-1] @ truth)
    weights, energy = solved(sums_of(features))
    np.testing.assert_allclose(weights[:, 0] / 2**FRACTION_BITS, truth, atol=0.01)
    assert 0 <= energy[0] < 100


def test_pixels_do_not_depend_on_those_beside_them() -> None:
    rng = np.random.default_rng(1)
    sums = np.concatenate([sums_of(rng.integers(-90, 91, (20, SIDE))) for _ in range(5)], axis=1)
    together = solved(sums)
    for column in range(5):
        alone = solved(sums[:, column : column + 1])
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[..., 0], all_[..., column])


def test_where_nothing_was_seen_all_weights_are_zero() -> None:
    weights, energy = solved(np.zeros((len(ROWS), 2)))
    assert not weights.any()
    assert not energy.any()
