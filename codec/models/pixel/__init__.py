"""Images without loss, or with no error above a bound: least squares at every pixel, a network.

Needs no PyTorch. `codec.models.pixel.wavefront` says what is decoded when, and from what.
"""

from codec.models.spec import ModelSpec

PIXEL = ModelSpec(
    12,
    "pixel",
    "any image of 8 bits, without loss",
    "codec.models.pixel.coder:load_pixel",
    needs_torch=False,
    lossless=True,
)
NEAR_LOSSLESS = ModelSpec(
    13,
    "near-lossless",
    "any image of 8 bits, no value changed by more than a bound",
    "codec.models.pixel.coder:load_near_lossless",
    needs_torch=False,
    bounded=True,
)
MODELS = (PIXEL, NEAR_LOSSLESS)
