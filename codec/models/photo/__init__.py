"""Photographs: the model for daily use, whose files decode to the same pixels everywhere."""

import os

from codec.models.photo.config import TUNES
from codec.models.spec import ModelSpec

# Without this, ONNX Runtime would store an identifier of the machine in the user's folder and send
# telemetry. It reads the variable when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

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
