"""AlexNet with the weights of LPIPS, from a file that the user names.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version
0.1. The weights are the authors' (github.com/richzhang/PerceptualSimilarity, BSD-2); no network
library is needed besides PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.errors import InputError

LAYERS = 5
SMALLEST_SIDE = 63
"""The second pooling leaves nothing of smaller pictures."""
_STRIDE, _PADDING = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
_POOLED = (1, 2)  # layers whose input is pooled
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class AlexNet:
    """The features of five layers, normalised to length 1 at each place.

    weights   npz file with `conv0.weight` (out, in, h, w) and `conv0.bias` to `conv4.bias`, and
              the heads `lin0.weight` (1, channels, 1, 1) to `lin4.weight`
    heads     the weights of squared differences in LPIPS, (channels,) for each layer

    Raises `InputError` if these are not in the file.
    """

    strides = (4, 8, 16, 16, 16)

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        names = [f"conv{k}.{part}" for k in range(LAYERS) for part in ("weight", "bias")]
        names += [f"lin{k}.weight" for k in range(LAYERS)]
        try:
            # Opened here, because NumPy leaves a file open that it cannot read.
            with weights.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = {n: torch.from_numpy(arrays[n]).float().to(device) for n in names}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(f"{weights.name}: not the weights of LPIPS: {error}") from error
        self._weights = found
        self.heads = [found[f"lin{k}.weight"].flatten() for k in range(LAYERS)]

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Pictures (n, 3, h, w) in [0, 1], sides at least 63, to maps (n, channels, …)."""
        shift, scale = (
            torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE)
        )
        hidden, found = (2 * pixels - 1 - shift) / scale, []
        for k in range(LAYERS):
            if k in _POOLED:
                hidden = F.max_pool2d(hidden, 3, 2)
            weight, bias = (self._weights[f"conv{k}.{part}"] for part in ("weight", "bias"))
            hidden = F.relu(F.conv2d(hidden, weight, bias, _STRIDE[k], _PADDING[k]))
            # The square root has an infinite slope at 0.
            length = (hidden.square().sum(1, keepdim=True) + 1e-20).sqrt()
            found.append(hidden / (length + 1e-10))
        return found

    def distance(self, original: Tensor, decoded: Tensor) -> Tensor:
        """LPIPS of pictures (n, 3, h, w) in [0, 1]: (n,), 0 for equal ones.

        Only `decoded` gets a gradient.
        """
        with torch.no_grad():
            wanted = self(original)
        pairs = zip(wanted, self(decoded), self.heads, strict=True)
        terms = [(one - other).square().mean((2, 3)) @ head for one, other, head in pairs]
        return torch.stack(terms).sum(0)
