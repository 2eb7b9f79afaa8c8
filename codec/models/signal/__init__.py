"""One-dimensional signals without loss: least squares in every lane, a dilated convolution.

Needs no PyTorch. No file of a picture names this model: `codec.signals` is its door.
"""

from codec.models.spec import ModelSpec

SIGNAL = ModelSpec(
    0,  # which stands in no header
    "signal",
    "one-dimensional signals of 8 or 16 bits, without loss",
    "codec.models.signal.coder:load_signal",
    needs_torch=False,
    lossless=True,
)
