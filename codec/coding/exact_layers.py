"""Layers of the exact path, which selects probability tables in integer arithmetic.

A file must parse identically on every machine, so nothing that floating-point rounding can change
may select a probability table. This network computes with integers held in floating point:
activations in units of 2⁻¹⁰ bounded by 2²², weights int16 in units of 2⁻¹². The sum of all
|weight · activation| of one output stays far below 2⁵³ (checked when the weights are loaded), so
every product and every partial sum is exact, in whatever order a BLAS adds them, with or without
fused multiply-add. Rescaling divides by a power of two and rounds down, which is exact as well.

A layer may have coarser units (`Units`), in which all sums stay below 2²⁴. Then float32 holds the
same integers, and takes half the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Array, BoolArray, Float64Array, Int16Array, Int32Array, Int64Array
from bitstream.errors import WeightsMismatchError
from codec.system.processors import bands, share
from codec.system.products import product

ACTIVATION_BITS = 10
WEIGHT_BITS = 12
MAX_WEIGHT_BITS = 15
ACTIVATION_LIMIT = 2**22
ACCUMULATOR_LIMIT = 2**53
SINGLE_LIMIT = 2**24  # sums below this are exact in float32
_OUTPUTS = 96  # output channels of a layer that are computed at once
NINE = tuple(range(9))  # all places of a 3×3 kernel

Integers = npt.NDArray[np.floating[Any]]
"""Integers held in float32 or float64."""


@dataclass(frozen=True)
class Units:
    """The fixed-point formats of a layer.

    input_bits   fraction bits to which its inputs are rounded, halves up; at most 10
    weight_bits  fraction bits of its weights
    limit        largest magnitude of the inputs, in their units
    """

    input_bits: int = ACTIVATION_BITS
    weight_bits: int = WEIGHT_BITS
    limit: int = ACTIVATION_LIMIT

    def __post_init__(self) -> None:
        if not (
            0 <= self.input_bits <= ACTIVATION_BITS
            and 0 <= self.weight_bits <= MAX_WEIGHT_BITS
            and 1 <= self.limit <= ACTIVATION_LIMIT
        ):
            raise WeightsMismatchError(
                f"exact layer: units {self}, expected at most {ACTIVATION_BITS} bits of inputs, "
                f"{MAX_WEIGHT_BITS} of weights, and a limit of 1 .. {ACTIVATION_LIMIT}"
            )


_USUAL_UNITS = np.array(astuple(Units()), dtype=np.int32)


def check_sums(name: str, weight: Array, limit: int, margin: int = 0) -> None:
    """Raise `WeightsMismatchError` unless all sums of weight (out, …) · input stay below 2⁵³.

    limit   largest magnitude of the inputs
    margin  what else is added to a sum, in units of `limit`
    """
    largest = int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max())
    if (largest + margin) * limit >= ACCUMULATOR_LIMIT:
        raise WeightsMismatchError(
            f"{name}: weights of one output sum to {largest}, "
            f"expected less than {ACCUMULATOR_LIMIT // limit - margin}"
        )


def finest_bits(name: str, weight: Array, bias: Array, most: int) -> int:
    """The largest number of fraction bits, 1 .. `most`, with which the weights fit int16.

    Raises `WeightsMismatchError` if there is none, or a number is not finite.
    """
    largest = float(np.abs(weight).max())
    fitting = [bits for bits in range(1, most + 1) if largest * 2**bits <= 2**15 - 1]
    if not fitting or not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise WeightsMismatchError(
            f"{name}: a weight of {largest:g} does not fit the fixed-point range of int16; "
            "train with a smaller learning rate or a weight penalty"
        )
    return fitting[-1]


@dataclass(frozen=True)
class ExactLayer:
    """One convolution in fixed point.

    weight   int16 (out, in, k, k), k = 1 or 3, in units of 2⁻¹² or of `units`
    bias     int32 (knots, out), in units of 2⁻¹⁰, interpolated by quality
    shuffle  factor of the pixel shuffle after the layer; 1 for none
    """

    weight: Int16Array
    bias: Int32Array
    shuffle: int
    units: Units = Units()

    def __post_init__(self) -> None:
        weight, bias, limit = self.weight, self.bias, self.units.limit
        if weight.dtype != np.int16 or weight.ndim != 4 or weight.shape[2:] not in ((1, 1), (3, 3)):
            raise WeightsMismatchError(
                f"exact layer: weight is {weight.dtype}{list(weight.shape)}, "
                "expected int16[out, in, k, k] with k = 1 or 3"
            )
        if bias.dtype != np.int32 or bias.ndim != 2 or bias.shape[1] != weight.shape[0]:
            raise WeightsMismatchError(
                f"exact layer: bias is {bias.dtype}{list(bias.shape)}, "
                f"expected int32[knots, {weight.shape[0]}]"
            )
        check_sums("exact layer", weight, limit)

    @cached_property
    def largest_sum(self) -> int:
        """An upper bound of the sums of |weight · input|."""
        sums = np.abs(self.weight.astype(np.int64)).sum(axis=(1, 2, 3))
        return int(sums.max()) * self.units.limit

    @cached_property
    def dtype(self) -> type[np.floating[Any]]:
        """The type of inputs, weights and sums; even a sum of four outputs is exact in it."""
        if self.largest_sum >= SINGLE_LIMIT:
            return np.float64
        largest = self.largest_sum * 2.0**self._rescale + np.abs(self.bias.astype(np.int64)).max()
        return np.float32 if largest < SINGLE_LIMIT / 4 else np.float64

    def _bias_at(self, quality_hundredths: int) -> Integers:
        """The bias at a quality, (out, 1)."""
        # In a small layer this takes as long as the products, so the last result is kept.
        quality, bias = self._kept_bias[0]
        if quality != quality_hundredths:
            bias = interpolate_knots(self.bias, quality_hundredths).astype(self.dtype)[:, None]
            self._kept_bias[0] = quality_hundredths, bias  # atomic, because threads share layers
        return bias

    @cached_property
    def _kept_bias(self) -> list[tuple[int, Integers]]:
        """The last quality and its bias; 0, which is no quality, at first."""
        return [(0, np.zeros((0, 1), self.dtype))]

    @property
    def _rescale(self) -> int:
        """The power of two by which sums are multiplied to become outputs."""
        return ACTIVATION_BITS - self.units.input_bits - self.units.weight_bits

    @cached_property
    def matrix(self) -> Integers:
        """The weights as rows (out, in · k · k), scaled so that the sums are in output units.

        The factor is a power of two, so everything that is exact for integers stays exact.
        """
        rows: Integers = self.weight.reshape(len(self.weight), -1).astype(self.dtype)
        rows *= 2.0**self._rescale
        return rows

    def inputs(self, values: Integers) -> Integers:
        """Convert activations of any shape from units of 2⁻¹⁰ to the layer's input units."""
        units = self.units
        if units.input_bits < ACTIVATION_BITS:
            values = values * 2.0 ** (units.input_bits - ACTIVATION_BITS)
            values += 0.5
            np.floor(values, out=values)
        if units.limit < ACTIVATION_LIMIT and _largest(values) > units.limit:
            values = np.clip(values, -units.limit, units.limit)
        return values.astype(self.dtype, copy=False)

    def __call__(self, values: Integers, quality_hundredths: int) -> Integers:
        """floor(weight ∗ values) + bias: integers, (in, h, w) to (out, h, w), in units of 2⁻¹⁰.

        The borders are padded with zeros. It is a matrix product because a library's convolution
        may choose an algorithm with fractions (Winograd).
        """
        _, height, width = values.shape
        values = self.inputs(values)
        taps = NINE if self.weight.shape[-1] == 3 else None
        columns = values.reshape(-1, height * width) if taps is None else neighbours(values, taps)
        found = np.empty((len(self.weight), height * width), self.dtype)

        def outputs(own: slice) -> None:
            found[own] = self.apply(columns, quality_hundredths, outputs=own)

        share(outputs, bands(len(found), _OUTPUTS))
        return found.reshape(-1, height, width)

    def apply(
        self,
        columns: Integers,
        quality_hundredths: int,
        taps: Sequence[int] | None = None,
        outputs: slice = slice(None),
    ) -> Integers:
        """Apply the layer to columns of `inputs`, (in · taps, n) to (out, n) in units of 2⁻¹⁰.

        taps      kernel places that the columns contain; None for all
        outputs   which outputs to compute
        """
        rows = self.matrix[outputs]
        if taps is not None and len(taps) < len(NINE):
            kernel = rows.reshape(len(rows), -1, self.weight.shape[-1] ** 2)
            rows = kernel[:, :, taps].reshape(len(rows), -1)
        sums = product(rows, columns)
        np.floor(sums, out=sums)
        sums += self._bias_at(quality_hundredths)[outputs]
        return sums


