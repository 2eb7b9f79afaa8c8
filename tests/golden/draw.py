"""The golden case of DRAW: `draw-v1`, two tiles of three layers.

The JSON file has digests of the symbols and of the pixels after each layer; the PNG has the pixels
after the last one. The weights beside it were trained for some seconds on artificial scenes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bitstream.container import Container, container_from_bytes, container_to_bytes
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.draw.coder import DrawCoder
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.draw.tiny import write_tiny_draw
from tests.codec.tiny import photographs

CASES = ("draw-v1",)
QUALITY, HEIGHT, WIDTH, TILE = 87.65, 43, 75, 64


def load_coder() -> DrawCoder:
    """The model in the folder that CALOTYPE_WEIGHTS names."""
    coder = loading.load_model("draw", device="cpu")
    assert isinstance(coder, DrawCoder)
    return coder


def prefix(container: Container, layers: int) -> Container:
    """The first layers of a container."""
    return replace(container, payloads=container.payloads[:layers])


def pixels_digest(pixels: npt.NDArray[np.uint8]) -> str:
    """SHA-256 of pixels (height, width, 3) in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def parse(container: Container, coder: DrawCoder) -> list[npt.NDArray[np.int32]]:
    """The symbols of all messages, tile after tile and step after step."""
    grid, found = TileGrid(container.header, coder.stride), []
    for number in range(grid.count):
        tile = grid.tile(number)
        decoder = coder.tile_decoder(tile.height, tile.width, container.header.quality)
        for layer in container.payloads:
            found += [symbols for symbols, _ in decoder.read_messages(layer[number])]
    return found


def symbols_digest(messages: Sequence[Sequence[int] | npt.NDArray[np.int32]]) -> str:
    """SHA-256 of symbols, message after message, int32 little endian."""
    digest = hashlib.sha256()
    for symbols in messages:
        digest.update(np.asarray(symbols, dtype="<i4").tobytes())
    return digest.hexdigest()


def write_draw_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and the weights if they do not exist."""
    if not (folder / "draw.safetensors").exists():
        write_tiny_draw(folder)
    coder = load_coder()
    pixels = photographs(1, side=80, seed=78)[0][:HEIGHT, :WIDTH]
    container = compress_picture(Picture(pixels), coder, quality=QUALITY, tile_size=TILE)
    data = container_to_bytes(container)
    (folder / f"{name}.calo").write_bytes(data)
    container = container_from_bytes(data)
    prefixes = [
        decompress_container(prefix(container, layers), coder).pixels
        for layers in range(1, coder.layers + 1)
    ]
    Image.fromarray(prefixes[-1]).save(folder / f"{name}.png")
    record = {
        "quality": QUALITY,
        "symbols_sha256": symbols_digest(parse(container, coder)),
        "pixels_sha256": [pixels_digest(pixels) for pixels in prefixes],
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
