"""The exact path of the context: latents that are known to table indexes, in integer arithmetic.

The twin of `codec.models.photo_context` by the rules of `codec.exact`: activations are integers in
units of 2⁻¹⁰, held in float64. A step is four layers of fixed point::

    around ─ 3×3 (near) ─┐
    at the place, hidden ─ 1×1 (here) ─┴─ +bias ─ ReLU ─ 1×1 (out) ─► +Δμ, +Δindex
    errors around ─ 3×3 (linear) ─► +Δμ
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitstream.errors import WeightsMismatchError
from codec.exact import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    Array,
    ExactLayer,
    ExactOutput,
    Float64Array,
    layer_arrays,
    read_layer,
    round_prediction,
)

STEPS = ("black", "second", "third")
PARTS = ("near", "here", "out", "linear")

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Place = tuple[slice, BoolArray]  # channels, and columns of latents (h, w)


def exact_octaves(values: Float64Array) -> Float64Array:
    """log₂(1 + |v|), linear between powers of two, rounded down; in and out in units of 2⁻¹⁰."""
    fraction, exponent = np.frexp(np.abs(values) + 2.0**ACTIVATION_BITS)
    unit = 2.0**ACTIVATION_BITS
    result: Float64Array = np.floor((2 * fraction + (exponent - ACTIVATION_BITS - 2)) * unit)
    return result


def exact_features(errors: Float64Array, values: Float64Array) -> Float64Array:
    """The twin of `codec.models.photo_context.features`: (C, h, w) twice to (2·C, h, w)."""
    return np.concatenate([np.sign(errors) * exact_octaves(errors), exact_octaves(values)])


@dataclass(frozen=True)
class ExactStep:
    """The layers of one step. The bias of `near` is that of the sum of `near` and `here`."""

    near: ExactLayer
    here: ExactLayer
    out: ExactLayer
    linear: ExactLayer

    def check(self, name: str, sizes: tuple[int, int, int, int, int]) -> None:
        """Raise `WeightsMismatchError` unless the layers have these sizes.

        sizes   channels around, at the place, hidden, corrected, and errors around
        """
        around, here, width, channels, errors = sizes
        expected = [(width, around), (width, here), (2 * channels, width), (channels, errors)]
        layers = (self.near, self.here, self.out, self.linear)
        found = [layer.weight.shape[:2] for layer in layers]
        if found != expected or any(layer.shuffle != 1 for layer in layers):
            raise WeightsMismatchError(
                f"context step {name!r}: its layers have the sizes {found}, expected {expected}"
            )

    def __call__(
        self, around: Float64Array, errors: Float64Array, here: Float64Array, hundredths: int
    ) -> tuple[Float64Array, Float64Array]:
        """Corrections of means and of indexes, (channels, h, w) each, in units of 2⁻¹⁰."""
        hidden = self.near(around, hundredths)
        hidden += self.here(here, hundredths)
        np.clip(hidden, 0, ACTIVATION_LIMIT, out=hidden)
        means, indexes = np.split(self.out(hidden, hundredths), 2)
        return means + self.linear(errors, hundredths), indexes


@dataclass(frozen=True)
class Part:
    """Latents that are coded together, n places of the channels of a group.

    channels  which of the model's
    places    bool (h, w), the columns of latents
    means     int32 (c, n), in units of 2⁻¹⁰ quantiser steps
    indexes   int32 (c, n), the table of each
    """

    channels: slice
    places: BoolArray
    means: Int32Array
    indexes: Int32Array


class ExactContext:
    """Latents of a tile, coded part by part, each with means and tables from those before."""

    def __init__(self, steps: Mapping[str, ExactStep], table_count: int) -> None:
        self.black, self.second, self.third = (steps[name] for name in STEPS)
        first, second, third = (len(steps[name].linear.weight) for name in STEPS)
        width, hidden = self.black.here.weight.shape[:2]
        self.sizes = first, second, third, hidden, width
        self.groups = (slice(0, first), slice(first, first + second), slice(first + second, None))
        self.table_count = table_count
        for name, channels, here in (
            ("black", first, hidden),
            ("second", second, hidden),
            ("third", third, 2 * second + hidden),
        ):
            steps[name].check(name, (2 * first, here, width, channels, first))

    def parts(self, height: int, width: int) -> list[Place]:
        """Channels and places of the latents that are coded together, in the order of coding."""
        first, second, third = self.groups
        white = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
        everywhere = np.ones_like(white)
        return [(first, white), (first, ~white), (second, everywhere), (third, everywhere)]

    def __call__(
        self,
        prediction: Float64Array,
        hidden: Float64Array,
        hundredths: int,
        code: Callable[[Part], Int32Array],
    ) -> tuple[Int32Array, ExactOutput]:
        """Symbols of a tile with their means and indexes, int32 (C, h, w) each.

        prediction  means, then indexes of the hyper-synthesis, (2·C, h, w) in units of 2⁻¹⁰
        hidden      its last features (96, h, w)
        code        gives the symbols int32 (c, n) of a part; called once for each part, in order
        """
        base_means, base_indexes = np.split(prediction, 2)
        tile = _Tile(base_means, base_indexes, self.table_count, code)
        first, second, third = self.groups
        white, black, all_second, all_third = self.parts(*base_means.shape[1:])
        tile.code(*white)
        errors, values = tile.known(first)
        tile.correct(first, self.black(exact_features(errors, values), errors, hidden, hundredths))
        tile.code(*black)
        errors, values = tile.known(first)
        around = exact_features(errors, values)
        tile.correct(second, self.second(around, errors, hidden, hundredths))
        tile.code(*all_second)
        here = np.concatenate([exact_features(*tile.known(second)), hidden])
        tile.correct(third, self.third(around, errors, here, hundredths))
        tile.code(*all_third)
        return tile.symbols, ExactOutput(tile.means, tile.indexes)


class _Tile:
    """What is known of a tile while it is coded. Real arrays hold integers in units of 2⁻¹⁰."""

    def __init__(
        self,
        means: Float64Array,
        indexes: Float64Array,
        table_count: int,
        code: Callable[[Part], Int32Array],
    ) -> None:
        self.base_means = means
        self.predicted = (means.copy(), indexes.copy())
        self.symbols, self.means, self.indexes = (
            np.zeros(means.shape, dtype=np.int32) for _ in range(3)
        )
        self.coded = np.zeros(means.shape, dtype=np.bool_)
        self.table_count, self._code = table_count, code

    def correct(self, channels: slice, corrections: tuple[Float64Array, Float64Array]) -> None:
        """Add corrections to what is predicted of a group, where it is not coded yet."""
        for values, correction in zip(self.predicted, corrections, strict=True):
            values[channels] += correction
            np.clip(values, -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=values)

    def code(self, channels: slice, places: BoolArray) -> None:
        """Have the latents of a group at some places coded."""
        stacked = np.concatenate([values[channels][:, places] for values in self.predicted])
        output = round_prediction(stacked, self.table_count)
        part = Part(channels, places, output.means, output.indexes)
        self.means[channels][:, places] = part.means
        self.indexes[channels][:, places] = part.indexes
        self.symbols[channels][:, places] = self._code(part)
        self.coded[channels][:, places] = True

    def known(self, channels: slice) -> tuple[Float64Array, Float64Array]:
        """Errors of the hyper-synthesis and values of a group, (c, h, w); 0 where unknown."""
        symbols = np.clip(self.symbols[channels], -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        values = symbols * 2.0**ACTIVATION_BITS + self.means[channels]
        np.clip(values, -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=values)
        coded = self.coded[channels]
        values *= coded
        errors = values - self.base_means[channels] * coded
        return np.clip(errors, -ACTIVATION_LIMIT, ACTIVATION_LIMIT), values


def context_from_arrays(arrays: Mapping[str, Array], table_count: int) -> ExactContext | None:
    """The context of a weights file, `context.<step>.<layer>.…`; None where it holds none.

    Raises `WeightsMismatchError`.
    """
    if not any(name.startswith("context.") for name in arrays):
        return None
    steps = {
        step: ExactStep(*(read_layer(arrays, f"context.{step}.{part}") for part in PARTS))
        for step in STEPS
    }
    return ExactContext(steps, table_count)


def context_arrays(context: ExactContext) -> dict[str, Array]:
    """Arrays by name, to be stored in a weights file; the inverse of `context_from_arrays`."""
    arrays: dict[str, Array] = {}
    for name in STEPS:
        step: ExactStep = getattr(context, name)
        for part in PARTS:
            arrays |= layer_arrays(getattr(step, part), f"context.{name}.{part}")
    return arrays
