"""Decoder and critic, and what each of them minimises."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Array
from codec.models.photo.network import LEVELS, Synthesis
from codec.models.photo.realism import RealisticPhoto
from codec.models.photo.synthesis import SynthesisWeights
from codec.models.photo.synthesis_arrays import synthesis_arrays
from codec.rate_distortion import psnr_db
from training.data.crops import CropSampler, Pixels, load_photographs
from training.generative.gan import gradient_penalty
from training.loop.optimise import MovingAverage, Schedule, descend
from training.loop.trainer import Learner, TrainOptions
from training.photo.learner import sample_positions
from training.realism.config import RealismPreset
from training.realism.critic import PatchCritic
from training.realism.photo_weights import (
    DecodedCrops,
    PhotoWeights,
    decode_crops,
    decoded_tile,
    load_photo_weights,
)

VALIDATION_QUALITIES = (5, 20, 40, 60, 80)
ROUNDING_ERROR = 1 / (255 * math.sqrt(12))
"""Root mean squared error of pixels in [0, 1] that are rounded to 8 bits."""


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


class RealismLearner(Learner):
    """Critic and decoder in turn; the decoder's moving average is what is exported.

    The decoder starts as the synthesis of the photo model, and computes with integers of 8 bits
    from the first step, through which gradients pass straight. Everything else of that model stays:
    its analysis, its exact path and its tables make the latents that the decoder learns from.

    validation  pictures uint8 (h, w, 3), sides of 16 pixels at least
    """

    family = "realism"

    def __init__(
        self,
        preset: RealismPreset,
        sampler: CropSampler,
        photo: PhotoWeights,
        *,
        autocast: bool = True,
        validation: Sequence[Pixels] = (),
    ) -> None:
        super().__init__(preset, autocast=autocast, device=photo.device)
        self.preset: RealismPreset = preset
        self.sampler, self.photo, self.validation = sampler, photo, validation
        self.decoder = copy.deepcopy(photo.model.synthesis).requires_grad_(True)
        self.average = MovingAverage(self.decoder, preset.ema_decay, starts_trained=True)
        self.critic = PatchCritic(preset).to(self.device)
        self.decoder_adam = torch.optim.Adam(self.decoder.parameters(), betas=preset.betas)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), betas=preset.betas)
        self.optimizers = {"decoder": self.decoder_adam, "critic": self.critic_adam}

    def schedules(self) -> Mapping[str, Schedule]:
        """The critic's begins at once."""
        return {"decoder": self.preset.schedule(), "critic": self.preset.critic_schedule()}

    def fixed(self) -> dict[str, Any]:
        """The sizes of the critic, and the photo weights."""
        sizes = {"critic": self.preset.critic, "condition": self.preset.condition}
        return {**sizes, "photo_sha256": self.photo.sha256}

    def synthesize(self, crops: DecodedCrops) -> Tensor:
        """The decoder's pictures (n, 3, h, w), not clamped."""
        with self.mixed():
            correction: Tensor = self.decoder(crops.linear, crops.hidden, crops.mix, rounded=True)
        return (crops.linear + correction.float()) / LEVELS + 0.5

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

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """Some steps of the critic, one of the decoder.

        Figures of the last batch: losses; the critic's distance; mean of PSNR in dB of what the
        decoder and the photo model draw.
        """
        preset, generator = self.preset, self.noise_of(step)
        batches = itertools.count(step * (preset.critic_steps + 1))

        def draw() -> DecodedCrops:
            # Qualities as often as in the training of photo.
            position = sample_positions(preset.batch, generator)
            crops = self.sampler(next(batches))
            return decode_crops(self.photo, crops, (1 + 99 * position).tolist())

        for _ in range(preset.critic_steps):
            crops = draw()
            with torch.no_grad():
                drawn = self.synthesize(crops)
            critic_loss, distance = self.critic_loss(crops, drawn, generator)
            descend(critic_loss, self.critic_adam)
        crops = draw()
        self.critic.requires_grad_(False)
        drawn = self.synthesize(crops)
        loss = self.decoder_loss(crops, drawn)
        if descend(loss, self.decoder_adam):
            self.average.update_parameters(self.decoder)
        self.critic.requires_grad_(True)
        return {
            "loss": loss.item() + 0 * critic_loss.item(),
            "critic_loss": critic_loss.item(),
            "distance": distance.item(),
            "psnr_db": _mean_psnr_db(crops.pixels, drawn.detach()),
            "photo_psnr_db": _mean_psnr_db(crops.pixels, crops.photo),
        }

    def validate(self) -> list[dict[str, float]]:
        """Mean PSNR in dB of 8-bit pictures by the averaged decoder, and by the photo model."""
        coder = self.photo.coder
        weights = second_weights(self.photo, self.average.module)
        second = RealisticPhoto(coder, coder.transforms.renderer_of(weights), 1)
        rows = []
        for quality in VALIDATION_QUALITIES if self.validation else ():
            psnrs = []
            for picture in self.validation:
                height, width = (side // coder.stride * coder.stride for side in picture.shape[:2])
                pixels = np.ascontiguousarray(picture[:height, :width])
                decoded = decoded_tile(coder, pixels, quality)
                drawn = (model.synthesize(decoded, quality) for model in (second, coder))
                psnrs.append([psnr_db(pixels, one) for one in drawn])
            mean_db, photo_db = np.mean(psnrs, axis=0).tolist()
            rows.append({"quality": quality, "psnr_db": mean_db, "photo_psnr_db": photo_db})
        return rows


def second_arrays(photo: PhotoWeights, decoder: Synthesis) -> dict[str, Array]:
    """A realistic decoder as integers: the arrays `synthesis.*` of a weights file."""
    model = copy.copy(photo.model)
    model._modules = {**photo.model._modules, "synthesis": decoder}
    arrays = synthesis_arrays(model)
    del arrays["log_step"]  # that of the photo weights counts
    return arrays


def second_weights(photo: PhotoWeights, decoder: Synthesis) -> SynthesisWeights:
    """The same as the codec draws with it."""
    arrays = {**second_arrays(photo, decoder), "log_step": photo.coder.arrays["log_step"]}
    return SynthesisWeights(arrays, photo.coder.config)


def realism_learner(preset: RealismPreset, options: TrainOptions) -> RealismLearner:
    """The learner that a command line asks for. Raises `InputError` and `WeightsMismatchError`."""
    photo = load_photo_weights(options.weights, options.device)
    validation = load_photographs(options.validation) if options.validation else []
    return RealismLearner(
        preset,
        preset.sampler(options.data),
        photo,
        autocast=options.autocast,
        validation=validation,
    )


def _mean_psnr_db(pixels: Tensor, drawn: Tensor) -> float:
    """Mean of PSNR of pictures clamped to [0, 1], not rounded; a perfect one counts as rounded."""
    error = (pixels - drawn.clamp(0, 1)).square().flatten(1).mean(1).clamp(min=ROUNDING_ERROR**2)
    return float(-10 * torch.log10(error).mean())
