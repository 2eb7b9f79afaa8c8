"""Conversion of the synthesis layers to the integers of a weights file, and back.

The rules are those of `codec.models.photo.quantised`. A layer multiplies activations, integers
in units of 2^−(input bits), by 7-bit weights, integers in units of a power of two for each output.
So its sums are integers in units of 2^(exponent − input bits), and so is the stored bias, or the
stored shift of a block::

    <layer>.weight    int8 (out, in, k, k), −63 .. 63; in is 1 for a depthwise layer
    <layer>.exponent  int8 (out,): the weights are in units of 2^exponent
    <layer>.bias      int32 (out,), in units of the sums; the depthwise layers of blocks have none
    <block>.shift     int32 (tunes, knots, width), in units of the sums of its depthwise layer
    <block>.gain      int16 (tunes, knots, width), 0 .. 127 in units of 2⁻⁶
    log_step          int32 (tunes, knots, 768): log₂ of the quantiser step in levels, 2⁻¹⁰ octaves
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream.arrays import (
    Float32Array,
    Float64Array,
    Int8Array,
    Int16Array,
    Int32Array,
)
from codec.models.photo.config import PhotoConfig

Floats = npt.NDArray[np.floating[Any]]

WEIGHT_LIMIT = 63
"""The sum of two products of such weights with 8-bit values fits 16 bits, which is all that x86
processors without VNNI provide."""
GAIN_BITS, GAIN_LIMIT = 6, 127
STEP_BITS = 10
LEVELS = 255
BIAS_LIMIT, SHIFT_LIMIT = 2**22, 2**16 - 2**13
"""These keep all sums below 2²⁴, and also the sums of a depthwise layer times its gain."""

# Fraction bits of a layer's input.
IMAGE_BITS, RECTIFIED_BITS, STREAM_BITS = 5, 5, 4
LEAST_EXPONENT, LARGEST_EXPONENT = -26, 15
"""The least is for weights that are almost zero; no training comes near the largest."""


@dataclass(frozen=True)
class Kind:
    """Number formats of a layer's inputs and outputs.

    inputs      fraction bits of the inputs
    signed      whether the inputs are −128 .. 127, and not 0 .. 255
    rectified   whether the outputs are 0 .. 255 in units of 2⁻⁵, and not −128 .. 127 in units of
                2⁻⁴
    """

    inputs: int = STREAM_BITS
    signed: bool = True
    rectified: bool = False

    @property
    def outputs(self) -> int:
        """Fraction bits of the outputs."""
        return RECTIFIED_BITS if self.rectified else STREAM_BITS


_KINDS = {
    "in_8": Kind(IMAGE_BITS),
    "in_4": Kind(IMAGE_BITS),
    "texture": Kind(RECTIFIED_BITS, signed=False),
    "expand": Kind(rectified=True),
    "project": Kind(RECTIFIED_BITS, signed=False),
}


def kind_of(name: str) -> Kind:
    """The kind of the layer of this name."""
    return _KINDS.get(name.rpartition(".")[2], Kind())


def layer_inputs(config: PhotoConfig) -> dict[str, int]:
    """Fraction bits of the inputs of each layer of the synthesis, by the layer's name.

    The names are those of `Synthesis` with the prefix `synthesis.`, in the order of computation.
    """
    stages = (
        ("stage_16", config.blocks_16, ("up_16",)),
        ("stage_8", config.blocks_8, ("up_8", "in_4")),
        ("stage_4", config.blocks_4, ("out",)),
    )
    names = ["in_8", "down", "texture"]
    for stage, blocks, then in stages:
        for number in range(blocks):
            names += [
                f"{stage}.blocks.{number}.{part}" for part in ("spatial", "expand", "project")
            ]
        names += then
    return {f"synthesis.{name}": kind_of(name).inputs for name in names}


def block_names(config: PhotoConfig) -> list[str]:
    """The blocks of the synthesis, in the order of computation."""
    ending = ".spatial"
    return [name[: -len(ending)] for name in layer_inputs(config) if name.endswith(ending)]


def weight_exponents(
    weight: Floats, offsets: Floats, input_bits: int, limit: int = BIAS_LIMIT
) -> Int8Array:
    """The exponent of each output's weights, int8 (out,).

    weight    float (out, in, k, k)
    offsets   float (out, n), biases or shifts of each output
    limit     largest magnitude of the offsets as integers

    The exponent is the smallest with which the weights fit −63 .. 63, as in training, and the
    offsets fit their limit, which matters if the weights are almost zero.
    """
    largest = np.abs(weight.astype(np.float64)).max(axis=(1, 2, 3))
    offset = np.abs(offsets).max(axis=1) * 2.0**input_bits
    exponents = np.maximum(_exponent(largest / WEIGHT_LIMIT), _exponent(offset / limit))
    clipped: Int8Array = np.clip(exponents, LEAST_EXPONENT, LARGEST_EXPONENT).astype(np.int8)
    return clipped


def _exponent(values: Float64Array) -> Float64Array:
    """The exponents of the smallest powers of two that are not below positive values."""
    mantissas, exponents = np.frexp(np.maximum(values, 2.0**-120))
    powers: Float64Array = exponents - (mantissas == 0.5).astype(np.float64)
    return powers


def integer_weights(weight: Floats, exponents: Int8Array) -> Int8Array:
    """Weights in units of 2^exponent, int8 of the same shape, rounded half to even."""
    scaled = np.rint(_scaled(weight, exponents))
    integers: Int8Array = np.clip(scaled, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    return integers


def integer_offsets(
    offsets: Floats, exponents: Int8Array, input_bits: int, limit: int = BIAS_LIMIT
) -> Int32Array:
    """Biases or shifts (…, out) in units of the sums, int32 of the same shape, within ±limit."""
    units = np.exp2(exponents.astype(np.float64) - input_bits)
    integers: Float64Array = np.clip(np.rint(offsets / units), -limit, limit)
    return integers.astype(np.int32)


def integer_gains(gains: Floats) -> Int16Array:
    """Gains of blocks in units of 2⁻⁶, int16 of the same shape, 0 .. 127."""
    scaled: Floats = np.rint(gains * 2.0**GAIN_BITS)
    return np.clip(scaled, 0, GAIN_LIMIT).astype(np.int16)


def integer_log_steps(log_steps: Floats) -> Int32Array:
    """Natural logarithms of steps, for pixels in [0, 1], to log₂ in levels, int32, 2⁻¹⁰ octaves."""
    octaves: Float64Array = log_steps.astype(np.float64) / np.log(2) + np.log2(LEVELS)
    units: Int32Array = np.rint(octaves * 2**STEP_BITS).astype(np.int32)
    return units


def float_weights(weight: Int8Array, exponents: Int8Array) -> Float32Array:
    """The inverse of `integer_weights`, exactly: float32 of the same shape."""
    return _scaled(weight, -exponents.astype(np.int16)).astype(np.float32)


def float_offsets(offsets: Int32Array, exponents: Int8Array, input_bits: int) -> Float32Array:
    """The inverse of `integer_offsets`, exactly: float32 of the same shape."""
    units = np.exp2(exponents.astype(np.float64) - input_bits)
    return (offsets * units).astype(np.float32)


def float_gains(gains: Int16Array) -> Float32Array:
    """The inverse of `integer_gains`, exactly: float32 of the same shape."""
    return (gains * 2.0**-GAIN_BITS).astype(np.float32)


def float_log_steps(log_steps: Int32Array) -> Float32Array:
    """The inverse of `integer_log_steps`: float32 of the same shape."""
    octaves: Float64Array = log_steps * 2.0**-STEP_BITS - np.log2(LEVELS)
    steps: Float32Array = (octaves * np.log(2)).astype(np.float32)
    return steps


def _scaled(weight: Floats | Int8Array, exponents: Int16Array | Int8Array) -> Float64Array:
    units = np.exp2(exponents.astype(np.float64))
    scaled: Float64Array = weight.astype(np.float64) / units[:, None, None, None]
    return scaled
