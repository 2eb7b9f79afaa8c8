"""Presets of the photo model: all settings of a run besides its data, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codec.models.photo.config import VISUAL_SHARE, PhotoConfig
from training.data.crops import CropSampler, load_photographs
from training.loop.trainer import Preset


@dataclass(frozen=True, kw_only=True)
class CropPreset(Preset):
    """A training run on random crops of photographs.

    crop                   side of the crops in pixels
    downscale_probability  probability that a crop is reduced to half its size
    """

    crop: int = 192
    downscale_probability: float = 0.2

    def sampler(self, data: Sequence[Path]) -> CropSampler:
        """A sampler of crops of the photographs in folders and files. Raises `InputError`."""
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
    gradient_clip  largest norm of the gradient over all weights
    ema_decay      decay of the moving average of the weights, which is exported
    rounded_tail   last fraction of the budget, in which the synthesis computes with the integers
                   of a decoder
    hard_tail      last fraction of the budget, in which latents are rounded as in a file
    visual         share of perceptual errors in the distortion for the tune "visual"
    features       share of LPIPS in it, if the weights of LPIPS are given; the visual error has
                   the rest of `visual`
    pattern        weight of the error that all blocks of a crop have in common
    compiled       whether to compile functions that make many passes over memory, which shortens
                   every step but takes time once at the start
    """

    model: PhotoConfig = PhotoConfig(far_passes=3)
    batch: int = 12
    optimizer: str = "soap"
    learning_rate: float = 1.5e-3
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    rounded_tail: float = 0.4
    hard_tail: float = 0.1
    visual: float = VISUAL_SHARE
    features: float = 0.08
    pattern: float = 4.0
    compiled: bool = True


PRESETS: dict[str, PhotoPreset] = {
    "photo": PhotoPreset(),
    # Small enough for a test: seconds on one core.
    "photo-tiny": PhotoPreset(
        model=PhotoConfig(
            hyper_channels=8,
            hyper_width=16,
            hidden=16,
            context_width=8,
            encoder_width_16=16,
            encoder_blocks_16=1,
            encoder_width_8=16,
            encoder_blocks_8=1,
            width_16=16,
            blocks_16=1,
            width_8=16,
            blocks_8=1,
            width_4=16,
            blocks_4=1,
            knots=3,
        ),
        batch=2,
        crop=64,
        optimizer="adamw",
        learning_rate=1e-3,
        warmup_steps=5,
        compiled=False,
    ),
}
