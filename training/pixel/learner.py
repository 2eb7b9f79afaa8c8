"""Training of the pixel models: they learn to code the pixels of photographs in few bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from training.data.crops import CropSampler, Pixels, load_photographs
from training.loop.optimise import descend
from training.loop.trainer import Learner, TrainOptions
from training.pixel.config import PixelPreset
from training.pixel.network import PixelNetwork
from training.pixel.samples import draw_samples
from training.pixel.warm_start import start_from_weights

_VALIDATION_CROPS = 24
_VALIDATION_BATCH = 2**16
_LONGEST_GRADIENT = 1.0


class PixelLearner(Learner):
    """A `PixelNetwork` and its training data.

    photographs, validation   pictures uint8 (h, w, 3), at least as large as a crop
    weights   weights of the lossless model to start from, instead of untrained ones
    """

    family = "pixel"

    def __init__(
        self,
        preset: PixelPreset,
        photographs: Sequence[Pixels],
        *,
        validation: Sequence[Pixels] = (),
        weights: Path | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(preset, autocast=False, device=device)
        self.preset: PixelPreset = preset
        sampler = _sampler(preset, photographs, preset.downscale_probability)
        self.samples = draw_samples(
            sampler, preset.crops, preset.samples, preset.seed, preset.max_errors
        )
        self.held_out = None
        if validation:
            crops = min(preset.crops, _VALIDATION_CROPS)
            sampler = _sampler(preset, validation, 0.0)
            self.held_out = draw_samples(
                sampler, crops, preset.samples, preset.seed, preset.max_errors
            )
        self.network = PixelNetwork(preset.model, bounded=preset.bounded).to(self.device)
        if weights is not None:
            start_from_weights(self.network, weights)
        self.optimizers = {"adam": torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99))}

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step; `loss` is in bits per pixel value."""
        places = torch.randint(
            len(self.samples), (self.preset.batch,), generator=self.noise_of(step)
        )
        batch = (part.to(self.device) for part in self.samples.take(places))
        loss = self.network.loss(*batch)
        descend(loss, self.optimizers["adam"], clip=_LONGEST_GRADIENT)
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self) -> list[dict[str, float]]:
        """Bits per pixel value of held-out photographs, from the likelihood, without tables."""
        if self.held_out is None:
            return []
        bits = 0.0
        for places in torch.split(torch.arange(len(self.held_out)), _VALIDATION_BATCH):
            batch = (part.to(self.device) for part in self.held_out.take(places))
            bits += float(self.network.bits(*batch).sum())
        return [{"bits": bits / len(self.held_out)}]


def _sampler(preset: PixelPreset, photographs: Sequence[Pixels], reduced: float) -> CropSampler:
    return CropSampler(
        photographs, crop=preset.crop, batch=1, seed=preset.seed, downscale_probability=reduced
    )


def pixel_learner(preset: PixelPreset, options: TrainOptions) -> PixelLearner:
    """The learner for the photographs that the options name. Raises `InputError`."""
    held_out = options.validation
    return PixelLearner(
        preset,
        load_photographs(options.data, smallest_side=preset.crop),
        validation=load_photographs(held_out, smallest_side=preset.crop) if held_out else (),
        weights=options.weights,
        device=options.device,
    )
