"""The toy model: its weights are the steps of three quantisers, one for each colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream import SymbolDecoder, SymbolEncoder, gaussian_tables
from tests.codec.models.toy import TOY

Float32Array = npt.NDArray[np.float32]
Uint8Array = npt.NDArray[np.uint8]

STRIDE = 8
TABLES = gaussian_tables(np.array([16.0]))


class ToyCoder:
    """A `LoadedModel`. Latents are mean colours (3, h, w), minus 128."""

    model_id, name, layers = TOY.model_id, TOY.name, TOY.layers
    stride, context = STRIDE, 0

    def __init__(self, steps: Float32Array, weights_hash: bytes) -> None:
        self.steps, self.weights_hash = steps.reshape(3, 1, 1), weights_hash

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        height, width = pixels.shape[0] // STRIDE, pixels.shape[1] // STRIDE
        cells = pixels.reshape(height, STRIDE, width, STRIDE, 3).astype(np.float32)
        means: Float32Array = cells.mean(axis=(1, 3)).transpose(2, 0, 1) - np.float32(128)
        return means

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        levels = np.clip(np.rint(latents + 128), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        pixels: Uint8Array = levels.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
        return pixels

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        encoder = SymbolEncoder()
        symbols = np.rint(latents / self.steps).astype(np.int32).ravel()
        encoder.put(symbols, np.zeros_like(symbols), TABLES)
        return (encoder.finish(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        decoder = SymbolDecoder(payloads[0])
        symbols = decoder.get(np.zeros(3 * height * width, dtype=np.int32), TABLES)
        decoder.finish()
        latents: Float32Array = symbols.reshape(3, height, width) * self.steps
        return latents


def load_toy(
    arrays: Mapping[str, Any], metadata: Mapping[str, str], weights_hash: bytes, *, device: str
) -> ToyCoder:
    """Build the model from the contents of its weights file."""
    assert (metadata["model"], device) == (TOY.name, "cpu")
    return ToyCoder(arrays["steps"], weights_hash)
