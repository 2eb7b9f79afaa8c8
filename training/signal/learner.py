"""Training of the signal model: it learns to code samples in few bits."""

from __future__ import annotations

from pathlib import Path

import torch

from training.data.signals import read_signals
from training.loop.optimise import descend
from training.loop.trainer import Learner, TrainOptions
from training.signal.config import SignalPreset
from training.signal.network import SignalNetwork
from training.signal.samples import Samples, draw_samples

_LONGEST_GRADIENT = 1.0
_TOGETHER = 16


class SignalLearner(Learner):
    """A `SignalNetwork` and its training data.

    samples, held_out   samples of the stretches for training and for validation
    """

    family = "signal"

    def __init__(
        self,
        preset: SignalPreset,
        samples: Samples,
        held_out: Samples,
        *,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(preset, autocast=False, device=device)
        self.preset: SignalPreset = preset
        self.samples, self.held_out = samples, held_out
        self.network = SignalNetwork(preset.model).to(self.device)
        self.optimizers = {"adam": torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99))}

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step; `loss` is in bits per sample."""
        places = torch.randint(
            len(self.samples), (self.preset.batch,), generator=self.noise_of(step)
        )
        batch = (part.to(self.device) for part in self.samples.take(places))
        loss = self.network.bits(*batch).mean()
        descend(loss, self.optimizers["adam"], clip=_LONGEST_GRADIENT)
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self) -> list[dict[str, float]]:
        """Bits per sample of held-out stretches, from the likelihood, without tables."""
        bits = [
            self.network.bits(*(part.to(self.device) for part in self.held_out.take(places))).mean(
                1
            )
            for places in torch.split(torch.arange(len(self.held_out)), _TOGETHER)
        ]
        return [{"bits": float(torch.cat(bits).mean())}]


def signal_learner(preset: SignalPreset, options: TrainOptions) -> SignalLearner:
    """The learner for the folders of WAV files that the options name.

    `training.data.signals.part_of` decides which files are for training. Raises `InputError`.
    """

    def drawn(part: str, stretches: int, seed: int) -> Samples:
        return draw_samples(
            [[signal.samples for signal in read_signals([folder], part)] for folder in folders],
            stretches,
            preset.length,
            seed=seed,
            quiet_probability=preset.quiet_probability if part == "train" else 0.0,
        )

    folders: list[Path] = list(options.data)
    return SignalLearner(
        preset,
        drawn("train", preset.stretches, preset.seed),
        drawn("validation", preset.held_out, preset.seed + 1),
        device=options.device,
    )
