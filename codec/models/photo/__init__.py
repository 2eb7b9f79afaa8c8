"""Photographs: a variational autoencoder with a hyperprior. The model for daily use."""

from codec.models.family import Family

PHOTO = Family(
    1,
    "photo",
    "photographs: variational autoencoder with a hyperprior",
    "codec.models.photo.coder:load_photo",
    needs_torch=False,
    devices=("openvino",),
)
FAMILY = (PHOTO,)
