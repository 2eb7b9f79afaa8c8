"""Presets: everything a run depends on besides its data, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field

from codec.models.photo.network import PhotoConfig


@dataclass(frozen=True)
class PhotoPreset:
    """A training run of the photo model.

    The learning rate follows a linear warm-up and a cosine over the run's budget (steps or
    minutes). `soap` needs the `pytorch-optimizer` distribution.
    """

    model: PhotoConfig = field(default_factory=PhotoConfig)
    batch: int = 12
    crop: int = 192
    optimizer: str = "soap"
    learning_rate: float = 1.5e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 200
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    hard_tail: float = 0.1
    downscale_probability: float = 0.2
    seed: int = 0


PRESETS: dict[str, PhotoPreset] = {
    "photo": PhotoPreset(),
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
