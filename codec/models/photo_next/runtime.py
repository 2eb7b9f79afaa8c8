"""The transforms of the photo model for coding: pixels to latents, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from bitstream.arrays import Array, Float32Array, Int32Array, Uint8Array
from codec.models.photo_next.config import COEFFICIENTS, PhotoConfig
from codec.models.photo_next.onnx_backend import OnnxSynthesis
from codec.models.photo_next.onnx_encoder import OnnxEncoder
from codec.models.photo_next.synthesis import (
    SynthesisWeights,
    inverse_transform,
    pixels_of,
    seen_pixels,
    seen_texture,
)


class Transforms:
    """Analysis, hyper-analysis and synthesis of one set of weights on a processor.

    arrays   those of a weights file

    A condition is a position in hundredths, 100 .. 10000, and the index of a tune. Raises
    `WeightsMismatchError` for arrays that do not fit the sizes.
    """

    def __init__(self, arrays: Mapping[str, Array], config: PhotoConfig) -> None:
        self.weights = SynthesisWeights(arrays, config)
        encoder = OnnxEncoder(arrays, config)
        self.analyze, self.hyper_analyze = encoder.analyze, encoder.hyper_analyze

    @cached_property
    def _network(self) -> OnnxSynthesis:
        return OnnxSynthesis(self.weights)

    def synthesize(self, decoded: Int32Array, hundredths: int, tune: int) -> Uint8Array:
        """What a decoder has read, int32 (768 + hidden, h, w), to pixels uint8 (16·h, 16·w, 3).

        decoded   latents in 2⁻¹⁰ quantiser steps, then the last features of the hyper-synthesis
                  in units of 2⁻¹⁰
        """
        latents, hidden = decoded[:COEFFICIENTS], decoded[COEFFICIENTS:]
        image = inverse_transform(latents, self.weights.steps(hundredths, tune))
        texture = seen_texture(hidden)
        return pixels_of(
            image, self._network.render(seen_pixels(image), texture, hundredths, tune)
        )
