"""How the autoregressive models learn: by the likelihood of binarised images."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor

from training.autoregressive.config import AutoregressivePreset
from training.autoregressive.network import autoregressive_network, nats
from training.generative.learner import Draw, ImageLearner
from training.loop.optimise import MovingAverage, build_optimizer, compiled, descend

_VALIDATION_BATCH = 500


class AutoregressiveLearner(ImageLearner):
    """A network, the moving average of its weights, and the best average that validation found.

    The network eventually memorises a fixed binarisation, so `best` is the result of a run.
    """

    family = "autoregressive"
    best_nats: Tensor

    def __init__(
        self,
        preset: AutoregressivePreset,
        *,
        autocast: bool = True,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(preset, autocast=autocast, device=device)
        self.preset: AutoregressivePreset = preset
        self.network = autoregressive_network(preset.model)
        self.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(self.network, preset.ema_decay)
        self.best = deepcopy(self.network).requires_grad_(False)
        self.register_buffer("best_nats", torch.tensor(math.inf, dtype=torch.float64))
        optimizer = build_optimizer(
            preset.optimizer, list(self.network.parameters()), preset.learning_rate
        )
        self.optimizers = {preset.optimizer: optimizer}
        self._run = compiled(self.network)

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on −ln p, a mean over images."""
        images = draw().to(self.device)
        with self.mixed():
            log_odds = self._run(images)
        loss = nats(log_odds, images).mean()
        optimizer = self.optimizers[self.preset.optimizer]
        if descend(loss, optimizer, clip=self.preset.gradient_clip):
            self.average.update_parameters(self.network)
        else:
            loss = torch.full_like(loss, torch.nan)
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Mean −ln p of images under the average in nats; the best average is kept."""
        found = self.mean_nats(self.average.module, images)
        if found < float(self.best_nats):
            self.best_nats.fill_(found)
            self.best.load_state_dict(self.average.module.state_dict())
        return {"nats": found, "best_nats": float(self.best_nats)}

    @torch.no_grad()
    def mean_nats(self, network: torch.nn.Module, images: Tensor) -> float:
        """Mean −ln p of images float32 (n, 1, 28, 28), 0 or 1."""
        parts = torch.split(images, _VALIDATION_BATCH)
        sums = []
        for part in parts:
            with self.mixed():
                log_odds = network(part.to(self.device))
            sums.append(nats(log_odds, part.to(self.device)).sum())
        return float(torch.stack(sums).double().sum()) / len(images)
