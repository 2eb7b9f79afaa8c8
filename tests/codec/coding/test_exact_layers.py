"""The exact path: integers in and out, whatever arithmetic computes them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    WEIGHT_BITS,
    ExactLayer,
    Units,
    clamp,
    interpolate_knots,
    layer_arrays,
    nearest_tables,
    pixel_shuffle,
    read_layer,
    rectify,
    single_precision,
    to_fixed_point,
    to_floats,
)


def random_layers(rng: np.random.Generator) -> list[ExactLayer]:
    """Three layers: 3×3, 1×1 with a shuffle, 1×1 to two means and two indexes."""
    sizes = [(4, 5, 3, 1), (5, 12, 1, 2), (3, 4, 1, 1)]
    return [
        ExactLayer(
            rng.integers(-(2**15) + 1, 2**15, (out, into, k, k)).astype(np.int16),
            rng.integers(-(2**16), 2**16, (3, out)).astype(np.int32),
            shuffle,
        )
        for into, out, k, shuffle in sizes
    ]


def in_python_integers(
    layers: list[ExactLayer], values: npt.NDArray[np.int32], hundredths: int
) -> list[int]:
    """The same network on Python's unbounded integers, one output at a time."""
    current = values.astype(object) * 2**ACTIVATION_BITS
    for number, layer in enumerate(layers):
        weight, kernel = layer.weight.astype(object), layer.weight.shape[2]
        bias = interpolate_knots(layer.bias, hundredths).astype(object)
        _, height, width = current.shape
        pad = kernel // 2
        padded = np.pad(current, ((0, 0), (pad, pad), (pad, pad)), constant_values=0)
        low = 0 if number < len(layers) - 1 else -ACTIVATION_LIMIT
        out = np.empty((len(weight), height, width), dtype=object)
        for index in np.ndindex(*out.shape):
            channel, y, x = index
            total = (weight[channel] * padded[:, y : y + kernel, x : x + kernel]).sum()
            scaled = (total >> WEIGHT_BITS) + bias[channel]
            out[index] = min(max(scaled, low), ACTIVATION_LIMIT)
        s = layer.shuffle
        out = out.reshape(-1, s, s, height, width).transpose(0, 3, 1, 4, 2)
        current = out.reshape(-1, height * s, width * s)
    return [int(v) for v in current.ravel()]


def in_floats(
    layers: list[ExactLayer], values: npt.NDArray[np.int32], hundredths: int
) -> npt.NDArray[np.floating[Any]]:
    """The same network as the codec computes it."""
    found: npt.NDArray[np.floating[Any]] = values.astype(np.float64) * 2**ACTIVATION_BITS
    for layer in layers[:-1]:
        found = layer(found, hundredths)
        rectify(found)
        found = pixel_shuffle(found, layer.shuffle)
    found = layers[-1](found, hundredths)
    clamp(found)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_matches_unbounded_integers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = random_layers(rng)
    values = rng.integers(-4000, 4000, (4, 3, 2)).astype(np.int32)
    quality = int(rng.integers(100, 10001))
    output = in_floats(layers, values, quality)
    expected = np.array(in_python_integers(layers, values, quality)).reshape(4, 6, 4)
    np.testing.assert_array_equal(output, expected)
    half = 1 << (ACTIVATION_BITS - 1)
    indexes = np.clip((expected[2:] + half) >> ACTIVATION_BITS, 0, 63)
    np.testing.assert_array_equal(nearest_tables(output[2:], 64), indexes)


def test_same_integers_for_any_order_of_summation() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-(2**12), 2**12, (24, 128, 3, 3)).astype(np.int16)
    bias = rng.integers(-(2**16), 2**16, (3, 24)).astype(np.int32)
    values = rng.integers(-(2**20), 2**20, (128, 5, 7)).astype(np.float64)
    one = ExactLayer(weight, bias, 1)(values, 4321)
    # Inputs and weights in the same new order give the same sums, added in another order.
    order = rng.permutation(128)
    two = ExactLayer(weight[:, order], bias, 1)(values[order], 4321)
    np.testing.assert_array_equal(one, two)
    assert len(np.unique(one)) > 500


