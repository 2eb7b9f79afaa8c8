"""Training of DRAW, on the evidence lower bound or on bits and squared error at every quality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bitstream.errors import UsageError
from codec.models.draw.network import (
    DrawNetwork,
    bernoulli_nats,
    bin_bits,
    gaussian_kl,
    logistic_nats,
    network_from_arrays,
)
from codec.models.draw.recursion import DrawConfig, DrawState, Prior
from codec.models.layers import round_straight_through
from codec.models.weights_files import read_config
from training.draw.config import DrawPreset
from training.generative.learner import Draw, ImageLearner
from training.generative.vae import binarize
from training.loop.optimise import build_optimizer, descend
from training.loop.start import read_start

LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE = -11.0, 2.0
LEVELS_PER_UNIT = 128
"""8-bit levels in a unit of x."""


class Passed(NamedTuple):
    """The result for a batch: canvas (batch, C, H, W), and the rate of each step and level.

    rates   (batch, steps · levels): nats with gaussian posteriors, bits with uniform ones
    """

    canvas: Tensor
    rates: Tensor


class DrawLearner(ImageLearner):
    """A `DrawNetwork` and how it learns; images come as float32 (batch, C, H, W) in [0, 1].

    weights   an exported weights file to start from; its network may have another number of steps,
              since all steps share their weights

    Raises `InputError` for an unreadable file, `UsageError` if the sizes differ,
    `WeightsMismatchError` for weights of another model.
    """

    family = "draw"

    def __init__(
        self,
        preset: DrawPreset,
        *,
        autocast: bool = True,
        device: torch.device | None = None,
        weights: Path | None = None,
    ) -> None:
        super().__init__(preset, autocast=autocast, device=device)
        self.preset: DrawPreset = preset
        self.config = preset.model
        self.network = DrawNetwork(preset.model)
        if weights is not None:
            start_from_weights(self.network, weights)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = build_optimizer(
            preset.optimizer, list(self.network.parameters()), preset.learning_rate
        )
        self.optimizers = {preset.optimizer: optimizer}

    def prepare(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """x from images in [0, 1]: binarised at random, or levels in (−1, 1)."""
        if self.config.likelihood == "bernoulli":
            # Held-out images are binarised already and stay as they are.
            found = torch.bernoulli(images, generator=generator)
        else:
            found = ((images * 255).round() * 2 - 255) / 256
        if self.preset.mirror and generator is not None:
            mirrored = torch.rand(len(found), generator=generator) < 0.5
            found = torch.where(mirrored[:, None, None, None], found.flip(3), found)
        return found.to(self.device, memory_format=torch.channels_last)

    def forward(self, image: Tensor, noise: Noise, kept: Tensor | None = None) -> Passed:
        """Run all steps on x; kept (batch,) says how many steps have a code, None for all."""
        recursion, config = self.network.recursion, self.config
        rates: list[Tensor] = []
        with self.mixed():
            state = recursion.begin(len(image), *image.shape[2:])
            part = recursion.image_part(image)
            for step in range(config.steps):
                recursion.look(state, image, part)
                sent = None if kept is None else (kept > step).to(image.dtype)
                rates += self._step(state, noise, sent)
        return Passed(state.canvas.float(), torch.stack(rates, 1))

    def _step(self, state: DrawState, noise: Noise, sent: Tensor | None) -> list[Tensor]:
        """Advance by a step; return the rates (batch,) of its levels. sent: 1 if it has a code."""
        recursion = self.network.recursion
        rates: list[Tensor] = []

        def choose(level: int, prior: Prior) -> Tensor:
            said = recursion.posterior(state, level).float()
            if self.config.posterior == "gaussian":
                coordinate, rate = self._gaussian(said, noise)
            else:
                coordinate, rate = self._uniform(said, prior, noise)
            rate = rate.flatten(1).sum(1)
            if sent is not None:
                coordinate = coordinate * sent[:, None, None, None]
                rate = rate * sent
            rates.append(rate)
            return coordinate

        recursion.step(state, choose)
        return rates

    def _gaussian(self, said: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        mean, log_variance = said.chunk(2, 1)
        log_variance = log_variance.clamp(LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE)
        drawn = mean + (log_variance / 2).exp() * noise.normal(mean)
        return drawn, gaussian_kl(mean, log_variance)

    def _uniform(self, residual: Tensor, prior: Prior, noise: Noise) -> tuple[Tensor, Tensor]:
        scale = self.network.log_scale(prior.scale.float())
        if not self.training:
            rounded = residual.round()
            return rounded, bin_bits(rounded, scale)
        # The rate of a uniform posterior uses noise; the recursion sees the values to be decoded.
        return round_straight_through(residual), bin_bits(residual + noise.uniform(residual), scale)

    def trade_off(self, position: Tensor) -> Tensor:
        """λ at positions (batch,) of the quality in [0, 1]."""
        low, high = (math.log(value) for value in self.preset.trade_offs)
        return torch.exp(low + (high - low) * position)

    def distortion(self, canvas: Tensor, image: Tensor) -> Tensor:
        """−log p(x|z) in nats, or squared error in 8-bit levels: (batch,)."""
        if self.config.likelihood == "bernoulli":
            values = bernoulli_nats(canvas, image)
        elif self.config.likelihood == "logistic":
            values = logistic_nats(canvas, image)
        else:
            values = ((canvas - image) * LEVELS_PER_UNIT).square()
        return values.flatten(1).sum(1)

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the bound, or on bits and squared error."""
        image, noise = self.prepare(draw(), generator), Noise(generator)
        if self.config.posterior == "gaussian":
            loss, figures = self._likelihood_loss(image, noise, fraction)
        else:
            loss, figures = self._file_loss(image, noise, generator)
        if not descend(
            loss, self.optimizers[self.preset.optimizer], clip=self.preset.gradient_clip
        ):
            loss = torch.full_like(loss, torch.nan)
        return {"loss": float(loss.detach()), **{k: float(v) for k, v in figures.items()}}

    def _likelihood_loss(
        self, image: Tensor, noise: Noise, fraction: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        preset = self.preset
        canvas, rates = self(image, noise)
        distortion = self.distortion(canvas, image).mean()
        of_each = rates.mean(0)
        weight = min(1.0, fraction / preset.kl_warmup) if preset.kl_warmup else 1.0
        costs = of_each.clamp_min(preset.free_nats).sum()
        loss = preset.cost_scale * distortion + weight * costs
        kl = of_each.detach().sum()
        nelbo = distortion.detach() + kl
        return loss, {"nelbo_nats": nelbo, "distortion_nats": distortion.detach(), "kl_nats": kl}

    def _file_loss(
        self, image: Tensor, noise: Noise, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        preset, batch = self.preset, len(image)
        position = torch.rand(batch, generator=generator)
        steps = self.config.steps
        kept = torch.randint(1, max(2, steps), (batch,), generator=generator)
        whole = torch.rand(batch, generator=generator) >= preset.cut
        kept = torch.where(whole, torch.full_like(kept, steps), kept).to(self.device)
        position = position.to(self.device)
        self.network.set_quality(position)
        canvas, rates = self(image, noise, kept if preset.cut else None)
        self.network.set_quality(None)
        error, bits = self.distortion(canvas, image), rates.sum(1)
        # With fine quantisation, λ · error is the same at every λ, so no quality dominates others.
        trade_off = self.trade_off(position) * preset.missing_step ** (steps - kept)
        loss = (bits + trade_off * error).mean()
        values = image[0].numel()
        figures = {
            "bits_per_dimension": bits.detach().mean() / values,
            "psnr_db": 10 * torch.log10(255**2 * values / error.detach()).mean(),
        }
        return loss, figures

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Figures for held-out images, float32 (n, C, H, W) in [0, 1]; the same on every call."""
        if self.config.posterior == "gaussian":
            return self._validate_likelihood(images)
        found: dict[str, float] = {}
        for quality in (25, 50, 75, 100):
            bits, error = 0.0, 0.0
            for image in self._batches(images):
                position = image.new_full((len(image),), (quality - 1) / 99)
                self.network.set_quality(position)
                canvas, rates = self(image, Noise(None))
                bits += float(rates.double().sum())
                error += float(self.distortion(canvas, image).double().sum())
            self.network.set_quality(None)
            values = images.numel()
            found[f"bits_per_dimension_q{quality}"] = bits / values
            found[f"psnr_db_q{quality}"] = 10 * math.log10(255**2 * values / error)
        return found

    def _validate_likelihood(self, images: Tensor) -> dict[str, float]:
        noise = Noise(torch.Generator().manual_seed(2016))
        total = torch.zeros(2, dtype=torch.float64)
        for image in self._batches(images):
            canvas, rates = self(image, noise)
            sums = self.distortion(canvas, image).double().sum(), rates.double().sum()
            total += torch.stack(sums).cpu()
        distortion, kl = (float(value) / len(images) for value in total)
        nelbo = distortion + kl
        dimensions = images[0].numel()
        return {
            "nelbo_nats": nelbo,
            "distortion_nats": distortion,
            "kl_nats": kl,
            "bits_per_dimension": nelbo / math.log(2) / dimensions,
        }

    def _batches(self, images: Tensor) -> Iterator[Tensor]:
        if self.config.likelihood == "bernoulli":
            images = binarize(images)
        for part in torch.split(images, 250):
            yield self.prepare(part, None)


def start_from_weights(network: DrawNetwork, path: Path) -> None:
    """Copy a weights file into a network. Raises as `DrawLearner` does."""
    arrays, metadata = read_start(path)
    found = read_config(metadata, DrawConfig)
    if replace(found, steps=network.config.steps) != network.config:
        raise UsageError(
            f"{path} has the sizes {found}, but the preset has {network.config}: take the preset "
            "that the weights were trained with, or one with another number of steps"
        )
    network.load_state_dict(network_from_arrays(found, arrays).state_dict())


class Noise:
    """Random numbers of a pass, drawn on the CPU so that they are the same for every device."""

    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator

    def normal(self, like: Tensor) -> Tensor:
        """N(0, 1) in the shape of a tensor."""
        return torch.randn(like.shape, generator=self.generator).to(like.device)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform on [−½, ½) in the shape of a tensor."""
        return torch.rand(like.shape, generator=self.generator).to(like.device) - 0.5
