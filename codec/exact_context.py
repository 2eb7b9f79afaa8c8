"""The exact path of the context: latents that are known to table indexes, in integer arithmetic.

The twin of `codec.models.photo_context` by the rules of `codec.exact`: activations are integers in
units of 2⁻¹⁰, held in float64. A step is up to four layers of fixed point::

    around ─ 3×3 (near) ─┐
    at the place ─ 1×1 (here) ─┴─ +bias ─ ReLU ─ 1×1 (out) ─► +Δμ, +Δindex
    errors around ─ 3×3 (linear) ─► +Δμ
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bitstream.errors import WeightsMismatchError
from codec.exact import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    NINE,
    Array,
    ExactLayer,
    ExactOutput,
    Float64Array,
    layer_arrays,
    neighbours,
    read_layer,
    round_prediction,
)

STEPS = ("black", "second", "third")
# Of the squares around a black one only those across its edges are white, and known.
CROSS = (1, 3, 5, 7)

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


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
    """The layers of one step; `near` and `linear` where it sees latents around.

    The bias of `here` is that of the sum of `near` and `here`.
    """

    here: ExactLayer
    out: ExactLayer
    near: ExactLayer | None = None
    linear: ExactLayer | None = None

    @property
    def channels(self) -> int:
        """How many latents of a column it corrects."""
        return len(self.out.weight) // 2

    def check(self, name: str, around: int, here: int, width: int, channels: int) -> None:
        """Raise `WeightsMismatchError` unless the layers have these sizes.

        around   latents around, 0 for a step that sees none
        here     channels at the place
        """
        expected: list[object] = [(width, here, 1, 1), (2 * channels, width, 1, 1), None, None]
        if around:
            expected[2:] = [(width, 2 * around, 3, 3), (channels, around, 3, 3)]
        layers = (self.here, self.out, self.near, self.linear)
        found = [None if layer is None else layer.weight.shape for layer in layers]
        if found != expected or any(layer is not None and layer.shuffle != 1 for layer in layers):
            raise WeightsMismatchError(
                f"context step {name!r}: its layers have the sizes {found}, expected {expected}"
            )

    def hidden(
        self,
        here: Float64Array,
        hundredths: int,
        around: Float64Array | None = None,
        taps: Sequence[int] = NINE,
    ) -> Float64Array:
        """Columns of inputs (in, n) to hidden features (width, n).

        here, around   columns at the places and of their `neighbours` at the taps
        """
        values = self.here.apply(here, hundredths)
        if self.near is not None and around is not None:
            values += self.near.apply(around, hundredths, taps)
        return np.clip(values, 0, ACTIVATION_LIMIT, out=values)

    def corrections(
        self,
        hidden: Float64Array,
        hundredths: int,
        errors: Float64Array | None = None,
        taps: Sequence[int] = NINE,
    ) -> tuple[Float64Array, Float64Array]:
        """Hidden features (width, n) to corrections of means and indexes, (channels, n) each.

        errors   columns of the `neighbours` of the errors at the taps
        """
        means, indexes = np.split(self.out.apply(hidden, hundredths), 2)
        if self.linear is not None and errors is not None:
            means = means + self.linear.apply(errors, hundredths, taps)
        return means, indexes


@dataclass(frozen=True)
class Place:
    """Latents that are coded together: channels, at some of the squares of a tile or at all.

    squares   bool (h, w), or None for all
    """

    channels: slice
    squares: BoolArray | None = None

    def take(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """What an array (C, h, w) holds there: (c, n)."""
        own = values[self.channels]
        return own.reshape(len(own), -1) if self.squares is None else own[:, self.squares]

    def put(self, values: npt.NDArray[Scalar], parts: npt.NDArray[Scalar]) -> None:
        """Let an array (C, h, w) hold (c, n) there."""
        own = values[self.channels]
        if self.squares is None:
            own[...] = parts.reshape(own.shape)
        else:
            own[:, self.squares] = parts


@dataclass(frozen=True)
class Part:
    """Latents that are coded together, n squares of c channels, with what they are coded by.

    means     int32 (c, n), in units of 2⁻¹⁰ quantiser steps
    indexes   int32 (c, n), the table of each
    """

    place: Place
    means: Int32Array
    indexes: Int32Array


class ExactContext:
    """Latents of a tile, coded part by part, each with means and tables from those before."""

    def __init__(self, steps: Mapping[str, ExactStep], table_count: int) -> None:
        self.black, self.second, self.third = (steps[name] for name in STEPS)
        first, second, third = (steps[name].channels for name in STEPS)
        width, hidden = self.black.here.weight.shape[:2]
        self.sizes = first, second, third, hidden, width
        self.groups = (slice(0, first), slice(first, first + second), slice(first + second, None))
        self.table_count = table_count
        self.black.check("black", first, hidden, width, first)
        self.second.check("second", first, hidden, width, second)
        self.third.check("third", 0, 2 * second + hidden + width, width, third)

    def places(self, height: int, width: int) -> list[Place]:
        """What is coded together, in the order of coding."""
        first, second, third = self.groups
        white = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
        return [Place(first, white), Place(first, ~white), Place(second), Place(third)]

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
        tile = _Tile(prediction, self.table_count, code)
        white, black, second, third = self.places(*prediction.shape[1:])
        tile.code(white)
        errors, values = tile.known(white)
        known = black.squares  # where a correction is wanted
        features = neighbours(exact_features(errors, values), CROSS, known)
        at_black = self.black.hidden(hidden[:, known], hundredths, features, CROSS)
        around = neighbours(errors, CROSS, known)
        tile.code(black, self.black.corrections(at_black, hundredths, around, CROSS))

        errors, values = tile.known(Place(black.channels))
        here = hidden.reshape(len(hidden), -1)
        features = neighbours(exact_features(errors, values), NINE)
        at_second = self.second.hidden(here, hundredths, features)
        around = neighbours(errors, NINE)
        tile.code(second, self.second.corrections(at_second, hundredths, around))

        features = exact_features(*tile.known(second)).reshape(-1, here.shape[1])
        here = np.concatenate([features, here, at_second])
        tile.code(third, self.third.corrections(self.third.hidden(here, hundredths), hundredths))
        return tile.symbols, ExactOutput(tile.means, tile.indexes)


class _Tile:
    """What is known of a tile while it is coded. Real arrays hold integers in units of 2⁻¹⁰."""

    def __init__(
        self, prediction: Float64Array, table_count: int, code: Callable[[Part], Int32Array]
    ) -> None:
        self._predicted = np.split(prediction, 2)  # means, indexes
        shape = self._predicted[0].shape
        self.symbols, self.means, self.indexes = (np.zeros(shape, dtype=np.int32) for _ in range(3))
        self._table_count, self._code = table_count, code

    def code(
        self, place: Place, corrections: tuple[Float64Array, Float64Array] | None = None
    ) -> None:
        """Have the latents of a place coded, with corrections (c, n) of what was predicted."""
        predicted = [place.take(values) for values in self._predicted]
        if corrections is not None:
            pairs = zip(predicted, corrections, strict=True)
            limit = ACTIVATION_LIMIT
            predicted = [np.clip(values + more, -limit, limit) for values, more in pairs]
        output = round_prediction(np.concatenate(predicted), self._table_count)
        place.put(self.means, output.means)
        place.put(self.indexes, output.indexes)
        place.put(self.symbols, self._code(Part(place, output.means, output.indexes)))

    def known(self, place: Place) -> tuple[Float64Array, Float64Array]:
        """Errors of the hyper-synthesis and values of a group, (c, h, w); 0 at other squares."""
        symbols = np.clip(self.symbols[place.channels], -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        values = symbols.astype(np.float64) * 2.0**ACTIVATION_BITS + self.means[place.channels]
        np.clip(values, -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=values)
        errors: Float64Array = values - self._predicted[0][place.channels]
        np.clip(errors, -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=errors)
        if place.squares is not None:
            errors *= place.squares
            values *= place.squares
        return errors, values


def context_from_arrays(arrays: Mapping[str, Array], table_count: int) -> ExactContext | None:
    """The context of a weights file, `context.<step>.<layer>.…`; None where it holds none.

    Raises `WeightsMismatchError`.
    """
    if not any(name.startswith("context.") for name in arrays):
        return None

    def layer(name: str) -> ExactLayer | None:
        return read_layer(arrays, name) if f"{name}.weight" in arrays else None

    steps = {
        step: ExactStep(
            here=read_layer(arrays, f"context.{step}.here"),
            out=read_layer(arrays, f"context.{step}.out"),
            near=layer(f"context.{step}.near"),
            linear=layer(f"context.{step}.linear"),
        )
        for step in STEPS
    }
    return ExactContext(steps, table_count)


def context_arrays(context: ExactContext) -> dict[str, Array]:
    """Arrays by name, to be stored in a weights file; the inverse of `context_from_arrays`."""
    arrays: dict[str, Array] = {}
    for name in STEPS:
        step: ExactStep = getattr(context, name)
        for part in ("here", "out", "near", "linear"):
            layer: ExactLayer | None = getattr(step, part)
            if layer is not None:
                arrays |= layer_arrays(layer, f"context.{name}.{part}")
    return arrays
