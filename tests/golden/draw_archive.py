"""The golden case of the DRAW archive: `draw-bits-back-v1`, strokes in blocks of eight pixels.

It is lossless, so the PNG is enough, and the JSON file only says how it was written. The weights
beside it were trained for some seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from bitstream.container import container_from_bytes, container_to_bytes
from codec import loading
from codec.models.sheets import sheet_of
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.draw.tiny_archive import BINARY, strokes, write_tiny_archive

CASES = ("draw-bits-back-v1",)
QUALITY, ROWS, COLUMNS = 75.0, 5, 8
HEIGHT, WIDTH = 37, 62  # the last row and column of blocks are cut


def write_archive_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and the weights if they do not exist."""
    if not (folder / "draw-bits-back.safetensors").exists():
        write_tiny_archive(folder, BINARY)
    model = loading.load_model("draw-bits-back", device="cpu")
    pixels = sheet_of(strokes(ROWS * COLUMNS, seed=79), ROWS, COLUMNS)[:HEIGHT, :WIDTH, :1]
    data = container_to_bytes(compress_picture(Picture(pixels), model, quality=QUALITY))
    (folder / f"{name}.calo").write_bytes(data)
    decoded = decompress_container(container_from_bytes(data), model)
    Image.fromarray(decoded.pixels[:, :, 0]).save(folder / f"{name}.png")
    (folder / f"{name}.json").write_text(json.dumps({"quality": QUALITY}, indent=2) + "\n", "utf-8")
