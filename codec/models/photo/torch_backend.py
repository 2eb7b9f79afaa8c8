"""The synthesis network in torch, for GPUs: integers in float32, whose sums are exact.

Activations have 8 bits and weights 7, so their products are exact in TF32 as well.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.arrays import Int8Array, Uint8Array
from codec.models.photo.integers import kind_of
from codec.models.photo.synthesis import SynthesisWeights, network


class TorchBackend:
    """See `codec.models.photo.synthesis.Backend`: float32 (1, channels, h, w)."""

    def __init__(
        self,
        weights: SynthesisWeights,
        pixels: Tensor,
        texture: Tensor,
        hundredths: int,
        tune: int,
    ) -> None:
        self._weights, self._condition = weights, (hundredths, tune)
        self._pixels = pixels.float().permute(2, 0, 1)[None] - 128
        self._texture = texture.float()[None]

    def image(self, factor: int) -> Tensor:
        return F.pixel_unshuffle(self._pixels, factor)

    def texture(self) -> Tensor:
        return self._texture

    def layer(self, name: str, values: Tensor) -> Tensor:
        weight, bias, multiplier = (
            torch.from_numpy(np.asarray(array, np.float32)).to(values.device)
            for array in (
                self._weights.weight(name),
                *self._weights.condition(name, *self._condition),
            )
        )
        size = weight.shape[-1]
        groups = len(weight) if size > 1 else 1
        sums = F.conv2d(values, weight, bias, padding=size // 2, groups=groups)
        low, high = (0, 255) if kind_of(name).rectified else (-128, 127)
        return sums.mul_(multiplier[:, None, None]).round_().clamp_(low, high)

    def add(self, one: Tensor, other: Tensor) -> Tensor:
        return (one + other).clamp_(-128, 127)

    def shuffle(self, values: Tensor) -> Tensor:
        return F.pixel_shuffle(values, 2)

    def unshuffle(self, values: Tensor) -> Tensor:
        return F.pixel_unshuffle(values, 2)


class TorchRenderer:
    """See `codec.models.photo.synthesis.Renderer`."""

    def __init__(self, weights: SynthesisWeights, device: torch.device) -> None:
        self._weights, self._device = weights, device

    @torch.inference_mode()
    def __call__(
        self, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        seen, known = (torch.from_numpy(array).to(self._device) for array in (pixels, texture))
        backend = TorchBackend(self._weights, seen, known, hundredths, tune)
        rendered = F.pixel_shuffle(network(backend, self._weights.config), 4)
        levels: Int8Array = rendered[0].permute(1, 2, 0).to(torch.int8).cpu().numpy()
        return levels
