"""What the network of the lossless model learns from: its inputs at pixels of photographs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Int32Array
from codec.models.pixel.coder import GREEN_FIRST
from codec.models.pixel.wavefront import STEPS, Front, sweep
from training.data.crops import CropSampler, Pixels


@dataclass(frozen=True)
class Samples:
    """int16 each: inputs (n, INPUTS) in units of 2⁻¹⁰, predictions (n,) in sixteenths, pixels."""

    inputs: Tensor
    predictions: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The samples at some places, as float32 in real units."""
        return (
            self.inputs[places].float() * 2.0**-10,
            self.predictions[places].float() / STEPS,
            self.pixels[places].float(),
        )


def draw_samples(sampler: CropSampler, crops: int, samples: int, seed: int) -> Samples:
    """Some values of each of the first crops of a sampler, drawn at random."""
    rng = np.random.default_rng(seed)
    drawn = [_samples_of(crop, samples, rng) for number in range(crops) for crop in sampler(number)]
    parts = (torch.from_numpy(np.concatenate(part)) for part in zip(*drawn, strict=True))
    return Samples(*parts)


def _samples_of(
    crop: Pixels, samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    planes = crop.transpose(2, 0, 1)[list(GREEN_FIRST)].astype(np.int32)
    inputs, predictions, pixels = [], [], []

    def code(front: Front) -> Int32Array:
        values = np.concatenate([planes[p.plane, p.rows, p.columns] for p in front.parts])
        inputs.append(front.inputs.T.astype(np.int16))
        predictions.append(front.predictions.astype(np.int16))
        pixels.append(values.astype(np.int16))
        return values

    sweep((len(planes), *planes.shape[1:]), code)
    chosen = rng.permutation(planes.size)[:samples]
    return tuple(np.concatenate(part)[chosen] for part in (inputs, predictions, pixels))  # type: ignore[return-value]
