"""Presets of the model of one-dimensional signals."""

from __future__ import annotations

from dataclasses import dataclass, field

from codec.models.signal.network import SignalConfig
from training.loop.trainer import Preset


@dataclass(frozen=True, kw_only=True)
class SignalPreset(Preset):
    """A training run on stretches of signals that are drawn once, equally many from every folder.

    batch               stretches in a step
    stretches, length   number of stretches, and of samples in each: the beginning of a lane
    held_out            number of stretches from the validation part of the same folders
    quiet_probability   probability that a stretch is divided by a power of two, up to 256
    """

    model: SignalConfig = field(default_factory=SignalConfig)
    batch: int = 8
    learning_rate: float = 4e-3
    warmup_steps: int = 50
    stretches: int = 1536
    length: int = 4096
    held_out: int = 128
    quiet_probability: float = 0.15


PRESETS: dict[str, SignalPreset] = {
    "signal": SignalPreset(),
    # Small enough for a test: seconds on one core.
    "signal-tiny": SignalPreset(
        model=SignalConfig(channels=4, dilations=(1, 2)),
        batch=2,
        stretches=4,
        length=96,
        held_out=2,
        warmup_steps=5,
    ),
}