def test_interpolation_meets_the_knots_and_is_monotone_between_them() -> None:
    knots = np.array([[0, 7], [990, 7], [-990, 7]], dtype=np.int32)
    values = [interpolate_knots(knots, h) for h in range(100, 10001, 50)]
    assert [int(v) for v in values[0]] == [0, 7]
    assert [int(v) for v in values[99]] == [990, 7]
    assert [int(v) for v in values[-1]] == [-990, 7]
    rising = [int(v[0]) for v in values[:100]]
    assert all(a < b for a, b in pairwise(rising))


def test_arrays_round_trip() -> None:
    layers = random_layers(np.random.default_rng(3))
    again = [read_layer(layer_arrays(layer, "one"), "one") for layer in layers]
    assert [layer.shuffle for layer in again] == [1, 2, 1]
    for one, two in zip(layers, again, strict=True):
        np.testing.assert_array_equal(one.weight, two.weight)
        np.testing.assert_array_equal(one.bias, two.bias)


def test_refuses_what_could_be_inexact() -> None:
    wide = np.full((1, 2**17, 1, 1), 2**15 - 1, dtype=np.int16)
    with pytest.raises(WeightsMismatchError, match="sum to"):
        ExactLayer(wide, np.zeros((2, 1), np.int32), 1)
    with pytest.raises(WeightsMismatchError, match="int16"):
        ExactLayer(np.zeros((1, 1, 1, 1), np.float32), np.zeros((2, 1), np.int32), 1)
    with pytest.raises(WeightsMismatchError, match="fixed-point range"):
        to_fixed_point(np.full((1, 1, 1, 1), 9.0), np.zeros((2, 1)))
    with pytest.raises(WeightsMismatchError, match="incomplete"):
        read_layer({}, "exact.0")


def test_units_of_single_precision_are_the_finest_that_fit() -> None:
    rng = np.random.default_rng(0)
    for size in (0.01, 0.3, 3.0):
        weight = rng.normal(0, size, (5, 20, 3, 3))
        units = single_precision(weight, 5, 2048)
        layer = to_fixed_point(weight, rng.normal(0, 9, (2, 5)), units=units)
        assert layer.dtype == np.float32
        assert layer.largest_sum < 2**24
        finer = np.abs(np.rint(weight * 2 ** (units.weight_bits + 1)))
        too_fine = finer.sum(axis=(1, 2, 3)).max() * units.limit >= 2**24
        assert units.weight_bits == WEIGHT_BITS or too_fine
        again = read_layer(layer_arrays(layer, "one"), "one")
        assert again.units == units
        weights, _ = to_floats(layer)
        np.testing.assert_allclose(weights, weight, atol=0.5 / 2**units.weight_bits)
    assert single_precision(np.full((1, 2**15, 1, 1), 1e4), 5, 2048) == Units()


@pytest.mark.parametrize("stored", [(11, 12, 9), (-1, 12, 9), (5, 16, 9), (5, 9, 0), (5, 9, 2**23)])
def test_refuses_units_out_of_range(stored: tuple[int, int, int]) -> None:
    arrays = layer_arrays(random_layers(np.random.default_rng(3))[0], "one")
    arrays["one.units"] = np.array(stored, dtype=np.int32)
    with pytest.raises(WeightsMismatchError, match="units"):
        read_layer(arrays, "one")
    for wrong in ([5, 9], [[5], [9], [7]], 5):
        arrays["one.units"] = np.array(wrong, dtype=np.int32)
        with pytest.raises(WeightsMismatchError, match="incomplete"):
            read_layer(arrays, "one")


def test_large_biases_are_held_in_double_precision() -> None:
    weight, units = np.full((1, 1, 1, 1), 0.5), Units(5, 8, 64)
    assert to_fixed_point(weight, np.full((2, 1), 4000.0), units=units).dtype == np.float32
    assert to_fixed_point(weight, np.full((2, 1), 4100.0), units=units).dtype == np.float64
