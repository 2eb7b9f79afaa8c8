"""What every family has in common: networks, optimisers, and the figures that it reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from codec.models.generative.networks import Decoder, Encoder, GenerativeModel
from training.generative.config import GenerativePreset

Draw = Callable[[], Tensor]
"""Gives the next training batch, float32 (batch, C, H, W) in [0, 1]."""

SAMPLES = 5000
"""Decoded prior samples that the nearest-neighbour figures look at."""


class Learner(nn.Module, ABC):
    """The networks of one run, and how they learn.

    Forward passes may run under bfloat16 autocast; every loss is computed in float32. Images come
    on the CPU and go to the device; random numbers are drawn on the CPU, so that every device sees
    the same.
    """

    def __init__(
        self,
        preset: GenerativePreset,
        *,
        autocast: bool = True,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.preset, self.config, self.autocast = preset, preset.model, autocast
        self.device = device or torch.device("cpu")

    def mixed(self) -> torch.autocast:
        """The context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def normal(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples of N(0, I) in the space of codes, (count, code)."""
        return torch.randn(count, self.config.code, generator=generator).to(self.device)

    def adam(self, *networks: nn.Module) -> torch.optim.Adam:
        """An optimiser of these networks, on the device; the loop sets its learning rate."""
        self.to(self.device)
        parameters = [p for network in networks for p in network.parameters()]
        rate, betas = self.preset.learning_rate, self.preset.betas
        return torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True)

    @abstractmethod
    def optimizers(self) -> dict[str, torch.optim.Adam]:
        """The optimisers by name."""

    @abstractmethod
    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step at this fraction of the budget; the figures of its batch, `loss` among them.

        A step whose loss is not finite changes no weights.
        """

    @abstractmethod
    def validate(self, images: Tensor) -> dict[str, float]:
        """Figures of held-out images, float32 (n, C, H, W) in [0, 1]; the same ones every time."""

    def start(self, images: Tensor) -> None:
        """What is set before training, from the training images, uint8 (n, C, H, W)."""

    def finish(self, images: Tensor) -> None:
        """What is fitted after training, to the training images, uint8 (n, C, H, W)."""

    @abstractmethod
    def model(self) -> GenerativeModel:
        """The model as it is exported; shares its networks with this object."""

    def descend(self, loss: Tensor, optimizer: torch.optim.Adam) -> bool:
        """One optimiser step on `loss`; False, and no change, where it is not finite."""
        if not torch.isfinite(loss):
            return False
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.preset.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.preset.gradient_clip)
        optimizer.step()
        return True


def new_decoder(preset: GenerativePreset) -> Decoder:
    """An untrained decoder."""
    decoder = Decoder(preset.model)
    _initialize(decoder, preset)
    return decoder


def new_encoder(preset: GenerativePreset) -> Encoder:
    """An untrained encoder."""
    encoder = Encoder(preset.model)
    _initialize(encoder, preset)
    return encoder


def _initialize(network: nn.Module, preset: GenerativePreset) -> None:
    # Torch's own start shrinks what goes through a tanh layer by √3; after four wide ones hardly
    # anything is left, and a vae then closes its code before it has learned to use it.
    for layer in network.modules() if preset.xavier else ():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """Sum of squared errors of each image, (n, …) to (n,)."""
    return (x - y).square().flatten(1).sum(1)


@torch.no_grad()
def in_batches(
    call: Callable[[Tensor], Any], values: Tensor, device: torch.device, size: int = 1000
) -> Tensor:
    """`call` of every batch of `values`, which goes to the device; joined on the CPU."""
    return torch.cat([call(batch.to(device)).cpu() for batch in torch.split(values, size)])


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, *, updates: int, decay: float) -> None:
    """One update, after `updates` of them, of the exponential moving average of weights."""
    # A short memory at first: the average must not remember the untrained weights.
    decay = min(decay, (1 + updates) / (10 + updates))
    for kept, current in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(current, 1 - decay)


@torch.no_grad()
def nearest_figures(model: GenerativeModel, images: Tensor, *, seed: int = 0) -> dict[str, float]:
    """How near the model's samples and held-out images are, squared error per image.

    nearest_sample_sse  mean over images of the distance to the nearest of `SAMPLES` samples:
                        high where the model has dropped modes
    nearest_data_sse    mean over samples of the distance to the nearest image: high where the
                        samples look like none

    Of images against images of the same distribution both are what memory would reach.
    """
    generator = torch.Generator().manual_seed(seed)
    codes = model.prior.sample(SAMPLES, generator=generator)
    decoder: Decoder = model.decoder
    device = next(decoder.parameters()).device
    samples = in_batches(decoder, codes, device).flatten(1).to(device)
    nearest_data = torch.full((len(samples),), torch.inf, device=device)
    nearest_sample = []
    for batch in torch.split(images.flatten(1), 1000):
        batch = batch.to(device)
        distances = torch.cdist(batch, samples).square()
        nearest_sample.append(distances.amin(1))
        nearest_data = torch.minimum(nearest_data, distances.amin(0))
    return {
        "nearest_sample_sse": float(torch.cat(nearest_sample).mean()),
        "nearest_data_sse": float(nearest_data.mean()),
    }
