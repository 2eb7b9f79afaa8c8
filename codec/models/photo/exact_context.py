"""The exact path of the context: latents that are known to table indexes, in integer arithmetic.

The twin of `codec.models.photo.context` by the rules of `codec.coding.exact_layers`: activations
are integers in units of 2⁻¹⁰, held in float32 where all layers have units for it. A step is up to
four layers of fixed point::

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

from bitstream.arrays import Array, BoolArray, Int32Array
from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    NINE,
    ExactLayer,
    ExactOutput,
    Integers,
    clamp,
    layer_arrays,
    nearest_tables,
    neighbours,
    read_layer,
    rectify,
)

STEPS = ("black", "second", "third")
# Of the squares around a black one only those across its edges are white, and known.
CROSS = (1, 3, 5, 7)

# Of float32.
_FRACTION_BITS, _EXPONENT_OF_ONE = 23, 127

Scalar = TypeVar("Scalar", bound=np.generic)


def exact_octaves(values: Integers) -> Integers:
    """log₂(1 + |v|), linear between powers of two, rounded down; in and out in units of 2⁻¹⁰."""
    shifted = np.abs(values).astype(np.float32) + np.float32(2**ACTIVATION_BITS)
    # The bits of a float32 are its exponent and what it has above that power of two: octaves.
    units = shifted.view(np.int32) >> (_FRACTION_BITS - ACTIVATION_BITS)
    units -= (_EXPONENT_OF_ONE + ACTIVATION_BITS) << ACTIVATION_BITS
    octaves: Integers = units.astype(values.dtype)
    return octaves


def exact_features(errors: Integers, values: Integers) -> Integers:
    """The twin of `codec.models.photo.context.features`: (C, h, w) twice to (2·C, h, w)."""
    return np.concatenate([np.copysign(exact_octaves(errors), errors), exact_octaves(values)])


@dataclass(frozen=True)
class Around:
    """Latents that are known around the squares that a step corrects.

    errors, values   (c, h, w), see `exact_features`
    squares          bool (h, w), those that are corrected; None for all
    taps             where latents around them are known, see `neighbours`
    """

    errors: Integers
    values: Integers
    squares: BoolArray | None = None
    taps: Sequence[int] = NINE

    def columns(self, values: Integers) -> Integers:
        """What is around the squares, of an array like those: (c · taps, n)."""
        return neighbours(values, self.taps, self.squares)


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

    @property
    def layers(self) -> list[ExactLayer]:
        found = (self.here, self.out, self.near, self.linear)
        return [layer for layer in found if layer is not None]

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

    def hidden(self, here: Integers, hundredths: int, around: Around | None = None) -> Integers:
        """Columns of features at the places (in, n) to hidden features (width, n)."""
        values = self.here.apply(self.here.inputs(here), hundredths)
        if self.near is not None and around is not None:
            features = exact_features(around.errors, around.values)
            columns = around.columns(self.near.inputs(features))
            values = values + self.near.apply(columns, hundredths, around.taps)
        rectify(values)
        return values

    def corrections(
        self, hidden: Integers, hundredths: int, around: Around | None = None
    ) -> tuple[Integers, Integers]:
        """Hidden features (width, n) to corrections of means and indexes, (channels, n) each."""
        means, indexes = np.split(self.out.apply(self.out.inputs(hidden), hundredths), 2)
        if self.linear is not None and around is not None:
            columns = around.columns(self.linear.inputs(around.errors))
            means = means + self.linear.apply(columns, hundredths, around.taps)
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
        layers = [layer for name in STEPS for layer in steps[name].layers]
        self.dtype = np.result_type(*(layer.dtype for layer in layers))
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
        prediction: Integers,
        hidden: Integers,
        hundredths: int,
        code: Callable[[Part], Int32Array],
    ) -> tuple[Int32Array, ExactOutput]:
        """Symbols of a tile with their means and indexes, int32 (C, h, w) each.

        prediction  means, then indexes of the hyper-synthesis, (2·C, h, w) in units of 2⁻¹⁰
        hidden      its last features (96, h, w)
        code        gives the symbols int32 (c, n) of a part; called once for each part, in order
        """
        hidden = hidden.astype(self.dtype)
        tile = _Tile(prediction.astype(self.dtype), self.table_count, code)
        white, black, second, third = self.places(*prediction.shape[1:])
        tile.code(white)
        around = Around(*tile.known(white), black.squares, CROSS)
        at_black = self.black.hidden(hidden[:, black.squares], hundredths, around)
        tile.code(black, self.black.corrections(at_black, hundredths, around))

        around = Around(*tile.known(Place(black.channels)))
        here = hidden.reshape(len(hidden), -1)
        at_second = self.second.hidden(here, hundredths, around)
        tile.code(second, self.second.corrections(at_second, hundredths, around))

        features = exact_features(*tile.known(second)).reshape(-1, here.shape[1])
        here = np.concatenate([features, here, at_second])
        tile.code(third, self.third.corrections(self.third.hidden(here, hundredths), hundredths))
        return tile.symbols, ExactOutput(tile.means, tile.indexes)


class _Tile:
    """What is known of a tile while it is coded. Real arrays hold integers in units of 2⁻¹⁰."""

    def __init__(
        self, prediction: Integers, table_count: int, code: Callable[[Part], Int32Array]
    ) -> None:
        self._predicted = np.split(prediction, 2)  # means, indexes
        shape = self._predicted[0].shape
        self.symbols, self.means, self.indexes = (np.zeros(shape, dtype=np.int32) for _ in range(3))
        self._table_count, self._code = table_count, code

    def code(self, place: Place, corrections: tuple[Integers, Integers] | None = None) -> None:
        """Have the latents of a place coded, with corrections (c, n) of what was predicted."""
        means, indexes = (place.take(values) for values in self._predicted)
        if corrections is not None:
            means, indexes = means + corrections[0], indexes + corrections[1]
            clamp(means)
        tables = nearest_tables(indexes, self._table_count)
        part = Part(place, means.astype(np.int32), tables)
        place.put(self.means, part.means)
        place.put(self.indexes, part.indexes)
        place.put(self.symbols, self._code(part))

    def known(self, place: Place) -> tuple[Integers, Integers]:
        """Errors of the hyper-synthesis and values of a group, (c, h, w); 0 at other squares."""
        means, predicted = self.means[place.channels], self._predicted[0][place.channels]
        # More symbols than these would take the values to their limit alike.
        largest = 2 * ACTIVATION_LIMIT >> ACTIVATION_BITS
        units = np.clip(self.symbols[place.channels], -largest, largest) << ACTIVATION_BITS
        units += means
        values = np.clip(units, -ACTIVATION_LIMIT, ACTIVATION_LIMIT).astype(predicted.dtype)
        errors: Integers = values - predicted
        clamp(errors)
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
