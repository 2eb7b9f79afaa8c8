"""Add golden cases: `python -m tests.golden.regenerate NAME`. Never changes one that exists.

A case is a `.calo` file, the PNG it decoded to, and a JSON file with the digest of its symbols.
The weights it was written with stay beside it: a golden file must decode for ever. This file has
the cases of the photo model, the modules beside it have the others.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bitstream.container import Container, container_from_bytes, container_to_bytes
from bitstream.tables import TableSet
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.photo.coder import PhotoCoder
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import TINY, photographs, tiny_model
from tests.golden import digits, dplc, draw, draw_archive
from training.loop.origin import Origin
from training.photo.export import export_arrays, write_weights

FOLDER = Path(__file__).resolve().parent


def symbols_digest(container: Container, coder: PhotoCoder) -> str:
    """SHA-256 of every integer that parsing yields, tile after tile, int32 little endian."""
    digest = hashlib.sha256()
    grid = TileGrid(container.header, coder.stride)
    for number in range(grid.count):
        tile, payloads = grid.tile(number), [layer[number] for layer in container.payloads]
        quality = container.header.quality
        parsed = coder.decode_symbols(payloads, tile.height, tile.width, quality)
        for array in (parsed.hyper_latents, parsed.symbols, parsed.indexes, parsed.means):
            digest.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
    return digest.hexdigest()


CASES = {  # with their weights
    "photo-v1": "photo",
    "photo-context-v1": "photo-context",  # whose layers have the usual units, and tables an escape
    "photo-certain-v1": "photo-certain",
}
CERTAIN_TABLES = 22


def load_coder(weights_hash: bytes | None = None, name: str = "photo") -> PhotoCoder:
    """The model that a golden file was written with: by the hash in its header, or by name."""
    model = "photo" if weights_hash else f"photo:{name}"
    coder = loading.load_model(model, weights_hash=weights_hash, device="cpu")
    assert isinstance(coder, PhotoCoder)
    return coder


def write_context_weights(folder: Path, name: str) -> None:
    """Untrained weights whose context is not silent, and whose low tables are certain."""
    model = copy.deepcopy(tiny_model())
    assert model.context is not None
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in model.context.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    arrays = export_arrays(model, photographs(seed=2), crop=128)
    tables = TableSet.from_arrays(arrays, "latent_tables.")
    tables = tables.with_certain(np.arange(len(tables)) < CERTAIN_TABLES)
    arrays |= {f"latent_tables.{key}": array for key, array in tables.to_arrays().items()}
    origin = Origin("synthetic scenes", "Apache-2.0", "none: untrained")
    write_weights(folder, name, arrays, TINY, origin, model="photo")


def main(name: str) -> int:
    paths = [FOLDER / f"{name}{suffix}" for suffix in (".calo", ".png", ".json")]
    if any(path.exists() for path in paths):
        print(f"{name} exists: golden files are never written again", file=sys.stderr)
        return 1
    os.environ[loading.ENVIRONMENT_VARIABLE] = str(FOLDER)
    if name in digits.CASES:
        digits.write_digits_case(name, FOLDER)
        return 0
    if name in draw.CASES:
        draw.write_draw_case(name, FOLDER)
        return 0
    if name in draw_archive.CASES:
        draw_archive.write_archive_case(name, FOLDER)
        return 0
    if name in dplc.CASES:
        dplc.write_dplc_case(name, FOLDER)
        return 0
    if not (FOLDER / f"{CASES[name]}.safetensors").exists():
        write_context_weights(FOLDER, CASES[name])
    coder = load_coder(name=CASES[name])
    pixels = photographs(1, side=160, seed=77)[0][:150]
    picture = Picture(
        pixels, pixels[:, :, 1], b"an ICC profile", b"MM\x00*\x00\x00\x00\x08\x00\x00"
    )
    container = compress_picture(picture, coder, quality=68.5, tile_size=64)
    data = container_to_bytes(container)
    paths[0].write_bytes(data)
    decoded = decompress_container(container_from_bytes(data), coder)
    Image.fromarray(decoded.pixels).save(paths[1])
    record = {"quality": 68.5, "symbols_sha256": symbols_digest(container, coder)}
    paths[2].write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
