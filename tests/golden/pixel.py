"""The golden cases of the pixel models: for each, colour with alpha in two tiles, and grey.

For the lossless model there are also a drawing that repeats its colours, and a scene that was luma
and chroma.

The JSON files have the digest of the decoded pixels, which the PNGs contain as well. The weights
beside them are untrained.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from bitstream.container import container_to_bytes
from codec import loading
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.pixel.tiny import (
    Uint8Array,
    drawing,
    from_chroma,
    scene,
    write_tiny_near_lossless,
    write_tiny_pixel,
)

CASES = ("pixel-v1", "pixel-grey-v1", "pixel-map-v1", "pixel-differences-v1")
MAX_ERRORS = {"near-lossless-v1": 2, "near-lossless-grey-v1": 16}
"""The bounds of the cases of the nearly lossless model."""
QUALITY, TILE = 100.0, 64


def picture_of(name: str) -> Picture:
    """The picture of a case."""
    if "map" in name:
        return Picture(drawing(20, 70))
    if "differences" in name:
        return Picture(from_chroma(40, 60, seed=6))
    if "grey" not in name:
        pixels = scene(9, 75, seed=4)
        return Picture(pixels, np.ascontiguousarray(pixels[:, :, 2]))
    return Picture(scene(14, 21, seed=5)[:, :, :1])


def pixels_digest(pixels: Uint8Array) -> str:
    """SHA-256 of pixels (height, width, 1 or 3) in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def write_pixel_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and the weights if they do not exist."""
    model, write = "pixel", write_tiny_pixel
    if name in MAX_ERRORS:
        model, write = "near-lossless", write_tiny_near_lossless
    if not (folder / f"{model}.safetensors").exists():
        write(folder)
    picture = picture_of(name)
    coder = loading.with_max_error(loading.load_model(model, device="cpu"), MAX_ERRORS.get(name))
    container = compress_picture(picture, coder, quality=QUALITY, tile_size=TILE)
    (folder / f"{name}.calo").write_bytes(container_to_bytes(container))
    pixels = decompress_container(container, coder).pixels
    Image.fromarray(pixels if picture.channels == 3 else pixels[:, :, 0]).save(
        folder / f"{name}.png"
    )
    record = {"quality": QUALITY, "pixels_sha256": pixels_digest(pixels)}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
