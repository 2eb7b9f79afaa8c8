"""Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, algorithm 1), and the regulariser
BRE of its critic (Cao et al. 2018, "Improving GAN training via binarized representation entropy").
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.generative.networks import GenerativeModel
from training.generative.config import GenerativePreset, PenaltyNorm
from training.generative.learner import (
    Draw,
    GenerativeLearner,
    in_batches,
    nearest_figures,
    new_decoder,
)
from training.loop.optimise import MovingAverage

PATTERNS = 2000
"""Activation patterns are measured for this many images, and as many samples."""
LEAK = 0.2
RELATIVE_SOFTNESS = 1e-3
"""ε of the soft signs, relative to the mean size of a pre-activation."""


class Critic(nn.Module):
    """D(x): float (n, C, H, W) to (n,), and the pre-activations of its hidden layers.

    Linear layers for an mlp, 4×4 convolutions of stride 2 and one linear layer for conv; leaky
    rectifiers, and no normalisation, because the penalty is on the gradient of each single image.
    """

    def __init__(self, preset: GenerativePreset) -> None:
        super().__init__()
        shape, widths = preset.model.image_shape, preset.critic
        self.convolutional = preset.model.architecture == "conv"
        layers: list[nn.Module]
        if self.convolutional:
            channels = (shape[0], *widths)
            layers = [
                nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1)
                for a, b in itertools.pairwise(channels)
            ]
            stride = 2 ** len(widths)
            outputs = widths[-1] * (shape[1] // stride) * (shape[2] // stride)
        else:
            sizes = (math.prod(shape), *widths)
            layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
            outputs = widths[-1]
        self.layers = nn.ModuleList([*layers, nn.Linear(outputs, 1)])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Values (n,) float32, and one tensor (n, …) for each hidden layer."""
        value = x if self.convolutional else x.flatten(1)
        hidden = []
        for layer in self.layers[:-1]:
            hidden.append(layer(value))
            value = F.leaky_relu(hidden[-1], LEAK)
        return self.layers[-1](value.flatten(1)).float()[:, 0], hidden


