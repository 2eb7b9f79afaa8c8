"""The distribution-preserving codec: decoded images are distributed like its training images.

A demonstration of Tschannen, Agustsson and Lucic 2018, "Deep generative models for
distribution-preserving lossy compression"; not for photographs in daily use.
"""

from codec.models.spec import ModelSpec

DPLC = ModelSpec(
    3,
    "dplc",
    "demonstration, not for daily use: distribution-preserving, decoded with noise",
    "codec.models.dplc.coder:load_dplc",
    exports=("dplc-digits",),
)
MODELS = (DPLC,)
