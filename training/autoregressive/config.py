"""Presets of the autoregressive models."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch

from codec.datasets.arrays import Images, read_images
from codec.models.autoregressive.config import AutoregressiveConfig
from codec.models.sheets import BLOCK
from training.data.small_images import to_tensor
from training.generative.config import ImagePreset
from training.generative.vae import binarize


@dataclass(frozen=True)
class AutoregressivePreset(ImagePreset):
    """A training run on images that were binarised once, for training as well as for measurement.

    Every pixel is white with the probability given by its grey level, drawn with a fixed seed.
    Papers on static binarisation use the file of Larochelle and Murray (2011), which was drawn
    differently.

    optimizer      "soap" (Vyas et al. 2024), "adam" or "adamw"
    gradient_clip  largest norm of the gradient over all weights
    ema_decay      decay of the moving average of the weights, which is validated and exported
    """

    model: AutoregressiveConfig
    _: KW_ONLY
    batch: int = 100
    validation: int = 10_000
    optimizer: str = "adam"
    gradient_clip: float = 100.0
    ema_decay: float = 0.999

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images."""
        return 1, BLOCK, BLOCK

    def read(self, path: Path, *, part: str = "train") -> Images:
        """The images, 0 or 255."""
        images = read_images(path, shape=self.image_shape, part=part)
        binary: Images = binarize(to_tensor(images)).mul(255).to(torch.uint8).numpy()
        return binary


AUTOREGRESSIVE_PRESETS: dict[str, AutoregressivePreset] = {
    "digits-fvsbn": AutoregressivePreset(
        AutoregressiveConfig("fvsbn"),
        batch=500,
        learning_rate=2e-2,
        ema_decay=0.99,
    ),
    "digits-made": AutoregressivePreset(
        AutoregressiveConfig("made", hidden=784), batch=250, learning_rate=3e-3, ema_decay=0.99
    ),
    "digits-pixelcnn": AutoregressivePreset(
        AutoregressiveConfig("pixelcnn", hidden=32, layers=7),
        batch=32,
        optimizer="soap",
        learning_rate=4e-3,
        warmup_steps=50,
        ema_decay=0.99,
    ),
    # Small enough for a test: seconds on one core.
    "digits-pixelcnn-tiny": AutoregressivePreset(
        AutoregressiveConfig("pixelcnn", hidden=4, layers=1),
        batch=16,
        learning_rate=1e-2,
        warmup_steps=5,
        validation=32,
    ),
}
