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

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.errors import WeightsMismatchError

ACTIVATION_BITS = 10
WEIGHT_BITS = 12
ACTIVATION_LIMIT = 2**22
ACCUMULATOR_LIMIT = 2**53

Array = npt.NDArray[np.generic]


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


def interpolate_knots(knots: npt.NDArray[np.int32], hundredths: int) -> npt.NDArray[np.int64]:
    """Interpolate an integer table (knots, channels) at a quality of 100..10000 hundredths.

    Integer arithmetic, rounding down: the twin of `codec.layers.QualityTable`.
    """
    scaled = (hundredths - 100) * (len(knots) - 1)
    left = min(scaled // 9900, len(knots) - 2)
    fraction = scaled - 9900 * left
    wide = knots.astype(np.int64)
    result: npt.NDArray[np.int64] = (
        wide[left] * (9900 - fraction) + wide[left + 1] * fraction
    ) // 9900
    return result


class ExactHyperSynthesis:
    """Maps integer hyper-latents to integer means and table indexes, alike on every machine."""

    def __init__(self, layers: Sequence[ExactLayer], table_count: int) -> None:
        self.layers = tuple(layers)
        self.table_count = table_count
        self._weights = [
            torch.from_numpy(layer.weight.astype(np.float64)).flatten(1) for layer in self.layers
        ]

    def __call__(
        self, hyper_latents: npt.NDArray[np.int32], quality_hundredths: int
    ) -> ExactOutput:
        """Hyper-latents int32 (Z, h, w) to means and indexes of (C, 4·h, 4·w)."""
        limit = ACTIVATION_LIMIT >> ACTIVATION_BITS
        start = np.clip(hyper_latents, -limit, limit).astype(np.float64) * 2**ACTIVATION_BITS
        values = torch.from_numpy(start)
        last = len(self.layers) - 1
        for number, (layer, weight) in enumerate(zip(self.layers, self._weights, strict=True)):
            bias = torch.from_numpy(
                interpolate_knots(layer.bias, quality_hundredths).astype(np.float64)
            )
            values = _convolve(values, weight, layer.weight.shape[-1])
            values.mul_(2.0**-WEIGHT_BITS).floor_().add_(bias[:, None, None])
            values.clamp_(0 if number < last else -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
            if layer.shuffle > 1:
                values = F.pixel_shuffle(values, layer.shuffle)
        means, indexes = values.chunk(2)
        half = 1 << (ACTIVATION_BITS - 1)
        indexes = indexes.add(half).mul_(2.0**-ACTIVATION_BITS).floor_()
        indexes.clamp_(0, self.table_count - 1)
        return ExactOutput(means.to(torch.int32).numpy(), indexes.to(torch.int32).numpy())


@dataclass(frozen=True)
class ExactOutput:
    """int32 (C, h, w) each: means in units of 2⁻¹⁰ quantiser steps, and table indexes."""

    means: npt.NDArray[np.int32]
    indexes: npt.NDArray[np.int32]


def _convolve(values: Tensor, weight: Tensor, kernel: int) -> Tensor:
    """Same-size convolution of float64 (in, h, w) as one matrix product; zeros outside.

    Spelled out, because a library convolution may pick an algorithm with fractions (Winograd).
    """
    channels, height, width = values.shape
    if kernel == 3:
        padded = F.pad(values, (1, 1, 1, 1))
        windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
        columns = windows.permute(0, 3, 4, 1, 2).reshape(9 * channels, height * width)
    else:
        columns = values.reshape(channels, height * width)
    return (weight @ columns).reshape(-1, height, width)


def layers_from_arrays(arrays: Mapping[str, Array]) -> list[ExactLayer]:
    """Read `exact.<k>.weight`, `.bias`, `.shuffle`, k = 0, 1, …; the inverse of `to_arrays`."""
    layers: list[ExactLayer] = []
    while f"exact.{len(layers)}.weight" in arrays:
        prefix = f"exact.{len(layers)}."
        try:
            weight, bias = arrays[prefix + "weight"], arrays[prefix + "bias"]
            shuffle = int(arrays[prefix + "shuffle"][()])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise WeightsMismatchError(f"weights file: layer {prefix} is incomplete") from error
        layers.append(ExactLayer(weight, bias, shuffle))  # type: ignore[arg-type]
    if not layers:
        raise WeightsMismatchError("weights file: it holds no exact path (exact.0.weight)")
    return layers


def to_arrays(layers: Sequence[ExactLayer]) -> dict[str, Array]:
    """Arrays by name, to be stored in a weights file."""
    arrays: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        arrays[f"exact.{number}.weight"] = layer.weight
        arrays[f"exact.{number}.bias"] = layer.bias
        arrays[f"exact.{number}.shuffle"] = np.array(layer.shuffle, dtype=np.int32)
    return arrays


def to_fixed_point(weight: Tensor, bias: Tensor, shuffle: int = 1) -> ExactLayer:
    """Round a float layer, weight (out, in, k, k) and bias knots (knots, out), to fixed point.

    Raises `WeightsMismatchError` where a weight is outside ±8, the range of int16.
    """
    scaled = torch.round(weight.double() * 2**WEIGHT_BITS)
    if scaled.abs().max() > 2**15 - 1:
        raise WeightsMismatchError(
            f"a weight of {float(weight.abs().max()):.2f} does not fit the fixed-point range ±8; "
            "train with a smaller learning rate or a weight penalty"
        )
    limit = 2.0**31 - 1
    knots = torch.round(bias.double() * 2**ACTIVATION_BITS).clamp(-limit, limit)
    return ExactLayer(scaled.to(torch.int16).numpy(), knots.to(torch.int32).numpy(), shuffle)
