"""The golden cases of the autoregressive models: for each a sheet of blobs with cut blocks.

They are lossless, so the PNG is enough, and the JSON file only says how it was written. The weights
beside them are untrained.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from bitstream.container import container_from_bytes, container_to_bytes
from codec import loading
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.autoregressive.tiny import CONFIGS, pictures, write_tiny

CASES = {f"{model}-v1": model for model in CONFIGS}
QUALITY = 100.0
HEIGHT, WIDTH = 50, 75  # the last row and column of blocks are cut


def write_autoregressive_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and the weights if they do not exist."""
    model_name = CASES[name]
    if not (folder / f"{model_name}.safetensors").exists():
        write_tiny(folder, model_name)
    model = loading.load_model(model_name, device="cpu")
    pixels = pictures(2, 3, seed=80)[:HEIGHT, :WIDTH, None]
    data = container_to_bytes(compress_picture(Picture(pixels), model, quality=QUALITY))
    (folder / f"{name}.calo").write_bytes(data)
    decoded = decompress_container(container_from_bytes(data), model)
    Image.fromarray(decoded.pixels[:, :, 0]).save(folder / f"{name}.png")
    (folder / f"{name}.json").write_text(json.dumps({"quality": QUALITY}, indent=2) + "\n", "utf-8")
