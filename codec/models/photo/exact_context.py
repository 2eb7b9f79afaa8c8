"""The exact path of the photo model: hyper-latents to predictions, in integer arithmetic.

The twin of `HyperSynthesis` and `codec.models.photo.context`, following the rules of
`codec.coding.exact_layers`: activations are integers in units of 2⁻¹⁰, held in float32, and so are
weights and sums if the units of a layer are coarse enough. A step of the context is up to four
layers::

    around ─ 3×3 (near) ─┐
    at the place ─ 1×1 (here) ─┴─ +bias ─ ReLU ─ 1×1 (out) ─► +Δμ, +Δindex
    errors around ─ 3×3 (linear) ─► +Δμ

A tile may code only its first channels. The others are 0, and neither their predictions nor the
steps that correct them are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Array, BoolArray, Int32Array
from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    NINE,
    ExactLayer,
    Integers,
    clamp,
    layer_arrays,
    nearest_tables,
    neighbours,
    pixel_shuffle,
    read_layer,
    rectify,
)
from codec.models.photo.config import COEFFICIENTS, TUNES, PhotoConfig
from codec.system.processors import bands, share

EDGES, CORNERS = (1, 3, 5, 7), (0, 2, 6, 8)
PASSES = {
    "corners_4": (CORNERS, 4),
    "edges_4": (EDGES, 4),
    "corners_2": (CORNERS, 2),
    "coarse": (EDGES, 2),
    "diagonal": (CORNERS, 1),
    "black": (EDGES, 1),
}
"""Passes over the first group after the first pass, which sees no neighbours: which neighbours of a
square are known, and how far away they are, in rows and columns."""
USUAL_PASSES = 3
LATER_STEPS = ("second", "third", "fourth", "fifth")
VALUE_LIMIT = 2**24
"""Largest magnitude of dequantised latents, in units of 2⁻¹⁰ steps: float32 holds it exactly, and
all photographs stay below it."""

Scalar = TypeVar("Scalar", bound=np.generic)

Prediction = tuple[Integers | None, Integers]
"""Means, if any, and table indexes: (c, n) each, in units of 2⁻¹⁰."""
Predict = Callable[[slice, slice], Prediction]
"""From a slice of channels and a slice of squares in raster order to their prediction."""

_ALL = slice(None)
_BAND_SQUARES = 768  # computed at once, so that they stay in the cache

# The format of float32.
_FRACTION_BITS, _EXPONENT_OF_ONE = 23, 127


def exact_octaves(values: Integers) -> Integers:
    """log₂(1 + |v|), linear between powers of two, rounded down; in and out in units of 2⁻¹⁰."""
    shifted = np.abs(values).astype(np.float32, copy=False)
    shifted += np.float32(2**ACTIVATION_BITS)
    # The bits of a float32, its exponent and then its mantissa, are the piecewise-linear log₂.
    units = shifted.view(np.int32) >> (_FRACTION_BITS - ACTIVATION_BITS)
    units -= (_EXPONENT_OF_ONE + ACTIVATION_BITS) << ACTIVATION_BITS
    octaves: Integers = units.astype(values.dtype)
    return octaves


def exact_features(errors: Integers, values: Integers) -> Integers:
    """The twin of `context.features`: (C, …) twice to (2·C, …)."""
    return np.concatenate([np.copysign(exact_octaves(errors), errors), exact_octaves(values)])


def dequantize(symbols: Int32Array, means: Int32Array | None, values: Int32Array) -> None:
    """Write ŷ = symbol + μ to `values`, clipped to ±`VALUE_LIMIT`.

    symbols, means, values   int32 of the same shape; means, and values, are in units of 2⁻¹⁰ steps,
                             and None stands for means of 0
    """
    # Larger symbols would reach the limit of the values, too.
    limit = 2 * VALUE_LIMIT >> ACTIVATION_BITS
    # Symbols are hardly ever large, and checking that is faster than `np.clip`.
    largest = max(-int(symbols.min()), int(symbols.max())) if symbols.size else 0
    if largest > limit:
        symbols = np.clip(symbols, -limit, limit)
    np.left_shift(symbols, ACTIVATION_BITS, out=values)
    if means is not None:
        values += means
    if largest > limit // 4:
        np.clip(values, -VALUE_LIMIT, VALUE_LIMIT, out=values)


class ExactHyperSynthesis:
    """Maps integer hyper-latents to features, and features to means and table indexes.

    layers      layers of one tune; the last one has no pixel shuffle
    corrected   number of means among the outputs; the others are indexes
    """

    def __init__(self, layers: Sequence[ExactLayer], corrected: int) -> None:
        self.layers = tuple(layers)
        self.corrected = corrected

    def features(self, hyper_latents: Int32Array, hundredths: int) -> Integers:
        """Hyper-latents int32 (Z, h, w) to the input of the last layer (hidden, 4·h, 4·w).

        Integers 0 .. 2²² in float32, in units of 2⁻¹⁰.
        """
        limit = ACTIVATION_LIMIT >> ACTIVATION_BITS
        bounded = np.clip(hyper_latents, -limit, limit)
        values: Integers = bounded.astype(np.float32) * np.float32(2**ACTIVATION_BITS)
        for layer in self.layers[:-1]:
            values = layer(values, hundredths)
            rectify(values)  # limits values so that float32 holds them exactly
            values = pixel_shuffle(values.astype(np.float32, copy=False), layer.shuffle)
        return values

    def predictor(self, features: Integers, hundredths: int) -> Predict:
        """A function that predicts means and indexes from features (hidden, h, w).

        It returns integers in float32, in units of 2⁻¹⁰, (c, n) for c channels at n squares in
        raster order; None instead of means for channels whose mean is not predicted.
        """
        last, corrected = self.layers[-1], self.corrected
        inputs = last.inputs(features).reshape(len(features), -1)

        def predict(channels: slice, squares: slice) -> Prediction:
            def outputs(start: int) -> Integers:
                wanted = slice(start + channels.start, start + channels.stop)
                return last.apply(inputs[:, squares], hundredths, outputs=wanted)

            means = outputs(0) if channels.start < corrected else None
            if means is not None:
                if last.dtype != np.float32:  # in float32, no output can exceed the limit
                    clamp(means)
                means = means.astype(np.float32, copy=False)
            # Indexes too large for float32 are far beyond the last table anyway.
            return means, outputs(corrected).astype(np.float32, copy=False)

        return predict


@dataclass(frozen=True)
class Around:
    """Known latents around the squares that a step corrects.

    errors, values   (c, h, w), see `exact_features`
    squares          the corrected squares: bool (h, w), or a slice of rows; None for all
    taps             places of the known neighbours, see `neighbours`
    """

    errors: Integers
    values: Integers
    squares: BoolArray | slice | None = None
    taps: Sequence[int] = NINE

    def of_rows(self, rows: slice) -> Around:
        """The neighbourhood of some rows, if all squares of the tile are corrected."""
        top = max(0, rows.start - 1)
        seen = slice(top, rows.stop + 1)
        own = slice(rows.start - top, rows.stop - top)
        return Around(self.errors[:, seen], self.values[:, seen], own, self.taps)

    def columns(self, values: Integers) -> Integers:
        """The neighbours of the squares in an array (c, h, w): (c · taps, n)."""
        return neighbours(values, self.taps, self.squares)


@dataclass(frozen=True)
class ExactStep:
    """The layers of one step; `near` and `linear` if it reads neighbouring latents.

    The bias of `here` is the bias of the sum of `near` and `here`.
    """

    here: ExactLayer
    out: ExactLayer
    near: ExactLayer | None = None
    linear: ExactLayer | None = None

    @property
    def layers(self) -> list[ExactLayer]:
        found = (self.here, self.out, self.near, self.linear)
        return [layer for layer in found if layer is not None]

    def check(self, name: str, around: int, here: int, width: int, outputs: int) -> None:
        """Raise `WeightsMismatchError` unless the layers have these sizes.

        around   channels of neighbouring latents, 0 for a step that reads none
        here     input channels at the same position
        """
        expected: list[object] = [(width, here, 1, 1), (outputs, width, 1, 1), None, None]
        if around:
            expected[2:] = [(width, 2 * around, 3, 3), (outputs // 2, around, 3, 3)]
        layers = (self.here, self.out, self.near, self.linear)
        found = [None if layer is None else layer.weight.shape for layer in layers]
        if found != expected or any(layer.shuffle != 1 for layer in self.layers):
            raise WeightsMismatchError(
                f"context step {name!r}: its layers have the sizes {found}, expected {expected}"
            )

    def hidden(self, here: Integers, hundredths: int, around: Around | None = None) -> Integers:
        """Columns of features at the squares (in, n) to hidden features (width, n)."""
        values = self.here.apply(self.here.inputs(here), hundredths)
        if self.near is not None and around is not None:
            features = exact_features(around.errors, around.values)
            columns = around.columns(self.near.inputs(features))
            values = values + self.near.apply(columns, hundredths, around.taps)
        rectify(values)
        return values.astype(np.float32, copy=False)

    def corrections(
        self, hidden: Integers, hundredths: int, channels: int, around: Around | None = None
    ) -> tuple[Integers, Integers]:
        """Hidden features (width, n) to corrections of means and indexes, (channels, n) each.

        channels   how many of the first channels of the group
        """
        inputs, group = self.out.inputs(hidden), len(self.out.weight) // 2
        if channels == group:
            out = self.out.apply(inputs, hundredths)
            means, indexes = out[:group], out[group:]
        else:
            means, indexes = (
                self.out.apply(inputs, hundredths, outputs=slice(start, start + channels))
                for start in (0, group)
            )
        if self.linear is not None and around is not None:
            columns = around.columns(self.linear.inputs(around.errors))
            means = means + self.linear.apply(columns, hundredths, around.taps, slice(channels))
        return means, indexes

    def index_corrections(self, hidden: Integers, hundredths: int, channels: int) -> Integers:
        """The same for a step that corrects only indexes: (channels, n)."""
        return self.out.apply(self.out.inputs(hidden), hundredths, outputs=slice(channels))


@dataclass(frozen=True)
class Place:
    """Position of latents that are coded together: channels, at some or all squares of a tile.

    squares   bool (h, w), or None for all
    """

    channels: slice
    squares: BoolArray | None = None

    def take(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """The values of an array (C, h, w) at this place: (c, n)."""
        own = values[self.channels]
        return own.reshape(len(own), -1) if self.squares is None else own[:, self.squares]

    def put(self, values: npt.NDArray[Scalar], parts: npt.NDArray[Scalar]) -> None:
        """Write (c, n) into an array (C, h, w) at this place."""
        own = values[self.channels]
        if self.squares is None:
            own[...] = parts.reshape(own.shape)
        else:
            own[:, self.squares] = parts


@dataclass(frozen=True)
class Part:
    """Latents that are coded together, n squares of c channels, with their predictions.

    means     int32 (c, n), in units of 2⁻¹⁰ quantiser steps
    indexes   int32 (c, n), the table of each
    """

    place: Place
    means: Int32Array
    indexes: Int32Array


@dataclass(frozen=True)
class CodedPart(Part):
    """The same with its symbols, int32 (c, n)."""

    symbols: Int32Array

    def first(self, channels: int) -> CodedPart:
        """Its part within the first channels of a tile."""
        own = self.place.channels
        count = min(own.stop, channels) - own.start
        place = Place(slice(own.start, own.start + count), self.place.squares)
        return CodedPart(place, self.means[:count], self.indexes[:count], self.symbols[:count])


def pass_names(config: PhotoConfig) -> list[str]:
    """The passes of `PASSES` that a model has. Raises `WeightsMismatchError` for too many."""
    most = len(PASSES) - USUAL_PASSES
    if not 0 <= config.far_passes <= most:
        raise WeightsMismatchError(
            f"weights file: {config.far_passes} far passes, expected 0 .. {most}"
        )
    return list(PASSES)[most - config.far_passes :]


def step_names(config: PhotoConfig) -> list[str]:
    """The steps of a model, in coding order."""
    return [*pass_names(config), *LATER_STEPS]


def checkerboards(height: int, width: int, names: Sequence[str]) -> list[BoolArray]:
    """The squares of each pass over the first group, bool (height, width), and of the first pass.

    names   names in `PASSES`, which do not include the first pass
    """
    rows, columns = np.arange(height)[:, None], np.arange(width)
    squares, known = [], np.zeros((height, width), np.bool_)
    for name in reversed(names):
        taps, apart = PASSES[name]
        grid = (rows % apart == 0) & (columns % apart == 0)
        odd_row, odd_column = rows // apart % 2 == 1, columns // apart % 2 == 1
        own = odd_row & odd_column if taps == CORNERS else odd_row ^ odd_column
        squares.append(grid & own)
        known |= squares[-1]
    return [~known, *reversed(squares)]


class ExactContext:
    """Codes the latents of a tile part by part, with means and tables from the earlier parts.

    steps         steps of one tune, by the names of `step_names`
    table_count   number of tables for latents

    Raises `WeightsMismatchError` if the steps do not fit the sizes of the model.
    """

    def __init__(
        self, steps: Mapping[str, ExactStep], config: PhotoConfig, table_count: int
    ) -> None:
        self.pass_names = pass_names(config)
        self.passes = [(steps[name], *PASSES[name]) for name in self.pass_names]
        self.steps = [steps[name] for name in LATER_STEPS]
        first, second, third, fourth = sizes = config.groups
        if config.corrected != sum(sizes) or not 0 < config.corrected < COEFFICIENTS:
            raise WeightsMismatchError(
                f"weights file: groups of {sizes} channels, of which {config.corrected} have "
                f"means, expected all of these, and less than {COEFFICIENTS}"
            )
        fifth = COEFFICIENTS - config.corrected
        ends = list(accumulate((0, *sizes, fifth)))
        self.groups = tuple(slice(*pair) for pair in pairwise(ends))
        self.table_count = table_count
        hidden, width = config.hidden, config.context_width
        for name in self.pass_names:
            steps[name].check(name, first, hidden, width, 2 * first)
        steps["second"].check("second", first, hidden, width, 2 * second)
        steps["third"].check("third", first + second, hidden, width, 2 * third)
        steps["fourth"].check("fourth", 0, 2 * third + hidden + width, width, 2 * fourth)
        steps["fifth"].check("fifth", 0, fourth + hidden + width, width, fifth)

    @property
    def fewest(self) -> int:
        """The fewest channels that a tile can code: the first group."""
        return int(self.groups[0].stop)

    def places(self, height: int, width: int, channels: int) -> list[Place]:
        """The parts of the first channels of a tile, in coding order."""
        first, *others = self.groups
        return [
            *(Place(first, squares) for squares in checkerboards(height, width, self.pass_names)),
            *(Place(slice(g.start, min(g.stop, channels))) for g in others if g.start < channels),
        ]

    def __call__(
        self,
        predict: Predict,
        hidden: Integers,
        hundredths: int,
        code: Callable[[Part], Int32Array],
        values: Int32Array,
    ) -> list[CodedPart]:
        """Code the first channels of a tile.

        predict     means and indexes of the hyper-synthesis, see `ExactHyperSynthesis.predictor`
        hidden      its last features (hidden, h, w)
        code        returns the symbols int32 (c, n) of a part; called once for each part, in order
        values      int32 (c, h, w), output: the dequantised latents, in units of 2⁻¹⁰ steps
        """
        _, height, width = hidden.shape
        tile = _Tile(self.groups, predict, self.table_count, code, values)
        first = self.groups[0]
        known, *grids = checkerboards(height, width, self.pass_names)
        tile.code_squares(Place(first, known))
        for (step, taps, distance), squares in zip(self.passes, grids, strict=True):
            errors, values_known = tile.known(Place(first, known))
            sparse = np.s_[..., ::distance, ::distance]
            around = Around(errors[sparse], values_known[sparse], squares[sparse], taps)
            hidden_there = step.hidden(hidden[:, squares], hundredths, around)
            corrections = step.corrections(hidden_there, hundredths, _count(first), around)
            tile.code_squares(Place(first, squares), corrections)
            known = known | squares

        # No group is coded after one that is coded only in part.
        places = self.places(height, width, len(values))[1 + len(grids) :]
        counts = [_count(place.channels) for place in places]
        here = hidden.reshape(len(hidden), -1)
        second, third, fourth, fifth = self.steps
        # Hidden features of the latest step, which the fourth and fifth steps read.
        last = np.empty((len(third.here.weight), height * width), np.float32)

        def near(step: ExactStep, count: int, before: Around, band: Band) -> Prediction:
            own, around = band.squares, before.of_rows(band.rows)
            last[:, own] = step.hidden(here[:, own], hundredths, around)
            return step.corrections(last[:, own], hundredths, count, around)

        def with_last(step: ExactStep, features: Integers, own: slice) -> Integers:
            columns = [features.reshape(len(features), -1), here[:, own], last[:, own]]
            last[:, own] = step.hidden(np.concatenate(columns), hundredths)
            return last[:, own]

        def in_fourth(band: Band) -> Prediction:
            features = exact_features(*tile.known(places[1], band.rows))
            seen = with_last(fourth, features, band.squares)
            return fourth.corrections(seen, hundredths, counts[2])

        def in_fifth(band: Band) -> Prediction:
            features = exact_octaves(tile.values(places[2], band.rows))
            seen = with_last(fifth, features, band.squares)
            return None, fifth.index_corrections(seen, hundredths, counts[3])

        for step, place, count in zip((second, third), places, counts, strict=False):
            before = Around(*tile.known(Place(slice(place.channels.start))))
            tile.code(place, partial(near, step, count, before))
        for place, corrections_of in zip(places[2:], (in_fourth, in_fifth), strict=False):
            tile.code(place, corrections_of)
        return tile.parts


def _count(channels: slice) -> int:
    return int(channels.stop - channels.start)


@dataclass(frozen=True)
class Band:
    """Rows of a tile, and the squares in them in raster order."""

    rows: slice
    squares: slice


class _Tile:
    """State of a tile while it is coded. Floating-point arrays hold integers in units of 2⁻¹⁰."""

    def __init__(
        self,
        groups: Sequence[slice],
        predict: Predict,
        table_count: int,
        code: Callable[[Part], Int32Array],
        values: Int32Array,
    ) -> None:
        first, _, third, fourth, _ = groups
        size = values.shape[1:]
        self._predict, self._table_count, self._code = predict, table_count, code
        self._values, self._corrected = values, fourth.stop
        # Means are kept up to the third group: later groups' errors are never used.
        self._means: Integers = np.empty((third.stop, *size), np.float32)
        means, indexes = predict(first, slice(None))
        assert means is not None
        self._means[first] = means.reshape(-1, *size)
        self._first_indexes = indexes.reshape(-1, *size)
        self.parts: list[CodedPart] = []

    def code_squares(self, place: Place, corrections: Prediction | None = None) -> None:
        """Code squares of the first group, with corrections (c, n) of the predictions."""
        predicted = place.take(self._means), place.take(self._first_indexes)
        means, tables = self._correct(predicted, corrections)
        symbols = self._have_coded(place, means, tables)
        values = np.empty_like(symbols)
        dequantize(symbols, means, values)
        place.put(self._values, values)

    def code(self, place: Place, corrections_of: Callable[[Band], Prediction]) -> None:
        """Code a group, with corrections (c, n) of the predictions for each band.

        Means are 0 if they are not predicted.
        """
        channels, (_, height, width) = place.channels, self._values.shape
        tables: Int32Array = np.empty((_count(channels), height * width), np.int32)
        means = np.empty_like(tables) if channels.start < self._corrected else None

        def correct(rows: slice) -> None:
            own = slice(rows.start * width, rows.stop * width)
            predicted = self._predict(channels, own)
            if predicted[0] is not None and channels.start < len(self._means):
                self._means[channels, rows] = predicted[0].reshape(len(tables), -1, width)
            own_means, tables[:, own] = self._correct(predicted, corrections_of(Band(rows, own)))
            if means is not None and own_means is not None:
                means[:, own] = own_means

        share(correct, bands(height, _BAND_SQUARES, width))
        symbols = self._have_coded(place, means, tables)
        dequantize(symbols, means, self._values[channels].reshape(symbols.shape))

    def _correct(
        self, predicted: Prediction, corrections: Prediction | None
    ) -> tuple[Int32Array | None, Int32Array]:
        """Corrected means, if any, and tables: int32 (c, n)."""
        means, indexes = predicted
        if corrections is not None:
            means_by, indexes_by = corrections
            indexes = indexes + indexes_by
            if means is not None and means_by is not None:
                means = means + means_by
                clamp(means)
        tables = nearest_tables(indexes, self._table_count)
        return None if means is None else means.astype(np.int32), tables

    def _have_coded(self, place: Place, means: Int32Array | None, tables: Int32Array) -> Int32Array:
        known: Int32Array = np.broadcast_to(np.int32(0), tables.shape) if means is None else means
        symbols = self._code(Part(place, known, tables))
        self.parts.append(CodedPart(place, known, tables, symbols))
        return symbols

    def values(self, place: Place, rows: slice = _ALL) -> Integers:
        """Dequantised values at a place, (c, h, w); 0 at other squares."""
        values = self._values[place.channels, rows].astype(np.float32)
        clamp(values)
        if place.squares is not None:
            values *= place.squares
        return values

    def known(self, place: Place, rows: slice = _ALL) -> tuple[Integers, Integers]:
        """Errors of the hyper-synthesis, and values, at a place, (c, h, w); 0 at other squares."""
        values = self.values(place, rows)
        errors = values - self._means[place.channels, rows]
        clamp(errors)
        if place.squares is not None:
            errors *= place.squares
        return errors, values


def of_tune(arrays: Mapping[str, Array], name: str, tune: int) -> ExactLayer:
    """A layer for one tune; its stored bias has both tunes, int32 (2, knots, out).

    Raises `WeightsMismatchError`.
    """
    bias = arrays.get(f"{name}.bias")
    if bias is None or bias.ndim != 3 or len(bias) != len(TUNES):
        found = "missing" if bias is None else f"{bias.dtype}{list(bias.shape)}"
        raise WeightsMismatchError(
            f"weights file: {name}.bias is {found}, expected int32[{len(TUNES)}, knots, outputs]"
        )
    own = {key: array for key, array in arrays.items() if key.startswith(f"{name}.")}
    return read_layer(own | {f"{name}.bias": bias[tune]}, name)


def exact_layer_arrays(layers: Sequence[ExactLayer], name: str) -> dict[str, Array]:
    """Arrays of a layer, which is given once per tune; the inverse of `of_tune`."""
    bias = np.stack([layer.bias for layer in layers])
    return layer_arrays(layers[0], name) | {f"{name}.bias": bias}


def hyper_synthesis_from_arrays(
    arrays: Mapping[str, Array], tune: int, config: PhotoConfig
) -> ExactHyperSynthesis:
    """The layers `exact.0`, `exact.1`, … of a weights file. Raises `WeightsMismatchError`."""
    layers: list[ExactLayer] = []
    while f"exact.{len(layers)}.weight" in arrays:
        layers.append(of_tune(arrays, f"exact.{len(layers)}", tune))
    width, hidden = config.hyper_width, config.hidden
    expected = [
        ((width, config.hyper_channels, 3, 3), 1),
        ((4 * hidden, width, 1, 1), 2),
        ((width, hidden, 3, 3), 1),
        ((4 * hidden, width, 1, 1), 2),
        ((config.corrected + COEFFICIENTS, hidden, 1, 1), 1),
    ]
    found = [(layer.weight.shape, layer.shuffle) for layer in layers]
    if found != expected:
        raise WeightsMismatchError(
            f"weights file: the exact path has layers of {found}, expected {expected}"
        )
    return ExactHyperSynthesis(layers, config.corrected)


def context_from_arrays(
    arrays: Mapping[str, Array], tune: int, config: PhotoConfig, table_count: int
) -> ExactContext:
    """The context of a weights file, `context.<step>.<layer>.…`. Raises `WeightsMismatchError`."""

    def layer(name: str) -> ExactLayer | None:
        return of_tune(arrays, name, tune) if f"{name}.weight" in arrays else None

    steps = {
        step: ExactStep(
            here=of_tune(arrays, f"context.{step}.here", tune),
            out=of_tune(arrays, f"context.{step}.out", tune),
            near=layer(f"context.{step}.near"),
            linear=layer(f"context.{step}.linear"),
        )
        for step in step_names(config)
    }
    return ExactContext(steps, config, table_count)
