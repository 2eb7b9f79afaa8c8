"""Training data of the pixel models' networks: their inputs at pixels of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Int32Array
from codec.models.pixel.coder import GREEN_FIRST, quantize_pixels, with_step
from codec.models.pixel.wavefront import STEPS, Front, sweep
from training.data.crops import CropSampler, Pixels


@dataclass(frozen=True)
class Samples:
    """int16 each: inputs (n, …) in units of 2⁻¹⁰, predictions (n,) in sixteenths, pixels, steps."""

    inputs: Tensor
    predictions: Tensor
    pixels: Tensor
    steps: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The samples at some places, as float32 in real units."""
        return (
            self.inputs[places].float() * 2.0**-10,
            self.predictions[places].float() / STEPS,
            self.pixels[places].float(),
            self.steps[places].float(),
        )


def draw_samples(
    sampler: CropSampler, crops: int, samples: int, seed: int, max_errors: Sequence[int] = (0,)
) -> Samples:
    """Random values from each of the first crops of a sampler.

    max_errors   bounds of the crops, in turn; only 0 for the lossless model
    """
    rng = np.random.default_rng(seed)
    drawn = [
        _samples_of(crop, samples, rng, max_errors[number % len(max_errors)], any(max_errors))
        for number in range(crops)
        for crop in sampler(number)
    ]
    parts = (torch.from_numpy(np.concatenate(part)) for part in zip(*drawn, strict=True))
    return Samples(*parts)


def _samples_of(
    crop: Pixels, samples: int, rng: np.random.Generator, max_error: int, bounded: bool
) -> tuple[np.ndarray, ...]:
    planes = crop.transpose(2, 0, 1)[list(GREEN_FIRST)].astype(np.int32)
    inputs, predictions, pixels = [], [], []

    def code(front: Front) -> Int32Array:
        values = np.concatenate([planes[p.plane, p.rows, p.columns] for p in front.parts])
        seen = with_step(front.inputs, max_error) if bounded else front.inputs
        inputs.append(seen.T.astype(np.int16))
        predictions.append(front.predictions.astype(np.int16))
        pixels.append(values.astype(np.int16))
        # Centres without the network's shift, which are about those of a decoder.
        centres = (front.predictions.astype(np.int32) + STEPS // 2) // STEPS
        return quantize_pixels(values, centres, max_error)[1]

    sweep((len(planes), *planes.shape[1:]), code)
    chosen = rng.permutation(planes.size)[:samples]
    found = tuple(np.concatenate(part)[chosen] for part in (inputs, predictions, pixels))
    return *found, np.full(len(chosen), 2 * max_error + 1, np.int16)
