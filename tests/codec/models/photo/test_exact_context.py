"""The context: the same integers on every machine, and those that the float network predicts."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import ACTIVATION_BITS, ExactHyperSynthesis, Units, interpolate_knots
from codec.models.photo import fixed_point as photo_fixed_point
from codec.models.photo.context import octaves
from codec.models.photo.exact_context import (
    ExactContext,
    Part,
    context_arrays,
    context_from_arrays,
    exact_octaves,
)
from codec.models.photo.fixed_point import exact_context, exact_layers, restore
from codec.models.photo.network import HIDDEN, PhotoModel
from tests.codec.tiny import TINY

Array = npt.NDArray[Any]

UNIT = 2.0**-ACTIVATION_BITS
SIZE = (7, 5)


@pytest.fixture(params=["single", "double"], autouse=True)
def units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Layers whose sums fit float32, and those of the finest units."""
    if request.param == "double":
        monkeypatch.setattr(photo_fixed_point, "single_precision", lambda *_: Units())
    return str(request.param)


def model_with_context(seed: int = 0) -> PhotoModel:
    torch.manual_seed(seed)
    model = PhotoModel(TINY)
    assert model.context is not None
    with torch.no_grad():
        for parameter in model.context.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def inputs(seed: int) -> tuple[Array, Array, Array]:
    """Prediction (2·C, h, w) and hidden features in units of 2⁻¹⁰, and latents (C, h, w)."""
    rng = np.random.default_rng(seed)
    channels = TINY.latent_channels
    prediction = np.rint(rng.normal(0, 3, (2 * channels, *SIZE)) / UNIT)
    prediction[channels:] += np.rint(25 / UNIT)
    hidden = np.rint(rng.exponential(1, (HIDDEN, *SIZE)) / UNIT)
    return prediction, hidden, rng.normal(0, 6, (channels, *SIZE)).astype(np.float32)


def coded(
    context: ExactContext, seed: int = 0, quality: int = 4321
) -> tuple[Array, Array, Array, list[Part]]:
    prediction, hidden, latents = inputs(seed)
    parts: list[Part] = []

    def code(part: Part) -> Array:
        parts.append(part)
        own = part.place.take(latents)
        symbols: Array = np.rint(own - part.means * UNIT).astype(np.int32)
        return symbols

    symbols, output = context(prediction, hidden, quality, code)
    return symbols, output.means, output.indexes, parts


def tiny_context() -> ExactContext:
    context = exact_context(model_with_context(), 64)
    assert context is not None
    return context


def test_every_latent_is_coded_once_low_frequencies_first() -> None:
    context = tiny_context()
    symbols, means, indexes, parts = coded(context)
    count = np.zeros(symbols.shape, dtype=int)
    order = []
    for part in parts:
        part.place.put(count, part.place.take(count) + 1)
        order.append(part.place.channels.start)
        np.testing.assert_array_equal(part.place.take(means), part.means)
        np.testing.assert_array_equal(part.place.take(indexes), part.indexes)
    assert (count == 1).all()
    assert order == [0, 0, 6, 16]
    assert [part.means.shape for part in parts] == [(6, 18), (6, 17), (10, 35), (16, 35)]
    places = np.arange(count.size).reshape(count.shape)
    for part, place in zip(parts, context.places(*SIZE), strict=True):
        np.testing.assert_array_equal(part.place.take(places), place.take(places))


def test_units_decide_what_holds_the_integers(units: str) -> None:
    assert tiny_context().dtype == {"single": np.float32, "double": np.float64}[units]


def test_single_precision_gives_the_integers_of_double(monkeypatch: pytest.MonkeyPatch) -> None:
    single = tiny_context()
    monkeypatch.setattr("codec.coding.exact_layers.SINGLE_LIMIT", 0)
    double = context_from_arrays(context_arrays(single), 64)
    assert double is not None
    assert double.dtype == np.float64
    for seed in range(5):
        for one, two in zip(coded(single, seed)[:3], coded(double, seed)[:3], strict=True):
            np.testing.assert_array_equal(one, two)


