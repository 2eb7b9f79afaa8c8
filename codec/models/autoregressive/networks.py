"""The networks of the autoregressive models in exact arithmetic, one pixel at a time.

Encoder and decoder run the same sweep: at every place, for many images at once, the network gives
the log-odds of a white pixel, and is then told the pixel. All numbers are integers in units of
2⁻¹⁰, held in floating point as in `codec.coding.exact_layers`, so they are the same on every
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Protocol

import numpy as np

from bitstream.arrays import Array, BoolArray, Int16Array, Int32Array
from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    ExactLayer,
    Integers,
    Units,
    clamp,
    rectify,
)
from codec.models.autoregressive.config import PIXELS, AutoregressiveConfig
from codec.models.sheets import BLOCK
from codec.models.weights_files import stored

ONE = 1 << ACTIVATION_BITS
FIRST_KERNEL = 7
GATE_REACH = 8
"""The tables of tanh and sigmoid cover −8 .. 8."""
_GATE_POINTS = 2 * GATE_REACH * ONE + 1
_SEEN = tuple(range(5))  # taps of a 3×3 kernel: the row above, the left place, the place itself
_FIRST_SEEN = FIRST_KERNEL**2 // 2
_QUALITY = 100  # for layers that do not depend on it

Code = Callable[[Int32Array], BoolArray]
"""From the log-odds (n,) of the next pixel of n images, in units of 2⁻¹⁰, to these pixels."""


class ExactNetwork(Protocol):
    """A network that gives the log-odds of every pixel, given those before it."""

    def sweep(self, images: int, code: Code) -> None:
        """Call `code` for each of the 784 places of `images` images, row by row."""


def unit_degrees(hidden: int) -> Int32Array:
    """How many of the first pixels each hidden unit of a MADE sees: 1 .. 783, ascending.

    Germain et al. 2015, equation 8, but evenly spread instead of random.
    """
    degrees: Int32Array = (1 + np.arange(hidden) * (PIXELS - 1) // max(hidden, 1)).astype(np.int32)
    return degrees


def output_mask(hidden: int) -> BoolArray:
    """Which pixels and hidden units the log-odds of a pixel depend on: (784, 784 + hidden)."""
    seen = np.concatenate([np.arange(1, PIXELS + 1), unit_degrees(hidden)])
    mask: BoolArray = seen <= np.arange(PIXELS)[:, None]
    return mask


def hidden_mask(hidden: int) -> BoolArray:
    """Which pixels a hidden unit depends on: (hidden, 784)."""
    mask: BoolArray = np.arange(PIXELS) < unit_degrees(hidden)[:, None]
    return mask


class ExactMade:
    """A masked autoencoder; without hidden units, a fully visible sigmoid belief network."""

    def __init__(self, config: AutoregressiveConfig, arrays: Mapping[str, Array]) -> None:
        hidden = config.hidden
        self.output = _masked_layer(arrays, "output", output_mask(hidden))
        self.hidden = _masked_layer(arrays, "hidden", hidden_mask(hidden)) if hidden else None
        self.units = hidden
        # Units are sorted by degree: those that see only pixels 0 .. place − 1 end here.
        self.ends = np.searchsorted(unit_degrees(hidden), np.arange(PIXELS + 1), "right")

    def sweep(self, images: int, code: Code) -> None:
        """See `ExactNetwork`."""
        pixels, units = np.zeros((PIXELS, images)), np.zeros((self.units, images))
        for place, (begin, end) in enumerate(pairwise(self.ends)):
            # Unknown values have zero weight, and are skipped to save time.
            row = self.output.matrix[place]
            sums = row[:place] @ pixels[:place] + row[PIXELS : PIXELS + begin] @ units[:begin]
            pixels[place] = ONE * code(_bounded(np.floor(sums) + self.output.bias[0, place]))
            if self.hidden is not None and begin < end:
                seen = self.hidden.matrix[begin:end, : place + 1] @ pixels[: place + 1]
                units[begin:end] = np.floor(seen) + self.hidden.bias[0, begin:end, None]
                rectify(units[begin:end])


class ExactPixelCnn:
    """A stack of masked convolutions with gated layers.

    The inputs of each layer are kept for the current and the next row, so each place costs one pass
    through the weights.
    """

    def __init__(self, config: AutoregressiveConfig, arrays: Mapping[str, Array]) -> None:
        channels = config.hidden
        self.channels = channels
        self.first = _layer(arrays, "first", channels, _FIRST_SEEN)
        self.gates = [
            _layer(arrays, f"layers.{number}.gate", 2 * channels, len(_SEEN) * channels)
            for number in range(config.layers)
        ]
        self.mixes = [
            _layer(arrays, f"layers.{number}.mix", channels, channels)
            for number in range(config.layers)
        ]
        self.hidden = _layer(arrays, "hidden", channels, channels)
        self.output = _layer(arrays, "output", 1, channels)
        self.tanh, self.sigmoid = (
            stored(arrays, f"gate.{name}", "int16", _GATE_POINTS).astype(np.float64)
            for name in ("tanh", "sigmoid")
        )
        if max(np.abs(self.tanh).max(), np.abs(self.sigmoid).max()) > ONE:
            raise WeightsMismatchError("weights file: a gate has values beyond ±1")

    def sweep(self, images: int, code: Code) -> None:
        """See `ExactNetwork`."""
        half = FIRST_KERNEL // 2
        seen = np.zeros((half + BLOCK, BLOCK + 2 * half, images))
        shape = (len(self.gates), self.channels, BLOCK + 2, images)
        above, row = np.zeros(shape), np.zeros(shape)
        for y in range(BLOCK):
            for x in range(BLOCK):
                rows = seen[y : y + half, x : x + FIRST_KERNEL].reshape(-1, images)
                left = seen[y + half, x : x + half]
                values = self.first.apply(np.concatenate([rows, left]), _QUALITY)
                clamp(values)
                for number in range(len(self.gates)):
                    row[number, :, x + 1] = values
                    values += self.gated(number, above[number], row[number], x)
                    clamp(values)
                pixel = code(_bounded(self.log_odds(values)))
                seen[y + half, x + half] = ONE * pixel
            above, row = row, above

    def gated(self, number: int, above: Integers, row: Integers, x: int) -> Integers:
        """The contribution of a layer at column x, from rows (channels, 1 + 28 + 1, n)."""
        columns = np.concatenate([above[:, x : x + 3], row[:, x : x + 2]], 1)
        gates = self.gates[number].apply(columns.reshape(-1, columns.shape[-1]), _QUALITY)
        places = np.clip(gates, -GATE_REACH * ONE, GATE_REACH * ONE).astype(np.int64)
        left, right = np.split(places + GATE_REACH * ONE, 2)
        product: Integers = self.tanh.take(left)
        product *= self.sigmoid.take(right)
        product *= 1 / ONE
        np.floor(product, out=product)
        added: Integers = self.mixes[number].apply(product, _QUALITY)
        return added

    def log_odds(self, values: Integers) -> Integers:
        """From the last layer's (channels, n) to (n,)."""
        for layer in (self.hidden, self.output):
            values = values.copy()
            rectify(values)
            values = layer.apply(values, _QUALITY)
        found: Integers = values[0]
        return found


