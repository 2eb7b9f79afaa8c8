"""LPIPS, the distance of two pictures in the features of a network that recognises objects.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version
0.1 with AlexNet.  The weights are the authors' (github.com/richzhang/PerceptualSimilarity, BSD-2)
and come from a file; no network library is needed beside PyTorch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.arrays import Uint8Array
from bitstream.errors import InputError

LAYERS = 5
SMALLEST_SIDE = 63
"""Of smaller pictures the second pooling leaves nothing."""
_STRIDE, _PADDING = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
_POOLED = (1, 2)  # what these layers read
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips:
    """LPIPS of pictures uint8 (h, w, 3), sides of 63 pixels or more: 0 for equal ones.

    weights   npz file with `conv0.weight` (out, in, h, w) and `conv0.bias` to `conv4.bias`, and
              the heads `lin0.weight` (1, channels, 1, 1) to `lin4.weight`

    Raises `InputError` where these are not in the file.
    """

    def __init__(self, weights: Path) -> None:
        names = [f"conv{k}.{part}" for k in range(LAYERS) for part in ("weight", "bias")]
        names += [f"lin{k}.weight" for k in range(LAYERS)]
        try:
            with np.load(weights) as arrays:
                self._weights = {n: torch.from_numpy(arrays[n]).float() for n in names}
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{weights.name}: not the weights of LPIPS: {error}") from error

    @torch.no_grad()
    def __call__(self, original: Uint8Array, decoded: Uint8Array) -> float:
        """The distance; larger where the pictures are less alike."""
        total = 0.0
        pairs = zip(self._features(original), self._features(decoded), strict=True)
        for k, (one, other) in enumerate(pairs):
            difference = F.conv2d((one - other).square(), self._weights[f"lin{k}.weight"])
            total += float(difference.mean())
        return total

    def _features(self, pixels: Uint8Array) -> list[Tensor]:
        scaled = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(127.5)) - 1
        shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        hidden, found = (scaled - shift) / scale, []
        for k in range(LAYERS):
            if k in _POOLED:
                hidden = F.max_pool2d(hidden, 3, 2)
            weight, bias = (self._weights[f"conv{k}.{part}"] for part in ("weight", "bias"))
            hidden = F.relu(F.conv2d(hidden, weight, bias, _STRIDE[k], _PADDING[k]))
            length = hidden.square().sum(1, keepdim=True).sqrt()
            found.append(hidden / (length + 1e-10))
        return found
