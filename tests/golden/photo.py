"""The golden cases of the photo model: both tunes, samples of 12 bits, layers, and far passes.

The JSON files have digests of the symbols and of the pixels, which are the same on every machine;
the PNGs are those pixels. The weights beside them are untrained.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from bitstream.arrays import Array
from bitstream.container import Container, container_from_bytes, container_to_bytes
from bitstream.tables import TableSet
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.photo import PHOTO
from codec.models.photo.coder import PhotoCoder
from codec.pictures.depth import rescale
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.tiny import TINY, lively_model
from tests.codec.tiny import photographs
from training.loop.export import write_weights_file
from training.photo.export import export_arrays

CASES = {  # quality, tune, bit depth, tile size
    "photo-visual-v1": (68.5, "visual", 8, 64),
    "photo-psnr-v1": (31.25, "psnr", 8, 64),
    "photo-deep-v1": (95.0, "psnr", 12, 64),
    "photo-layers-v1": (97.5, "psnr", 8, 128),
    "photo-far-v1": (55.0, "visual", 8, 128),
}
FAR = "photo-far"
WEIGHTS = {"photo": (TINY, 64), FAR: (replace(TINY, far_passes=3), 128)}
"""The sizes of each weights file, and of the crops that its tables are fitted to."""
CERTAIN_TABLES = 17


def golden_weights(name: str, folder: Path) -> Path:
    """The weights file of a case, which is written if it does not exist.

    The weights are untrained. Their low tables are certain, as most are in trained weights.
    """
    path = folder / (f"{FAR}.safetensors" if name.startswith(FAR) else "photo.safetensors")
    if not path.exists():
        config, crop = WEIGHTS[path.stem]
        arrays = export_arrays(lively_model(config=config), photographs(seed=2), crop=crop)
        tables = TableSet.from_arrays(arrays, "latent_tables.")
        tables = tables.with_certain(np.arange(len(tables)) < CERTAIN_TABLES)
        arrays |= {f"latent_tables.{key}": array for key, array in tables.to_arrays().items()}
        about = {"model": PHOTO.name}
        write_weights_file(
            folder, path.stem, arrays, config=config, models=[PHOTO.name], metadata=about
        )
    return path


def load_coder(tune: str, weights_hash: bytes | None = None) -> PhotoCoder:
    """The model in the folder that CALOTYPE_WEIGHTS names."""
    coder = loading.load_model("photo", weights_hash=weights_hash, device="cpu")
    assert isinstance(coder, PhotoCoder)
    return coder.with_tune(tune)


def symbols_digest(container: Container, coder: PhotoCoder) -> str:
    """SHA-256 of all parsed integers, tile after tile, int32 little endian."""
    digest, grid = hashlib.sha256(), TileGrid(container.header, coder.stride)
    for number in range(grid.count):
        tile, payloads = grid.tile(number), [layer[number] for layer in container.payloads]
        quality = container.header.quality
        parsed = coder.decode_symbols(payloads, tile.height, tile.width, quality)
        for array in (parsed.hyper_latents, parsed.symbols, parsed.indexes, parsed.means):
            digest.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
    return digest.hexdigest()


def pixels_digest(pixels: Array) -> str:
    """SHA-256 of pixels, row by row, 16 bits little endian each."""
    return hashlib.sha256(np.ascontiguousarray(pixels, dtype="<u2").tobytes()).hexdigest()


def picture_of(depth: int) -> Picture:
    """A colour picture with alpha and metadata on several tiles, or a grey one of more bits."""
    pixels = photographs(1, side=160, seed=77)[0][:150]
    if depth > 8:
        fine = rescale(pixels[:70, :90, :1], 8, depth)
        # Change lower bits, so that not all samples come from 8 bits.
        fine[...] = np.minimum(fine + np.arange(90, dtype=np.uint16)[:, None] % 16, 2**depth - 1)
        return Picture(fine, bit_depth=depth)
    exif = b"MM\x00*\x00\x00\x00\x08\x00\x00"
    return Picture(pixels, pixels[:, :, 1], b"an ICC profile", exif)


def write_photo_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and its weights if they do not exist."""
    quality, tune, depth, tile_size = CASES[name]
    weights_hash = loading.hash_weights(golden_weights(name, folder))[: loading.HASH_BYTES]
    coder = load_coder(tune, weights_hash)
    container = compress_picture(picture_of(depth), coder, quality=quality, tile_size=tile_size)
    data = container_to_bytes(container)
    (folder / f"{name}.calo").write_bytes(data)
    decoded = decompress_container(container_from_bytes(data), coder).pixels
    Image.fromarray(decoded[:, :, 0] if depth > 8 else decoded).save(folder / f"{name}.png")
    record = {
        "quality": quality,
        "symbols_sha256": symbols_digest(container, coder),
        "pixels_sha256": pixels_digest(decoded),
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
