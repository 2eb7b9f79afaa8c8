"""Vector quantisation: an image becomes one or two maps of codes, coded with a learned prior.

A demonstration of van den Oord, Vinyals and Kavukcuoglu 2017, "Neural discrete representation
learning", and of Razavi, van den Oord and Vinyals 2019, "Generating diverse high-fidelity images
with VQ-VAE-2", as codecs; not for photographs in daily use.
"""

from codec.models.spec import ModelSpec

VQ = ModelSpec(
    14,
    "vq",
    "demonstration, not for daily use: VQ-VAE and VQ-VAE-2, codes with a learned prior",
    "codec.models.vq.coder:load_vq",
    exports=("vq2-64", "vq-64", "vq-32", "vq-digits"),
)
MODELS = (VQ,)
