"""The exact path: the same integers on every machine, and close to the float network."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import ACTIVATION_BITS, interpolate_knots
from codec.models.photo.coder import TileSymbols, read_sizes
from codec.models.photo.config import COEFFICIENTS, PhotoConfig
from codec.models.photo.context import octaves
from codec.models.photo.exact_context import (
    VALUE_LIMIT,
    ExactContext,
    ExactHyperSynthesis,
    Part,
    context_from_arrays,
    dequantize,
    exact_octaves,
    hyper_synthesis_from_arrays,
)
from codec.models.photo.fixed_point import exact_arrays, restore
from codec.models.photo.network import PhotoModel
from codec.system.processors import compute_threads, single_threaded_blas
from tests.codec.models.photo.tiny import TINY, lively_model

Array = npt.NDArray[Any]

UNIT = 2.0**-ACTIVATION_BITS
POSITION = 4321
ROWS, COLUMNS = 10, 9
APART = {
    "corners_4": 4, "edges_4": 4, "corners_2": 2, "coarse": 2, "diagonal": 1, "black": 1
}  # fmt: skip
"""The distances between a block and the blocks that each pass knows."""
FAR = tuple(APART)[:3]
TUNE = 1
SEED = 9


@pytest.fixture(scope="module", params=[0, 1, 2, 3], ids=lambda far: f"{far} far passes")
def arrays(request: pytest.FixtureRequest) -> dict[str, Array]:
    return exact_arrays(lively_model(SEED, replace(TINY, far_passes=request.param)))


def config_of(arrays: dict[str, Array]) -> PhotoConfig:
    return replace(TINY, far_passes=sum(f"context.{name}.out.weight" in arrays for name in FAR))


def paths(arrays: dict[str, Array], tune: int = TUNE) -> tuple[ExactHyperSynthesis, ExactContext]:
    config = config_of(arrays)
    return (
        hyper_synthesis_from_arrays(arrays, tune, config),
        context_from_arrays(arrays, tune, config, 64),
    )


def pass_of(row: int, column: int) -> str:
    """The pass that codes a block, with all far passes; the one of (0, 0) has no name."""
    for apart in (1, 2, 4):
        if (row + column) % (2 * apart):
            return {1: "black", 2: "coarse", 4: "edges_4"}[apart]
        if row % (2 * apart):
            return {1: "diagonal", 2: "corners_2", 4: "corners_4"}[apart]
    return ""


def hyper_latents(seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(-20, 21, (TINY.hyper_channels, 3, 3)).astype(np.int32)


def coded(arrays: dict[str, Array], channels: int, symbols: Array, tune: int = TUNE) -> TileSymbols:
    """The first channels of a tile with the given symbols."""
    hyper, context = paths(arrays, tune)
    hidden = np.ascontiguousarray(hyper.features(hyper_latents(), POSITION)[:, :ROWS, :COLUMNS])
    predict = hyper.predictor(hidden, POSITION)
    decoded = np.zeros((COEFFICIENTS + TINY.hidden, ROWS, COLUMNS), dtype=np.int32)
    decoded[COEFFICIENTS:] = hidden

    def code(part: Part) -> Array:
        return part.place.take(symbols)

    parts = context(predict, hidden, POSITION, code, decoded[:channels])
    return TileSymbols(hyper_latents(), parts, decoded)


def some_symbols(seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    symbols = np.rint(rng.laplace(0, 4, (COEFFICIENTS, ROWS, COLUMNS))).astype(np.int32)
    symbols[2, 1, 0], symbols[3, 0, 0], symbols[40, 2, 2] = 2**31 - 1, -5000, -(2**31)
    return symbols


def test_every_latent_is_coded_once_low_frequencies_first(arrays: dict[str, Array]) -> None:
    tile = coded(arrays, COEFFICIENTS, some_symbols())
    count = np.zeros(tile.symbols.shape, dtype=int)
    for part in tile.parts:
        part.place.put(count, part.place.take(count) + 1)
        np.testing.assert_array_equal(part.place.take(tile.means), part.means)
        np.testing.assert_array_equal(part.place.take(tile.indexes), part.indexes)
    values = np.empty_like(tile.symbols)
    dequantize(tile.symbols, tile.means, values)
    np.testing.assert_array_equal(tile.decoded[:COEFFICIENTS], values)
    parts = tile.parts
    assert (count == 1).all()
    far, blocks = config_of(arrays).far_passes, ROWS * COLUMNS
    starts = [part.place.channels.start for part in parts]
    assert starts == [0] * (far + 4) + [9, 32, 128, 384]
    first = {0: [13], 1: [9, 4], 2: [5, 4, 4], 3: [4, 1, 4, 4]}[far]
    assert [part.means.shape[1] for part in parts] == [*first, 12, 20, 45, *[blocks] * 4]
    np.testing.assert_array_equal(tile.symbols, some_symbols())
    assert not tile.means[TINY.corrected :].any()
    assert len(np.unique(tile.indexes)) > 10


@pytest.mark.parametrize("channels", [9, 10, 31, 32, 33, 127, 128, 129, 384, 385, 767])
def test_the_first_channels_do_not_depend_on_how_many_are_coded(
    arrays: dict[str, Array], channels: int
) -> None:
    whole = coded(arrays, COEFFICIENTS, some_symbols())
    some = coded(arrays, channels, some_symbols())
    for name in ("symbols", "means", "indexes"):
        found = getattr(some, name)
        assert found.shape == (channels, ROWS, COLUMNS)
        np.testing.assert_array_equal(found, getattr(whole, name)[:channels])
    starts = [part.place.channels.start for part in whole.parts]
    assert len(some.parts) == sum(start < channels for start in starts)
    np.testing.assert_array_equal(some.decoded[:channels], whole.decoded[:channels])
    assert not some.decoded[channels:COEFFICIENTS].any()


class Unbounded:
    """A second decoder: the whole exact path in int64, in the order of the documentation."""

    def __init__(self, arrays: dict[str, Array], tune: int) -> None:
        self.arrays, self.tune = arrays, tune

    def layer(self, name: str, values: Array) -> Array:
        """A layer on int64 (in, h, w), zeros outside."""
        weight = self.arrays[f"{name}.weight"].astype(np.int64)
        bias = interpolate_knots(self.arrays[f"{name}.bias"][self.tune], POSITION)
        usual = np.array([10, 12, 2**22])
        input_bits, weight_bits, limit = self.arrays.get(f"{name}.units", usual).tolist()
        values = (2 * values + 2 ** (10 - input_bits)) >> (11 - input_bits)
        values = np.clip(values, -limit, limit)
        reach = weight.shape[2] // 2
        _, height, width = values.shape
        padded = np.pad(values, ((0, 0), (reach, reach), (reach, reach)))
        sums = np.zeros((len(weight), height, width), dtype=np.int64)
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                part = padded[:, i : i + height, j : j + width]
                sums += np.einsum("oc,chw->ohw", weight[:, :, i, j], part)
        found: Array = (sums << 10 >> (input_bits + weight_bits)) + bias[:, None, None]
        return found

    def hyper(self, values: Array) -> tuple[Array, Array]:
        """Hyper-latents to hidden features, and to means and indexes of all channels."""
        values = values.astype(np.int64) << 10
        for number in range(4):
            values = np.clip(self.layer(f"exact.{number}", values), 0, 2**22)
            factor = int(self.arrays[f"exact.{number}.shuffle"])
            _, height, width = values.shape
            values = values.reshape(-1, factor, factor, height, width).transpose(0, 3, 1, 4, 2)
            values = values.reshape(-1, height * factor, width * factor)
        hidden = values[:, :ROWS, :COLUMNS]
        out = self.layer("exact.4", hidden)
        out[: TINY.corrected] = np.clip(out[: TINY.corrected], -(2**22), 2**22)
        return hidden, out

    def step(
        self, name: str, here: Array, around: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array]:
        """Corrections, and hidden features."""
        values = self.layer(f"context.{name}.here", here)
        if around is not None:
            values = values + self.layer(f"context.{name}.near", self.features(*around))
        hidden = np.clip(values, 0, 2**22)
        out = self.layer(f"context.{name}.out", hidden)
        if around is not None:
            out[: len(out) // 2] += self.layer(f"context.{name}.linear", around[0])
        return out, hidden

    def octaves(self, values: Array) -> Array:
        def one(value: int) -> int:
            exponent = (abs(value) + 1024).bit_length()
            return 1024 * (exponent - 12) + ((2048 * (abs(value) + 1024)) >> exponent)

        found: Array = np.vectorize(one, otypes=[np.int64])(values)
        return found

    def features(self, errors: Array, values: Array) -> Array:
        return np.concatenate([np.sign(errors) * self.octaves(errors), self.octaves(values)])

    def decode(self, symbols: Array) -> tuple[Array, Array, Array]:
        """Hidden features, means and indexes of a tile, int64."""
        hidden, out = self.hyper(hyper_latents())
        ends = (0, 9, 32, 128, 384, 768)
        first, second, third, fourth, fifth = (slice(*pair) for pair in pairwise(ends))
        base, indexes = out[:384], out[384:].copy()
        means = np.zeros((COEFFICIENTS, ROWS, COLUMNS), dtype=np.int64)
        means[:384] = base

        def known(group: slice) -> tuple[Array, Array]:
            values = (symbols[group].astype(np.int64) << 10) + means[group]
            values = np.clip(values, -(2**22), 2**22)
            return np.clip(values - base[group], -(2**22), 2**22), values

        def correct(group: slice, by: Array, squares: Array | bool = True) -> None:
            count = len(by) // 2
            means[group] = np.where(
                squares, np.clip(means[group] + by[:count], -(2**22), 2**22), means[group]
            )
            indexes[group] = np.where(squares, indexes[group] + by[count:], indexes[group])

        names = [name for name in APART if f"context.{name}.out.weight" in self.arrays]
        # The number of the pass that decodes a square, by row and column; the first is 0.
        order = np.zeros((ROWS, COLUMNS), dtype=int)
        for row, column in np.ndindex(ROWS, COLUMNS):
            name = pass_of(row, column)
            order[row, column] = names.index(name) + 1 if name in names else 0
        for number, name in enumerate(names, 1):
            apart = APART[name]
            errors, values = (part * (order < number) for part in known(first))
            by = np.zeros((18, ROWS, COLUMNS), dtype=np.int64)
            part = np.s_[:, ::apart, ::apart]
            by[part], _ = self.step(name, hidden[part], (errors[part], values[part]))
            correct(first, by, order == number)
        by, _ = self.step("second", hidden, known(first))
        correct(second, by)
        by, seen = self.step("third", hidden, known(slice(0, 32)))
        correct(third, by)
        here = np.concatenate([self.features(*known(third)), hidden, seen])
        by, seen = self.step("fourth", here)
        correct(fourth, by)
        here = np.concatenate([self.octaves(known(fourth)[1]), hidden, seen])
        by, _ = self.step("fifth", here)
        indexes[fifth] += by
        return hidden, means, np.clip((indexes + 512) >> 10, 0, 63)


@pytest.mark.parametrize("tune", [0, 1])
@pytest.mark.parametrize("rows", [1, 4, 6])
def test_matches_a_second_decoder_in_int64(
    arrays: dict[str, Array], tune: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = some_symbols(5)
    monkeypatch.setattr("codec.models.photo.exact_context._BAND_SQUARES", rows * COLUMNS)
    with compute_threads(2), single_threaded_blas():
        tile = coded(arrays, COEFFICIENTS, symbols, tune)
    hidden, means, indexes = Unbounded(arrays, tune).decode(symbols)
    np.testing.assert_array_equal(tile.decoded[COEFFICIENTS:], hidden)
    np.testing.assert_array_equal(tile.means, means)
    np.testing.assert_array_equal(tile.indexes, indexes)


def test_layers_are_in_single_precision_and_double_gives_the_same(
    arrays: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    hyper, context = paths(arrays)
    passes = [step for step, *_ in context.passes]
    steps = (*passes, *context.steps)
    layers = [*hyper.layers, *(layer for step in steps for layer in step.layers)]
    wide = {id(layer) for layer in (hyper.layers[0], *(step.linear for step in steps))}
    for layer in layers:
        # Errors of latents need more than float32, and hyper-latents may be large.
        assert layer.dtype == (np.float64 if id(layer) in wide else np.float32)
    single = coded(arrays, COEFFICIENTS, some_symbols())
    monkeypatch.setattr("codec.coding.exact_layers.SINGLE_LIMIT", 0)
    double = coded(arrays, COEFFICIENTS, some_symbols())
    np.testing.assert_array_equal(single.decoded, double.decoded)
    np.testing.assert_array_equal(single.means, double.means)
    np.testing.assert_array_equal(single.indexes, double.indexes)


@pytest.mark.parametrize("tune", [0, 1])
def test_follows_the_float_network(arrays: dict[str, Array], tune: int) -> None:
    model = lively_model(SEED, config_of(arrays))
    symbols = np.clip(some_symbols(3), -50, 50)
    tile = coded(arrays, COEFFICIENTS, symbols, tune)
    # These latents are halfway between two rounding borders, so both round to the same symbols.
    latents = torch.from_numpy((symbols + tile.means * UNIT).astype(np.float32))[None]
    with torch.no_grad():
        mix = model.mix(torch.tensor([(POSITION - 100) / 9900]), torch.tensor([tune]))
        floats = model.hyper_synthesis.features(
            torch.from_numpy(hyper_latents().astype(np.float32))[None], mix
        )[:, :, :ROWS, :COLUMNS]
        means, indexes = model.hyper_synthesis.predict(floats, mix)
        means, indexes = model.context(latents, means, indexes, floats, mix)
    hidden = tile.decoded[COEFFICIENTS:]
    for found, expected in ((hidden, floats), (tile.means, means)):
        # Inputs of layers are rounded to eighths.
        difference = np.abs(found * UNIT - expected[0].numpy())
        assert difference.max() < 0.1
        assert difference.mean() < 0.01
    nearest = np.clip(np.floor(indexes[0].numpy() + 0.5), 0, 63)
    assert (tile.indexes == nearest).mean() > 0.95
    assert np.abs(tile.indexes - nearest).max() <= 1


def test_tunes_have_weights_in_common_and_biases_of_their_own(arrays: dict[str, Array]) -> None:
    (psnr, _), (visual, _) = (paths(arrays, tune) for tune in (0, 1))
    for one, two in zip(psnr.layers, visual.layers, strict=True):
        np.testing.assert_array_equal(one.weight, two.weight)
        assert (one.bias != two.bias).any()


def test_arrays_and_floats_round_trip(arrays: dict[str, Array]) -> None:
    other = PhotoModel(config_of(arrays))
    restore(other, arrays)
    again = exact_arrays(other)
    assert again.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, again[key], err_msg=key)


@pytest.mark.parametrize("far", [-1, 4])
def test_refuses_more_far_passes_than_there_are(arrays: dict[str, Array], far: int) -> None:
    with pytest.raises(WeightsMismatchError, match="far passes"):
        context_from_arrays(arrays, 0, replace(TINY, far_passes=far), 64)


def test_weights_without_the_number_have_no_far_passes() -> None:
    sizes = asdict(replace(TINY, far_passes=2))
    assert read_sizes({"config": json.dumps(sizes)}) == replace(TINY, far_passes=2)
    del sizes["far_passes"]
    assert read_sizes({"config": json.dumps(sizes)}) == TINY


@pytest.mark.parametrize(
    "key",
    ["exact.1.weight", "context.third.near.weight", "context.fifth.out.weight"],
)
def test_refuses_layers_of_other_sizes(arrays: dict[str, Array], key: str) -> None:
    with pytest.raises(WeightsMismatchError, match="expected"):
        paths(arrays | {key: arrays[key][:, :-1]})
    missing = {name: array for name, array in arrays.items() if name != key}
    with pytest.raises(WeightsMismatchError):
        paths(missing)


def test_refuses_biases_for_one_tune(arrays: dict[str, Array]) -> None:
    key = "exact.0.bias"
    with pytest.raises(WeightsMismatchError, match=r"exact\.0\.bias"):
        paths(arrays | {key: arrays[key][0]})


def test_octaves_are_exact_and_those_of_training() -> None:
    values = np.array([0, 1, 511, 1023, 1024, 1025, 3 * 1024, -3 * 1024, 2**22, 2**23 - 1])
    found = exact_octaves(values.astype(np.float32))
    for value, result in zip(values.tolist(), found.tolist(), strict=True):
        shifted = Fraction(abs(value) + 1024, 1024)
        exponent = 0
        while shifted >= 2 ** (exponent + 1):
            exponent += 1
        assert result == ((exponent - 1 + shifted / 2**exponent) * 1024).__floor__()
    expected = octaves(torch.from_numpy(values * UNIT)).numpy()
    np.testing.assert_allclose(expected, found * UNIT, atol=1.1 * UNIT)


def test_dequantized_values_have_a_limit() -> None:
    symbols = np.array([0, 3, -3, 2**31 - 1, -(2**31), 16383, -16384], dtype=np.int32)
    means = np.array([5, -1024, 1, 2**22, -(2**22), 1500, 0], dtype=np.int32)
    expected = [5, 2048, -3071, VALUE_LIMIT, -VALUE_LIMIT, VALUE_LIMIT, -VALUE_LIMIT]
    values = np.empty_like(symbols)
    dequantize(symbols, means, values)
    assert values.tolist() == expected
    dequantize(symbols[:3], None, values[:3])
    assert values.tolist() == [0, 3072, -3072, *expected[3:]]