def neighbours(
    values: Integers, taps: Sequence[int], squares: BoolArray | slice | None = None
) -> Integers:
    """The neighbourhoods of values (in, h, w) as columns, (in · taps, n), zero-padded.

    taps      0 .. 8, places of a 3×3 kernel in row-major order
    squares   which positions to take: bool (h, w), or a slice of rows; None for all
    """
    channels, height, width = values.shape
    padded = np.zeros((channels, height + 2, width + 2), values.dtype)
    padded[:, 1:-1, 1:-1] = values
    shifted = [padded[:, tap // 3 :, tap % 3 :][:, :height, :width] for tap in taps]
    if squares is not None:
        shifted = [part[:, squares] for part in shifted]
    return np.stack(shifted, 1).reshape(channels * len(taps), -1)


def interpolate_knots(knots: Int32Array, hundredths: int) -> Int64Array:
    """Interpolate an integer table (knots, channels) at a quality of 100..10000 hundredths.

    Integer arithmetic, rounding down.
    """
    scaled = (hundredths - 100) * (len(knots) - 1)
    left = min(scaled // 9900, len(knots) - 2)
    fraction = scaled - 9900 * left
    wide = knots.astype(np.int64)
    result: Int64Array = (wide[left] * (9900 - fraction) + wide[left + 1] * fraction) // 9900
    return result


def nearest_tables(indexes: Integers, table_count: int) -> Int32Array:
    """Indexes in units of 2⁻¹⁰ to int32 of the same shape, 0 .. table_count − 1, halves up."""
    nearest = indexes + 0.5 * 2**ACTIVATION_BITS
    nearest *= 2.0**-ACTIVATION_BITS
    _bound(nearest, 0, table_count - 1)
    tables: Int32Array = nearest.astype(np.int32)  # rounds down, as nothing is negative
    return tables


def clamp(values: Integers) -> None:
    """Clip values to the limit of activations, in place."""
    # Values are hardly ever outside, and checking that is several times as fast as `np.clip`.
    if _largest(values) > ACTIVATION_LIMIT:
        np.clip(values, -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=values)


def _largest(values: Integers) -> float:
    """The largest magnitude of values, 0 if there are none."""
    return float(max(-values.min(), values.max())) if values.size else 0.0


def rectify(values: Integers) -> None:
    """Apply ReLU and the limit of activations to contiguous values (c, …), in place."""
    _bound(values, 0, None)
    clamp(values)


def _bound(values: Integers, low: int, high: int | None) -> None:
    """Clip contiguous values (c, …) between two numbers, in place."""
    # NumPy vectorises the comparison with a row, but not with a scalar.
    rows = values.reshape(len(values), -1)
    np.maximum(rows, np.full(rows.shape[1], low, rows.dtype), out=rows)
    if high is not None:
        np.minimum(rows, np.full(rows.shape[1], high, rows.dtype), out=rows)


def pixel_shuffle(values: Integers, factor: int) -> Integers:
    """Channels (C · factor², h, w) to (C, h · factor, w · factor), as torch orders them."""
    if factor == 1:
        return values
    _, height, width = values.shape
    blocks = values.reshape(-1, factor, factor, height, width).transpose(0, 3, 1, 4, 2)
    shuffled: Integers = blocks.reshape(-1, height * factor, width * factor)
    return shuffled


def read_layer(arrays: Mapping[str, Array], name: str) -> ExactLayer:
    """A layer from `<name>.weight`, `.bias`, `.shuffle`; the inverse of `layer_arrays`.

    `<name>.units`, int32[3], are its bits of inputs, bits of weights and limit, if not 10, 12, 2²².
    Raises `WeightsMismatchError`.
    """
    try:
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        shuffle = int(arrays[f"{name}.shuffle"][()])
        units = arrays.get(f"{name}.units", _USUAL_UNITS)
        input_bits, weight_bits, limit = map(int, units.tolist())
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise WeightsMismatchError(f"weights file: layer {name} is incomplete") from error
    return ExactLayer(
        weight,  # type: ignore[arg-type]
        bias,  # type: ignore[arg-type]
        shuffle,
        Units(input_bits, weight_bits, limit),
    )


def layer_arrays(layer: ExactLayer, name: str) -> dict[str, Array]:
    """Arrays of a layer by name, to be stored in a weights file."""
    arrays: dict[str, Array] = {
        f"{name}.weight": layer.weight,
        f"{name}.bias": layer.bias,
        f"{name}.shuffle": np.array(layer.shuffle, dtype=np.int32),
    }
    units = np.array(astuple(layer.units), dtype=np.int32)
    if (units != _USUAL_UNITS).any():
        arrays[f"{name}.units"] = units
    return arrays


def single_precision(weight: Array, input_bits: int, limit: int) -> Units:
    """The finest units for weights (out, in, k, k) with which all results are exact in float32.

    limit   largest magnitude of the inputs, in their units; halved while outputs are too large

    If there are none, the usual units, which need float64.
    """
    sums = np.abs(weight.astype(np.float64)).sum(axis=(1, 2, 3))
    while limit > 1 and sums.max() * limit * 2 ** (ACTIVATION_BITS - input_bits) > SINGLE_LIMIT / 8:
        limit //= 2
    for bits in range(WEIGHT_BITS, 0, -1):
        scaled = np.abs(np.rint(weight.astype(np.float64) * 2**bits))
        if scaled.sum(axis=(1, 2, 3)).max() * limit < SINGLE_LIMIT and scaled.max() < 2**15:
            return Units(input_bits, bits, limit)
    return Units()


def to_fixed_point(
    weight: Array, bias: Array, shuffle: int = 1, units: Units | None = None
) -> ExactLayer:
    """Round a float layer, weight (out, in, k, k) and bias knots (knots, out), to fixed point.

    Raises `WeightsMismatchError` if a weight is outside the range of int16, ±8 in usual units.
    """
    units = units or Units()
    largest = np.abs(weight).max()
    scaled = np.rint(weight.astype(np.float64) * 2**units.weight_bits)
    if np.abs(scaled).max() > 2**15 - 1:
        raise WeightsMismatchError(
            f"a weight of {float(largest):.2f} does not fit the fixed-point range "
            f"±{2**15 / 2**units.weight_bits:g}; "
            "train with a smaller learning rate or a weight penalty"
        )
    limit = 2**31 - 1
    knots = np.clip(np.rint(bias.astype(np.float64) * 2**ACTIVATION_BITS), -limit, limit)
    return ExactLayer(scaled.astype(np.int16), knots.astype(np.int32), shuffle, units)


def to_floats(layer: ExactLayer) -> tuple[Float64Array, Float64Array]:
    """Weight and bias knots of a layer as real numbers; the inverse of `to_fixed_point`."""
    weight: Float64Array = layer.weight.astype(np.float64) * 2.0**-layer.units.weight_bits
    bias: Float64Array = layer.bias.astype(np.float64) * 2.0**-ACTIVATION_BITS
    return weight, bias
