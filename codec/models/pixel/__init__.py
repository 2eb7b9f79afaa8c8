"""Images without loss: least squares at every pixel, and a small network that knows how sure it is.

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
MODELS = (PIXEL,)
