"""Rounding that trades error for bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream.tables import TableSet, gaussian_tables
from codec.coding.optimised_quantize import cheaper_symbols, code_lengths, deadzone_symbols

TABLES = gaussian_tables(np.array([0.15, 0.5, 1.0, 4.0, 40.0]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    values=st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=20),
    table=st.integers(0, 4),
    curvature=st.floats(0.5, 100),
)
def test_optimised_quantisation_is_the_cheaper_of_two(
    values: list[float], table: int, curvature: float
) -> None:
    residuals = np.array([values], dtype=np.float32)
    indexes = np.full(residuals.shape, table, dtype=np.int32)
    symbols = cheaper_symbols(residuals, indexes, TABLES, curvature)
    for value, symbol in zip(residuals[0], symbols[0], strict=True):
        nearest = int(np.rint(value))
        two = {nearest, nearest - int(np.sign(nearest))} if abs(nearest) <= 32 else {nearest}
        costs = {k: curvature * (float(value) - k) ** 2 + bits(TABLES, k, table) for k in two}
        assert int(symbol) in two
        assert costs[int(symbol)] <= min(costs.values()) + 1e-3 * (1 + max(costs.values()))


@pytest.mark.parametrize("curvature", [25.0, 36.0])
def test_a_dead_zone_takes_zero_where_it_is_the_cheaper_one(curvature: float) -> None:
    values = np.linspace(-1.49, 1.49, 1000, dtype=np.float32)
    indexes = np.repeat(np.arange(5, dtype=np.int32)[:, None], values.size, axis=1)
    residuals = np.broadcast_to(values, indexes.shape)
    dead = deadzone_symbols(residuals, indexes, TABLES, curvature)
    # These tables have the same bits for +1 and −1.
    np.testing.assert_array_equal(dead, cheaper_symbols(residuals, indexes, TABLES, curvature))
    assert (dead[0] == 0).mean() > (dead[4] == 0).mean()


def test_a_dead_zone_moves_the_other_borders_as_far() -> None:
    residuals = np.array([[1.5, -1.5, 1.6, 7.51, -1e6]], dtype=np.float32)
    assert deadzone_symbols(residuals, np.full((1, 5), 4, np.int32), TABLES, 1e9).tolist() == [
        [2, -2, 2, 8, -1000000]
    ]
    assert deadzone_symbols(residuals, np.full((1, 5), 1, np.int32), TABLES, 36.0).tolist() == [
        [1, -1, 2, 7, -1000000]
    ]


def bits(tables: TableSet, symbol: int, table: int) -> float:
    one = np.array([symbol], dtype=np.int32)
    return tables.code_length_bits(one, np.array([table], dtype=np.int32))


def test_code_lengths_are_those_of_the_tables() -> None:
    lengths = code_lengths(TABLES)
    assert lengths.shape == (5, 65)
    for table, symbol in ((0, 0), (0, 1), (0, 32), (1, -7), (4, 32), (4, -32), (2, 5)):
        assert lengths[table, symbol + 32] == pytest.approx(bits(TABLES, symbol, table), rel=1e-6)
