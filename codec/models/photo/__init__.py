"""Photographs: a variational autoencoder with a hyperprior. The model for daily use."""

from codec.models.spec import ModelSpec

PHOTO = ModelSpec(
    1,
    "photo",
    "photographs, the default: variational autoencoder with a hyperprior",
    "codec.models.photo.coder:load_photo",
    needs_torch=False,
    devices=("openvino",),
    only_tune="visual",
)
MODELS = (PHOTO,)
