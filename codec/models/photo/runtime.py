"""The transforms of the photo model on the CPU: pixels to latents, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from bitstream.arrays import Array, Int32Array, Uint8Array, Uint16Array
from codec.models.photo.config import PhotoConfig
from codec.models.photo.onnx_backend import OnnxRenderer
from codec.models.photo.onnx_encoder import OnnxEncoder
from codec.models.photo.synthesis import SynthesisWeights, synthesize


class Transforms:
    """Analysis, hyper-analysis and synthesis of one set of weights on the CPU.

    arrays   those of a weights file

    A condition is a position in hundredths, 100 .. 10000, and the index of a tune. Raises
    `WeightsMismatchError` for arrays that do not fit the sizes.
    """

    def __init__(self, arrays: Mapping[str, Array], config: PhotoConfig) -> None:
        self.weights = SynthesisWeights(arrays, config)
        encoder = OnnxEncoder(arrays, config)
        self.analyze, self.hyper_analyze = encoder.analyze, encoder.hyper_analyze

    @cached_property
    def renderer(self) -> OnnxRenderer:
        """The renderer for the synthesis network of these weights."""
        return self.renderer_of(self.weights)

    def renderer_of(self, weights: SynthesisWeights) -> OnnxRenderer:
        """A renderer for other weights."""
        return OnnxRenderer(weights)

    def synthesize(
        self, decoded: Int32Array, hundredths: int, tune: int, *, deep: bool = False
    ) -> Uint8Array | Uint16Array:
        """See `codec.models.photo.synthesis.synthesize`."""
        return synthesize(self.weights, self.renderer, decoded, hundredths, tune, deep=deep)
