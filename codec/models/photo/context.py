"""Context of the photo model: latents predicted from those that were coded before them.

The channels of the photo model are in the order of their frequency. They are coded in three groups,
low frequencies first, and the first group in two passes over a checkerboard (He et al. 2021), so
that there are four steps, each of which is one parallel pass over its latents::

    1  group 1, white squares   from the hyper-latents alone
    2  group 1, black squares   from the white ones beside them
    3  group 2                  from group 1, at the same place and around it
    4  group 3                  from groups 1 and 2

Each step corrects the mean and the table index that the hyper-synthesis predicts. What it sees of
the latents that are known: how far the hyper-synthesis missed them, and how large they are, both on
a logarithmic scale that integer arithmetic computes exactly (`octaves`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.layers import QualityTable, in_full_precision, round_straight_through


def octaves(values: Tensor) -> Tensor:
    """log₂(1 + |v|), linear between the powers of two: 0, 1, 2 … at |v| = 0, 1, 3 …

    A power of two and a subtraction give it, so that fixed point computes the same.
    """
    shifted = 1 + values.abs()
    exponent = torch.floor(torch.log2(shifted)).detach()
    return exponent - 1 + shifted * torch.exp2(-exponent)


def features(errors: Tensor, values: Tensor) -> Tensor:
    """What a step sees of known latents: (batch, C, h, w) twice to (batch, 2·C, h, w).

    errors   ŷ − μ, how far the hyper-synthesis missed them
    values   ŷ, in quantiser steps both
    """
    return torch.cat([errors.sign() * octaves(errors), octaves(values)], dim=1)


class ContextStep(nn.Module):
    """The correction of means and indexes of `channels` latents by one step.

    here      channels of what it sees at the same place
    around    latents that it sees there and at the eight places around; 0 for none
    """

    def __init__(self, here: int, around: int, width: int, channels: int, knots: int) -> None:
        super().__init__()
        self.here = nn.Conv2d(here, width, 1, bias=False)
        self.bias = QualityTable(knots, width)
        self.out = _silent(nn.Conv2d(width, 2 * channels, 1, bias=False))
        self.bias_out = QualityTable(knots, 2 * channels)
        self.near: nn.Conv2d | None = None
        self.linear: nn.Conv2d | None = None
        if around:
            self.near = nn.Conv2d(2 * around, width, 3, padding=1, bias=False)
            self.linear = _silent(nn.Conv2d(around, channels, 3, padding=1, bias=False))

    def forward(
        self,
        here: Tensor,
        position: Tensor,
        near: Tensor | None = None,
        errors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Corrections (batch, channels, h, w) of means and of table indexes; hidden features.

        near     features of the latents around (batch, 2·around, h, w)
        errors   of the same latents (batch, around, h, w), which correct the means linearly
        """
        hidden = self.here(here) + self.bias(position)
        if self.near is not None:
            hidden = hidden + self.near(near)
        hidden = F.relu(hidden)
        means, indexes = (self.out(hidden).float() + self.bias_out(position)).chunk(2, dim=1)
        if self.linear is not None and errors is not None:
            # Errors are up to hundreds of steps, and means are wanted to a fraction of one.
            means = means + in_full_precision(self.linear, errors)
        return means, indexes, hidden


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    return layer


def white_squares(height: int, width: int, device: torch.device) -> Tensor:
    """1 where row + column is even, else 0: (height, width)."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None]
    return ((rows + columns + 1) % 2).float()


class LatentContext(nn.Module):
    """All steps: means and indexes (batch, C, h, w) corrected by what was coded before.

    groups   channels of the first and of the second group; the rest is the third
    hidden   channels of the hyper-synthesis' last features
    """

    def __init__(
        self, channels: int, groups: tuple[int, int], hidden: int, width: int, knots: int
    ) -> None:
        super().__init__()
        first, second = groups
        self.groups = (first, second, channels - first - second)
        self.black = ContextStep(hidden, first, width, first, knots)
        self.second = ContextStep(hidden, first, width, second, knots)
        # What is around is known to the features of the step before.
        self.third = ContextStep(2 * second + hidden + width, 0, width, self.groups[2], knots)

    def forward(
        self, latents: Tensor, means: Tensor, indexes: Tensor, hidden: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means and indexes of latents (batch, C, h, w) that are rounded step by step.

        means, indexes   what the hyper-synthesis predicts, in steps and as real numbers
        hidden           its last features (batch, hidden, h, w)
        """
        sizes = list(self.groups)
        y_1, y_2, _ = torch.split(latents, sizes, dim=1)
        mean_1, mean_2, mean_3 = torch.split(means, sizes, dim=1)
        index_1, index_2, index_3 = torch.split(indexes, sizes, dim=1)
        white = white_squares(latents.shape[2], latents.shape[3], latents.device)

        known = _rounded(y_1, mean_1) * white
        error = known - mean_1 * white
        mean, index, _ = self.black(hidden, position, features(error, known), error)
        new_mean_1 = mean_1 + (1 - white) * mean
        new_index_1 = index_1 + (1 - white) * index

        known_1 = _rounded(y_1, new_mean_1)
        error_1 = known_1 - mean_1
        near = features(error_1, known_1)
        mean, index, seen = self.second(hidden, position, near, error_1)
        new_mean_2, new_index_2 = mean_2 + mean, index_2 + index

        known_2 = _rounded(y_2, new_mean_2)
        here = torch.cat([features(known_2 - mean_2, known_2), hidden, seen], dim=1)
        mean, index, _ = self.third(here, position)
        return (
            torch.cat([new_mean_1, new_mean_2, mean_3 + mean], dim=1),
            torch.cat([new_index_1, new_index_2, index_3 + index], dim=1),
        )


def _rounded(latents: Tensor, means: Tensor) -> Tensor:
    return round_straight_through(latents - means) + means