def test_follows_the_float_network(units: str) -> None:
    model = model_with_context()
    assert model.context is not None
    context = exact_context(model, 64)
    assert context is not None
    prediction, hidden, latents = inputs(3)
    symbols, means, indexes, _ = coded(context, 3)
    # Where these latents are, halfway between two borders, both round to the same symbols.
    latents = (symbols + means * UNIT).astype(np.float32)
    floats = [torch.from_numpy(array * UNIT).float()[None] for array in (prediction, hidden)]
    base_means, base_indexes = floats[0].chunk(2, dim=1)
    with torch.no_grad():
        float_means, float_indexes = model.context(
            torch.from_numpy(latents)[None],
            base_means,
            base_indexes,
            floats[1],
            torch.tensor([(4321 - 100) / 9900]),
        )
    largest, same = {"single": (0.15, 0.9), "double": (0.02, 0.98)}[units]
    np.testing.assert_allclose(means * UNIT, float_means[0].numpy(), atol=largest)
    nearest = np.clip(np.floor(float_indexes[0].numpy() + 0.5), 0, 63)
    assert (indexes == nearest).mean() > same
    assert np.abs(indexes - nearest).max() <= 1
    moved = (float_means - base_means).abs()[0].mean(dim=(1, 2))
    assert bool((moved > 0.01).all())


Grid = dict[tuple[int, int], list[int]]  # numbers of the channels at each column of latents


def _layer(arrays: Mapping[str, Array], name: str, inputs: Grid, hundredths: int) -> Grid:
    """A layer as FORMAT.md has it, on Python's unbounded integers."""
    weight = arrays[f"{name}.weight"].astype(object)
    bias = interpolate_knots(arrays[f"{name}.bias"], hundredths).tolist()
    a, b, limit = arrays.get(f"{name}.units", np.array([10, 12, 2**22])).tolist()
    inputs = {
        place: [min(max((2 * v + 2 ** (10 - a)) >> (11 - a), -limit), limit) for v in values]
        for place, values in inputs.items()
    }
    reach = weight.shape[2] // 2
    outputs = {}
    for y, x in inputs:
        sums = [0] * len(weight)
        for i in range(-reach, reach + 1):
            for j in range(-reach, reach + 1):
                for channel, value in enumerate(inputs.get((y + i, x + j), [])):
                    row = weight[:, channel, i + reach, j + reach]
                    sums = [s + w * value for s, w in zip(sums, row, strict=True)]
        outputs[y, x] = [(s << 10 >> (a + b)) + more for s, more in zip(sums, bias, strict=True)]
    return outputs


def _limited(value: int) -> int:
    return min(max(value, -(2**22)), 2**22)


def _octaves(value: int) -> int:
    exponent = (abs(value) + 1024).bit_length()
    scaled = 1024 * (exponent - 12) * (1 << exponent) + 2048 * (abs(value) + 1024)
    return scaled >> exponent


def _features(errors: list[int], values: list[int]) -> list[int]:
    signed = [(1 if e > 0 else -1 if e < 0 else 0) * _octaves(e) for e in errors]
    return signed + [_octaves(v) for v in values]


def _correct(
    arrays: Mapping[str, Array], step: str, here: Grid, around: tuple[Grid, Grid] | None = None
) -> tuple[Grid, Grid, Grid]:
    """Corrections of means and of indexes, and u, from what is at the place and f and e around."""
    name = f"context.{step}."
    sums = [_layer(arrays, name + "here", here, 4321)]
    if around is not None:
        sums.append(_layer(arrays, name + "near", around[0], 4321))
    hidden = {
        place: [
            min(max(sum(terms), 0), 2**22) for terms in zip(*(s[place] for s in sums), strict=True)
        ]
        for place in here
    }
    out = _layer(arrays, name + "out", hidden, 4321)
    count = len(next(iter(out.values()))) // 2
    means = {place: values[:count] for place, values in out.items()}
    if around is not None:
        extra = _layer(arrays, name + "linear", around[1], 4321)
        means = {p: [a + b for a, b in zip(means[p], extra[p], strict=True)] for p in out}
    return means, {place: values[count:] for place, values in out.items()}, hidden


