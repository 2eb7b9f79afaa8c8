"""The transforms of the photo model on the CPU: pixels to latents, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import onnxruntime

from bitstream.arrays import Array, Int32Array, Uint8Array, Uint16Array
from codec.models.photo.config import LATENT_STRIDE, PhotoConfig
from codec.models.photo.numpy_backend import NumpyRenderer
from codec.models.photo.onnx_backend import OnnxRenderer
from codec.models.photo.onnx_encoder import OnnxEncoder
from codec.models.photo.synthesis import Renderer, SynthesisWeights, synthesize


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
    def renderer(self) -> Renderer:
        """The renderer for the synthesis network of these weights."""
        return self.renderer_of(self.weights)

    def renderer_of(self, weights: SynthesisWeights) -> Renderer:
        """A renderer for other weights.

        ONNX Runtime is used if it computes the same integers as the NumPy reference for a few
        blocks. Otherwise the reference is used, with a warning. The kernels of ONNX Runtime differ
        by version and processor, and versions before 1.29 add biases that are not constant wrongly.
        """
        fast, reference = OnnxRenderer(weights), NumpyRenderer(weights)
        if _agree(fast, reference, weights.config):
            return fast
        warnings.warn(
            f"onnxruntime {onnxruntime.__version__} computes wrong integers on this processor, so "
            "photographs are decoded with NumPy, which is several times slower; install another "
            "version of onnxruntime",
            RuntimeWarning,
            stacklevel=2,
        )
        return reference

    def synthesize(
        self, decoded: Int32Array, hundredths: int, tune: int, *, deep: bool = False
    ) -> Uint8Array | Uint16Array:
        """See `codec.models.photo.synthesis.synthesize`."""
        return synthesize(self.weights, self.renderer, decoded, hundredths, tune, deep=deep)


def _agree(one: Renderer, other: Renderer, config: PhotoConfig) -> bool:
    """Whether both renderers compute the same for a few random blocks."""
    rng, (height, width) = np.random.default_rng(1841), (2, 3)
    shape = (LATENT_STRIDE * height, LATENT_STRIDE * width, 3)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    texture = rng.integers(0, 256, (config.hidden, height, width), dtype=np.uint8)
    return np.array_equal(one(pixels, texture, 5050, 0), other(pixels, texture, 5050, 0))
