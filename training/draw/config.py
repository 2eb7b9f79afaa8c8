"""Presets of the DRAW models: all settings of a run besides its data."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codec.datasets.arrays import Images, read_images
from codec.models.draw.recursion import DrawConfig
from training.data.crops import CropSampler, load_photographs
from training.data.small_images import box_average
from training.generative.config import ImagePreset


@dataclass(frozen=True)
class DrawPreset(ImagePreset):
    """A training run of a DRAW model. Losses are means over images.

    side         side of the square training images in pixels
    reduce       factor by which images are reduced, by averaging pixels, before training
    crops        0, or how many random crops of `side` are cut from a set of photographs
    mirror       show half of the images mirrored
    optimizer    "soap" (Vyas et al. 2024) or "adam"
    cost_scale   s of s · (−log p(x|z)) + KL (Gregor et al. 2016, equation 11), in (0, 1]
    kl_warmup    fraction of the budget in which the weight of the KL divergence rises from 0 to 1
    free_nats    KL divergence of a step and level that costs nothing, as a mean over the batch
                 (Kingma et al. 2016, section C.8)
    trade_offs   uniform posteriors: λ of bits + λ · squared error in 8-bit levels at quality 1
                 and at quality 100; geometric between them
    cut          uniform posteriors: share of the images that are trained with their last steps
                 missing, so that every prefix is a good file
    missing_step uniform posteriors: factor of λ for each missing step. Below 1, early steps leave
                 details that only a finer file needs to later ones; at 1, they code all of them
    """

    model: DrawConfig
    _: KW_ONLY
    side: int = 28
    reduce: int = 1
    crops: int = 0
    mirror: bool = False
    optimizer: str = "soap"
    learning_rate: float = 6e-3
    warmup_steps: int = 100
    gradient_clip: float = 100.0
    cost_scale: float = 1.0
    kl_warmup: float = 0.0
    free_nats: float = 0.0
    trade_offs: tuple[float, float] = (1e-4, 3e-2)
    cut: float = 0.0
    missing_step: float = 1.0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images in the data set."""
        side = self.side * self.reduce
        return self.model.channels, side, side

    def read(self, path: Path, *, part: str = "train") -> Images:
        """The images, reduced; with crops, from a folder or `.tar` of photographs.

        For "test", as many crops are cut as a run holds out for validation.
        """
        if self.crops:
            folder = path / part if (path / part).is_dir() else path
            photographs = load_photographs([folder], smallest_side=self.side)
            count = self.crops if part == "train" else self.validation
            sampler = CropSampler(photographs, crop=self.side, batch=count, seed=self.seed)
            return np.ascontiguousarray(sampler(0).transpose(0, 3, 1, 2))
        images = read_images(path, shape=self.image_shape, part=part)
        return box_average(images, self.reduce)


def _digits(steps: int, hidden: int) -> DrawPreset:
    model = DrawConfig(1, "bernoulli", "gaussian", steps, 4, (hidden,), (8,))
    return DrawPreset(model, kl_warmup=0.05)


_FILES = DrawConfig(3, "gaussian", "uniform", 5, 4, (48, 64), (8, 16), knots=4)
# All prefixes are trained alike. With the same λ for all, four steps coded all the information.
_LAYERS: dict[str, Any] = {
    "mirror": True, "learning_rate": 3e-3, "cut": 0.8, "missing_step": 0.5
}  # fmt: skip

DRAW_PRESETS: dict[str, DrawPreset] = {
    "draw-digits": _digits(16, 32),
    # Omniglot has images of the same size, but fewer of them: hold out fewer.
    "draw-omniglot": DrawPreset(
        DrawConfig(1, "bernoulli", "gaussian", 8, 4, (32,), (8,)), kl_warmup=0.05, validation=1000
    ),
    "draw-colour": DrawPreset(
        DrawConfig(3, "logistic", "gaussian", 8, 4, (64,), (16,)),
        side=32,
        reduce=2,
        mirror=True,
        batch=32,
        learning_rate=3e-3,
        validation=1000,
    ),
    "draw-files": DrawPreset(_FILES, side=32, reduce=2, batch=32, validation=1000, **_LAYERS),
    "draw-photo": DrawPreset(_FILES, side=64, crops=20_000, batch=8, validation=500, **_LAYERS),
    # Small enough for a test: seconds on one core.
    "draw-tiny": DrawPreset(
        DrawConfig(1, "bernoulli", "gaussian", 2, 4, (8,), (2,)),
        batch=16,
        optimizer="adam",
        learning_rate=1e-2,
        warmup_steps=5,
        validation=32,
    ),
}
