"""The golden cases of the five models of digits: `vae-round-v1` and so on.

A case is a `.calo` file of a sheet of drawn blocks, the PNG to which it decoded, and a JSON file,
which has for the lossy models the digest of all parsed integers, and the codes. `vae-bits-back` is
lossless, so its PNG is enough. Two untrained weights files are beside them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bitstream.container import Container, container_from_bytes, container_to_bytes
from bitstream.symbols import SymbolDecoder
from bitstream.tables import TableSet
from codec import loading
from codec.models.sheets import BLOCK
from codec.models.vae.coder import VaeCoder
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.vae.tiny import binary, digits, sheet, write_tiny_digits

QUALITIES = {
    "vae-round": 80.0,
    "vae-dither": 62.5,
    "vae-rec": 92.25,
    "vae-vbq": 70.0,
    "vae-bits-back": 75.0,
}
CASES = {f"{model}-v1": model for model in QUALITIES}
LOSSY_CASES = [name for name, model in CASES.items() if model != "vae-bits-back"]
HEIGHT, WIDTH = 81, 103  # the last row and column of blocks are cut

Int32Array = npt.NDArray[np.int32]


class RecordingDecoder(SymbolDecoder):
    """Stores the messages that it reads: their symbols and tables."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.messages: list[tuple[Int32Array, Int32Array]] = []

    def get(self, indexes: Int32Array, tables: TableSet) -> Int32Array:
        symbols = super().get(indexes, tables)
        self.messages.append((indexes, symbols))
        return symbols


def parse(
    container: Container, model: VaeCoder
) -> tuple[RecordingDecoder, npt.NDArray[np.float32]]:
    """The messages of the only tile, and the codes float32 (blocks, k)."""
    header = container.header
    decoder = RecordingDecoder(container.payloads[0][0])
    blocks = -(-header.height // BLOCK) * -(-header.width // BLOCK)
    codes = model.coder.codes(decoder, blocks, round(header.quality * 100))
    decoder.finish()
    return decoder, codes


def integers_digest(decoder: RecordingDecoder) -> str:
    """SHA-256 of tables and symbols, message after message, int32 little endian."""
    digest = hashlib.sha256()
    for message in decoder.messages:
        for array in message:
            digest.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
    return digest.hexdigest()


def write_digits_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and the weights if they do not exist."""
    model_name = CASES[name]
    if not (folder / "digits-vae.safetensors").exists():
        write_tiny_digits(folder)
        for card in folder.glob("digits-*.md"):
            card.unlink()  # it describes trained weights
    model = loading.load_model(model_name, device="cpu")
    pixels = sheet(digits(12, seed=77), 4)[:HEIGHT, :WIDTH]
    if model_name == "vae-bits-back":
        pixels = binary(pixels)
    quality = QUALITIES[model_name]
    data = container_to_bytes(compress_picture(Picture(pixels[:, :, None]), model, quality=quality))
    (folder / f"{name}.calo").write_bytes(data)
    container = container_from_bytes(data)
    decoded = decompress_container(container, model)
    Image.fromarray(decoded.pixels[:, :, 0]).save(folder / f"{name}.png")
    record: dict[str, object] = {"quality": quality}
    if isinstance(model, VaeCoder):
        decoder, codes = parse(container, model)
        record["integers_sha256"] = integers_digest(decoder)
        record["codes"] = codes.tolist()
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
