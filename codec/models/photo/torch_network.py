"""The transforms of the photo model in torch: for GPUs, other arithmetic, and other syntheses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from bitstream.arrays import Array, Float32Array, Uint8Array
from codec.models.layers import fill, to_levels
from codec.models.photo.config import PhotoConfig
from codec.models.photo.network import PhotoModel, Synthesis
from codec.models.photo.numpy_network import PREFIX


class TorchTransforms:
    """Analysis, synthesis and hyper-analysis of one set of weights, as `NumpyTransforms`.

    network  what a weights file holds of the model
    device   where it computes
    dtype    arithmetic of the transforms, float32 or bfloat16

    Raises `WeightsMismatchError` for arrays that do not fit the sizes.
    """

    def __init__(
        self, arrays: Mapping[str, Array], config: PhotoConfig, device: torch.device
    ) -> None:
        self.device, self.dtype = device, torch.float32
        network = _network(arrays, config)
        self.network: PhotoModel = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def analyze(self, pixels: Uint8Array, position: float) -> Float32Array:
        """Pixels uint8 (16·h, 16·w, 3) to latents float32 (C, h, w) in quantiser steps."""
        # A copy, because torch warns of read-only arrays, and Pillow returns such arrays.
        tensor = torch.from_numpy(np.array(pixels)).to(self.device)
        images = tensor.permute(2, 0, 1)[None].to(torch.float32).div_(255)
        with self._arithmetic():
            gain = self.network.log_gain(self._tensor(position)).exp()
            latents = self.network.analysis(images - 0.5, self._tensor(position)) * gain
        return _array(latents)

    @torch.inference_mode()
    def hyper_analyze(self, latents: Float32Array, position: float) -> Float32Array:
        """Latents (C, h, w) in quantiser steps to unrounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉)."""
        tensor = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device)[None]
        with self._arithmetic():
            return _array(self.network.hyper_analyze(tensor, self._tensor(position)))

    def synthesize(self, latents: Float32Array, position: float) -> Uint8Array:
        """Dequantised latents (C, h, w) to pixels uint8 (16·h, 16·w, 3)."""
        return to_levels(self.render(latents, position))

    @torch.inference_mode()
    def render(
        self, latents: Float32Array, position: float, synthesis: Synthesis | None = None
    ) -> torch.Tensor:
        """Dequantised latents (C, h, w) to pixels not yet rounded, float32 (1, 3, 16·h, 16·w).

        synthesis  another network on `device` that takes the place of the model's own

        Pixels are in [0, 1].
        """
        tensor = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device)[None]
        tensor = tensor.contiguous(memory_format=torch.channels_last)
        with self._arithmetic():
            images: torch.Tensor = self.network.synthesize(
                tensor, self._tensor(position), synthesis
            )
        # nan_to_num: a hostile but well-formed file may overflow; its pixels stay defined.
        return images.float().nan_to_num_(0, 1, 0).clamp_(0, 1)

    def _tensor(self, position: float) -> torch.Tensor:
        return torch.tensor([position], device=self.device)

    def _arithmetic(self) -> torch.autocast:
        lower = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype if lower else None, enabled=lower)


def _network(arrays: Mapping[str, Array], config: PhotoConfig) -> PhotoModel:
    network = PhotoModel(config)
    # The exact path stands in for these, which the file does not hold in floating point.
    del network.hyper_synthesis
    network.context = None
    fill(network, arrays, PREFIX)
    return network


def _array(tensor: torch.Tensor) -> Float32Array:
    array: Float32Array = tensor[0].float().cpu().contiguous().numpy()
    return array
