"""The golden cases of vector quantisation: two levels in colour, and one in grey.

The JSON files have digests of the codes, the PNGs the pictures that the networks draw. The weights
beside them are untrained.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bitstream.container import Container, container_from_bytes, container_to_bytes
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.vq.coder import VqCoder
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.vq.tiny import COLOUR, GREY, scene, write_tiny_vq

WEIGHTS = {"vq-v1": ("vq", COLOUR), "vq-grey-v1": ("vq-grey", GREY)}
CASES = tuple(WEIGHTS)
HEIGHT, WIDTH, QUALITY = 53, 71, 66.67


def load_coder(name: str) -> VqCoder:
    """The model of a case, from the folder that CALOTYPE_WEIGHTS names."""
    coder = loading.load_model(f"vq:{WEIGHTS[name][0]}", device="cpu")
    assert isinstance(coder, VqCoder)
    return coder


def parse(container: Container, coder: VqCoder) -> npt.NDArray[np.int32]:
    """The codes of each block, (blocks, n)."""
    tile = TileGrid(container.header, coder.stride).tile(0)
    payloads = [layer[0] for layer in container.payloads]
    codes = coder.decode_tile(payloads, tile.height, tile.width, container.header.quality)
    return np.ascontiguousarray(codes.reshape(len(codes), -1).T)


def codes_digest(codes: npt.NDArray[np.int32]) -> str:
    """SHA-256 of the codes of all blocks, two bytes for each code, the low one first."""
    return hashlib.sha256(codes.astype("<u2").tobytes()).hexdigest()


def write_vq_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and its weights if they do not exist."""
    stem, config = WEIGHTS[name]
    if not (folder / f"{stem}.safetensors").exists():
        write_tiny_vq(folder, config, stem)
    coder = load_coder(name)
    picture = Picture(scene(HEIGHT, WIDTH, config.channels, seed=80))
    container = compress_picture(picture, coder, quality=QUALITY)
    data = container_to_bytes(container)
    (folder / f"{name}.calo").write_bytes(data)
    decoded = decompress_container(container_from_bytes(data), coder).pixels
    Image.fromarray(decoded.squeeze()).save(folder / f"{name}.png")
    record = {"quality": QUALITY, "codes_sha256": codes_digest(parse(container, coder))}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
