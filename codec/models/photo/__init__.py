"""Photographs: the model for daily use, whose files decode to the same pixels everywhere."""

from codec.models.photo.config import TUNES
from codec.models.spec import ModelSpec

PHOTO = ModelSpec(
    11,
    "photo",
    "photographs, the default: the same pixels on every machine",
    "codec.models.photo.coder:load_photo",
    layers=4,
    needs_torch=False,
    tunes=TUNES,
    deep=True,
)
MODELS = (PHOTO,)
