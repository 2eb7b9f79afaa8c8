"""Rounding that weighs error and bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream.tables import TableSet, gaussian_tables
from codec.coding.optimised_quantize import cheaper_symbols, code_lengths

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


def bits(tables: TableSet, symbol: int, table: int) -> float:
    one = np.array([symbol], dtype=np.int32)
    return tables.code_length_bits(one, np.array([table], dtype=np.int32))


def test_code_lengths_are_those_of_the_tables() -> None:
    lengths = code_lengths(TABLES)
    assert lengths.shape == (5, 65)
    for table, symbol in ((0, 0), (0, 1), (0, 32), (1, -7), (4, 32), (4, -32), (2, 5)):
        assert lengths[table, symbol + 32] == pytest.approx(bits(TABLES, symbol, table), rel=1e-6)
