"""Small images and the models that code them: weights, sets, sheets, features and files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from bitstream.arrays import Array, Float64Array, Uint8Array
from bitstream.chunks import chunk_bytes
from bitstream.container import container_from_bytes, container_to_bytes, read_container, scan
from bitstream.errors import UsageError
from codec.datasets.arrays import Images, read_images
from codec.loading import HASH_BYTES, hash_weights
from codec.models.base import LoadedModel
from codec.models.dplc.coder import DplcCoder, load_dplc
from codec.models.dplc.networks import DplcConfig
from codec.models.draw.coder import DrawCoder, load_draw
from codec.models.draw.exact import ExactDraw
from codec.models.draw.network import DrawNetwork, network_from_arrays
from codec.models.draw.recursion import DrawConfig
from codec.models.sheets import blocks_of, sheet_of
from codec.models.weights_files import read_config
from codec.pictures.picture import Picture
from codec.pipeline.decode import LayerDecoder, decompress_container
from codec.pipeline.encode import compress_picture
from training.data.small_images import box_average
from training.features.train import SIDE, FeatureNetwork, extract

COLOUR_SIDE = 32
DIGITS_SIDE = 28


@dataclass(frozen=True)
class DrawModel:
    """Exported weights: the fixed-point network, and the same in floating point.

    coder   the coder that writes files; None for a network with gaussian posteriors
    """

    name: str
    weights_sha256: str
    config: DrawConfig
    exact: ExactDraw
    network: DrawNetwork
    coder: DrawCoder | None

    def file_coder(self) -> DrawCoder:
        """`coder`; raises `UsageError` if there is none."""
        if self.coder is None:
            raise UsageError(
                f"{self.name}: has gaussian posteriors and writes no files; this part needs a "
                "network with uniform ones, such as that of draw-files"
            )
        return self.coder

    def need_likelihood(self) -> None:
        """Raise `UsageError` unless −log p(x) is defined."""
        if self.config.posterior != "gaussian" or self.config.likelihood == "gaussian":
            raise UsageError(
                f"{self.name}: has no likelihood ({self.config.posterior} posteriors, "
                f"{self.config.likelihood}); this part needs that of draw-digits or draw-colour"
            )


@dataclass(frozen=True)
class DplcModel:
    """Exported weights; a plain autoencoder has the same form, but no noise."""

    name: str
    weights_sha256: str
    coder: DplcCoder

    @property
    def config(self) -> DplcConfig:
        return self.coder.config

    def quality(self, rate: int) -> float:
        """The highest quality that selects rate number `rate`."""
        return 10_000 * (rate + 1) // len(self.config.rates) / 100

    def fixed_bits(self, rate: int) -> int:
        """Bits of a block at a rate if each symbol takes one."""
        return self.config.symbols(rate)


def read_weights(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays and metadata of a weights file."""
    with safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return arrays, file.metadata() or {}


def load_draw_model(path: Path) -> DrawModel:
    """Read a weights file. Raises `WeightsMismatchError`."""
    arrays, metadata = read_weights(path)
    digest, config = hash_weights(path), read_config(metadata, DrawConfig)
    coder = None
    if config.posterior == "uniform":
        coder = load_draw(arrays, metadata, digest[:HASH_BYTES], device=torch.device("cpu"))
    network = network_from_arrays(config, arrays)
    exact = ExactDraw(config, arrays) if coder is None else coder.network
    return DrawModel(path.stem, digest.hex(), config, exact, network, coder)


def load_dplc_model(path: Path) -> DplcModel:
    """Read a weights file. Raises `WeightsMismatchError`."""
    digest = hash_weights(path)
    coder = load_dplc(*read_weights(path), digest[:HASH_BYTES], device=torch.device("cpu"))
    return DplcModel(path.stem, digest.hex(), coder)


def images_of_size(
    data: Path, channels: int, side: int, *, part: str = "test", limit: int | None = None
) -> Images:
    """Images uint8 (n, channels, side, side) of a data set, the first `limit` of them.

    Larger images are averaged down if their side is a multiple; smaller ones, such as MNIST's of
    28×28, get a black border. Raises `UsageError` for others.
    """
    images = read_images(data, part=part)[:limit]
    found, height, width = images.shape[1:]
    fits = height % side == 0 or (height < side and (side - height) % 2 == 0)
    if found != channels or height != width or not fits:
        raise UsageError(
            f"{data.name}: images of shape {images.shape[1:]}, expected {channels} channels and "
            f"{side}×{side} pixels, a multiple, or less by an even number"
        )
    if height >= side:
        return box_average(images, height // side)
    margin = (side - height) // 2
    return np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)))