def test_matches_a_second_decoder_in_unbounded_integers() -> None:
    context = tiny_context()
    arrays = context_arrays(context)
    prediction, hidden, _ = (array[:, :3, :2] for array in inputs(5))
    rng = np.random.default_rng(6)
    symbols = rng.integers(-9, 10, (TINY.latent_channels, 3, 2)).astype(np.int32)
    symbols[2, 1, 0], symbols[3, 0, 0] = 2**31 - 1, -5000
    _, found = context(prediction, hidden, 4321, lambda part: part.place.take(symbols))

    places = [(y, x) for y in range(3) for x in range(2)]
    integers = {p: [int(v) for v in prediction[:, p[0], p[1]]] for p in places}
    base = {p: integers[p][: TINY.latent_channels] for p in places}
    indexes = {p: integers[p][TINY.latent_channels :] for p in places}
    means = {p: list(base[p]) for p in places}
    last = {p: [int(v) for v in hidden[:, p[0], p[1]]] for p in places}

    def known(channels: range, at: list[tuple[int, int]]) -> tuple[Grid, Grid]:
        values = {p: [0] * len(channels) for p in places}
        errors = {p: [0] * len(channels) for p in places}
        for p in at:
            values[p] = [_limited(1024 * int(symbols[c][p]) + means[p][c]) for c in channels]
            pairs = zip(values[p], channels, strict=True)
            errors[p] = [_limited(v - base[p][c]) for v, c in pairs]
        return errors, values

    def change(channels: range, at: list[tuple[int, int]], by: tuple[Grid, Grid, Grid]) -> Grid:
        for p in at:
            for number, c in enumerate(channels):
                means[p][c] = _limited(means[p][c] + by[0][p][number])
                indexes[p][c] = _limited(indexes[p][c] + by[1][p][number])
        return by[2]

    white = [p for p in places if sum(p) % 2 == 0]
    black = [p for p in places if sum(p) % 2]
    first, second, third = range(6), range(6, 16), range(16, 32)
    errors, values = known(first, white)
    near = {p: _features(errors[p], values[p]) for p in places}
    change(first, black, _correct(arrays, "black", last, (near, errors)))
    errors, values = known(first, places)
    near = {p: _features(errors[p], values[p]) for p in places}
    seen = change(second, places, _correct(arrays, "second", last, (near, errors)))
    e, v = known(second, places)
    here = {p: _features(e[p], v[p]) + last[p] + seen[p] for p in places}
    change(third, places, _correct(arrays, "third", here))

    for y, x in places:
        assert found.means[:, y, x].tolist() == means[y, x]
        tables = [min(max((i + 512) >> 10, 0), 63) for i in indexes[y, x]]
        assert found.indexes[:, y, x].tolist() == tables


def test_a_part_depends_on_those_before_it_alone() -> None:
    context = tiny_context()
    prediction, hidden, _ = inputs(1)

    def parts_with(changed: int) -> list[Part]:
        parts: list[Part] = []

        def code(part: Part) -> Array:
            parts.append(part)
            rng = np.random.default_rng((len(parts), len(parts) == changed))
            return rng.integers(-9, 10, part.means.shape).astype(np.int32)

        context(prediction, hidden, 7500, code)
        return parts

    plain = parts_with(0)
    for changed in (1, 2, 3, 4):
        pairs = zip(plain, parts_with(changed), strict=True)
        same = [np.array_equal(one.means, two.means) for one, two in pairs]
        # The third group sees the second, and everything sees the first.
        assert same == [number <= changed for number in range(1, 5)]


def test_symbols_of_any_size_stay_in_range() -> None:
    context = tiny_context()
    prediction, hidden, _ = inputs(2)

    def code(part: Part) -> Array:
        return np.where(part.means % 2, 2**31 - 1, -(2**31)).astype(np.int32)

    symbols, output = context(prediction, hidden, 10000, code)
    assert np.abs(output.means.astype(np.int64)).max() <= 2**22
    assert output.indexes.min() >= 0
    assert output.indexes.max() <= 63
    assert set(np.unique(symbols)) == {-(2**31), 2**31 - 1}


