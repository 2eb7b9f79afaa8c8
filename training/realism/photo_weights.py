"""The photo weights for which a realistic decoder is trained, and what their files decode to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Int32Array
from codec.coding.exact_layers import ACTIVATION_BITS
from codec.loading import HASH_BYTES, hash_weights
from codec.models.photo import PHOTO
from codec.models.photo.coder import PhotoCoder, load_photo
from codec.models.photo.config import COEFFICIENTS, TUNES
from codec.models.photo.network import LEVELS, PhotoModel
from codec.models.weights_files import WEIGHTS_FOLDER, registered
from training.data.crops import Pixels, to_tensor
from training.loop.start import read_start


@dataclass(frozen=True)
class PhotoWeights:
    """A photo coder, its model in floating point, and the SHA-256 of its weights file.

    model    with frozen parameters
    sha256   in hexadecimal
    """

    coder: PhotoCoder
    model: PhotoModel
    sha256: str

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.log_step.knots.device


@dataclass(frozen=True)
class DecodedCrops:
    """A batch of originals and what a decoder has of them; float32, on the model's device.

    pixels   originals, (n, 3, h, w) in [0, 1]
    linear   output of the inverse transform in levels, centred on 0, (n, 3, h, w)
    hidden   last features of the hyper-synthesis, (n, hidden, h/16, w/16)
    mix      conditions, as `PhotoModel.mix` returns them, (n, 2·knots)
    photo    the photo model's pictures, not clamped, (n, 3, h, w)
    """

    pixels: Tensor
    linear: Tensor
    hidden: Tensor
    mix: Tensor
    photo: Tensor


def load_photo_weights(path: Path | None, device: torch.device) -> PhotoWeights:
    """Read a weights file of photo; None takes the one that ships with the codec.

    Raises `InputError` for an unreadable file, `WeightsMismatchError` for another model's.
    """
    if path is None:
        path = registered(WEIGHTS_FOLDER, PHOTO.name)[0].path
    arrays, metadata = read_start(path)
    digest = hash_weights(path)
    coder = load_photo(arrays, metadata, digest[:HASH_BYTES], device=device)
    return PhotoWeights(coder, coder.trainable(), digest.hex())


def decoded_tile(coder: PhotoCoder, pixels: Pixels, quality: float) -> Int32Array:
    """What a file of pixels uint8 (h, w, 3) decodes to before the synthesis.

    Latents and features (768 + hidden, h/16, w/16), see `codec.models.photo.coder.TileSymbols`.
    """
    return coder.symbols(coder.analyze(pixels, quality), quality).decoded


@torch.no_grad()
def decode_crops(photo: PhotoWeights, crops: Pixels, qualities: Sequence[float]) -> DecodedCrops:
    """Code crops uint8 (n, h, w, 3), sides multiples of 16, each at its quality in [1, 100].

    The tunes take turns.
    """
    coders = [photo.coder.with_tune(TUNES[n % len(TUNES)]) for n in range(len(crops))]
    tiles = [decoded_tile(*one) for one in zip(coders, crops, qualities, strict=True)]
    hundredths = [c.position(q) for c, q in zip(coders, qualities, strict=True)]
    model, device = photo.model, photo.device
    position = (torch.tensor(hundredths, device=device) - 100) / 9900
    mix = model.mix(position, torch.tensor([c.tune_number for c in coders], device=device))
    decoded = torch.from_numpy(np.stack(tiles)).to(device).float() * 2.0**-ACTIVATION_BITS
    steps, hidden = decoded[:, :COEFFICIENTS], decoded[:, COEFFICIENTS:]
    linear = model.linear_image(steps, mix)
    drawn = linear + model.synthesis(linear, hidden, mix, rounded=True)
    return DecodedCrops(to_tensor(crops, device), linear, hidden, mix, drawn / LEVELS + 0.5)