def exact_network(config: AutoregressiveConfig, arrays: Mapping[str, Array]) -> ExactNetwork:
    """The network of a weights file. Raises `WeightsMismatchError`."""
    kind = ExactPixelCnn if config.kind == "pixelcnn" else ExactMade
    return kind(config, arrays)


def gate_tables() -> dict[str, Int16Array]:
    """The arrays `gate.*`: tanh and sigmoid over −8 .. 8, in units of 2⁻¹⁰."""
    points = np.arange(-GATE_REACH * ONE, GATE_REACH * ONE + 1) / ONE
    found = {"tanh": np.tanh(points), "sigmoid": 1 / (1 + np.exp(-points))}
    return {
        f"gate.{name}": np.rint(ONE * values).astype(np.int16) for name, values in found.items()
    }


def _bounded(log_odds: Integers) -> Int32Array:
    values = log_odds.copy()
    clamp(values)
    bounded: Int32Array = values.astype(np.int32)
    return bounded


def _layer(arrays: Mapping[str, Array], name: str, outputs: int, inputs: int) -> ExactLayer:
    """A 1×1 layer, from `<name>.weight`, `.bias` and `.weight_bits`."""
    weight = stored(arrays, f"{name}.weight", "int16", outputs, inputs)
    return _exact(arrays, name, weight)


def _masked_layer(arrays: Mapping[str, Array], name: str, mask: BoolArray) -> ExactLayer:
    """A layer whose stored weights (m,) are only those inside the mask, row by row."""
    weight = np.zeros(mask.shape, np.int16)
    weight[mask] = stored(arrays, f"{name}.weight", "int16", int(mask.sum()))
    return _exact(arrays, name, weight)


def _exact(arrays: Mapping[str, Array], name: str, weight: Int16Array) -> ExactLayer:
    bias = stored(arrays, f"{name}.bias", "int32", len(weight))
    bits = int(stored(arrays, f"{name}.weight_bits", "int32"))
    return ExactLayer(weight[:, :, None, None], bias[None], 1, Units(weight_bits=bits))
