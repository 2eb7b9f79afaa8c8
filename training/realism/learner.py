"""Decoder and critic, and what each of them minimises."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from codec.models.photo.coder import PhotoCoder
from training.generative.gan import gradient_penalty
from training.realism.config import RealismPreset
from training.realism.critic import PatchCritic
from training.realism.photo_weights import DecodedCrops

ROUNDING_ERROR = 1 / (255 * math.sqrt(12))
"""Root mean squared error of pixels in [0, 1] that are rounded to 8 bits."""

Draw = Callable[[], DecodedCrops]
"""Gives the next training batch."""


def relative_error(pixels: Tensor, drawn: Tensor, photo: Tensor) -> Tensor:
    """‖x − x̂‖² / ‖x − x̂₀‖ of each picture, (n, 3, h, w) three times to (n,).

    The squared error in units of the critic's values: those are Euclidean distances of pictures,
    slope 1, and at x̂ = x̂₀, the photo model's picture, this has a gradient of length 2 at every
    quality. Without the denominator the fine qualities would go without an anchor, or the coarse
    ones would not move. An x̂₀ nearer than rounding counts as that near.
    """
    floor = ROUNDING_ERROR * math.sqrt(pixels[0].numel())
    scale = torch.linalg.vector_norm((pixels - photo).flatten(1), dim=1).clamp(min=floor)
    relative: Tensor = (pixels - drawn).square().flatten(1).sum(1) / scale
    return relative


class RealismLearner(nn.Module):
    """Critic and decoder in turn; the decoder's moving average is what is exported.

    The decoder starts as the synthesis of the photo model. Everything else of that model stays:
    its analysis, its exact path and its tables make the latents that the decoder learns from.
    Forward passes may run under bfloat16 autocast; every loss is computed in float32.
    """

    def __init__(self, preset: RealismPreset, coder: PhotoCoder, *, autocast: bool) -> None:
        super().__init__()
        self.preset, self.device, self.autocast = preset, coder.device, autocast
        self.decoder = copy.deepcopy(coder.network.synthesis).requires_grad_(True)
        self.average = copy.deepcopy(coder.network.synthesis)
        self.critic = PatchCritic(preset, coder.config.latent_channels).to(self.device)
        self.decoder_adam = torch.optim.Adam(self.decoder.parameters(), betas=preset.betas)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), betas=preset.betas)

    def mixed(self) -> torch.autocast:
        """The context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def synthesize(self, crops: DecodedCrops) -> Tensor:
        """The decoder's pictures (n, 3, h, w), not clamped."""
        with self.mixed():
            drawn: Tensor = self.decoder(crops.latents, crops.position)
        return drawn.float() + 0.5

    def judge(self, pixels: Tensor, crops: DecodedCrops) -> Tensor:
        """The critic's values (n,) of pictures beside the latents of `crops`."""
        with self.mixed():
            values: Tensor = self.critic(pixels, crops.latents, crops.position)
        return values

    def critic_loss(
        self, crops: DecodedCrops, drawn: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """E D(x̂) − E D(x) + λ·penalty between them; and the distance E D(x) − E D(x̂) alone.

        Both pictures come with the same latents, so the slope is that along the picture.
        """
        distance = self.judge(crops.pixels, crops).mean() - self.judge(drawn, crops).mean()
        mix = torch.rand(len(drawn), 1, 1, 1, generator=generator).to(self.device)

        def critic(pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
            # A gradient's norm is compared with 1: in float32.
            return self.critic(pixels, crops.latents, crops.position), []

        penalty, _ = gradient_penalty(cast(Any, critic), drawn.lerp(crops.pixels, mix))
        return self.preset.gradient_penalty * penalty - distance, distance

    def decoder_loss(self, crops: DecodedCrops, drawn: Tensor) -> Tensor:
        """Relative squared error, weighted, − E D(x̂)."""
        error = relative_error(crops.pixels, drawn, crops.photo).mean()
        return self.preset.error_weight * error - self.judge(drawn, crops).mean()

    def train_step(
        self, draw: Draw, generator: torch.Generator, *, decoder_rate: float, critic_rate: float
    ) -> dict[str, float]:
        """Some steps of the critic, one of the decoder, at these learning rates.

        Figures of the last batch: losses; the critic's distance; mean of PSNR in dB of what the
        decoder and the photo model draw. A step whose loss is not finite changes no weights.
        """
        for _ in range(self.preset.critic_steps):
            crops = draw()
            with torch.no_grad():
                drawn = self.synthesize(crops)
            critic_loss, distance = self.critic_loss(crops, drawn, generator)
            _descend(critic_loss, self.critic_adam, critic_rate)
        crops = draw()
        self.critic.requires_grad_(False)
        drawn = self.synthesize(crops)
        loss = self.decoder_loss(crops, drawn)
        if _descend(loss, self.decoder_adam, decoder_rate):
            self._update_average()
        self.critic.requires_grad_(True)
        return {
            "loss": loss.item() + 0 * critic_loss.item(),
            "critic_loss": critic_loss.item(),
            "distance": distance.item(),
            "psnr_db": _mean_psnr_db(crops.pixels, drawn.detach()),
            "photo_psnr_db": _mean_psnr_db(crops.pixels, crops.photo),
        }

    @torch.no_grad()
    def _update_average(self) -> None:
        pairs = zip(self.average.parameters(), self.decoder.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - self.preset.ema_decay)


def _descend(loss: Tensor, optimizer: torch.optim.Adam, rate: float) -> bool:
    """One optimiser step on `loss`; False, and no change, where it is not finite."""
    if not torch.isfinite(loss):
        return False
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return True


def _mean_psnr_db(pixels: Tensor, drawn: Tensor) -> float:
    """Mean of PSNR of pictures clamped to [0, 1], not rounded; a perfect one counts as rounded."""
    error = (pixels - drawn.clamp(0, 1)).square().flatten(1).mean(1).clamp(min=ROUNDING_ERROR**2)
    return float(-10 * torch.log10(error).mean())
