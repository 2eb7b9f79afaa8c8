"""Convolutional DRAW: every step is a layer of the file, or an archive by bits-back coding.

A demonstration of Gregor et al. 2016, "Towards conceptual compression"; not for photographs in
daily use.
"""

from codec.models.spec import ModelSpec

DRAW = ModelSpec(
    2,
    "draw",
    "demonstration, not for daily use: convolutional DRAW, each step a layer",
    "codec.models.draw.coder:load_draw",
    layers=8,
    exports=("draw-files",),
)
ARCHIVE = ModelSpec(
    9,
    "draw-bits-back",
    "small images: DRAW, lossless archive by bits-back coding",
    "codec.models.draw.archive:load_draw_bits_back",
    exports=("draw-digits", "draw-colour"),
)
MODELS = (DRAW, ARCHIVE)
