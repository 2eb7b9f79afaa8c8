"""The prior of bits: coding with integers, and the bits that it saves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import PayloadError, SymbolDecoder, SymbolEncoder, UsageError, WeightsMismatchError
from bitstream.tables import TableSet
from codec.coding.bits_back_tables import bit_tables
from codec.coding.prior_tables import bernoulli_tables
from codec.models.dplc import prior as dplc_prior
from codec.models.dplc.prior import MAX_BITS, ExactBitPrior
from tests.codec.models.dplc.tiny import random_prior

BoolArray = npt.NDArray[np.bool_]


def random_bits(count: int, size: int, seed: int = 0) -> BoolArray:
    return np.random.default_rng(seed).random((count, size)) < 0.5


def encoded(prior: ExactBitPrior, bits: BoolArray) -> bytes:
    encoder = SymbolEncoder()
    prior.encode(bits, encoder)
    return encoder.finish()


def decoded(prior: ExactBitPrior, data: bytes, count: int) -> BoolArray:
    decoder = SymbolDecoder(data)
    bits = prior.decode(count, decoder)
    decoder.finish()
    return bits


def weight_at(prior: ExactBitPrior, i: int, j: int) -> int:
    return int(prior.weight[i * (i - 1) // 2 + j])


def slow_index(prior: ExactBitPrior, bits: list[int], i: int) -> int:
    """The table of bit i in plain, unbounded integers."""
    signs = [2 * bit - 1 for bit in bits]
    odds = int(prior.bias[i]) + sum(weight_at(prior, i, j) * signs[j] for j in range(i))
    return min(max(((odds + 64) >> 7) + 128, 0), 256)


def slow_cost(prior: ExactBitPrior, bits: list[int]) -> float:
    rows = prior.tables.frequencies.reshape(257, 3)
    chosen = [rows[slow_index(prior, bits, i), bit] for i, bit in enumerate(bits)]
    return sum(24 - math.log2(frequency) for frequency in chosen)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(1, 140), st.integers(1, 9), st.integers(0, 2**32))
def test_bits_come_back_at_their_cost(size: int, count: int, seed: int) -> None:
    prior, bits = random_prior(size, seed, spread=2 / math.sqrt(size)), random_bits(count, size)
    data = encoded(prior, bits)
    np.testing.assert_array_equal(decoded(prior, data, count), bits)
    cost = prior.cost_bits(bits)
    assert cost.shape == (count,)
    # The end mark has two bytes.
    assert abs(8 * len(data) - cost.sum()) < 40


@pytest.mark.parametrize("size", [1, 2, 65, 130])
def test_costs_are_those_of_plain_integers(size: int) -> None:
    prior, bits = random_prior(size, 3), random_bits(4, size, seed=1)
    expected = [slow_cost(prior, row) for row in bits.astype(int).tolist()]
    np.testing.assert_allclose(prior.cost_bits(bits), expected, rtol=1e-12)


@pytest.mark.parametrize("extreme", [-(2**15), 2**15 - 1])
def test_the_largest_weights_are_summed_exactly(extreme: int) -> None:
    size = 300
    weight = np.full(size * (size - 1) // 2, extreme, dtype=np.int16)
    bias = np.full(size, 2**22, dtype=np.int32)
    prior = ExactBitPrior(weight, bias, bit_tables())
    bits = np.stack([np.ones(size, bool), np.zeros(size, bool), random_bits(1, size)[0]])
    expected = [slow_cost(prior, row) for row in bits.astype(int).tolist()]
    np.testing.assert_allclose(prior.cost_bits(bits), expected, rtol=1e-12)
    np.testing.assert_array_equal(decoded(prior, encoded(prior, bits), 3), bits)
    # For the largest number of bits, int32 holds the sum as well.
    assert 2**22 + (MAX_BITS - 1) * 2**15 < 2**31


def test_parts_and_panels_change_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, bits = random_prior(100, 5), random_bits(7, 100, seed=2)
    data = encoded(prior, bits)
    monkeypatch.setattr(dplc_prior, "_PANEL", 7)
    monkeypatch.setattr(dplc_prior, "_VALUES_AT_ONCE", 150)
    assert encoded(prior, bits) == data
    np.testing.assert_array_equal(decoded(prior, data, 7), bits)


def test_skewed_bits_cost_less_than_one_each() -> None:
    size, count = 32, 200
    bits = np.random.default_rng(0).random((count, size)) < 0.9
    bias = torch.full((size,), math.log(0.9 / 0.1))
    prior = ExactBitPrior.to_fixed_point(torch.zeros(size, size), bias)
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert len(encoded(prior, bits)) < 1.06 * entropy * size * count / 8
    assert len(encoded(prior, bits)) < 0.51 * size * count / 8


def test_bits_that_repeat_the_one_before_cost_less_than_one_each() -> None:
    size, count = 32, 200
    flips = np.random.default_rng(1).random((count, size)) < 0.05
    bits = (np.cumsum(flips, axis=1) + random_bits(count, 1)) % 2 == 1
    # The log-odds of staying are ln 19, with the sign of the last bit.
    weight = torch.diag(torch.full((size - 1,), math.log(19)), -1)
    prior = ExactBitPrior.to_fixed_point(weight, torch.zeros(size))
    assert len(encoded(prior, bits)) < 0.34 * size * count / 8
    alone = ExactBitPrior.to_fixed_point(torch.zeros(size, size), torch.zeros(size))
    assert len(encoded(alone, bits)) >= size * count / 8


def test_fixed_point_is_the_nearest() -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [-31.99, 2**-11, 0.0]])
    prior = ExactBitPrior.to_fixed_point(weight, torch.tensor([0.5, -9e9, 1.0]))
    assert prior.weight.tolist() == [307, -32758, 0]
    assert prior.bias.tolist() == [512, -(2**22), 1024]
    assert prior.size == 3
    assert weight_at(prior, 1, 0) == 307


@pytest.mark.parametrize(
    ("weight", "bias", "error"),
    [
        (torch.eye(2), torch.zeros(2), UsageError),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.zeros(2), UsageError),
        (torch.zeros(2, 3), torch.zeros(2), UsageError),
        (torch.tensor([[0.0, 0.0], [32.0, 0.0]]), torch.zeros(2), WeightsMismatchError),
        (torch.tensor([[0.0, 0.0], [math.nan, 0.0]]), torch.zeros(2), WeightsMismatchError),
        (torch.zeros(2, 2), torch.tensor([0.0, math.inf]), WeightsMismatchError),
        (torch.zeros(0, 0), torch.zeros(0), WeightsMismatchError),
    ],
)
def test_what_fixed_point_cannot_hold_is_refused(
    weight: torch.Tensor, bias: torch.Tensor, error: type[Exception]
) -> None:
    with pytest.raises(error):
        ExactBitPrior.to_fixed_point(weight, bias)


def test_arrays_are_the_prior() -> None:
    prior = random_prior(9, 2)
    arrays = prior.to_arrays("prior.4.")
    assert sorted(arrays) == ["prior.4.bias", "prior.4.weight"]
    again = ExactBitPrior.from_arrays(arrays, "prior.4.", prior.tables)
    bits = random_bits(3, 9)
    assert encoded(again, bits) == encoded(prior, bits)
    with pytest.raises(WeightsMismatchError, match=r"prior\.4\.bias"):
        ExactBitPrior.from_arrays({"prior.4.weight": prior.weight}, "prior.4.", prior.tables)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": np.zeros(3, np.int64)}, "int64"),
        ({"bias": np.zeros((3, 1), np.int32)}, "bias"),
        ({"bias": np.zeros(0, np.int32), "weight": np.zeros(0, np.int16)}, r"1 \.\. 4096"),
        ({"bias": np.full(3, 2**22 + 1, np.int32)}, "4194305"),
        ({"bias": np.full(3, -(2**31), np.int32)}, "2147483648"),
        ({"weight": np.zeros(3, np.int32)}, "int32"),
        ({"weight": np.zeros(9, np.int16)}, r"expected int16\[3\]"),
        ({"weight": np.zeros((3, 3), np.int16)}, r"expected int16\[3\]"),
        ({"tables": bernoulli_tables(np.zeros(256))}, "256 tables"),
        ({"bias": np.zeros(MAX_BITS + 1, np.int32)}, "4096"),
    ],
)
def test_impossible_priors_are_refused(changes: dict[str, Any], message: str) -> None:
    good = {
        "weight": np.zeros(3, np.int16), "bias": np.zeros(3, np.int32), "tables": bit_tables(),
    }  # fmt: skip
    ExactBitPrior(**good)  # type: ignore[arg-type]
    with pytest.raises(WeightsMismatchError, match=message):
        ExactBitPrior(**{**good, **changes})


def test_tables_of_other_symbols_are_refused() -> None:
    tables = bit_tables()
    other = TableSet(tables.frequencies, tables.starts, tables.minimums + np.int32(1))
    with pytest.raises(WeightsMismatchError, match="symbols 0, 1"):
        ExactBitPrior(np.zeros(0, np.int16), np.zeros(1, np.int32), other)


def test_the_tables_are_the_logistic_function() -> None:
    rows = bit_tables().frequencies.reshape(257, 3) / 2**24
    steps = np.arange(-128, 129) / 8
    np.testing.assert_allclose(rows[:, 1], 1 / (1 + np.exp(-steps)), atol=1e-6)
    np.testing.assert_allclose(rows[:, 0], rows[::-1, 1], atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (3, 8), (3, 10), (3, 3, 3)])
def test_bits_of_another_shape_are_a_usage_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="expected"):
        random_prior(9, 0).encode(np.zeros(shape, dtype=bool), SymbolEncoder())


@pytest.mark.parametrize("wild", [2, -1, 2**31 - 1])
def test_a_symbol_that_is_no_bit_is_refused(wild: int) -> None:
    prior = random_prior(1, 0)
    encoder = SymbolEncoder()
    index = np.array([slow_index(prior, [], 0)] * 3, dtype=np.int32)
    encoder.put(np.array([0, wild, 1], dtype=np.int32), index, prior.tables)
    with pytest.raises(PayloadError, match="neither 0 nor 1"):
        decoded(prior, encoder.finish(), 3)
