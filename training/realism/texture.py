"""How alike two pictures are to someone who does not see them side by side.

Wasserstein distortion: Qiu et al. 2023, "Wasserstein distortion: unifying fidelity and realism",
and Ballé et al. 2024, "Good, cheap, and fast: overfitted image compression with Wasserstein
distortion". The mean μ and standard deviation ν of each feature are computed around every place of
its map. The squared 2-Wasserstein distance between Gaussians with these moments is
(μ − μ̂)² + (ν − ν̂)²: the details of a texture are free, its strength in every feature is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.models.photo.transform import cosine_basis
from training.features.alexnet import AlexNet

WINDOWS = (16, 32)
"""Sides of the squares, in pixels, over which means and standard deviations are taken."""
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class FeatureMaps:
    """Features of one kind.

    values   (n, channels, h, w)
    stride   pixels between neighbouring places
    weight   weight of each channel, (channels,)
    """

    values: Tensor
    stride: int
    weight: Tensor


class Features(Protocol):
    """Pictures (n, 3, h, w) in [0, 1], sides of 64 or more, to maps of features."""

    def __call__(self, pixels: Tensor) -> list[FeatureMaps]: ...


class CosineBands:
    """Cosine transforms of overlapping squares of 8 pixels, in luma and two colour differences.

    Each band is divided by its typical amplitude in photographs, which falls as one over the
    frequency.
    """

    SIDE, STRIDE = 8, 4

    def __init__(self, device: torch.device) -> None:
        side = self.SIDE
        basis = torch.from_numpy(cosine_basis(side)).float()
        self._filters = torch.einsum("ui,vj->uvij", basis, basis).reshape(-1, 1, side, side)
        self._filters = self._filters.to(device)
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        frequency = (row.square() + column.square()).float().clamp(min=0.25).flatten()
        self._colours = torch.tensor(
            [[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], device=device
        )
        colour_weight = torch.tensor([1.0, 0.5, 0.5])
        self._weight = (colour_weight[:, None] * frequency).flatten().to(device)

    def __call__(self, pixels: Tensor) -> list[FeatureMaps]:
        opponent = torch.einsum("ci,nihw->nchw", self._colours, pixels).flatten(0, 1)[:, None]
        bands = F.conv2d(opponent, self._filters, stride=self.STRIDE)
        return [
            FeatureMaps(bands.view(len(pixels), -1, *bands.shape[2:]), self.STRIDE, self._weight)
        ]


class ObjectFeatures:
    """The normalised features of an AlexNet, with the weights of LPIPS."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        self._network = AlexNet(weights, device)

    def __call__(self, pixels: Tensor) -> list[FeatureMaps]:
        return [
            FeatureMaps(values, stride, weight)
            for values, stride, weight in zip(
                self._network(pixels), self._network.strides, self._network.heads, strict=True
            )
        ]


def wasserstein_distortion(
    original: Sequence[FeatureMaps], decoded: Sequence[FeatureMaps]
) -> Tensor:
    """Mean of (μ − μ̂)² + (ν − ν̂)² over places and windows, weighted by channel: (n,)."""
    total = torch.zeros(len(decoded[0].values), device=decoded[0].values.device)
    for one, other in zip(original, decoded, strict=True):
        for window in WINDOWS:
            side = min(max(1, window // one.stride), *one.values.shape[2:])
            pairs = zip(_moments(one.values, side), _moments(other.values, side), strict=True)
            for moment, other_moment in pairs:
                total = total + (moment - other_moment).square().mean((2, 3)) @ one.weight
    return total / len(WINDOWS)


def _moments(values: Tensor, side: int) -> tuple[Tensor, ...]:
    """Means and standard deviations over squares that overlap by half."""
    if side == 1:
        return (values,)
    mean, square = (F.avg_pool2d(v, side, max(1, side // 2)) for v in (values, values.square()))
    return mean, ((square - mean.square()).clamp(min=0) + _LEAST_VARIANCE).sqrt()
