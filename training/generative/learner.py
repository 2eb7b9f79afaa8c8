"""What all learners of small images share, and in particular those of generative models."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitstream.errors import UsageError
from codec.datasets.arrays import Images
from codec.models.generative.networks import Decoder, Encoder, GenerativeModel
from codec.priors import StandardNormal
from training.data.small_images import BatchSampler, to_tensor
from training.generative.config import GenerativePreset, ImagePreset
from training.loop.optimise import descend
from training.loop.trainer import Learner

Draw = Callable[[], Tensor]
"""Returns the next training batch, float32 (batch, C, H, W) in [0, 1]."""

SAMPLES = 5000
"""Number of decoded prior samples for the nearest-neighbour figures."""


class ImageLearner(Learner):
    """Learns from images of one size, the last of which are held out."""

    preset: ImagePreset

    def take(self, images: Images) -> None:
        """Train on these images, uint8 (n, C, H, W).

        Raises `InputError` if there are not enough for training and validation.
        """
        images = np.require(images, requirements="W")  # torch needs writable arrays
        self.images, self.held_out = self.preset.split(images)
        self.sampler = BatchSampler(self.images, batch=self.preset.batch, seed=self.preset.seed)

    @property
    def batches_per_step(self) -> int:
        """Number of batches that a step draws."""
        return 1

    @abstractmethod
    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """The step that `learn` takes, given its batches and its noise."""

    @abstractmethod
    def measure(self, images: Tensor) -> dict[str, float]:
        """Figures for held-out images, float32 (n, C, H, W) in [0, 1]; the same on every call."""

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step on the next batches of the images given to `take`."""
        numbers = itertools.count(step * self.batches_per_step)
        return self.train_step(lambda: self.sampler(next(numbers)), self.noise_of(step), fraction)

    def validate(self) -> list[dict[str, float]]:
        """One row: `measure` of the images that are held out."""
        self.eval()
        figures = self.measure(to_tensor(self.held_out))
        self.train()
        return [figures]

    def fixed(self) -> dict[str, Any]:
        """The sizes, and the settings that determine the batches."""
        preset = asdict(self.preset)
        return {name: preset.get(name) for name in ("model", "crop", "seed")}


class GenerativeLearner(ImageLearner):
    """The networks of a generative model, with fused Adam on the device."""

    family = "generative"
    decoder: Decoder
    encoder: Encoder | None

    def __init__(
        self,
        preset: GenerativePreset,
        *,
        autocast: bool = True,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(preset, autocast=autocast, device=device)
        self.preset: GenerativePreset = preset
        self.config = preset.model
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the untrained networks and their optimisers."""

    def normal(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples of N(0, I) in the space of codes, (count, code)."""
        return torch.randn(count, self.config.code, generator=generator).to(self.device)

    def adam(self, *networks: nn.Module) -> torch.optim.Adam:
        """An optimiser of these networks, on the device; the loop sets its learning rate."""
        self.to(self.device)
        parameters = [p for network in networks for p in network.parameters()]
        rate, betas = self.preset.learning_rate, self.preset.betas
        return torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True)

    def model(self) -> GenerativeModel:
        """The model for export, with a standard normal prior unless a subclass says otherwise; it
        shares its networks with this object.
        """
        prior = StandardNormal(self.config.code)
        return GenerativeModel(self.config, self.decoder, self.encoder, prior)

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> bool:
        """One optimiser step on `loss`; if it is not finite, change nothing and return False."""
        return descend(loss, optimizer, clip=self.preset.gradient_clip)


def check_given(state: Mapping[str, Tensor], prefix: str, given: nn.Module) -> None:
    """Check that a run goes on with the weights that it was given when it began.

    state   the checkpoint's networks, in which those of `given` have names that start with `prefix`

    Raises `UsageError` for other weights.
    """
    if any(
        not torch.equal(state[prefix + name].to(value.device), value)
        for name, value in given.state_dict().items()
    ):
        raise UsageError(
            "the file of --weights is not the generator of the run: go on without --weights, or "
            "begin another run"
        )


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
    # Torch's own initialisation shrinks the signal in each tanh layer by √3; after four wide ones
    # hardly anything is left, and the posterior of a vae collapses before it learns to use codes.
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
    """`call` on every batch of `values`, moved to the device; results are joined on the CPU."""
    return torch.cat([call(batch.to(device)).cpu() for batch in torch.split(values, size)])


@torch.no_grad()
def nearest_figures(model: GenerativeModel, images: Tensor, *, seed: int = 0) -> dict[str, float]:
    """How near the model's samples and held-out images are, squared error per image.

    nearest_sample_sse  mean over images of the distance to the nearest of `SAMPLES` samples:
                        high if the model has dropped modes
    nearest_data_sse    mean over samples of the distance to the nearest image: high if the
                        samples look like no image

    A model that memorised the data would reach the figures of images against other images.
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
