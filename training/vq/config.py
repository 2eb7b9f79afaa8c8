"""Presets of the vector-quantisation codec: all settings of a run besides its data."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from codec.models.vq.networks import VqConfig
from training.generative.config import FramedPreset


@dataclass(frozen=True)
class VqPreset(FramedPreset):
    """A training run at all qualities at once. The loss is that of `training.vq.learner`.

    commitment      weight of the term that keeps latents near their vectors, relative to the
                    squared error that their distance causes
    codebook_decay  decay of the moving averages of latents that give the vectors
    rate_step       the step from which the choice of codes also considers their lengths: at first
                    the prior is untrained
    """

    model: VqConfig
    _: KW_ONLY
    commitment: float = 0.25
    codebook_decay: float = 0.99
    rate_step: int = 100
    batch: int = 16

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the networks' images."""
        return self.model.channels, self.model.side, self.model.side


def _digits() -> VqPreset:
    model = VqConfig(
        channels=1,
        side=32,
        strides=(8, 4),
        codes=(128, 128),
        dimension=16,
        width=48,
        depth=2,
        embedding=12,
        hidden=96,
        knots=5,
        lambdas=(1e-5, 1e-3),
    )
    return VqPreset(model, pad=2, learning_rate=1.5e-3, warmup_steps=50)


def _natural(side: int, strides: tuple[int, ...]) -> VqPreset:
    model = VqConfig(
        channels=3,
        side=side,
        strides=strides,
        codes=(256,) * len(strides),
        dimension=16,
        width=64,
        depth=2,
        embedding=12,
        hidden=96,
        knots=5,
        lambdas=(1.5e-4, 2.5e-3),
    )
    return VqPreset(model, crop=0, validation=1000, learning_rate=1.5e-3, warmup_steps=50)


VQ_PRESETS: dict[str, VqPreset] = {
    "vq-digits": _digits(),
    "vq-32": _natural(32, (4,)),
    "vq-64": _natural(64, (4,)),
    "vq2-64": _natural(64, (8, 4)),
    # Small enough for a test: seconds on one core.
    "vq-tiny": VqPreset(
        VqConfig(1, 16, (8, 4), (4, 8), 3, 8, 1, 2, 6, 2, (1e-4, 1e-3)),
        validation=32,
        batch=8,
        learning_rate=3e-3,
        warmup_steps=2,
        rate_step=6,
    ),
}
