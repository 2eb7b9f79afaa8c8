"""The exact path: integers in, integers out, whatever the arithmetic underneath."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    WEIGHT_BITS,
    ExactHyperSynthesis,
    ExactLayer,
    Units,
    interpolate_knots,
    layers_from_arrays,
    single_precision,
    to_arrays,
    to_fixed_point,
    to_floats,
)
from codec.models.photo.fixed_point import exact_layers
from codec.models.photo.network import PhotoConfig, PhotoModel
from tests.codec.tiny import TINY


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


@pytest.mark.parametrize("seed", range(5))
def test_matches_unbounded_integers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = random_layers(rng)
    network = ExactHyperSynthesis(layers, table_count=64)
    values = rng.integers(-4000, 4000, (4, 3, 2)).astype(np.int32)
    quality = int(rng.integers(100, 10001))
    output = network(values, quality)
    expected = np.array(in_python_integers(layers, values, quality)).reshape(4, 6, 4)
    half = 1 << (ACTIVATION_BITS - 1)
    indexes = np.clip((expected[2:] + half) >> ACTIVATION_BITS, 0, 63)
    np.testing.assert_array_equal(output.means, expected[:2])
    np.testing.assert_array_equal(output.indexes, indexes)


def test_same_integers_for_any_thread_count_and_order_of_summation() -> None:
    layers = exact_layers(random_model(PhotoConfig()))
    hyper = np.random.default_rng(0).integers(-30, 30, (128, 5, 7)).astype(np.int32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = ExactHyperSynthesis(layers, 64)(hyper, 4321)
        torch.set_num_threads(2)
        two = ExactHyperSynthesis(layers, 64)(hyper, 4321)
    finally:
        torch.set_num_threads(before)
    # Inputs and weights permuted alike give the same sums in another order.
    order = np.random.default_rng(1).permutation(128)
    first = ExactLayer(layers[0].weight[:, order], layers[0].bias, 1)
    permuted = ExactHyperSynthesis([first, *layers[1:]], 64)(hyper[order], 4321)
    for other in (two, permuted):
        np.testing.assert_array_equal(one.means, other.means)
        np.testing.assert_array_equal(one.indexes, other.indexes)
    assert len(np.unique(one.indexes)) > 5


def random_model(config: PhotoConfig) -> PhotoModel:
    torch.manual_seed(0)
    model = PhotoModel(config)
    with torch.no_grad():
        for name, parameter in model.hyper_synthesis.named_parameters():
            if name.endswith("knots"):
                parameter.copy_(torch.randn_like(parameter) * 3)
            else:
                parameter.mul_(2)
    return model


def test_follows_the_trained_float_network() -> None:
    model = random_model(TINY)
    hyper = torch.randint(-8, 9, (1, TINY.hyper_channels, 4, 4))
    position = torch.tensor([0.3])
    with torch.no_grad():
        means, indexes = model.hyper_synthesis(hyper.float(), position)
    exact = ExactHyperSynthesis(exact_layers(model), 64)
    output = exact(hyper[0].int().numpy(), 100 + round(0.3 * 9900))
    np.testing.assert_allclose(output.means * 2.0**-ACTIVATION_BITS, means[0].numpy(), atol=0.05)
    float_indexes = np.clip(np.floor(indexes[0].numpy() + 0.5), 0, 63)
    assert np.abs(output.indexes - float_indexes).max() <= 1
    assert (output.indexes == float_indexes).mean() > 0.9


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
    again = layers_from_arrays(to_arrays(layers))
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
    with pytest.raises(WeightsMismatchError, match="no exact path"):
        layers_from_arrays({})


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
        again = layers_from_arrays(to_arrays([layer]))[0]
        assert again.units == units
        weights, _ = to_floats(layer)
        np.testing.assert_allclose(weights, weight, atol=0.5 / 2**units.weight_bits)
    assert single_precision(np.full((1, 2**15, 1, 1), 1e4), 5, 2048) == Units()


@pytest.mark.parametrize("stored", [(11, 12, 9), (-1, 12, 9), (5, 16, 9), (5, 9, 0), (5, 9, 2**23)])
def test_refuses_units_out_of_range(stored: tuple[int, int, int]) -> None:
    arrays = to_arrays(random_layers(np.random.default_rng(3)))
    arrays["exact.1.units"] = np.array(stored, dtype=np.int32)
    with pytest.raises(WeightsMismatchError, match="units"):
        layers_from_arrays(arrays)
    for wrong in ([5, 9], [[5], [9], [7]], 5):
        arrays["exact.1.units"] = np.array(wrong, dtype=np.int32)
        with pytest.raises(WeightsMismatchError, match="incomplete"):
            layers_from_arrays(arrays)


def test_large_biases_are_held_in_double_precision() -> None:
    weight, units = np.full((1, 1, 1, 1), 0.5), Units(5, 8, 64)
    assert to_fixed_point(weight, np.full((2, 1), 4000.0), units=units).dtype == np.float32
    assert to_fixed_point(weight, np.full((2, 1), 4100.0), units=units).dtype == np.float64