def gradient_penalty(
    critic: Critic, x: Tensor, norm: PenaltyNorm = "image"
) -> tuple[Tensor, list[Tensor]]:
    """Mean of (‖∇ₓD(x)‖₂ − 1)² at images (n, C, H, W); returns the pre-activations as well.

    norm   "image": over all pixels of an image, mean over images (Gulrajani et al. 2017, equation
           3); "channels": over the channels of each pixel, mean over pixels and images, as in
           Tschannen et al. 2018, which allows D to be √(H·W) times as steep
    """
    x = x.detach().requires_grad_(True)
    values, hidden = critic(x)
    (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    vectors = gradient.flatten(1) if norm == "image" else gradient
    return (torch.linalg.vector_norm(vectors, dim=1) - 1).square().mean(), hidden


class AdversarialLearner(GenerativeLearner):
    """A generator, its moving average, and the critic from which it learns.

    signed   whether the critic sees pixels in [−1, 1] instead of [0, 1]
    """

    signed = False

    def build(self) -> None:
        self.decoder, self.critic = new_decoder(self.preset), Critic(self.preset)
        self.average = MovingAverage(self.decoder, self.preset.ema_decay)
        critic = self.adam(self.critic)
        critic.param_groups[0]["rate_factor"] = self.preset.critic_rate
        self.optimizers = {"critic": critic}

    @property
    def batches_per_step(self) -> int:
        """One batch for each step of the critic."""
        return self.preset.critic_steps

    def decode(self, codes: Tensor) -> Tensor:
        """Images float32 (n, C, H, W) in [0, 1] of codes (n, k)."""
        with self.mixed():
            logits: Tensor = self.decoder.logits(codes)
        return logits.float().sigmoid()

    def critic_loss(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
        """E D(fake) − E D(real) + λ·penalty between them, + the BRE regulariser if requested."""
        preset = self.preset
        with self.mixed():
            values, hidden = self.critic(torch.cat([real, fake]))
        real_value, fake_value = torch.split(values, len(real))
        # In float32, because the norm of a gradient is compared with 1.
        mix = torch.rand(len(real), 1, 1, 1, generator=generator).to(self.device)
        between = fake.lerp(real, mix)
        penalty, mixed_hidden = gradient_penalty(self.critic, between, preset.penalty_norm)
        loss = fake_value.mean() - real_value.mean() + preset.gradient_penalty * penalty
        if preset.bre_weight:
            # On generated and interpolated images, in all rectifier layers except the last.
            layers = slice(None, -1) if len(hidden) > 1 else slice(None)
            fake_hidden = [h[len(real) :] for h in hidden[layers]]
            entropy = binarized_representation_entropy([*fake_hidden, *mixed_hidden[layers]])
            loss = loss + preset.bre_weight * entropy
        return loss

    @abstractmethod
    def fake_codes(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Codes (n, k) of the generated images that are compared with images x."""

    def train_critic(self, draw: Draw, generator: torch.Generator) -> Tensor:
        """Take `critic_steps` steps of the critic; return its last loss."""
        for _ in range(self.preset.critic_steps):
            x = draw().to(self.device)
            with torch.no_grad():
                fake = self.decode(self.fake_codes(x, generator))
            loss = self.critic_loss(self.seen(x), self.seen(fake), generator)
            self.descend(loss, self.optimizers["critic"])
        return loss

    def seen(self, x: Tensor) -> Tensor:
        """Images in [0, 1] as the critic sees them."""
        return 2 * x - 1 if self.signed else x

    def critic_estimate(self, images: Tensor) -> float:
        """The critic's estimate of the distance, E D(x) − E D(f(z)), for the averaged generator."""
        real, fake = (
            in_batches(lambda x: self.critic(self.seen(x))[0], part, self.device)
            for part in (images, self.samples(len(images)))
        )
        return float(real.mean() - fake.mean())

    def samples(self, count: int) -> Tensor:
        """Samples of the averaged generator, the same on every call."""
        codes = torch.randn(count, self.config.code, generator=torch.Generator().manual_seed(1))
        return in_batches(self.average, codes, self.device)

    def model(self) -> GenerativeModel:
        """The model with the averaged generator."""
        return replace(super().model(), decoder=self.average.module)

    def critic_value(self, fake: Tensor) -> Tensor:
        """Mean of D(fake); its gradient goes to the networks that made the images, not to D."""
        self.critic.requires_grad_(False)
        with self.mixed():
            values: Tensor = self.critic(fake)[0]
        self.critic.requires_grad_(True)
        return values.mean()


class GanLearner(AdversarialLearner):
    """Trains critic and generator in turn; the generator's moving average is exported."""

    def build(self) -> None:
        super().build()
        self.encoder = None
        self.optimizers = {"generator": self.adam(self.decoder), **self.optimizers}

    def fake_codes(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Samples of the prior."""
        return self.normal(self.preset.batch, generator)

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """Several steps of the critic, then one of the generator."""
        critic_loss = self.train_critic(draw, generator)
        loss = -self.critic_value(self.decode(self.normal(self.preset.batch, generator)))
        if self.descend(loss, self.optimizers["generator"]):
            self.average.update_parameters(self.decoder)
        finite = loss.item() + 0 * critic_loss.item()
        return {"loss": finite, "critic_loss": critic_loss.item()}

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """The critic's estimate of the distance, the entropy of its patterns, and the
        nearest-neighbour figures.
        """
        estimate = self.critic_estimate(images)
        return {
            "critic_estimate": estimate,
            "pattern_entropy_bits": self.pattern_entropy(images),
            **nearest_figures(self.model(), images),
        }

    def pattern_entropy(self, images: Tensor) -> float:
        """`pattern_entropy_bits` of the critic, for images and as many samples."""
        images = images[:PATTERNS]
        both = torch.cat([images, self.samples(len(images))]).to(self.device)
        return pattern_entropy_bits(self.critic(self.seen(both))[1])


def soft_signs(h: Tensor) -> Tensor:
    """Activation pattern a = h / (|h| + ε), ε = 0.001·mean|h| without gradient; (n, d) to (n, d).

    Close to the sign of every pre-activation, and with a gradient.
    """
    softness = RELATIVE_SOFTNESS * h.detach().abs().mean()
    return h / (h.abs() + softness.clamp(min=torch.finfo(h.dtype).tiny))


def pattern_entropy_bits(pre_activations: Sequence[Tensor]) -> float:
    """Entropy of the signs of a unit's pre-activations (n, …), in bits, mean over all units.

    1 if every unit is active for half of the images, 0 if none ever changes. An upper bound on the
    entropy of activation patterns per unit, which they reach if units are independent.
    """
    share = torch.cat([(h.flatten(1) > 0).float().mean(0) for h in pre_activations])
    return float(torch.special.entr(torch.stack([share, 1 - share])).sum(0).mean() / math.log(2))


def marginal_entropy_penalty(a: Tensor) -> Tensor:
    """R_ME = 1/d·Σ_k (mean_i a_ik)² of patterns a (n, d).

    0 if every unit is active for half of the images, 1 if none ever changes.
    """
    return a.mean(0).square().mean()


def correlation_penalty(a: Tensor) -> Tensor:
    """R_AC = mean over pairs i ≠ j of max(0, |a_i·a_j|/d − 3/√d) of patterns a (n, d).

    0 if the patterns of different images are unrelated (independent signs stay below three
    standard deviations), 1 − 3/√d if all are equal or opposite.
    """
    count, units = a.shape
    excess = ((a @ a.T).abs() / units - 3 / math.sqrt(units)).clamp(min=0)
    return (excess.sum() - excess.diagonal().sum()) / (count * (count - 1))


def binarized_representation_entropy(pre_activations: Sequence[Tensor]) -> Tensor:
    """R_ME + R_AC, mean over layers of pre-activations (n, …)."""
    patterns = [soft_signs(h.flatten(1).float()) for h in pre_activations]
    penalties = [marginal_entropy_penalty(a) + correlation_penalty(a) for a in patterns]
    return torch.stack(penalties).mean()
