"""The integer perceptron: exact, the same in any order of summation, close to the float network."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream.errors import WeightsMismatchError
from codec.models.vae.exact_mlp import (
    ExactLinear,
    ExactMlp,
    mlp_from_arrays,
    mlp_to_arrays,
    to_fixed_point,
)

LIMIT = 2**22


def random_layers(seed: int = 0, *sizes: int) -> list[ExactLinear]:
    rng = np.random.default_rng(seed)
    return [
        ExactLinear(
            rng.integers(-(2**15), 2**15, (out, inside)).astype(np.int16),
            rng.integers(-(2**20), 2**20, out).astype(np.int32),
            12,
        )
        for inside, out in pairwise(sizes)
    ]


def by_hand(layers: list[ExactLinear], row: list[int]) -> list[int]:
    """The same in Python's integers."""
    for number, layer in enumerate(layers):
        half = 1 << (layer.weight_bits - 1)
        sums = [sum(int(w) * v for w, v in zip(line, row, strict=True)) for line in layer.weight]
        row = [
            ((s + half) >> layer.weight_bits) + int(b)
            for s, b in zip(sums, layer.bias, strict=True)
        ]
        low = 0 if number < len(layers) - 1 else -LIMIT
        row = [min(max(v, low), LIMIT) for v in row]
    return row


def test_equals_integer_arithmetic_at_the_limits() -> None:
    layers = random_layers(1, 50, 20, 8)
    rng = np.random.default_rng(2)
    values = rng.integers(-LIMIT, LIMIT + 1, (6, 50)).astype(np.int32)
    values[0], values[1] = LIMIT, -LIMIT
    found = ExactMlp(layers)(values)
    assert found.dtype == np.int32
    assert found.tolist() == [by_hand(layers, row) for row in values.tolist()]


@pytest.mark.parametrize("threads", [1, 2])
def test_one_row_or_many_and_any_number_of_threads(threads: int) -> None:
    network = ExactMlp(random_layers(3, 784, 300, 64))
    values = np.random.default_rng(4).integers(-(2**12), 2**12, (40, 784)).astype(np.int32)
    before = torch.get_num_threads()
    expected = np.concatenate([network(row[None]) for row in values])
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(network(values), expected)
    finally:
        torch.set_num_threads(before)
    # Inputs in another order have the same sum, because sums are exact.
    order = np.random.default_rng(5).permutation(784)
    first, *rest = network.layers
    shuffled = ExactLinear(
        np.ascontiguousarray(first.weight[:, order]), first.bias, first.weight_bits
    )
    np.testing.assert_array_equal(ExactMlp([shuffled, *rest])(values[:, order]), expected)


def test_is_close_to_the_float_network() -> None:
    torch.manual_seed(0)
    one, two = torch.nn.Linear(784, 64), torch.nn.Linear(64, 10)
    network = ExactMlp(
        [
            to_fixed_point(*(p.detach().double().numpy() for p in (layer.weight, layer.bias)))
            for layer in (one, two)
        ]
    )
    pixels = (np.random.default_rng(0).random((20, 784)) < 0.2).astype(np.int32)
    with torch.inference_mode():
        expected = two(torch.relu(one(torch.from_numpy(pixels).float()))).numpy()
    assert np.abs(network(pixels << 10) / 1024 - expected).max() < 0.01


def test_large_weights_take_coarser_units() -> None:
    layer = to_fixed_point(np.array([[100.0, -0.5]]), np.zeros(1))
    assert layer.weight_bits == 8
    assert layer.weight.tolist() == [[25600, -128]]
    for bad in (20_000.0, float("nan")):
        with pytest.raises(WeightsMismatchError, match="fixed-point"):
            to_fixed_point(np.array([[bad]]), np.zeros(1))


def test_arrays_are_the_inverse() -> None:
    layers = random_layers(6, 5, 4, 3)
    arrays = mlp_to_arrays("net", layers)
    again = mlp_from_arrays("net", arrays)
    assert (again.inputs, again.outputs) == (5, 3)
    values = np.arange(10, dtype=np.int32).reshape(2, 5)
    np.testing.assert_array_equal(again(values), ExactMlp(layers)(values))
    del arrays["net.1.bias"]
    with pytest.raises(WeightsMismatchError, match=r"net\.1\.bias is missing"):
        mlp_from_arrays("net", arrays)
    with pytest.raises(WeightsMismatchError, match="no exact network"):
        mlp_from_arrays("other", arrays)


def test_wrong_arrays_are_refused() -> None:
    weight, bias = np.zeros((2, 3), np.int16), np.zeros(2, np.int32)
    with pytest.raises(WeightsMismatchError, match="weight"):
        ExactLinear(weight.astype(np.int32), bias, 12)
    with pytest.raises(WeightsMismatchError, match="bias"):
        ExactLinear(weight, bias[:1], 12)
    with pytest.raises(WeightsMismatchError, match="units"):
        ExactLinear(weight, bias, 13)
    with pytest.raises(WeightsMismatchError, match="sum to"):
        ExactLinear(np.full((1, 2**17), -(2**15), np.int16), bias[:1], 12)
    with pytest.raises(WeightsMismatchError, match="followed"):
        ExactMlp([ExactLinear(weight, bias, 12), ExactLinear(weight, bias, 12)])
    with pytest.raises(WeightsMismatchError, match="no layers"):
        ExactMlp([])


@pytest.mark.parametrize("bits", [np.array([12], np.int32), np.array(12.0), np.array(np.inf)])
def test_weight_bits_are_one_integer(bits: npt.NDArray[np.generic]) -> None:
    arrays = {**mlp_to_arrays("net", random_layers(6, 5, 3)), "net.0.weight_bits": bits}
    with pytest.raises(
        WeightsMismatchError, match=r"net\.0\.weight_bits is .*, expected int32\[\]"
    ):
        mlp_from_arrays("net", arrays)
