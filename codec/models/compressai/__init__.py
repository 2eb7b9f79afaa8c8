"""Checkpoints of CompressAI's zoo, which the user provides."""

from codec.models.spec import ModelSpec

ARCHITECTURES = (
    "bmshj2018-factorized",
    "bmshj2018-factorized-relu",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "mbt2018",
    "cheng2020-anchor",
    "cheng2020-attn",
)

COMPRESSAI = ModelSpec(
    10,
    "compressai",
    "photographs: a checkpoint of CompressAI's zoo that you provide",
    "codec.models.compressai.checkpoint:load_zoo",
    variants=ARCHITECTURES,
)
MODELS = (COMPRESSAI,)
