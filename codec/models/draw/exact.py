"""DRAW in fixed point, with the same numbers on every machine, for coding.

As in `codec.coding.exact_layers`, integers are held in float64, where a matrix product is exact in
any order of summation as long as every partial sum stays below 2⁵³. Activations are in units of
2⁻¹² and bounded by 2²²; weights are int16 in units of 2⁻ᵇ. Other functions are looked up in integer
tables in the weights file, so no result depends on a library's exponential.

`ExactDraw` implements `Operations` of `codec.models.draw.recursion`: images, states, codes and
canvas are float64 tensors of integers.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.arrays import Array, Float64Array, Int32Array
from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import (
    ACTIVATION_LIMIT,
    check_sums,
    finest_bits,
    interpolate_knots,
)
from codec.models.draw.recursion import DrawConfig, Recursion
from codec.models.weights_files import stored

UNIT_BITS = 12
MAX_WEIGHT_BITS = 14
CURVE_REACH_BITS = 3  # sigmoid and tanh are tabulated over −8 .. 8
CURVE_STEP_BITS = 2  # in steps of four units
CURVE_POINTS = (2 << (CURVE_REACH_BITS + UNIT_BITS - CURVE_STEP_BITS)) + 1
SCALE_STEP_BITS = 8  # levels of ln σ_p are 2⁸ units apart, a sixteenth
SCALE_LEVELS = (8 << (UNIT_BITS - SCALE_STEP_BITS)) + 1
SCALE_BITS = 16  # σ_p is tabulated in units of 2⁻¹⁶
HALF_LEVEL = 1 << (UNIT_BITS - 8)  # half the distance between two levels of x


@dataclass(frozen=True)
class ExactConvolution:
    """A 3×3 convolution in fixed point.

    taps         float64 integers (3, 3, out, in) in units of 2⁻ᵇ
    weight_bits  b
    bias         int32 (knots, out) in units of 2⁻¹², interpolated by quality
    """

    taps: Tensor
    weight_bits: int
    bias: Int32Array


class ExactDraw:
    """`Operations` in fixed point, from the arrays of a weights file.

    exact.<convolution>.weight       int16 (out, in, 3, 3), units of 2⁻ᵇ
    exact.<convolution>.bias         int32 (knots, out), units of 2⁻¹²
    exact.<convolution>.weight_bits  int32 (), b
    exact.start                      int32 (canvas channels,), r₀ in units of 2⁻¹²
    exact.sigmoid, exact.tanh        int16 (CURVE_POINTS,), at −8 .. 8 in steps of 2⁻¹⁰
    exact.scales                     int32 (SCALE_LEVELS,), σ_p of each level in units of 2⁻¹⁶
    exact.steps<level>               int32 (knots, codes), Δ in units of 2⁻¹²; uniform posteriors

    It is immutable, so threads may share it. Raises `WeightsMismatchError` for other arrays.
    """

    def __init__(self, config: DrawConfig, arrays: Mapping[str, Array]) -> None:
        self.config = config
        self._convolutions = {
            name: _convolution(arrays, name, config.knots, *sizes)
            for name, sizes in config.convolutions().items()
        }
        limit, one = ACTIVATION_LIMIT, 2**UNIT_BITS
        # These limits bound the activations, and with them every sum of products.
        self._start = _tensor(_take(arrays, "start", "int32", config.canvas_channels, limit=limit))
        self._sigmoid = _tensor(_take(arrays, "sigmoid", "int16", CURVE_POINTS, limit=one))
        self._tanh = _tensor(_take(arrays, "tanh", "int16", CURVE_POINTS, limit=one))
        self._scales = _tensor(_take(arrays, "scales", "int32", SCALE_LEVELS))
        self._steps: list[Int32Array] = []
        if config.posterior == "uniform":
            self._steps = [
                _take(arrays, f"steps{level}", "int32", config.knots, codes, limit=limit)
                for level, codes in enumerate(config.codes)
            ]
        self._set_quality(10_000)

    def at_quality(self, hundredths: int) -> ExactDraw:
        """The same network, for coding at a quality in hundredths."""
        network = copy.copy(self)
        network._set_quality(hundredths)
        return network

    def _set_quality(self, hundredths: int) -> None:
        def chosen(knots: Int32Array) -> Tensor:
            values = knots[0] if len(knots) == 1 else interpolate_knots(knots, hundredths)
            return _tensor(values)[:, None, None]

        self.recursion = Recursion(self.config, self)
        self._bias_now = {name: chosen(c.bias) for name, c in self._convolutions.items()}
        self._steps_now = [chosen(steps) for steps in self._steps]

    def convolve(self, name: str, values: Tensor) -> Tensor:
        found = convolve_exactly(values, self._convolutions[name].taps)
        _shift_(found, self._convolutions[name].weight_bits)
        return found.add_(self._bias_now[name]).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)

    def sigmoid(self, values: Tensor) -> Tensor:
        return _look_up(self._sigmoid, values)

    def tanh(self, values: Tensor) -> Tensor:
        return _look_up(self._tanh, values)

    def sum(self, left: Tensor, right: Tensor) -> Tensor:
        """The sum, clipped to the range of activations."""
        return (left + right).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return _shift_(left * right, UNIT_BITS)

    def code(self, level: int, mean: Tensor, scale: Tensor, coordinate: Tensor) -> Tensor:
        """u is in units of 2⁻¹² for gaussian posteriors, and an integer for uniform ones."""
        if self.config.posterior == "gaussian":
            deviation = self._scales[self.scale_levels(scale)]
            moved = _shift_(deviation * coordinate, SCALE_BITS)
        else:
            moved = self._steps_now[level] * coordinate
        return self.sum(mean, moved)

    def pool(self, values: Tensor) -> Tensor:
        return _shift_(F.avg_pool2d(values, 2, ceil_mode=True, divisor_override=1), 2)

    def canvas(self, batch: int, height: int, width: int) -> Tensor:
        return self._start[:, None, None].expand(batch, -1, height, width)

    def zeros(self, batch: int, channels: int, height: int, width: int) -> Tensor:
        return torch.zeros((), dtype=torch.float64).expand(batch, channels, height, width)

    def scale_levels(self, said: Tensor) -> Tensor:
        """The level of ln σ_p, the nearest sixteenth: int64, 0 .. SCALE_LEVELS − 1."""
        lowest = round(self.config.log_scales[0] * 2**UNIT_BITS)
        found = _shift_(said - lowest, SCALE_STEP_BITS)
        return found.clamp_(0, SCALE_LEVELS - 1).long()


def image_units(levels: Tensor, config: DrawConfig) -> Tensor:
    """x in units of 2⁻¹² from 8-bit levels (batch, channels, h, w): float64 integers.

    x is (2 · level − 255) / 256; under the Bernoulli likelihood, 0 for level 0 and 1 otherwise.
    """
    if config.likelihood == "bernoulli":
        return (levels > 0).double() * float(1 << UNIT_BITS)
    return (levels.double() * 2 - 255) * HALF_LEVEL


def image_levels(units: Tensor) -> Tensor:
    """The nearest 8-bit levels, float64 0 .. 255, of x in units of 2⁻¹².

    The inverse of `image_units`, except under the Bernoulli likelihood.
    """
    return _shift_(units + 255 * HALF_LEVEL, UNIT_BITS - 7).clamp_(0, 255)


def exact_arrays(config: DrawConfig, state: Mapping[str, Tensor]) -> dict[str, Array]:
    """Round the state dictionary of a `DrawNetwork` to fixed point.

    Raises `WeightsMismatchError` for weights that are not finite or too large for int16.
    """
    arrays: dict[str, Any] = {}
    for name in config.convolutions():
        weight = state[f"weights.{name}"].double().numpy()
        bias = state[f"biases.{name}"].double()
        bits = finest_bits(name, weight, bias.numpy(), MAX_WEIGHT_BITS)
        # Row-major, because safetensors ignores strides.
        arrays[f"{name}.weight"] = np.ascontiguousarray(np.rint(weight * 2**bits), np.int16)
        arrays[f"{name}.bias"] = _integers(bias)
        arrays[f"{name}.weight_bits"] = np.array(bits, dtype=np.int32)
    arrays["start"] = _integers(state["start"].double())
    points = torch.arange(CURVE_POINTS, dtype=torch.float64) - CURVE_POINTS // 2
    points = points * 2.0 ** (CURVE_STEP_BITS - UNIT_BITS)
    arrays["sigmoid"] = torch.round(points.sigmoid() * 2**UNIT_BITS).to(torch.int16).numpy()
    arrays["tanh"] = torch.round(points.tanh() * 2**UNIT_BITS).to(torch.int16).numpy()
    arrays["scales"] = np.rint(np.exp(log_scale_levels(config)) * 2**SCALE_BITS).astype(np.int32)
    if config.posterior == "uniform":
        for level in range(config.levels):
            steps = state[f"log_steps.{level}"].double().exp()
            arrays[f"steps{level}"] = np.maximum(_integers(steps), 1)
    return {f"exact.{name}": array for name, array in arrays.items()}


def log_scale_levels(config: DrawConfig) -> Float64Array:
    """ln σ_p of each level."""
    lowest, highest = config.log_scales
    return np.linspace(lowest, highest, SCALE_LEVELS)


def _take(
    arrays: Mapping[str, Array],
    name: str,
    dtype: str,
    *shape: int,
    limit: int | None = None,
) -> Any:
    """An array of a weights file, checked; `limit` is the largest magnitude."""
    array = stored(arrays, f"exact.{name}", dtype, *shape)
    largest = int(np.abs(array.astype(np.int64)).max())
    if limit is not None and largest > limit:
        raise WeightsMismatchError(
            f"weights file: exact.{name} holds {largest}, expected no more than {limit}"
        )
    return array


def _convolution(
    arrays: Mapping[str, Array], name: str, knots: int, inputs: int, outputs: int
) -> ExactConvolution:
    weight = _take(arrays, f"{name}.weight", "int16", outputs, inputs, 3, 3)
    bias = _take(arrays, f"{name}.bias", "int32", knots, outputs)
    bits = int(_take(arrays, f"{name}.weight_bits", "int32"))
    if not 1 <= bits <= MAX_WEIGHT_BITS:
        raise WeightsMismatchError(
            f"weights file: exact.{name}.weight_bits is {bits}, expected 1 .. {MAX_WEIGHT_BITS}"
        )
    # The margin is the half that is added for rounding.
    check_sums(f"weights file: exact.{name}", weight, ACTIVATION_LIMIT, margin=1)
    return ExactConvolution(_tensor(weight).permute(2, 3, 0, 1).contiguous(), bits, bias)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))


def _integers(values: Tensor) -> Int32Array:
    scaled = torch.round(values * 2**UNIT_BITS).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    return scaled.to(torch.int32).numpy()


def _shift_(values: Tensor, bits: int) -> Tensor:
    """Divide by 2^bits, in place, and round to the nearest integer, halves upwards."""
    return values.add_(float(1 << (bits - 1))).mul_(2.0**-bits).floor_()


def _look_up(table: Tensor, values: Tensor) -> Tensor:
    # The index of zero is added before the shift, which saves a pass over the values.
    places = _shift_(values + ((CURVE_POINTS // 2) << CURVE_STEP_BITS), CURVE_STEP_BITS)
    indexes = places.clamp_(0, CURVE_POINTS - 1).to(torch.int32)
    return table.index_select(0, indexes.flatten()).view(values.shape)


def convolve_exactly(values: Tensor, taps: Tensor) -> Tensor:
    """3×3 convolution of float64 (batch, in, h, w) by taps (3, 3, out, in), zero-padded.

    It is written as matrix products, because a library's convolution may choose an algorithm with
    fractions (Winograd). All rows are concatenated with a zero at both ends of each: the input of a
    tap is this long row, shifted, without a copy::

        0 a b c 0 0 d e f 0       seen by tap (1, 0): 0 a b · · 0 d e · ·
                                          tap (1, 2): b c 0 · · e f 0 · ·
    """
    batch, channels, height, width = values.shape
    line = width + 2
    places = batch * (height + 2) * line
    padded = values.new_zeros(channels, places + 2 * line + 2)
    rows = padded[:, :places].view(channels, batch, height + 2, line)
    rows[:, :, 1:-1, 1:-1] = values.transpose(0, 1)
    found = taps[0, 0] @ padded[:, :places]
    for row, column in list(itertools.product(range(3), range(3)))[1:]:
        moved = row * line + column
        found.addmm_(taps[row, column], padded[:, moved : moved + places])
    images = found.view(-1, batch, height + 2, line)[:, :, :height, :width]
    return images.transpose(0, 1)
