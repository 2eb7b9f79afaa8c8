"""A multi-layer perceptron in integer arithmetic, the same on every machine.

Bits-back decoding runs the encoder network as well as the decoder network, and a single wrong
probability corrupts everything after it. As in `codec.coding.exact_layers`, integers are held in
float64, where a matrix product is exact in any order of summation as long as every partial sum
stays below 2⁵³::

    x ─► round(W·x / 2^b) + bias ─► ReLU ─► … ─► round(W·x / 2^b) + bias ─► y
         int16 · integer                         no ReLU after the last layer

Activations are in units of 2⁻¹⁰ and bounded by 2²²; weights are int16 in units of 2⁻ᵇ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bitstream.arrays import Array, Float64Array, Int16Array, Int32Array
from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    check_sums,
    finest_bits,
)
from codec.models.weights_files import stored

MAX_WEIGHT_BITS = 12


@dataclass(frozen=True)
class ExactLinear:
    """One affine map in fixed point.

    weight       int16 (out, in), in units of 2⁻ᵇ
    bias         int32 (out,), in units of 2⁻¹⁰
    weight_bits  b, 1 .. 12

    Raises `WeightsMismatchError` for other arrays, or if a sum could exceed 2⁵³.
    """

    weight: Int16Array
    bias: Int32Array
    weight_bits: int

    def __post_init__(self) -> None:
        weight, bias = self.weight, self.bias
        if weight.dtype != np.int16 or weight.ndim != 2 or not weight.size:
            raise WeightsMismatchError(
                f"exact layer: weight is {weight.dtype}{list(weight.shape)}, "
                "expected int16[out, in]"
            )
        if bias.dtype != np.int32 or bias.shape != weight.shape[:1]:
            raise WeightsMismatchError(
                f"exact layer: bias is {bias.dtype}{list(bias.shape)}, "
                f"expected int32[{weight.shape[0]}]"
            )
        if not 1 <= self.weight_bits <= MAX_WEIGHT_BITS:
            raise WeightsMismatchError(
                f"exact layer: weights in units of 2^-{self.weight_bits}, "
                f"expected 1 .. {MAX_WEIGHT_BITS} bits"
            )
        # The margin is the half that is added for rounding.
        check_sums("exact layer", weight, ACTIVATION_LIMIT, margin=1)


class ExactMlp:
    """Affine maps with ReLU between them. Raises `WeightsMismatchError` if sizes do not match."""

    def __init__(self, layers: Sequence[ExactLinear]) -> None:
        if not layers:
            raise WeightsMismatchError("exact network: it has no layers")
        for first, second in pairwise(layers):
            if second.weight.shape[1] != first.weight.shape[0]:
                raise WeightsMismatchError(
                    f"exact network: a layer of {first.weight.shape[0]} outputs is followed by "
                    f"one of {second.weight.shape[1]} inputs"
                )
        self.layers = tuple(layers)
        self._matrices = [layer.weight.T.astype(np.float64) for layer in self.layers]

    @property
    def inputs(self) -> int:
        return int(self.layers[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.layers[-1].weight.shape[0])

    def __call__(self, values: Int32Array) -> Int32Array:
        """int32 (n, inputs) to int32 (n, outputs), both in units of 2⁻¹⁰, within ±2²²."""
        current = np.clip(values, -ACTIVATION_LIMIT, ACTIVATION_LIMIT).astype(np.float64)
        last = len(self.layers) - 1
        for number, (layer, matrix) in enumerate(zip(self.layers, self._matrices, strict=True)):
            current = current @ matrix
            current += 2.0 ** (layer.weight_bits - 1)
            current *= 2.0**-layer.weight_bits
            np.floor(current, out=current)
            current += layer.bias
            lowest = 0 if number < last else -ACTIVATION_LIMIT
            np.clip(current, lowest, ACTIVATION_LIMIT, out=current)
        return current.astype(np.int32)


def to_fixed_point(weight: Float64Array, bias: Float64Array) -> ExactLinear:
    """Round a float layer, weight (out, in) and bias (out,), to the finest possible units.

    Raises `WeightsMismatchError` for values that are not finite or beyond ±16,000.
    """
    bits = finest_bits("exact layer", weight, bias, MAX_WEIGHT_BITS)
    offsets = np.clip(np.rint(bias * 2**ACTIVATION_BITS), -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    return ExactLinear(np.rint(weight * 2**bits).astype(np.int16), offsets.astype(np.int32), bits)


def mlp_to_arrays(prefix: str, layers: Sequence[ExactLinear]) -> dict[str, Array]:
    """Arrays `<prefix>.<k>.weight`, `.bias`, `.weight_bits`, to be stored in a weights file."""
    arrays: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        arrays[f"{prefix}.{number}.weight"] = layer.weight
        arrays[f"{prefix}.{number}.bias"] = layer.bias
        arrays[f"{prefix}.{number}.weight_bits"] = np.array(layer.weight_bits, dtype=np.int32)
    return arrays


def mlp_from_arrays(prefix: str, arrays: Mapping[str, Array]) -> ExactMlp:
    """The inverse of `mlp_to_arrays`. Raises `WeightsMismatchError`."""
    layers: list[ExactLinear] = []
    while f"{prefix}.{len(layers)}.weight" in arrays:
        name = f"{prefix}.{len(layers)}"
        weight, bias = (stored(arrays, f"{name}.{part}") for part in ("weight", "bias"))
        bits = stored(arrays, f"{name}.weight_bits", "int32")
        layers.append(ExactLinear(weight, bias, int(bits)))
    if not layers:
        raise WeightsMismatchError(f"weights file: it holds no exact network {prefix!r}")
    return ExactMlp(layers)
