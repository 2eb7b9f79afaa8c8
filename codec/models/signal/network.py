"""A causal dilated convolution in exact arithmetic, computed one step of all lanes at a time.

The structure is that of WaveNet (van den Oord et al. 2016, "WaveNet: a generative model for raw
audio"): every layer adds a function of the current position and one earlier position, which is
further back from layer to layer. Layers keep their past inputs, so each step costs one pass
through the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Array, Float64Array
from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import ExactLayer, Integers, clamp, read_layer, rectify
from codec.models.signal.lanes import INPUTS

OUTPUTS = 3
_QUALITY = 100  # for layers that do not depend on it
_MAX_CHANNELS, _MAX_LAYERS, _MAX_DILATION = 2**10, 64, 2**12


@dataclass(frozen=True)
class SignalConfig:
    """Sizes of the network: channels of its layers, and how far back each of them looks.

    Raises `WeightsMismatchError` for excessive sizes.
    """

    channels: int = 24
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)

    def __post_init__(self) -> None:
        if not (
            1 <= self.channels <= _MAX_CHANNELS
            and len(self.dilations) <= _MAX_LAYERS
            and all(1 <= dilation <= _MAX_DILATION for dilation in self.dilations)
        ):
            raise WeightsMismatchError(
                f"weights file: {self}, expected at most {_MAX_CHANNELS} channels and "
                f"{_MAX_LAYERS} dilations of 1 .. {_MAX_DILATION}"
            )


class DilatedNetwork:
    """The layers by their stored names: `first`, `layers.N`, `hidden`, `output`.

    Raises `WeightsMismatchError` for arrays that do not fit the sizes.
    """

    def __init__(self, config: SignalConfig, arrays: Mapping[str, Array]) -> None:
        self.config = config
        wide = config.channels
        self.first = _layer(arrays, "first", wide, INPUTS)
        self.layers = [
            _layer(arrays, f"layers.{number}", wide, 2 * wide)
            for number in range(len(config.dilations))
        ]
        self.hidden = _layer(arrays, "hidden", wide, wide)
        self.output = _layer(arrays, "output", OUTPUTS, wide)

    def start(self, lanes: int) -> DilatedState:
        """The state before the first step."""
        return DilatedState(self, lanes)


class DilatedState:
    """Past inputs of the layers in all lanes: zeros before the first step."""

    def __init__(self, network: DilatedNetwork, lanes: int) -> None:
        self.network = network
        self.seen = [
            np.zeros((dilation, network.config.channels, lanes))
            for dilation in network.config.dilations
        ]
        self.step = 0

    def advance(self, inputs: Float64Array) -> Integers:
        """Integers (INPUTS, lanes) to (OUTPUTS, lanes), in units of 2⁻¹⁰."""
        network = self.network
        values: Integers = _apply(network.first, inputs).astype(np.float64)
        for layer, seen in zip(network.layers, self.seen, strict=True):
            clamp(values)
            active = values.copy()
            rectify(active)
            place = self.step % len(seen)
            values += _apply(layer, np.concatenate([seen[place], active]))
            seen[place] = active
        self.step += 1
        for layer in (network.hidden, network.output):
            rectify(values)
            values = _apply(layer, values)
        return values


def _apply(layer: ExactLayer, values: Integers) -> Integers:
    return layer.apply(layer.inputs(values), _QUALITY)


def _layer(arrays: Mapping[str, Array], name: str, outputs: int, inputs: int) -> ExactLayer:
    layer = read_layer(arrays, name)
    if layer.weight.shape != (outputs, inputs, 1, 1):
        raise WeightsMismatchError(
            f"weights file: {name} has weights {list(layer.weight.shape)}, "
            f"expected [{outputs}, {inputs}, 1, 1]"
        )
    return layer
