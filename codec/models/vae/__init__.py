"""A small VAE of handwritten digits with five ways to code its latents.

They exist to compare the cost of each way with theory, and code only digits.
`vae-round:rae` has the weights of a regularised autoencoder, whose prior is a mixture of Gaussians;
the weights of a class-conditional VAE are not part of the package.
"""

from codec.models.spec import ModelSpec

_WAYS = (
    (4, "vae-round", "means rounded to a grid"),
    (5, "vae-dither", "universal (dithered) quantisation"),
    (6, "vae-rec", "relative entropy coding of posterior samples"),
    (7, "vae-vbq", "variational Bayesian quantisation"),
)

_OF_ROUND = ("digits-vae", "rae", "digits-class-vae")

LOSSY = tuple(
    ModelSpec(
        number,
        name,
        f"grey digits: VAE, {way}",
        f"codec.models.vae.coder:load_{name.replace('-', '_')}",
        exports=_OF_ROUND if name == "vae-round" else ("digits-vae",),
    )
    for number, name, way in _WAYS
)
ARCHIVE = ModelSpec(
    8,
    "vae-bits-back",
    "black-and-white digits: VAE, lossless archive by bits-back coding",
    "codec.models.vae.archive:load_bits_back",
    exports=("digits-vae-binary",),
)
MODELS = (*LOSSY, ARCHIVE)
