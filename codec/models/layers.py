"""Building blocks shared by the model families."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitstream.arrays import Array, Uint8Array
from bitstream.errors import WeightsMismatchError


class QualityTable(nn.Module):
    """A vector per quality, interpolated linearly between learned knots.

    One checkpoint serves every rate: each place that must know the rate reads its
    per-channel gain or bias from such a table (Cui et al. 2021, "Asymmetric gained
    deep image compression", generalised from pairs of gains to any vector).
    """

    def __init__(self, knots: int, channels: int, initial: Tensor | None = None) -> None:
        super().__init__()
        start = torch.zeros(knots, channels) if initial is None else initial.clone()
        self.knots = nn.Parameter(start)

    def forward(self, position: Tensor) -> Tensor:
        """Map positions (batch,) in [0, 1] to vectors (batch, channels, 1, 1)."""
        return interpolate(self.knots, position)


def interpolate(knots: Tensor, position: Tensor) -> Tensor:
    """Knots (knots, channels) at positions (batch,) in [0, 1]: (batch, channels, 1, 1)."""
    scaled = position.clamp(0, 1) * (knots.shape[0] - 1)
    left = scaled.floor().long().clamp(max=knots.shape[0] - 2)
    fraction = (scaled - left).unsqueeze(1)
    values = knots[left] * (1 - fraction) + knots[left + 1] * fraction
    return values[:, :, None, None]


class Block(nn.Module):
    """Residual block: depthwise 3×3, quality modulation, 1×1, ReLU, 1×1."""

    def __init__(self, width: int, knots: int, expansion: int = 2) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.scale = QualityTable(knots, width)
        self.shift = QualityTable(knots, width)
        self.expand = nn.Conv2d(width, expansion * width, 1)
        self.project = nn.Conv2d(expansion * width, width, 1)
        with torch.no_grad():
            # Near-identity blocks keep the warm-started linear codec working at step 0.
            self.project.weight.mul_(0.2)
            assert self.project.bias is not None
            self.project.bias.zero_()

    def forward(self, features: Tensor, position: Tensor) -> Tensor:
        """Map (batch, width, h, w) to the same shape; position is (batch,) in [0, 1]."""
        hidden = self.spatial(features)
        hidden = hidden * (1 + self.scale(position)) + self.shift(position)
        branch: Tensor = self.project(F.relu(self.expand(hidden)))
        return features + branch


class Stage(nn.Module):
    """A sequence of `Block`s of one width."""

    def __init__(self, width: int, blocks: int, knots: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, knots) for _ in range(blocks))

    def forward(self, features: Tensor, position: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features, position)
        return features


def in_full_precision(layer: nn.Module, values: Tensor) -> Tensor:
    """Apply `layer` in float32 under autocast.

    At high quality a latent spans hundreds of quantiser steps, more than bfloat16 resolves.
    """
    with torch.autocast(values.device.type, enabled=False):
        result: Tensor = layer(values.float())
    return result


def round_straight_through(values: Tensor) -> Tensor:
    """Round to integers; the gradient passes as if nothing had happened."""
    return values + (values.round() - values).detach()


def fill(network: nn.Module, arrays: Mapping[str, Array], prefix: str = "") -> None:
    """Give a network the arrays `<prefix><name>`, floating point, as float32, and freeze it.

    Raises `WeightsMismatchError` for arrays that are missing, of other sizes or not finite, and for
    further ones with the prefix.
    """
    state = {}
    for name, expected in network.state_dict().items():
        shape, array = tuple(expected.shape), arrays.get(prefix + name)
        if array is None or array.shape != shape or array.dtype.kind != "f":
            found = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise WeightsMismatchError(
                f"weights file: it does not fit its own sizes: {prefix}{name} is {found}, expected "
                f"floating point of {list(shape)}"
            )
        values = array.astype(np.float32)
        if not np.isfinite(values).all():
            raise WeightsMismatchError(
                f"weights file: {prefix}{name} has values that are not finite"
            )
        state[name] = torch.from_numpy(values)
    unknown = [key for key in arrays if prefix and key.startswith(prefix)]
    unknown = [key for key in unknown if key[len(prefix) :] not in state]
    if unknown:
        raise WeightsMismatchError(
            f"weights file: it does not fit its own sizes: there is no place for {unknown[0]}"
        )
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)


@torch.inference_mode()
def to_levels(images: torch.Tensor) -> Uint8Array:
    """Pixels float (1, 3, H, W) in [0, 1] to the nearest of uint8 (H, W, 3)."""
    levels = images.mul(255).round_()
    return levels[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
