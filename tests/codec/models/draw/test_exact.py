"""DRAW in fixed point: integers at every step, equal to those of plain arithmetic."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from bitstream.errors import WeightsMismatchError
from codec.coding import exact_layers
from codec.coding.exact_layers import ACTIVATION_LIMIT, interpolate_knots
from codec.models.draw.exact import (
    CURVE_POINTS,
    SCALE_LEVELS,
    ExactDraw,
    convolve_exactly,
    exact_arrays,
    image_levels,
    image_units,
    log_scale_levels,
)
from codec.models.draw.network import DrawNetwork, network_from_arrays
from codec.models.draw.recursion import DrawConfig, Prior
from tests.codec.models.draw.tiny import CONFIG, arrays, coder, scenes

Int64Array = npt.NDArray[np.int64]

GAUSSIAN = DrawConfig(1, "bernoulli", "gaussian", 2, 2, (5,), (2,))


def exact() -> ExactDraw:
    return ExactDraw(CONFIG, arrays())


def random_network(config: DrawConfig, seed: int = 0) -> DrawNetwork:
    torch.manual_seed(seed)
    return DrawNetwork(config)


def integers(*shape: int, reach: int = ACTIVATION_LIMIT, seed: int = 0) -> Int64Array:
    return np.random.default_rng(seed).integers(-reach, reach + 1, shape)


def double(values: Int64Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float64))


def slow_convolution(values: Int64Array, weight: Int64Array) -> Int64Array:
    height, width = values.shape[2:]
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = np.zeros((len(values), len(weight), height, width), dtype=np.int64)
    for y in range(3):
        for x in range(3):
            seen = padded[:, :, y : y + height, x : x + width]
            found += np.einsum("oi,bihw->bohw", weight[:, :, y, x], seen)
    return found


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 4, 5, 7), (3, 1, 1, 6), (1, 9, 8, 1)])
def test_convolutions_are_those_of_int64(shape: tuple[int, int, int, int]) -> None:
    values, weight = integers(*shape), integers(6, shape[1], 3, 3, reach=2**15 - 1, seed=1)
    taps = double(weight).permute(2, 3, 0, 1).contiguous()
    found = convolve_exactly(double(values), taps)
    np.testing.assert_array_equal(found.numpy(), slow_convolution(values, weight))
    assert np.abs(found.numpy()).max() > 2**32  # more than int32, or float32, could hold


@pytest.mark.parametrize("hundredths", [100, 4321, 10_000])
def test_a_layer_is_a_sum_shifted_with_halves_upwards(hundredths: int) -> None:
    stored, values = arrays(), integers(2, 2 + 6, 3, 4, reach=2**14)
    weight = stored["exact.decoder1.weight"].astype(np.int64)
    bits = int(np.asarray(stored["exact.decoder1.weight_bits"]).astype(np.int64))
    bias = interpolate_knots(stored["exact.decoder1.bias"].astype(np.int32), hundredths)
    sums = slow_convolution(values, weight)
    expected = ((sums + 2 ** (bits - 1)) >> bits) + bias[:, None, None]
    found = exact().at_quality(hundredths).convolve("decoder1", double(values))
    np.testing.assert_array_equal(found.numpy(), expected)


def test_activations_are_bounded() -> None:
    huge = double(np.full((1, 8, 3, 3), ACTIVATION_LIMIT))
    found = exact().convolve("decoder1", huge)
    assert found.abs().max() == ACTIVATION_LIMIT
    total = exact().sum(huge, huge)
    assert torch.equal(total, huge)


@pytest.mark.parametrize(("name", "function"), [("sigmoid", torch.sigmoid), ("tanh", torch.tanh)])
def test_curves_are_looked_up_at_the_nearest_place(name: str, function: Any) -> None:
    network, table = exact(), arrays()[f"exact.{name}"].astype(np.int64)
    values = np.concatenate([np.arange(-300, 300), integers(500), [-(2**15), 2**15, 2**15 + 9]])
    found = getattr(network, name)(double(values.reshape(1, -1, 1, 1))).numpy().ravel()
    places = np.clip(((values + 2) >> 2) + CURVE_POINTS // 2, 0, CURVE_POINTS - 1)
    np.testing.assert_array_equal(found, table[places])
    expected = function(torch.from_numpy(values / 4096)).numpy()
    assert np.abs(found / 4096 - expected).max() < 0.0009


def test_products_round_halves_upwards() -> None:
    left = double(np.array([2**11, -(2**11), 2**11 - 1, 3 * 2**11, -3 * 2**11]))
    found = exact().product(left, torch.ones(5, dtype=torch.float64))
    assert found.tolist() == [1, 0, 0, 2, -1]


def test_pools_are_means() -> None:
    found = exact().pool(double(np.array([[[[1, 2, -1, -1], [3, 4, -2, -2]]]])))
    assert found.tolist() == [[[[3, -1]]]]  # 2.5 and −1.5, upwards


def test_levels_of_the_scale_are_sixteenths_within_bounds() -> None:
    said = torch.tensor([-9.0, -3.0, -3 + 0.49 / 16, -3 + 0.51 / 16, 0.0, 4.97, 5.0, 99.0]) * 4096
    assert exact().scale_levels(said.double()).tolist() == [0, 0, 0, 1, 48, 128, 128, 128]
    levels = log_scale_levels(CONFIG)
    assert (len(levels), levels[48]) == (SCALE_LEVELS, 0.0)
    assert log_scale_levels(GAUSSIAN)[[0, -1]].tolist() == [-6.0, 2.0]


def test_pixels_survive_fixed_point() -> None:
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    units = image_units(levels, CONFIG)
    assert torch.equal(image_levels(units), levels.double())
    assert torch.equal(image_levels(units + 15), levels.double())
    assert torch.equal(image_levels(units - 16), levels.double())
    assert image_levels(units + 16).flatten()[:3].tolist() == [1, 2, 3]
    np.testing.assert_allclose(units.flatten() / 4096, (2 * np.arange(256) - 255) / 256)
    black_and_white = image_units(torch.tensor([[[[0, 255]]]]), GAUSSIAN)
    assert black_and_white.flatten().tolist() == [0, 4096]


def test_codes_of_gaussian_posteriors_follow_the_prior() -> None:
    found = ExactDraw(GAUSSIAN, exact_arrays(GAUSSIAN, random_network(GAUSSIAN).state_dict()))
    mean, said = torch.full((1, 2, 1, 1), 1000.0).double(), torch.full((1, 2, 1, 1), -0.7 * 4096)
    coordinate = torch.tensor([4096.0, -2048.0]).double().reshape(1, 2, 1, 1)
    code = found.code(0, mean, said.double(), coordinate).flatten()
    deviation = np.exp(-11 / 16) * 4096
    np.testing.assert_allclose(code, [1000 + deviation, 1000 - deviation / 2], atol=1)


class WatchedDraw(ExactDraw):
    """An `ExactDraw` that checks at every step that numbers are integers and bounded."""

    checks = 0

    def _check(self, *values: Tensor) -> None:
        type(self).checks += 1
        for tensor in values:
            assert tensor.dtype == torch.float64
            assert torch.equal(tensor, tensor.round())
            assert tensor.abs().max() <= 2**53

    def convolve(self, name: str, values: Tensor) -> Tensor:
        # The bound on sums assumes this limit on the input of `convolve`.
        assert values.abs().max() <= ACTIVATION_LIMIT
        found = super().convolve(name, values)
        self._check(values, found)
        return found

    def sigmoid(self, values: Tensor) -> Tensor:
        self._check(values, super().sigmoid(values))
        return super().sigmoid(values)

    def tanh(self, values: Tensor) -> Tensor:
        self._check(values, super().tanh(values))
        return super().tanh(values)

    def sum(self, left: Tensor, right: Tensor) -> Tensor:
        found = super().sum(left, right)
        self._check(left, right, found)
        assert found.abs().max() <= ACTIVATION_LIMIT
        return found

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        self._check(left, right, super().product(left, right))
        return super().product(left, right)

    def code(self, level: int, mean: Tensor, scale: Tensor, coordinate: Tensor) -> Tensor:
        found = super().code(level, mean, scale, coordinate)
        self._check(mean, scale, found)
        return found

    def pool(self, values: Tensor) -> Tensor:
        self._check(values, super().pool(values))
        return super().pool(values)


def test_every_intermediate_number_is_an_integer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = coder()
    image = scenes(1, seed=5)[0].transpose(1, 2, 0)
    latents = model.analyze(image, 61.5)
    expected = model.encode_tile(latents, 61.5)
    monkeypatch.setattr(model, "network", WatchedDraw(CONFIG, arrays()))
    monkeypatch.setattr(WatchedDraw, "checks", 0)
    assert model.encode_tile(latents, 61.5) == expected
    encoding = WatchedDraw.checks
    assert model.decode_tile(expected, 4, 4, 61.5).shape == latents.shape
    assert encoding > 100
    assert WatchedDraw.checks > encoding + 50


def test_wild_symbols_stay_within_bounds() -> None:
    # Weights of `paint` that bring the canvas to its bound as well.
    stored = _replaced("paint.bias", np.full((3, 48), 2**31 - 1, np.int32))
    found = WatchedDraw(CONFIG, stored).recursion
    state = found.begin(1, 16, 24)
    generator = torch.Generator().manual_seed(1)

    def choose(level: int, prior: Prior) -> Tensor:
        wild = torch.randint(-(2**31), 2**31, prior.mean.shape, generator=generator)
        return wild.double()

    for _ in range(3):
        found.step(state, choose)
    assert state.canvas.abs().max() == ACTIVATION_LIMIT


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_default_type_has_no_say(dtype: torch.dtype) -> None:
    latents = coder().analyze(scenes(1, seed=6)[0].transpose(1, 2, 0), 40)
    expected = coder().encode_tile(latents, 40)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert coder().encode_tile(latents, 40) == expected
        decoded = coder().decode_tile(expected, 4, 4, 40)
    finally:
        torch.set_default_dtype(before)
    np.testing.assert_array_equal(decoded, coder().decode_tile(expected, 4, 4, 40))


def test_threads_do_not_disturb_each_other() -> None:
    latents = coder().analyze(scenes(1, seed=7)[0].transpose(1, 2, 0), 1)
    qualities = [1, 20, 40, 60, 80, 100] * 3
    one_by_one = [coder().encode_tile(latents, quality) for quality in qualities]
    assert len(set(one_by_one)) == 6
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda q: coder().encode_tile(latents, q), qualities)) == one_by_one
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert coder().encode_tile(latents, 80) == one_by_one[4]
    finally:
        torch.set_num_threads(before)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = {k: v.clone() for k, v in random_network(CONFIG).state_dict().items()}
    for value in (2.0**15, float("nan"), float("inf")):
        state["weights.paint"][0, 0, 0, 0] = value
        with pytest.raises(WeightsMismatchError, match="paint"):
            exact_arrays(CONFIG, state)
    state["weights.paint"][0, 0, 0, 0] = 1000.0
    assert int(exact_arrays(CONFIG, state)["exact.paint.weight_bits"].astype(int)) == 5
    state["biases.paint"][0, 0] = float("nan")
    with pytest.raises(WeightsMismatchError, match="paint"):
        exact_arrays(CONFIG, state)


def _replaced(name: str, value: Any) -> dict[str, Any]:
    return {**arrays(), f"exact.{name}": value}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("paint.weight is missing", "paint.weight", None),
        ("paint.weight is int32", "paint.weight", np.zeros((48, 8, 3, 3), np.int32)),
        ("paint.weight is int16", "paint.weight", np.zeros((48, 9, 3, 3), np.int16)),
        ("paint.bias is", "paint.bias", np.zeros((1, 48), np.int32)),
        ("paint.weight_bits is 0", "paint.weight_bits", np.array(0, np.int32)),
        ("paint.weight_bits is 15", "paint.weight_bits", np.array(15, np.int32)),
        ("start holds", "start", np.array([0, 0, 2**22 + 1], np.int32)),
        ("sigmoid holds", "sigmoid", np.full(CURVE_POINTS, 4097, np.int16)),
        ("tanh is", "tanh", np.zeros(CURVE_POINTS - 1, np.int16)),
        ("scales is", "scales", np.ones(SCALE_LEVELS, np.int64)),
        ("steps1 holds", "steps1", np.full((3, 2), -(2**31), np.int32)),
        ("steps0 is missing", "steps0", None),
    ],
)
def test_arrays_of_a_damaged_file_are_refused(text: str, name: str, value: Any) -> None:
    damaged = _replaced(name, value)
    if value is None:
        del damaged[f"exact.{name}"]
    for load in (ExactDraw, network_from_arrays):
        with pytest.raises(WeightsMismatchError, match=text):
            load(CONFIG, damaged)


def test_sums_that_could_pass_the_exact_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(
        int(np.abs(array.astype(np.int64)).sum(axis=(1, 2, 3)).max())
        for name, array in arrays().items()
        if name.startswith("exact.") and name.endswith(".weight")
    )
    monkeypatch.setattr(exact_layers, "ACCUMULATOR_LIMIT", (largest + 1) * ACTIVATION_LIMIT + 1)
    exact()
    monkeypatch.setattr(exact_layers, "ACCUMULATOR_LIMIT", (largest + 1) * ACTIVATION_LIMIT)
    with pytest.raises(WeightsMismatchError, match=f"sum to {largest}"):
        exact()