def held_out_images(config: DrawConfig, data: Path, limit: int | None = None) -> Images:
    """Test images as DRAW sees them, uint8 (n, C, side, side), the first `limit` of them."""
    side = COLOUR_SIDE if config.channels == 3 else DIGITS_SIDE
    return images_of_size(data, config.channels, side, limit=limit)


def features_of(network: FeatureNetwork, images: Images) -> Float64Array:
    """Features (n, k) of images uint8 (n, 1 or 3, side, side), side a multiple of 32."""
    if images.shape[2] % SIDE:
        raise UsageError(f"images of side {images.shape[2]}, expected a multiple of {SIDE}")
    smaller = box_average(images, images.shape[2] // SIDE)
    return extract(network, smaller if images.shape[1] == 3 else np.repeat(smaller, 3, axis=1))


def as_picture(image: Images) -> Uint8Array:
    """One image (C, h, w) as pixels (h, w, C)."""
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def paste(images: Images, columns: int) -> Uint8Array:
    """Images (n, C, side, side) as one sheet (rows · side, columns · side, C), row by row."""
    count, channels = images.shape[:2]
    if count % columns:
        raise UsageError(f"{count} images do not fill rows of {columns}")
    # `sheet_of` repeats a single channel three times.
    return np.ascontiguousarray(sheet_of(images, count // columns, columns)[..., :channels])


def cut(sheet: Uint8Array, side: int) -> Images:
    """The inverse of `paste`: a sheet (h, w, C) to images (n, C, side, side)."""
    return blocks_of(sheet, side, sheet.shape[2])


def sheets(images: Images, columns: int) -> list[Uint8Array]:
    """Square sheets of columns² images; remaining images are dropped."""
    each = columns**2
    if len(images) < each:
        raise UsageError(f"{len(images)} images do not fill a sheet of {columns}×{columns}")
    return [paste(images[i : i + each], columns) for i in range(0, len(images) - each + 1, each)]


@dataclass(frozen=True)
class LayeredFile:
    """A complete file, and where each of its layers ends."""

    data: bytes
    payload_bytes: int
    layer_ends: tuple[int, ...]

    def prefix(self, layers: int) -> bytes:
        """The file cut off after `layers` layers."""
        return self.data[: self.layer_ends[layers - 1]]


def write_file(
    model: LoadedModel, pixels: Uint8Array, quality: float, *, noise_seed: int | None = 0
) -> LayeredFile:
    """Code pixels uint8 (h, w, 1 or 3) as a file."""
    container = compress_picture(Picture(pixels), model, quality=quality, noise_seed=noise_seed)
    data = container_to_bytes(container)
    found = scan(io.BytesIO(data))
    chunks = [chunk for chunk in found.chunks if chunk.type == b"DATA"]
    last = chunks[found.header.tile_count - 1 :: found.header.tile_count]
    return LayeredFile(
        data,
        sum(len(payload) for layer in container.payloads for payload in layer),
        tuple(chunk.offset + chunk_bytes(chunk.length) for chunk in last),
    )


def read_file(model: LoadedModel, data: bytes, seed: int | None = None) -> Uint8Array:
    """Pixels (h, w, C) of a file, decoded with noise from the seed if one is given."""
    return decompress_container(container_from_bytes(data), model, seed=seed).pixels


def decode_prefixes(coder: DrawCoder, file: LayeredFile, seed: int | None) -> Iterator[Uint8Array]:
    """Pixels (h, w, 3) of the file cut after its first layer, after its second, …

    Each cut file is read as a truncated one; its layers are decoded once, not once per prefix.
    """
    decoder = None
    for layers in range(1, len(file.layer_ends) + 1):
        container = read_container(io.BytesIO(file.prefix(layers)), partial=True)
        if len(container.payloads) != layers:
            raise UsageError(f"{len(container.payloads)} layers in a file cut after {layers}")
        decoder = decoder or LayerDecoder(container.header, coder, seed=seed)
        yield decoder.decode(container).pixels


def rounded(value: Any, digits: int = 5) -> Any:
    """Plain JSON with numbers rounded to `digits` significant digits; NumPy's become Python's."""
    if isinstance(value, dict):
        return {str(key): rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [rounded(item, digits) for item in value]
    if isinstance(value, (float, np.floating)):
        number = float(f"{float(value):.{digits}g}")
        return number if np.isfinite(number) else None
    return int(value) if isinstance(value, np.integer) else value