def test_same_integers_in_another_order_of_summation() -> None:
    model = model_with_context()
    context = exact_context(model, 64)
    assert context is not None
    arrays = context_arrays(context)
    # Hidden units permuted alike give the same sums in another order.
    width = TINY.context_width
    order = np.random.default_rng(1).permutation(width)
    for step in ("black", "second", "third"):
        key = f"context.{step}."
        for name in ("near", "here"):
            if f"{key}{name}.weight" in arrays:
                arrays[f"{key}{name}.weight"] = arrays[f"{key}{name}.weight"][order]
                arrays[f"{key}{name}.bias"] = arrays[f"{key}{name}.bias"][:, order]
        arrays[key + "out.weight"] = arrays[key + "out.weight"][:, order]
    # The third step sees the hidden units of the second.
    here = arrays["context.third.here.weight"]
    arrays["context.third.here.weight"] = np.concatenate(
        [here[:, :-width], here[:, -width:][:, order]], axis=1
    )
    permuted = context_from_arrays(arrays, 64)
    assert permuted is not None
    for one, two in zip(coded(context)[:3], coded(permuted)[:3], strict=True):
        np.testing.assert_array_equal(one, two)


def test_octaves_are_exact_and_those_of_training() -> None:
    values = np.array([0, 1, 511, 1023, 1024, 1025, 3 * 1024, -3 * 1024, 2**22, 2**23 - 1])
    found = exact_octaves(values.astype(np.float64))
    for value, result in zip(values.tolist(), found.tolist(), strict=True):
        shifted = Fraction(abs(value) + 1024, 1024)
        exponent = 0
        while shifted >= 2 ** (exponent + 1):
            exponent += 1
        expected = exponent - 1 + shifted / 2**exponent
        assert result == (expected * 1024).__floor__()
    np.testing.assert_allclose(
        octaves(torch.from_numpy(values * UNIT)).numpy(), found * UNIT, atol=1.1 * UNIT
    )


def test_arrays_and_floats_round_trip() -> None:
    model = model_with_context()
    context = exact_context(model, 64)
    assert context is not None
    again = context_from_arrays(context_arrays(context), 64)
    assert again is not None
    other = restore(PhotoModel(TINY), exact_layers(model), again)
    twice = exact_context(other, 64)
    assert twice is not None
    for key, array in context_arrays(context).items():
        np.testing.assert_array_equal(array, context_arrays(twice)[key])
    assert context_from_arrays({"exact.0.weight": np.zeros(1)}, 64) is None


@pytest.mark.parametrize("part", ["near", "here", "out", "linear"])
def test_refuses_layers_of_other_sizes(part: str) -> None:
    arrays = context_arrays(tiny_context())
    key = f"context.second.{part}.weight"
    arrays[key] = arrays[key][:, :-1]
    with pytest.raises(WeightsMismatchError, match="second"):
        context_from_arrays(arrays, 64)
    del arrays[key]
    with pytest.raises(WeightsMismatchError, match=r"'second'|context\.second"):
        context_from_arrays(arrays, 64)


def test_a_silent_context_predicts_what_the_hyper_synthesis_does() -> None:
    model = PhotoModel(TINY).eval()
    context = exact_context(model, 64)
    assert context is not None
    layers = ExactHyperSynthesis(exact_layers(model), 64)
    hyper = np.random.default_rng(0).integers(-9, 10, (TINY.hyper_channels, 2, 2))
    hidden = layers.features(hyper.astype(np.int32), 5000)
    prediction = layers.predict(hidden, 5000)
    whole = layers(hyper.astype(np.int32), 5000)
    rng = np.random.default_rng(1)
    _, output = context(
        prediction, hidden, 5000, lambda p: rng.integers(-5, 6, p.means.shape).astype(np.int32)
    )
    np.testing.assert_array_equal(output.means, whole.means)
    np.testing.assert_array_equal(output.indexes, whole.indexes)
