"""Predictions and network inputs of pixels before they are decoded, one anti-diagonal at a time.

At time t the pixels with x + 2 y = t are decoded: by then, everything to the left and above is
known, up to one pixel further to the right in the row above. Each plane follows the one before by
three steps, so a later plane also sees all around a pixel in an earlier plane::

    . . . . . . . 7 8      plane 0 at time 8     ×   decoded together, at the same time
    . . . . . × 7 . .                            ○   in plane 1 at the same time: pixels to the
    . . . × 7 . . . .      ○ = x + 2y = 5            left and above are decoded, and in plane 0
    . × ○ . . . . . .                                also those to the right and below

Everything here is integer arithmetic, in float64 or int32. `bitstream/FORMAT.md` describes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import BoolArray, Float64Array, Int16Array, Int32Array, Int64Array
from codec.coding.exact_logarithm import logarithm
from codec.models.pixel.least_squares import SIDE, products, solve

LAG = 3
"""Time steps by which a plane follows the one before."""
MIDDLE = 128
"""The value of pixels above the picture."""
PEAK = 255
STEPS = 16
"""Units of a prediction per unit of a pixel value."""

Place = tuple[int, int]
"""Rows down and columns to the right, relative to a pixel."""

W, N, NW, NE, WW, NN = (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0)
NNE, NWW = (-2, 1), (-1, -2)
HERE, E, S = (0, 0), (0, 1), (1, 0)

NEIGHBOURS: tuple[tuple[tuple[int, Place], ...], ...] = (
    ((0, W), (0, N), (0, NE), (0, WW), (0, NN), (0, NNE), (0, NWW)),
    ((1, W), (1, N), (1, NE), (0, HERE), (0, W), (0, N), (0, NE)),
    ((2, W), (2, N), (0, HERE), (0, N), (1, HERE), (1, W), (1, N)),
)
"""For each plane: planes and places that its linear prediction uses."""

NEAR = (W, N, NE, NW, WW, NN)
"""Places whose pixels are inputs."""
ERRORS = (*NEAR, NNE, NWW)
"""Places whose prediction errors in the same plane are inputs."""
SIGNED = 4
"""At how many of these the sign is an input as well."""
ERRORS_BEFORE = (HERE, E, S, W, N)
"""Places whose prediction errors in the plane before are inputs."""
INPUTS = 3 + len(ERRORS) + 7 + len(ERRORS_BEFORE) + 1 + 2 * SIGNED + 2

_RING = 16
"""Time steps that are kept: more than separate a pixel from any of its neighbours."""
_ABOVE, _BELOW = 3, 1
_SIGNED_LIMIT = 1023
_LEFT_SHARE, _ABOVE_SHARE, _RIGHT_SHARE = 10 / 32, 8 / 32, 11 / 32
"""Factors with which a pixel takes over the sums of its left, upper and upper right neighbours."""


@dataclass(frozen=True)
class Part:
    """The pixels of one plane that are decoded at the same time, from the top row down.

    rows, columns   int64 (n,)
    """

    plane: int
    rows: Int64Array
    columns: Int64Array


@dataclass(frozen=True)
class Front:
    """All pixels that are decoded at the same time, plane after plane.

    coded         indexes of those that are not known, int64 (n,); None for all
    inputs        network inputs of these: integers (INPUTS, n) in float64, in units of 2⁻¹⁰
    predictions   in sixteenths, 0 .. 4080: integers (n,) in float64
    """

    parts: list[Part]
    coded: Int64Array | None
    inputs: Float64Array
    predictions: Float64Array

    def count_before(self, plane: int) -> int:
        """The number of pixels in planes before this one."""
        return sum(len(part.rows) for part in self.parts if part.plane < plane)


def sweep(
    shape: tuple[int, int, int],
    code: Callable[[Front], Int32Array],
    coded: BoolArray | None = None,
) -> None:
    """Visit all pixels of a tile in decoding order.

    shape    planes (1 or 3), height, width
    code     is called with every front, and returns all its pixels, int32, 0 .. 255
    coded    bool (height, width), the pixels that are not known; None for all. For the others no
             equations are solved, and a fixed first prediction is used to compute their errors
    """
    planes, height, width = shape
    fronts = _Fronts(height, width, planes, coded)
    for time in range(width + 2 * (height - 1) + LAG * (planes - 1)):
        fronts.visit(time, code)


class _Fronts:
    """The last time steps of all planes.

    values   int16 (2, planes, 16, rows): pixels, and their prediction errors in sixteenths, by
             time modulo 16; row y of the picture has the index y + 3
    sums     float64 (planes, 3, 36, rows), by time modulo 3; row y has the index y + 1
    """

    def __init__(self, height: int, width: int, planes: int, coded: BoolArray | None) -> None:
        self.height, self.width, self.planes, self.coded = height, width, planes, coded
        self.values = np.zeros((2, planes, _RING, _ABOVE + height + _BELOW), np.int16)
        self.values[0] = MIDDLE
        size = len(products(np.zeros((SIDE, 1))))
        self.sums = np.zeros((planes, 3, size, 1 + height))
        most = planes * min(height, (width + 1) // 2)
        self.matrix = np.zeros((SIDE, SIDE, most))
        self.features = np.empty((SIDE, most))
        self.around = np.empty((size, most))

    def visit(self, time: int, code: Callable[[Front], Int32Array]) -> None:
        parts, places, count = [], [], 0
        for plane in range(self.planes):
            own = time - LAG * plane
            first = max(0, -((self.width - 1 - own) // 2))
            end = min(self.height, own // 2 + 1)
            if end > first:
                rows = np.arange(first, end)
                parts.append(Part(plane, rows, own - 2 * rows))
                places.append((plane, own, first, end, slice(count, count + end - first)))
                count += end - first
        if count:
            self._decode(parts, places, count, code)
        for plane in range(self.planes):
            self._carry(plane, time - LAG * plane)

    def _decode(
        self,
        parts: list[Part],
        places: list[tuple[int, int, int, int, slice]],
        count: int,
        code: Callable[[Front], Int32Array],
    ) -> None:
        features, around = self.features[:, :count], self.around[:, :count]
        kinds = np.zeros((self.planes, count))
        near = np.empty((len(NEAR), count))
        errors = np.empty((len(ERRORS), count))
        before = np.zeros((len(ERRORS_BEFORE) + 1, count))
        means = np.empty(count)
        for plane, own, first, end, here in places:
            self._gather(plane, own, first, end, features[:, here], means[here])
            self._sums_around(plane, own, first, end, around[:, here])
            kinds[plane, here] = 2**10
            for number, place in enumerate(NEAR):
                near[number, here] = self._at(0, plane, plane, own, first, end, place)
            for number, place in enumerate(ERRORS):
                errors[number, here] = self._at(1, plane, plane, own, first, end, place)
            if plane:
                for number, place in enumerate(ERRORS_BEFORE):
                    found = self._at(1, plane, plane - 1, own, first, end, place)
                    before[number, here] = found
            if plane > 1:
                before[-1, here] = self._at(1, plane, plane - 2, own, first, end, HERE)
        coded = None
        if self.coded is not None:
            coded = np.flatnonzero(
                np.concatenate([self.coded[part.rows, part.columns] for part in parts])
            )

        def of(values: Float64Array) -> Float64Array:
            return values if coded is None else values[..., coded]

        wanted = count if coded is None else len(coded)
        inputs, predictions = np.zeros((INPUTS, wanted)), np.zeros(wanted)
        if wanted:
            weights, energy = solve(of(around), self.matrix[:, :, :wanted])
            weights *= of(features[:-1])
            change = weights.sum(axis=0)
            change *= 2.0**-14
            np.floor(change, out=predictions)
            predictions += 4 * of(means)
            np.clip(predictions, 0, STEPS * PEAK, out=predictions)
            self._fill(inputs, of(kinds), of(near), of(errors), of(before), energy, predictions)

        pixels = code(Front(parts, coded, inputs, predictions))

        features[-1] = 4 * pixels - means
        changes = products(features)
        changes += around
        if coded is not None:
            whole = 4 * means
            np.clip(whole, 0, STEPS * PEAK, out=whole)
            whole[coded] = predictions
            predictions = whole
        wrong = STEPS * pixels - predictions
        for plane, own, first, end, here in places:
            at = own % _RING
            self.values[0, plane, at, _ABOVE + first : _ABOVE + end] = pixels[here]
            self.values[1, plane, at, _ABOVE + first : _ABOVE + end] = wrong[here]
            self.sums[plane, own % 3, :, 1 + first : 1 + end] = changes[:, here]

    def _at(
        self, kind: int, plane: int, other: int, own: int, first: int, end: int, place: Place
    ) -> Int16Array:
        """Values at a place relative to the pixels of a plane, in the same or another plane."""
        down, right = place
        row = _ABOVE + down
        found: Int16Array = self.values[
            kind, other, (own + right + 2 * down) % _RING, row + first : row + end
        ]
        return found

    def _mean(self, plane: int, own: int, first: int, end: int) -> Int16Array:
        """3 W + 3 N − 2 NW: a first prediction, in quarters."""
        left, above, corner = (
            self._at(0, plane, plane, own, first, end, place) for place in (W, N, NW)
        )
        mean: Int16Array = 3 * (left + above) - 2 * corner
        return mean

    def _gather(
        self,
        plane: int,
        own: int,
        first: int,
        end: int,
        features: Float64Array,
        means: Float64Array,
    ) -> None:
        """Fill the features (8, n) except the target, and the first predictions (n,).

        Both are in quarters of a step.
        """
        first_predictions = [self._mean(other, own, first, end) for other in range(plane + 1)]
        for number, (other, place) in enumerate(NEIGHBOURS[plane]):
            found = self._at(0, plane, other, own, first, end, place)
            np.subtract(4 * found, first_predictions[other], out=features[number])
        means[:] = first_predictions[plane]
        if plane:
            # Add the mean difference of the other planes from their own first predictions.
            here = [NEIGHBOURS[plane].index((other, HERE)) for other in range(plane)]
            means += np.floor(features[here].sum(axis=0) / plane)

    def _sums_around(
        self, plane: int, own: int, first: int, end: int, around: Float64Array
    ) -> None:
        """The sums (36, n) over the decoded pixels around each pixel."""
        one, two = self.sums[plane, (own - 1) % 3], self.sums[plane, (own - 2) % 3]
        np.multiply(one[:, 1 + first : 1 + end], _LEFT_SHARE, out=around)
        around += one[:, first:end] * _RIGHT_SHARE
        around += two[:, first:end] * _ABOVE_SHARE
        np.floor(around, out=around)

    def _fill(
        self,
        inputs: Float64Array,
        kinds: Float64Array,
        near: Float64Array,
        errors: Float64Array,
        before: Float64Array,
        energy: Float64Array,
        predictions: Float64Array,
    ) -> None:
        """Fill the inputs of the network, of which the first three encode the plane."""
        inputs[: len(kinds)] = kinds
        left, above, right, corner, left_2, above_2 = near
        magnitudes = np.concatenate([
            np.abs(errors),
            np.maximum(energy, 0)[None],
            16 * np.abs([
                left - corner, above - corner, above - right, left - left_2, above - above_2
            ]),
            np.minimum(predictions, STEPS * PEAK - predictions)[None],
            np.abs(before),
        ])  # fmt: skip
        signed = np.concatenate(
            [
                errors[:SIGNED],
                predictions - STEPS * near[:SIGNED],
                before[[0, -1]],
            ]
        )
        end = 3 + len(magnitudes)
        inputs[3:end] = logarithm(magnitudes)
        np.clip(signed, -_SIGNED_LIMIT, _SIGNED_LIMIT, out=signed)
        inputs[end:] = signed

    def _carry(self, plane: int, own: int) -> None:
        """Repeat pixels, errors and sums beyond the borders, once they are decoded."""
        values, height, width = self.values[:, plane], self.height, self.width
        at = own % _RING
        row, column = divmod(own, 2)
        if column == 0 and 0 <= row < height:  # the first pixel of a row, for the row below
            values[:, [(own + k) % _RING for k in (-1, 0, 1)], _ABOVE + row + 1] = values[
                :, at, _ABOVE + row, None
            ]
        row, column = divmod(own - (width - 1), 2)
        if column == 0 and 0 <= row < height:  # the last pixel of a row
            for k in (1, 2):
                values[:, (own + k) % _RING, _ABOVE + row] = values[:, at, _ABOVE + row]
        first = height - 1
        if 0 <= own - 2 * first < width:  # the last row
            values[:, (own + 2) % _RING, _ABOVE + height] = values[:, at, _ABOVE + first]
        sums = self.sums[plane]
        row, column = divmod(own - width, 2)
        if column == 0 and 0 <= row < height:  # to the right of a row
            sums[own % 3, :, 1 + row] = sums[(own - 1) % 3, :, 1 + row]
        row, column = divmod(own + 1, 2)
        if column == 0 and 0 < row < height:  # to the left of the next row
            sums[own % 3, :, 1 + row] = sums[(own - 1) % 3, :, row]
