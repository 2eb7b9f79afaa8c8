"""Presets of the realistic decoder: everything a run depends on besides its data and weights."""

from __future__ import annotations

from dataclasses import dataclass

from training.loop.optimise import Schedule
from training.photo.config import CropPreset


@dataclass(frozen=True, kw_only=True)
class RealismPreset(CropPreset):
    """A training run of the realistic decoder; the sizes of the decoder are those of photo.

    The learning rate is that of the decoder: it is small, and begins later. On a pilot a decoder
    that learned from the first step, or at 1e-4, soon left the critic behind: it drew what the
    critic valued above photographs. That of the critic falls with it, and has no warm-up.

    critic_lead       first steps, in which the decoder stays as it is
    critic            channels of the critic's 4×4 convolutions of stride 2
    condition         channels in which the critic sees the latents (12 in HiFiC); with 0 it judges
                      pictures by themselves, and the decoder is asked for the distribution of
                      photographs instead of that of photographs with these latents
    critic_steps      steps of the critic for one of the decoder
    gradient_penalty  λ of Gulrajani et al. 2017, equation 3
    error_weight      weight w of the squared error beside the critic's value, in the units of
                      `training.realism.learner.relative_error`. A critic of slope 1 moves the
                      decoder no farther from the photo model's picture than 1/(2w) of that
                      picture's error; perfect realism is about one error away, for it doubles
                      the mean squared error at most (Blau and Michaeli 2018)
    ema_decay         of the exponential moving average of the decoder, which is exported
    """

    batch: int = 8
    crop: int = 128
    learning_rate: float = 3e-5
    final_learning_rate: float = 3e-7
    critic_learning_rate: float = 3e-4
    critic_lead: int = 200
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.5, 0.9)
    critic: tuple[int, ...] = (64, 128, 256)
    condition: int = 12
    critic_steps: int = 3
    gradient_penalty: float = 10.0
    error_weight: float = 0.25
    ema_decay: float = 0.999

    def schedule(self) -> Schedule:
        """The learning rate of the decoder."""
        rates = self.learning_rate, self.final_learning_rate
        return Schedule(*rates, self.warmup_steps, self.critic_lead)

    def critic_schedule(self) -> Schedule:
        """The learning rate of the critic."""
        rate = self.critic_learning_rate
        return Schedule(rate, rate * self.final_learning_rate / self.learning_rate)


REALISM_PRESETS: dict[str, RealismPreset] = {
    "photo-realism": RealismPreset(),
    "photo-realism-marginal": RealismPreset(condition=0),
    # Small enough for a test: seconds on one core.
    "photo-realism-tiny": RealismPreset(
        batch=2,
        crop=64,
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        critic_lead=0,
        warmup_steps=5,
        critic=(8, 16),
        condition=2,
        critic_steps=2,
    ),
}
