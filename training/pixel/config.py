"""Presets of the lossless model."""

from __future__ import annotations

from dataclasses import dataclass, field

from codec.models.pixel.coder import PixelConfig
from training.loop.trainer import Preset


@dataclass(frozen=True, kw_only=True)
class PixelPreset(Preset):
    """A training run of the lossless model, on pixels of random crops that are drawn once.

    batch                  values in a step, from any plane
    crop                   side of the crops in pixels
    crops, samples         number of crops, and of values of each crop to learn from
    downscale_probability  probability that a crop is reduced to half its size, which removes most
                           traces of an earlier lossy codec
    max_errors             bounds with which crops are coded, in turn; 0 for the lossless model
    """

    model: PixelConfig = field(default_factory=PixelConfig)
    batch: int = 8192
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    crop: int = 160
    crops: int = 160
    samples: int = 25_000
    downscale_probability: float = 0.7
    max_errors: tuple[int, ...] = (0,)

    @property
    def bounded(self) -> bool:
        """Whether it trains the nearly lossless model."""
        return self.max_errors != (0,)


PRESETS: dict[str, PixelPreset] = {
    "pixel": PixelPreset(),
    "near-lossless": PixelPreset(
        crops=96,
        samples=16_000,
        max_errors=(1, 8, 2, 4, 1, 12, 3, 6, 2, 16, 5, 10),
    ),
    # Small enough for a test: seconds on one core.
    "pixel-tiny": PixelPreset(
        model=PixelConfig(hidden=(8,)), batch=512, crop=32, crops=4, samples=1000, warmup_steps=5
    ),
    "near-lossless-tiny": PixelPreset(
        model=PixelConfig(hidden=(8,)),
        batch=512,
        crop=32,
        crops=4,
        samples=1000,
        warmup_steps=5,
        max_errors=(1, 8, 2, 4),
    ),
}
