"""What the measurements of the distribution-preserving codec share: weights, images and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from benchmarks.harness.small_images import Float64Array, Uint8Array
from bitstream.container import container_from_bytes, container_to_bytes
from codec.datasets.arrays import Images, read_images
from codec.loading import HASH_BYTES, hash_weights
from codec.models.base import LoadedModel
from codec.models.dplc.coder import DplcCoder, load_dplc
from codec.models.dplc.networks import DplcConfig
from codec.pictures.picture import Picture
from codec.pipeline.encode import compress_picture, decompress_container
from training.draw.data import box_average
from training.features.train import SIDE, FeatureNetwork, extract


@dataclass(frozen=True)
class DplcModel:
    """Weights as they were exported; a plain autoencoder has the same form, and no noise."""

    name: str
    weights_sha256: str
    coder: DplcCoder

    @property
    def config(self) -> DplcConfig:
        """Sizes of the networks."""
        return self.coder.config

    def quality(self, rate: int) -> float:
        """The highest quality that selects rate number `rate`."""
        return 10_000 * (rate + 1) // len(self.config.rates) / 100

    def fixed_bits(self, rate: int) -> int:
        """Bits of a block at a rate when each symbol takes one."""
        return self.config.symbols(rate)


def load_dplc_model(path: Path) -> DplcModel:
    """Read a weights file. Raises `WeightsMismatchError`."""
    with safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    digest = hash_weights(path)
    coder = load_dplc(arrays, metadata, digest[:HASH_BYTES], device=torch.device("cpu"))
    return DplcModel(path.stem, digest.hex(), coder)


def images_of_size(
    data: Path, channels: int, side: int, *, part: str = "test", limit: int | None = None
) -> Images:
    """Images uint8 (n, channels, side, side) of a data set, the first `limit` of them.

    Larger ones are averaged down where their side is a multiple; smaller ones, such as MNIST's of
    28×28, stand in the middle of black. Ends the program for others.
    """
    images = read_images(data, part=part)[:limit]
    found, height, width = images.shape[1:]
    fits = height % side == 0 or (height < side and (side - height) % 2 == 0)
    if found != channels or height != width or not fits:
        raise SystemExit(
            f"{data.name}: images of shape {images.shape[1:]}, expected {channels} channels and "
            f"{side}×{side} pixels, a multiple, or less by an even number"
        )
    if height >= side:
        return box_average(images, height // side)
    margin = (side - height) // 2
    return np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)))


def features_of(network: FeatureNetwork, images: Images) -> Float64Array:
    """Features (n, k) of images uint8 (n, 1 or 3, side, side), side a multiple of 32."""
    if images.shape[2] % SIDE:
        raise SystemExit(f"images of side {images.shape[2]}, expected a multiple of {SIDE}")
    smaller = box_average(images, images.shape[2] // SIDE)
    return extract(network, smaller if images.shape[1] == 3 else np.repeat(smaller, 3, axis=1))


@dataclass(frozen=True)
class CodedPicture:
    """A complete file, and the bytes of its coded symbols alone."""

    data: bytes
    payload_bytes: int


def write_file(
    model: LoadedModel, pixels: Uint8Array, quality: float, *, noise_seed: int | None = 0
) -> CodedPicture:
    """Code pixels uint8 (h, w, 1 or 3) as a file."""
    container = compress_picture(Picture(pixels), model, quality=quality, noise_seed=noise_seed)
    payload = sum(len(one) for layer in container.payloads for one in layer)
    return CodedPicture(container_to_bytes(container), payload)


def read_file(model: LoadedModel, data: bytes, seed: int | None = None) -> Uint8Array:
    """Pixels (h, w, C) of a file; with a seed, those of its noise."""
    return decompress_container(container_from_bytes(data), model, seed=seed).pixels


def as_picture(image: Images) -> Uint8Array:
    """One image (C, h, w) as pixels (h, w, C)."""
    return np.ascontiguousarray(image.transpose(1, 2, 0))
