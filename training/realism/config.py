"""Presets of the realistic decoder: everything a run depends on besides its data and weights."""

from __future__ import annotations

from dataclasses import dataclass

from training.photo.config import CropPreset


@dataclass(frozen=True, kw_only=True)
class RealismPreset(CropPreset):
    """A training run of the realistic decoder; the sizes of the decoder are those of photo.

    low_share      of the samples, whose qualities are below `low_quality`; the others have any.
                   Low qualities are where a file leaves texture to the decoder
    low_quality    50 is about half a bit per pixel
    error_weight   of the squared error beside the Wasserstein distortion, both relative to those
                   of the photo model's picture: what holds the error near that picture's. Perfect
                   realism doubles the mean squared error at most (Blau and Michaeli 2018)
    ema_decay      of the exponential moving average of the decoder, which is exported
    """

    batch: int = 8
    crop: int = 128
    learning_rate: float = 3e-4
    final_learning_rate: float = 3e-6
    warmup_steps: int = 100
    low_share: float = 0.85
    low_quality: float = 50.0
    error_weight: float = 0.15
    ema_decay: float = 0.998


REALISM_PRESETS: dict[str, RealismPreset] = {
    "photo-realism": RealismPreset(),
    # Small enough for a test: seconds on one core.
    "photo-realism-tiny": RealismPreset(
        batch=2, crop=64, learning_rate=1e-3, final_learning_rate=1e-5, warmup_steps=5
    ),
}
