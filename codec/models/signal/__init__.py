"""Lossless coding of one-dimensional signals: least squares in every lane, a dilated convolution.

Needs no PyTorch. Picture files never use this model: `codec.signals` is its interface.
"""

from codec.models.spec import ModelSpec

SIGNAL = ModelSpec(
    0,  # a number that occurs in no header
    "signal",
    "one-dimensional signals of 8 or 16 bits, without loss",
    "codec.models.signal.coder:load_signal",
    needs_torch=False,
    lossless=True,
)
