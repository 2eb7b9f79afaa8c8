"""The golden cases of the distribution-preserving codec: symbols and noise, noise alone, a flow,
and codes behind it.

The JSON files have digests of the bits, the PNGs the pictures with the noise of the stored seed.
The weights beside them are untrained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bitstream.container import Container, container_from_bytes, container_to_bytes
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.dplc.coder import DplcCoder
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.dplc.tiny import CODES, COLOUR, FLOW, scene, write_tiny_dplc

QUALITIES = {
    "dplc-v1": 87.65, "dplc-sample-v1": 12.34, "dplc-flow-v1": 87.65, "dplc-codes-v1": 87.65,
}  # fmt: skip
CASES = tuple(QUALITIES)
WEIGHTS = {"dplc": COLOUR, "dplc-flow": FLOW, "dplc-codes": CODES}
"""The sizes of each weights file."""
HEIGHT, WIDTH, NOISE_SEED = 83, 117, 2**40 + 3


def weights_name(name: str) -> str:
    """The weights file of a case."""
    return max((found for found in WEIGHTS if name.startswith(found)), key=len)


def load_coder(name: str) -> DplcCoder:
    """The model of a case, in the folder that CALOTYPE_WEIGHTS names."""
    coder = loading.load_model(f"dplc:{weights_name(name)}", device="cpu")
    assert isinstance(coder, DplcCoder)
    return coder


def parse(container: Container, coder: DplcCoder) -> list[list[bool]]:
    """The bits of each block."""
    tile = TileGrid(container.header, coder.stride).tile(0)
    payloads = [layer[0] for layer in container.payloads]
    decoded = coder.decode_tile(payloads, tile.height, tile.width, container.header.quality)
    bits: list[list[bool]] = (
        (decoded > 0).reshape(len(decoded), tile.height * tile.width).T.tolist()
    )
    return bits


def bits_digest(bits: Sequence[Sequence[int]]) -> str:
    """SHA-256 of the bits of all blocks, a byte for each bit, block after block."""
    return hashlib.sha256(np.array(bits, dtype=np.uint8).tobytes()).hexdigest()


def write_dplc_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and the weights if they do not exist."""
    weights = weights_name(name)
    if not (folder / f"{weights}.safetensors").exists():
        write_tiny_dplc(folder, WEIGHTS[weights], weights)
    coder, quality = load_coder(name), QUALITIES[name]
    picture = Picture(scene(HEIGHT, WIDTH, seed=80))
    container = compress_picture(picture, coder, quality=quality, noise_seed=NOISE_SEED)
    data = container_to_bytes(container)
    (folder / f"{name}.calo").write_bytes(data)
    decoded = decompress_container(container_from_bytes(data), coder)
    Image.fromarray(decoded.pixels).save(folder / f"{name}.png")
    record = {"quality": quality, "bits_sha256": bits_digest(parse(container, coder))}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
