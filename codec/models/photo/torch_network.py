"""The transforms of the photo model in torch: for GPUs, and for encoders that need gradients."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from bitstream.arrays import Array, Float32Array, Int32Array, Uint8Array, Uint16Array
from codec.models.layers import fill
from codec.models.photo.config import PhotoConfig
from codec.models.photo.fixed_point import restore
from codec.models.photo.network import PhotoModel
from codec.models.photo.synthesis import SynthesisWeights, synthesize
from codec.models.photo.synthesis_arrays import restore_synthesis
from codec.models.photo.torch_backend import TorchRenderer

PREFIX = "network."
EXACT = ("synthesis", "hyper_synthesis", "context", "log_step")
"""Parts that a weights file stores as integers; the rest of the model is in floating point."""


def read_model(arrays: Mapping[str, Array], config: PhotoConfig) -> PhotoModel:
    """All networks of a weights file in floating point, their parameters frozen.

    Raises `WeightsMismatchError` for arrays that do not fit the sizes.
    """
    model = PhotoModel(config)
    floats = nn.Module()
    for name, module in model.named_children():
        if name not in EXACT:
            floats.add_module(name, module)
    fill(floats, arrays, PREFIX)
    restore_synthesis(model, arrays)
    restore(model, arrays)
    return model.eval().requires_grad_(False)


class TorchTransforms:
    """See `codec.models.photo.coder.Transforms`. Pixels are the same as on every other device.

    Raises `WeightsMismatchError` for arrays that do not fit the sizes.
    """

    def __init__(
        self, arrays: Mapping[str, Array], config: PhotoConfig, device: torch.device
    ) -> None:
        self.device = device
        self.weights = SynthesisWeights(arrays, config)
        self.renderer = self.renderer_of(self.weights)
        model = read_model(arrays, config)
        self.network: PhotoModel = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def analyze(self, pixels: Uint8Array | Uint16Array, hundredths: int, tune: int) -> Float32Array:
        """Pixels (16·h, 16·w, 3) to latents float32 (768, h, w) in quantiser steps.

        pixels   uint8, or uint16 with white at 65535
        """
        white = np.iinfo(pixels.dtype).max
        tensor = torch.from_numpy(pixels.astype(np.float32)).to(self.device)
        images = tensor.permute(2, 0, 1)[None].div_(float(white))
        return _array(self.network.analyze(images, self._mix(hundredths, tune)))

    @torch.inference_mode()
    def hyper_analyze(self, latents: Float32Array, hundredths: int, tune: int) -> Float32Array:
        """Latents (768, h, w) in quantiser steps to unrounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉)."""
        return _array(
            self.network.hyper_analyze(self._tensor(latents), self._mix(hundredths, tune))
        )

    def synthesize(
        self, decoded: Int32Array, hundredths: int, tune: int, *, deep: bool = False
    ) -> Uint8Array | Uint16Array:
        """See `codec.models.photo.synthesis.synthesize`."""
        return synthesize(self.weights, self.renderer, decoded, hundredths, tune, deep=deep)

    def renderer_of(self, weights: SynthesisWeights) -> TorchRenderer:
        """A renderer for the synthesis network, with these weights or others."""
        return TorchRenderer(weights, self.device)

    def _tensor(self, array: Float32Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)[None]

    def _mix(self, hundredths: int, tune: int) -> torch.Tensor:
        position = torch.tensor([(hundredths - 100) / 9900], device=self.device)
        return self.network.mix(position, torch.tensor([tune], device=self.device))


def _array(tensor: torch.Tensor) -> Float32Array:
    array: Float32Array = tensor[0].float().cpu().contiguous().numpy()
    return array
