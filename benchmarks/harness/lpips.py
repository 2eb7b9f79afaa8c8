"""LPIPS, the distance of two pictures in the features of a network that recognises objects.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version
0.1 with AlexNet: see `training.features.alexnet`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Uint8Array
from training.features.alexnet import AlexNet


class Lpips:
    """LPIPS of pictures uint8 (h, w, 3) with sides of at least 63 pixels: 0 for equal ones.

    weights   as `AlexNet` takes them; raises `InputError` for a file without them
    """

    def __init__(self, weights: Path) -> None:
        self._network = AlexNet(weights)

    @torch.no_grad()
    def __call__(self, original: Uint8Array, decoded: Uint8Array) -> float:
        """The distance; larger if the pictures are less alike."""
        return float(self._network.distance(_tensor(original), _tensor(decoded)))


def _tensor(pixels: Uint8Array) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255))
