"""Photographs: the second model, whose pixels are exact too. Its weights are being trained."""

from codec.models.photo_next.config import TUNES
from codec.models.spec import ModelSpec

PHOTO = ModelSpec(
    11,
    "photo-next",
    "photographs: the successor of photo, which is being trained",
    "codec.models.photo_next.coder:load_photo",
    needs_torch=False,
    tunes=TUNES,
    deep=True,
)
MODELS = (PHOTO,)
