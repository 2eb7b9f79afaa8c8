"""Lossless and bounded-error coding of images: least squares at every pixel, then a network.

Needs no PyTorch. `codec.models.pixel.wavefront` describes the decoding order and the contexts.
"""

from codec.models.spec import ModelSpec

PIXEL = ModelSpec(
    12,
    "pixel",
    "any 8-bit image, losslessly",
    "codec.models.pixel.coder:load_pixel",
    needs_torch=False,
    lossless=True,
)
NEAR_LOSSLESS = ModelSpec(
    13,
    "near-lossless",
    "any 8-bit image, no value changed by more than a bound",
    "codec.models.pixel.coder:load_near_lossless",
    needs_torch=False,
    bounded=True,
)
MODELS = (PIXEL, NEAR_LOSSLESS)
