"""The photo weights that a realistic decoder is trained for, and what their files decode to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bitstream.arrays import Float32Array
from bitstream.errors import InputError
from codec.coding.quantize import dequantize
from codec.loading import HASH_BYTES, hash_weights
from codec.models.photo import PHOTO
from codec.models.photo.coder import PhotoCoder, load_photo, quality_hundredths
from codec.models.photo.network import quality_position
from codec.models.weights_files import WEIGHTS_FOLDER, registered
from training.data.crops import Pixels, to_tensor


@dataclass(frozen=True)
class PhotoWeights:
    """A photo model as it codes, and the SHA-256 of its weights file in hexadecimal."""

    coder: PhotoCoder
    sha256: str


@dataclass(frozen=True)
class DecodedCrops:
    """A batch as the decoder of a file has it, and what was coded; float32, on the coder's device.

    pixels    (n, 3, h, w) in [0, 1]
    latents   (n, C, h/16, w/16) in pixel units, as `codec.models.photo.network.Synthesis` takes
              them
    position  (n,) in [0, 1], of the quality
    photo     (n, 3, h, w), what the photo model makes of the latents, not clamped
    """

    pixels: Tensor
    latents: Tensor
    position: Tensor
    photo: Tensor


def load_photo_weights(path: Path | None, device: torch.device) -> PhotoWeights:
    """Read a weights file of photo; None takes the one that ships with the codec.

    Raises `InputError` for an unreadable file, `WeightsMismatchError` for another model's.
    """
    if path is None:
        path = registered(WEIGHTS_FOLDER, PHOTO.name)[0].path
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a weights file: {error}; give --weights") from error
    digest = hash_weights(path)
    coder = load_photo(arrays, metadata, digest[:HASH_BYTES], device=device)
    return PhotoWeights(coder, digest.hex())


def decoded_latents(coder: PhotoCoder, pixels: Pixels, quality: float) -> Float32Array:
    """Latents float32 (C, h/16, w/16) that a file of pixels uint8 (h, w, 3) decodes to.

    By the coder's own rounding, its means added again; in quantiser steps.
    """
    tile = coder.symbols(coder.analyze(pixels, quality), quality)
    return dequantize(tile.symbols, tile.means)


@torch.no_grad()
def decode_crops(coder: PhotoCoder, crops: Pixels, qualities: Sequence[float]) -> DecodedCrops:
    """Code crops uint8 (n, h, w, 3), sides multiples of 16, each at its quality in [1, 100]."""
    stored = [quality_hundredths(quality) / 100 for quality in qualities]
    latents = np.stack([decoded_latents(coder, c, q) for c, q in zip(crops, stored, strict=True)])
    position = torch.tensor([quality_position(q) for q in stored], device=coder.device)
    scaled = torch.from_numpy(latents).to(coder.device)
    scaled = scaled * coder.network.log_inverse_gain(position).exp()
    photo = coder.network.synthesis(scaled, position) + 0.5
    return DecodedCrops(to_tensor(crops, coder.device), scaled, position, photo)
