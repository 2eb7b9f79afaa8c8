"""Presets: everything a run depends on besides its data, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codec.models.photo.network import PhotoConfig
from training.data.crops import CropSampler, load_photographs
from training.loop.trainer import Preset


@dataclass(frozen=True, kw_only=True)
class CropPreset(Preset):
    """A training run on random crops of photographs.

    crop                   side of the crops in pixels
    downscale_probability  of a crop that is reduced to half its size
    """

    crop: int = 192
    downscale_probability: float = 0.2

    def sampler(self, data: Sequence[Path]) -> CropSampler:
        """The crops of the photographs in folders and files. Raises `InputError`."""
        return CropSampler(
            load_photographs(data, smallest_side=self.crop),
            crop=self.crop,
            batch=self.batch,
            seed=self.seed,
            downscale_probability=self.downscale_probability,
        )


@dataclass(frozen=True, kw_only=True)
class PhotoPreset(CropPreset):
    """A training run of the photo model.

    optimizer      "soap" or "adamw"
    gradient_clip  longest gradient of all weights together
    ema_decay      of the exponential moving average of the weights, which is exported
    hard_tail      last fraction of the budget, in which latents are rounded as in a file
    visual         share of the distortion that is the visual error instead of squared error
    """

    model: PhotoConfig = field(default_factory=PhotoConfig)
    batch: int = 12
    optimizer: str = "soap"
    learning_rate: float = 1.5e-3
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    hard_tail: float = 0.1
    visual: float = 0.0


PRESETS: dict[str, PhotoPreset] = {
    "photo": PhotoPreset(),
    # For eyes rather than for PSNR.
    "photo-visual": PhotoPreset(visual=0.75, learning_rate=6e-4),
    "photo-adamw": PhotoPreset(optimizer="adamw", learning_rate=1e-3),
    # What the context is measured against.
    "photo-without-context": PhotoPreset(
        model=PhotoConfig(first_group=0, second_group=0, context_width=0)
    ),
    "photo-gpu": PhotoPreset(
        model=PhotoConfig(blocks_16=6, width_8=128, blocks_8=4), batch=64, crop=256
    ),
    # Small enough for a test: seconds on one core.
    "photo-tiny": PhotoPreset(
        model=PhotoConfig(
            latent_channels=32,
            hyper_channels=8,
            hyper_width=16,
            width_16=16,
            blocks_16=1,
            width_8=16,
            blocks_8=1,
            width_4=16,
            blocks_4=1,
            knots=3,
            first_group=6,
            second_group=10,
            context_width=8,
        ),
        batch=2,
        crop=64,
        optimizer="adamw",
        learning_rate=1e-3,
        warmup_steps=5,
    ),
}
