"""A patch critic of a picture and the latents that it was decoded from."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.photo.config import COEFFICIENTS, LATENT_STRIDE
from training.realism.config import RealismPreset

LEAK = 0.2


class PatchCritic(nn.Module):
    """D(x, ŷ, q): a value for each picture, the sum of those of its patches over √patches.

    Mentzer et al. 2020, "High-fidelity generative image compression": the latents go through a
    convolution to few channels, are repeated to the size of the picture and stand beside its
    colours. A last channel holds the position of the quality. Strided 4×4 convolutions and
    leaky rectifiers, no normalisation: the penalty is on each picture's own gradient.

    Patches hardly overlap, so the gradient of this sum is about as long as that of one patch,
    and a slope of 1 asks the same of the weights at every size of crop.
    """

    def __init__(self, preset: RealismPreset) -> None:
        super().__init__()
        self.condition = (
            nn.Conv2d(COEFFICIENTS, preset.condition, 3, padding=1) if preset.condition else None
        )
        channels = (3 + preset.condition + 1, *preset.critic)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1)
            for a, b in itertools.pairwise(channels)
        )
        self.out = nn.Conv2d(channels[-1], 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                # He et al. 2015: a slope near 1 from the first step on. Torch's own start has one
                # of a hundredth, and the critic would be behind the decoder until it has grown.
                nn.init.kaiming_normal_(layer.weight, a=LEAK, nonlinearity="leaky_relu")

    def forward(self, pixels: Tensor, latents: Tensor, position: Tensor) -> Tensor:
        """Values (n,) float32.

        pixels    (n, 3, h, w)
        latents   (n, 768, h/16, w/16) in pixel units
        position  (n,) in [0, 1], of the quality
        """
        count, _, height, width = pixels.shape
        seen = [pixels]
        if self.condition is not None:
            few = F.leaky_relu(self.condition(latents), LEAK)
            seen.append(F.interpolate(few, scale_factor=LATENT_STRIDE, mode="nearest"))
        seen.append(position[:, None, None, None].expand(count, 1, height, width))
        value = torch.cat(seen, dim=1)
        for layer in self.layers:
            value = F.leaky_relu(layer(value), LEAK)
        patches: Tensor = self.out(value).float().flatten(1)
        return patches.sum(1) / math.sqrt(patches.shape[1])
