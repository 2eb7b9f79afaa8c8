"""Presets of the realistic decoder: all settings of a run besides its data and weights."""

from __future__ import annotations

from dataclasses import dataclass

from training.photo.config import CropPreset


@dataclass(frozen=True, kw_only=True)
class RealismPreset(CropPreset):
    """A training run of the realistic decoder, which has the sizes of the photo model's decoder.

    low_share      share of samples with qualities below `low_quality`; the others have any quality.
                   At low qualities a file leaves texture to the decoder
    low_quality    50 is about half a bit per pixel
    error_weight   weight of the squared error next to the Wasserstein distortion, both relative to
                   those of the photo model's picture; it keeps the error near that picture's.
                   Perfect realism at most doubles the mean squared error (Blau and Michaeli 2018)
    ema_decay      decay of the moving average of the decoder, which is exported
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
        batch=2, crop=80, learning_rate=1e-3, final_learning_rate=1e-5, warmup_steps=5
    ),
}
