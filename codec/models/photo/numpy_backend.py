"""The reference implementation of the synthesis network: NumPy, matrix products in float32.

Every sum is an integer below 2²⁴, which float32 holds exactly in any order of summation.
"""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Float32Array, Int8Array, Uint8Array
from codec.models.photo.integers import kind_of
from codec.models.photo.synthesis import SynthesisWeights, network


class NumpyBackend:
    """See `codec.models.photo.synthesis.Backend`: integers in float32 (channels, h, w).

    pixels    uint8 (16·h, 16·w, 3), 128 is zero
    texture   uint8 (hidden, h, w)
    """

    def __init__(
        self,
        weights: SynthesisWeights,
        pixels: Uint8Array,
        texture: Uint8Array,
        hundredths: int,
        tune: int,
    ) -> None:
        self._weights, self._condition = weights, (hundredths, tune)
        self._pixels = pixels.astype(np.float32).transpose(2, 0, 1) - 128
        self._texture = texture.astype(np.float32)

    def image(self, factor: int) -> Float32Array:
        return _unshuffled(self._pixels, factor)

    def texture(self) -> Float32Array:
        return self._texture

    def layer(self, name: str, values: Float32Array) -> Float32Array:
        weight = self._weights.weight(name).astype(np.float32)
        bias, multiplier = self._weights.condition(name, *self._condition)
        _, height, width = values.shape
        if weight.shape[2] == 1:
            sums = (weight[:, :, 0, 0] @ values.reshape(len(values), -1)).reshape(-1, height, width)
        else:
            padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
            sums = np.zeros_like(values)
            for tap in range(9):
                row, column = divmod(tap, 3)
                near = padded[:, row : row + height, column : column + width]
                sums += weight[:, 0, row, column, None, None] * near
        sums += bias.astype(np.float32)[:, None, None]
        sums *= multiplier[:, None, None]
        low, high = (0, 255) if kind_of(name).rectified else (-128, 127)
        return np.clip(np.rint(sums, out=sums), low, high, out=sums)

    def add(self, one: Float32Array, other: Float32Array) -> Float32Array:
        total: Float32Array = np.clip(one + other, -128, 127)
        return total

    def shuffle(self, values: Float32Array) -> Float32Array:
        return shuffled(values, 2)

    def unshuffle(self, values: Float32Array) -> Float32Array:
        return _unshuffled(values, 2)


class NumpyRenderer:
    """See `codec.models.photo.synthesis.Renderer`."""

    def __init__(self, weights: SynthesisWeights) -> None:
        self._weights = weights

    def __call__(
        self, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        backend = NumpyBackend(self._weights, pixels, texture, hundredths, tune)
        rendered = shuffled(network(backend, self._weights.config), 4)
        levels: Int8Array = rendered.transpose(1, 2, 0).astype(np.int8)
        return levels


def shuffled(values: Float32Array, factor: int) -> Float32Array:
    """Channels (C · factor², h, w) to (C, h · factor, w · factor), as torch orders them."""
    _, height, width = values.shape
    blocks = values.reshape(-1, factor, factor, height, width).transpose(0, 3, 1, 4, 2)
    places: Float32Array = blocks.reshape(-1, height * factor, width * factor)
    return places


def _unshuffled(values: Float32Array, factor: int) -> Float32Array:
    channels, height, width = values.shape
    blocks = values.reshape(channels, height // factor, factor, width // factor, factor)
    channels_first = blocks.transpose(0, 2, 4, 1, 3)
    merged: Float32Array = channels_first.reshape(-1, height // factor, width // factor)
    return merged
