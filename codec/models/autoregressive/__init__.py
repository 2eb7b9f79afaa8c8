"""Autoregressive models of black-and-white digits, as lossless codecs.

Every pixel is coded with its probability given the pixels before it, row by row. The models exist
to be compared with their papers; they code only sheets of 28×28 digits.
"""

from codec.models.spec import ModelSpec

_LOADER = "codec.models.autoregressive.coder:load_autoregressive"

FVSBN = ModelSpec(
    15,
    "digits-fvsbn",
    "black-and-white digits: fully visible sigmoid belief network, lossless",
    _LOADER,
    needs_torch=False,
    lossless=True,
)
MADE = ModelSpec(
    16,
    "digits-made",
    "black-and-white digits: masked autoencoder (MADE), lossless",
    _LOADER,
    needs_torch=False,
    lossless=True,
)
PIXELCNN = ModelSpec(
    17,
    "digits-pixelcnn",
    "black-and-white digits: gated PixelCNN, lossless",
    _LOADER,
    needs_torch=False,
    lossless=True,
)
MODELS = (FVSBN, MADE, PIXELCNN)
