"""What the measurements of DRAW share: weights, images, sheets, and files cut after a layer."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open

from bitstream.chunks import chunk_bytes
from bitstream.container import container_to_bytes, read_container, scan
from codec.datasets.arrays import Images, read_images
from codec.loading import HASH_BYTES, hash_weights
from codec.models.draw.coder import DrawCoder, load_draw, read_draw_config
from codec.models.draw.exact import ExactDraw
from codec.models.draw.network import DrawNetwork, network_from_arrays
from codec.models.draw.recursion import DrawConfig
from codec.models.sheets import blocks_of, sheet_of
from codec.pictures.picture import Picture
from codec.pipeline.encode import LayerDecoder, compress_picture
from training.draw.data import box_average

Array = npt.NDArray[np.generic]
Float64Array = npt.NDArray[np.float64]
Uint8Array = npt.NDArray[np.uint8]

COLOUR_SIDE = 32
DIGITS_SIDE = 28


@dataclass(frozen=True)
class DrawModel:
    """Weights as they were exported: the fixed-point network, and the same in floating point.

    coder   what writes files; None for a network with gaussian posteriors
    """

    name: str
    weights_sha256: str
    config: DrawConfig
    exact: ExactDraw
    network: DrawNetwork
    coder: DrawCoder | None

    def file_coder(self) -> DrawCoder:
        """`coder`; ends the program where there is none."""
        if self.coder is None:
            raise SystemExit(
                f"{self.name}: has gaussian posteriors and writes no files; this part needs a "
                "network with uniform ones, such as that of draw-files"
            )
        return self.coder

    def need_likelihood(self) -> None:
        """End the program unless −log p(x) is defined."""
        if self.config.posterior != "gaussian" or self.config.likelihood == "gaussian":
            raise SystemExit(
                f"{self.name}: has no likelihood ({self.config.posterior} posteriors, "
                f"{self.config.likelihood}); this part needs that of draw-digits or draw-colour"
            )


def load_draw_model(path: Path) -> DrawModel:
    """Read a weights file. Raises `WeightsMismatchError`."""
    with safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    digest = hash_weights(path)
    return draw_model(path.stem, arrays, metadata, digest)


def draw_model(
    name: str, arrays: Mapping[str, Array], metadata: Mapping[str, str], digest: bytes
) -> DrawModel:
    """The model of the contents of a weights file."""
    config = read_draw_config(metadata)
    coder = None
    if config.posterior == "uniform":
        coder = load_draw(arrays, metadata, digest[:HASH_BYTES], device=torch.device("cpu"))
    network = network_from_arrays(config, arrays)
    exact = ExactDraw(config, arrays) if coder is None else coder.network
    return DrawModel(name, digest.hex(), config, exact, network, coder)


def held_out_images(config: DrawConfig, data: Path, limit: int | None = None) -> Images:
    """Test images as the model sees them, uint8 (n, C, side, side), the first `limit` of them.

    Colour pictures of 64×64 are averaged down to 32×32, as in training.
    """
    images = read_images(data, part="test")
    side = COLOUR_SIDE if config.channels == 3 else DIGITS_SIDE
    channels, height, width = images.shape[1:]
    if channels != config.channels or height != width or height % side:
        raise SystemExit(
            f"{data.name}: images of shape {images.shape[1:]}, expected {config.channels} "
            f"channels and {side}×{side} pixels or a multiple"
        )
    return box_average(images[:limit], height // side)


def paste(images: Images, columns: int) -> Uint8Array:
    """Images (n, C, side, side) as one sheet (rows · side, columns · side, C), row by row."""
    count, channels = images.shape[:2]
    if count % columns:
        raise SystemExit(f"{count} images do not fill rows of {columns}")
    # A sheet of one channel comes with it thrice.
    return np.ascontiguousarray(sheet_of(images, count // columns, columns)[..., :channels])


def cut(sheet: Uint8Array, side: int) -> Images:
    """The inverse of `paste`: a sheet (h, w, C) to images (n, C, side, side)."""
    return blocks_of(sheet, side, sheet.shape[2])


def sheets(images: Images, columns: int) -> list[Uint8Array]:
    """Square sheets of columns² images; what is left over is dropped."""
    each = columns**2
    if len(images) < each:
        raise SystemExit(f"{len(images)} images do not fill a sheet of {columns}×{columns}")
    return [paste(images[i : i + each], columns) for i in range(0, len(images) - each + 1, each)]


@dataclass(frozen=True)
class LayeredFile:
    """A complete file, and where each of its layers ends in it."""

    data: bytes
    payload_bytes: int
    layer_ends: tuple[int, ...]

    def prefix(self, layers: int) -> bytes:
        """The file as it is when it breaks off after so many layers."""
        return self.data[: self.layer_ends[layers - 1]]


def write_file(coder: DrawCoder, pixels: Uint8Array, quality: float) -> LayeredFile:
    """Code pixels uint8 (h, w, 3) as a file."""
    container = compress_picture(Picture(pixels), coder, quality=quality)
    data = container_to_bytes(container)
    found = scan(io.BytesIO(data))
    chunks = [chunk for chunk in found.chunks if chunk.type == b"DATA"]
    last = chunks[found.header.tile_count - 1 :: found.header.tile_count]
    return LayeredFile(
        data,
        sum(len(payload) for layer in container.payloads for payload in layer),
        tuple(chunk.offset + chunk_bytes(chunk.length) for chunk in last),
    )


def decode_prefixes(coder: DrawCoder, file: LayeredFile, seed: int | None) -> Iterator[Uint8Array]:
    """Pixels (h, w, 3) of the file cut after its first layer, after its second, …

    Each cut file is read as one that broke off; its layers are decoded once, not once a prefix.
    """
    decoder = None
    for layers in range(1, len(file.layer_ends) + 1):
        container = read_container(io.BytesIO(file.prefix(layers)), partial=True)
        if len(container.payloads) != layers:
            raise SystemExit(f"{len(container.payloads)} layers in a file cut after {layers}")
        decoder = decoder or LayerDecoder(container.header, coder, seed=seed)
        yield decoder.decode(container).pixels


def rounded(value: Any, digits: int = 5) -> Any:
    """Numbers of plain JSON to so many significant digits; NumPy's become Python's."""
    if isinstance(value, dict):
        return {str(key): rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [rounded(item, digits) for item in value]
    if isinstance(value, (float, np.floating)):
        number = float(f"{float(value):.{digits}g}")
        return number if np.isfinite(number) else None
    return int(value) if isinstance(value, np.integer) else value
