"""The exact path: hyper-latents to table indexes and means in integer arithmetic.

A file must parse alike on every machine, so nothing that floating-point rounding can change may
select a probability table. This network computes with integers held in float64: activations in
units of 2⁻¹⁰ bounded by 2²², weights int16 in units of 2⁻¹². The sum of all |weight · activation|
of one output stays far below 2⁵³ (checked when the weights are loaded), so every product and
every partial sum is exact, in whatever order a BLAS adds them, with fused multiply-add or not.
Rescaling divides by a power of two and rounds down, which is exact as well.

The layers mirror `codec.models.photo.HyperSynthesis`, whose float weights they are made from::

    ẑ ─ 3×3 ─ ReLU ─ 1×1 ─ shuffle ─ ReLU ─ 3×3 ─ ReLU ─ 1×1 ─ shuffle ─ ReLU ─ 1×1 ─► μ, index
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bitstream.errors import WeightsMismatchError

ACTIVATION_BITS = 10
WEIGHT_BITS = 12
ACTIVATION_LIMIT = 2**22
ACCUMULATOR_LIMIT = 2**53
NINE = tuple(range(9))  # all places of a 3×3 kernel

Array = npt.NDArray[np.generic]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ExactLayer:
    """One convolution in fixed point.

    weight  int16 (out, in, k, k), k = 1 or 3, in units of 2⁻¹²
    bias    int32 (knots, out), in units of 2⁻¹⁰, interpolated by quality
    shuffle factor of the pixel shuffle behind the layer; 1 for none
    """

    weight: npt.NDArray[np.int16]
    bias: npt.NDArray[np.int32]
    shuffle: int

    def __post_init__(self) -> None:
        weight, bias = self.weight, self.bias
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
        largest = int(np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)).max())
        if largest * ACTIVATION_LIMIT >= ACCUMULATOR_LIMIT:
            raise WeightsMismatchError(
                f"exact layer: weights of one output sum to {largest}, "
                f"expected less than {ACCUMULATOR_LIMIT // ACTIVATION_LIMIT}"
            )

    @cached_property
    def matrix(self) -> Float64Array:
        """The weights as rows (out, in · k · k)."""
        rows: Float64Array = self.weight.astype(np.float64).reshape(len(self.weight), -1)
        return rows

    def __call__(self, values: Float64Array, quality_hundredths: int) -> Float64Array:
        """floor(weight ∗ values · 2⁻¹²) + bias: integers in float64, (in, h, w) to (out, h, w).

        Zeros lie outside. A product of matrices, because a library's convolution may pick an
        algorithm with fractions (Winograd).
        """
        _, height, width = values.shape
        taps = NINE if self.weight.shape[-1] == 3 else None
        columns = values.reshape(-1, height * width) if taps is None else neighbours(values, taps)
        return self.apply(columns, quality_hundredths).reshape(-1, height, width)

    def apply(
        self, columns: Float64Array, quality_hundredths: int, taps: Sequence[int] | None = None
    ) -> Float64Array:
        """The layer on columns of inputs, (in · taps, n) to (out, n); all taps or some of them."""
        rows = self.matrix
        if taps is not None:
            kernel = rows.reshape(len(rows), -1, self.weight.shape[-1] ** 2)
            rows = kernel[:, :, taps].reshape(len(rows), -1)
        sums: Float64Array = rows @ columns
        sums *= 2.0**-WEIGHT_BITS
        np.floor(sums, out=sums)
        sums += interpolate_knots(self.bias, quality_hundredths)[:, None]
        return sums


def neighbours(
    values: Float64Array, taps: Sequence[int], squares: npt.NDArray[np.bool_] | None = None
) -> Float64Array:
    """The values (in, h, w) around every square as columns, (in · taps, n); 0 outside.

    taps      0 .. 8, places of a 3×3 kernel in row-major order
    squares   bool (h, w), those that are wanted; None for all
    """
    channels, height, width = values.shape
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, tap // 3 :, tap % 3 :][:, :height, :width] for tap in taps]
    if squares is not None:
        shifted = [part[:, squares] for part in shifted]
    columns: Float64Array = np.stack(shifted, 1).reshape(channels * len(taps), -1)
    return columns


def interpolate_knots(knots: Int32Array, hundredths: int) -> Int64Array:
    """Interpolate an integer table (knots, channels) at a quality of 100..10000 hundredths.

    Integer arithmetic, rounding down: the twin of `codec.layers.QualityTable`.
    """
    scaled = (hundredths - 100) * (len(knots) - 1)
    left = min(scaled // 9900, len(knots) - 2)
    fraction = scaled - 9900 * left
    wide = knots.astype(np.int64)
    result: Int64Array = (wide[left] * (9900 - fraction) + wide[left + 1] * fraction) // 9900
    return result


@dataclass(frozen=True)
class ExactOutput:
    """int32 (C, h, w) each: means in units of 2⁻¹⁰ quantiser steps, and table indexes."""

    means: Int32Array
    indexes: Int32Array


class ExactHyperSynthesis:
    """Maps integer hyper-latents to integer means and table indexes, alike on every machine."""

    def __init__(self, layers: Sequence[ExactLayer], table_count: int) -> None:
        self.layers = tuple(layers)
        self.table_count = table_count

    def features(self, hyper_latents: Int32Array, quality_hundredths: int) -> Float64Array:
        """Hyper-latents int32 (Z, h, w) to the input of the last layer, integers in float64."""
        limit = ACTIVATION_LIMIT >> ACTIVATION_BITS
        bounded = np.clip(hyper_latents, -limit, limit)
        values: Float64Array = bounded.astype(np.float64) * 2**ACTIVATION_BITS
        for layer in self.layers[:-1]:
            values = layer(values, quality_hundredths)
            np.clip(values, 0, ACTIVATION_LIMIT, out=values)
            values = pixel_shuffle(values, layer.shuffle)
        return values

    def predict(self, features: Float64Array, quality_hundredths: int) -> Float64Array:
        """`features` to means, then indexes, in units of 2⁻¹⁰: integers in float64 (2·C, h, w)."""
        values = self.layers[-1](features, quality_hundredths)
        np.clip(values, -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=values)
        return pixel_shuffle(values, self.layers[-1].shuffle)

    def __call__(self, hyper_latents: Int32Array, quality_hundredths: int) -> ExactOutput:
        """Hyper-latents int32 (Z, h, w) to means and indexes of (C, 4·h, 4·w)."""
        values = self.predict(self.features(hyper_latents, quality_hundredths), quality_hundredths)
        return round_prediction(values, self.table_count)


def round_prediction(values: Float64Array, table_count: int) -> ExactOutput:
    """Means, then indexes, in units of 2⁻¹⁰ (2·C, h, w): the indexes to the nearest table."""
    means, indexes = np.split(values, 2)
    half = 1 << (ACTIVATION_BITS - 1)
    nearest = np.floor((indexes + half) * 2.0**-ACTIVATION_BITS)
    np.clip(nearest, 0, table_count - 1, out=nearest)
    return ExactOutput(means.astype(np.int32), nearest.astype(np.int32))


def pixel_shuffle(values: Float64Array, factor: int) -> Float64Array:
    """Channels (C · factor², h, w) to (C, h · factor, w · factor), as torch orders them."""
    if factor == 1:
        return values
    _, height, width = values.shape
    blocks = values.reshape(-1, factor, factor, height, width).transpose(0, 3, 1, 4, 2)
    shuffled: Float64Array = blocks.reshape(-1, height * factor, width * factor)
    return shuffled


def read_layer(arrays: Mapping[str, Array], name: str) -> ExactLayer:
    """A layer from `<name>.weight`, `.bias`, `.shuffle`; the inverse of `layer_arrays`.

    Raises `WeightsMismatchError`.
    """
    try:
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        shuffle = int(arrays[f"{name}.shuffle"][()])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise WeightsMismatchError(f"weights file: layer {name} is incomplete") from error
    return ExactLayer(weight, bias, shuffle)  # type: ignore[arg-type]


def layer_arrays(layer: ExactLayer, name: str) -> dict[str, Array]:
    """Arrays of a layer by name, to be stored in a weights file."""
    return {
        f"{name}.weight": layer.weight,
        f"{name}.bias": layer.bias,
        f"{name}.shuffle": np.array(layer.shuffle, dtype=np.int32),
    }


def layers_from_arrays(arrays: Mapping[str, Array]) -> list[ExactLayer]:
    """Read the layers `exact.0`, `exact.1`, …; the inverse of `to_arrays`."""
    layers: list[ExactLayer] = []
    while f"exact.{len(layers)}.weight" in arrays:
        layers.append(read_layer(arrays, f"exact.{len(layers)}"))
    if not layers:
        raise WeightsMismatchError("weights file: it holds no exact path (exact.0.weight)")
    return layers


def to_arrays(layers: Sequence[ExactLayer]) -> dict[str, Array]:
    """Arrays by name, to be stored in a weights file."""
    arrays: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        arrays |= layer_arrays(layer, f"exact.{number}")
    return arrays


def to_fixed_point(weight: Array, bias: Array, shuffle: int = 1) -> ExactLayer:
    """Round a float layer, weight (out, in, k, k) and bias knots (knots, out), to fixed point.

    Raises `WeightsMismatchError` where a weight is outside ±8, the range of int16.
    """
    largest = np.abs(weight).max()
    scaled = np.rint(weight.astype(np.float64) * 2**WEIGHT_BITS)
    if np.abs(scaled).max() > 2**15 - 1:
        raise WeightsMismatchError(
            f"a weight of {float(largest):.2f} does not fit the fixed-point range ±8; "
            "train with a smaller learning rate or a weight penalty"
        )
    limit = 2**31 - 1
    knots = np.clip(np.rint(bias.astype(np.float64) * 2**ACTIVATION_BITS), -limit, limit)
    return ExactLayer(scaled.astype(np.int16), knots.astype(np.int32), shuffle)


def to_floats(layer: ExactLayer) -> tuple[Float64Array, Float64Array]:
    """Weight and bias knots of a layer as real numbers; the inverse of `to_fixed_point`."""
    weight: Float64Array = layer.weight.astype(np.float64) * 2.0**-WEIGHT_BITS
    bias: Float64Array = layer.bias.astype(np.float64) * 2.0**-ACTIVATION_BITS
    return weight, bias
