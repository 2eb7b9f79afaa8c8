"""Context of the photo model: latents predicted from those that were coded before them.

The channels are ordered by frequency and coded in five groups, low frequencies first. The first
group, the means and slopes of blocks, is coded in several passes over ever finer checkerboards
(He et al. 2021 use one; squares without neighbours cost up to three times the bits of those in
the last pass). Other channels gain next to nothing from their own neighbours. Each pass codes
its latents in parallel. With all three far passes, the steps are::

    group 1, rows and columns that are multiples of 8          from the hyper-latents alone
    group 1, multiples of 4, neither one of 8    (corners_4)   from the four at the corners, 4 away
    group 1, multiples of 4, one of them one of 8  (edges_4)   from the four beside them, 4 away
    group 1, multiples of 2, neither one of 4    (corners_2)   from the four at the corners, 2 away
    group 1, the others of even rows and columns   (coarse)    from the four beside them, 2 away
    group 1, odd rows and columns                (diagonal)    from the four at the corners
    group 1, the rest: the black squares            (black)    from the four beside them
    group 2                                        (second)    from group 1 there and around
    group 3                                         (third)    from groups 1 and 2 there and around
    group 4                                        (fourth)    from group 3, and what `third` saw
    group 5                                         (fifth)    from the magnitudes of group 4, and
                                                               what `fourth` saw

With fewer far passes, the squares of the missing ones are coded in the first pass.

Each step but the last corrects the mean and the table index that the hyper-synthesis predicts; the
last one corrects only the index, since its latents have the mean 0. The inputs of a step are the
prediction errors of the hyper-synthesis at known latents, and their magnitudes, both on a
logarithmic scale that integer arithmetic computes exactly (`octaves`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.layers import in_full_precision, round_straight_through
from codec.models.photo.config import COEFFICIENTS, PhotoConfig
from codec.models.photo.exact_context import PASSES, checkerboards, pass_names
from codec.models.photo.quantised import ConditionTable


def octaves(values: Tensor) -> Tensor:
    """log₂(1 + |v|), linear between the powers of two: 0, 1, 2 … at |v| = 0, 1, 3 …

    It needs only a power of two and a subtraction, so fixed point can compute the same.
    """
    shifted = 1 + values.abs()
    exponent = torch.floor(torch.log2(shifted)).detach()
    return exponent - 1 + shifted * torch.exp2(-exponent)


def features(errors: Tensor, values: Tensor) -> Tensor:
    """A step's features of known latents: (batch, C, h, w) twice to (batch, 2·C, h, w).

    errors   ŷ − μ, prediction errors of the hyper-synthesis, in quantiser steps
    values   ŷ, in quantiser steps
    """
    return torch.cat([errors.sign() * octaves(errors), octaves(values)], dim=1)


class ContextStep(nn.Module):
    """Computes the corrections of one step.

    here      number of input channels that are read only at the same position
    around    number of latent channels that are read in a 3×3 neighbourhood; 0 for none
    outputs   number of corrections: means, if any, then indexes
    """

    def __init__(self, here: int, around: int, width: int, outputs: int, knots: int) -> None:
        super().__init__()
        self.here = nn.Conv2d(here, width, 1, bias=False)
        self.bias = ConditionTable(knots, width)
        self.out = _silent(nn.Conv2d(width, outputs, 1, bias=False))
        self.bias_out = ConditionTable(knots, outputs)
        self.near: nn.Conv2d | None = None
        self.linear: nn.Conv2d | None = None
        if around:
            self.near = nn.Conv2d(2 * around, width, 3, padding=1, bias=False)
            self.linear = _silent(nn.Conv2d(around, outputs // 2, 3, padding=1, bias=False))

    def forward(
        self,
        here: Tensor,
        mix: Tensor,
        near: Tensor | None = None,
        errors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Corrections (batch, outputs, h, w), and hidden features (batch, width, h, w).

        near     features of the neighbouring latents (batch, 2·around, h, w)
        errors   their prediction errors (batch, around, h, w), which correct the means linearly
        """
        hidden = self.here(here) + self.bias(mix)
        if self.near is not None:
            hidden = hidden + self.near(near)
        hidden = F.relu(hidden)
        out = self.out(hidden).float() + self.bias_out(mix)
        if self.linear is not None and errors is not None:
            # Errors reach hundreds of steps, and means are needed to a fraction of a step.
            linear = in_full_precision(self.linear, errors)
            means, indexes = out.chunk(2, dim=1)
            out = torch.cat([means + linear, indexes], dim=1)
        return out, hidden


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    return layer


class LatentContext(nn.Module):
    """Runs all steps, which correct the predictions by the latents coded before."""

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__()
        first, second, third, fourth = config.groups
        hidden, width, knots = config.hidden, config.context_width, config.knots
        self.groups = [*config.groups, COEFFICIENTS - sum(config.groups)]
        self.pass_names = pass_names(config)
        for name in self.pass_names:
            self.add_module(name, ContextStep(hidden, first, width, 2 * first, knots))
        self.second = ContextStep(hidden, first, width, 2 * second, knots)
        self.third = ContextStep(hidden, first + second, width, 2 * third, knots)
        # The hidden features of the step before already know the neighbourhood.
        self.fourth = ContextStep(2 * third + hidden + width, 0, width, 2 * fourth, knots)
        self.fifth = ContextStep(fourth + hidden + width, 0, width, self.groups[4], knots)

    def forward(
        self, latents: Tensor, means: Tensor, indexes: Tensor, hidden: Tensor, mix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Corrected means and indexes for latents (batch, 768, h, w), which are rounded stepwise.

        means, indexes   predictions of the hyper-synthesis: means in quantiser steps, 0 in the
                         fifth group; indexes as real numbers
        hidden           last features of the hyper-synthesis (batch, hidden, h, w)
        """
        y, mean, index = (
            torch.split(values, self.groups, dim=1) for values in (latents, means, indexes)
        )
        corrected = [self._first_group(y[0], mean[0], index[0], hidden, mix)]

        def correct(group: int, out: Tensor) -> Tensor:
            """Apply the corrections of a group; return its decoded values."""
            to_means, to_indexes = out.chunk(2, dim=1)
            corrected.append((mean[group] + to_means, index[group] + to_indexes))
            return _rounded(y[group], corrected[group][0])

        known = [_rounded(y[0], corrected[0][0])]
        for group, step in ((1, self.second), (2, self.third)):
            values = torch.cat(known, dim=1)
            errors = values - means[:, : values.shape[1]]
            out, seen = step(hidden, mix, features(errors, values), errors)
            known.append(correct(group, out))
        values = known[2]
        here = torch.cat([features(values - mean[2], values), hidden, seen], dim=1)
        out, seen = self.fourth(here, mix)
        here = torch.cat([octaves(correct(3, out)), hidden, seen], dim=1)
        out, _ = self.fifth(here, mix)
        corrected.append((mean[4], index[4] + out))
        new_means, new_indexes = (torch.cat(parts, dim=1) for parts in zip(*corrected, strict=True))
        return new_means, new_indexes

    def _first_group(
        self, latents: Tensor, means: Tensor, indexes: Tensor, hidden: Tensor, mix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Corrected means and indexes of the first group, in passes over finer checkerboards."""
        height, width = latents.shape[2:]
        known, *squares = (
            torch.from_numpy(where).to(latents.device, torch.float32)
            for where in checkerboards(height, width, self.pass_names)
        )
        new_means, new_indexes = means, indexes
        for name, own in zip(self.pass_names, squares, strict=True):
            step, (_, distance) = self.get_submodule(name), PASSES[name]
            values = _rounded(latents, new_means) * known
            errors = values - means * known
            seen = (features(errors, values), errors, hidden)
            near, around, here = (part[:, :, ::distance, ::distance] for part in seen)
            out, _ = step(here, mix, near, around)
            if distance > 1:
                full = out.new_zeros(*out.shape[:2], height, width)
                full[:, :, ::distance, ::distance] = out
                out = full
            out = out * own
            new_means = new_means + out[:, : self.groups[0]]
            new_indexes = new_indexes + out[:, self.groups[0] :]
            known = known + own
        return new_means, new_indexes


def _rounded(latents: Tensor, means: Tensor) -> Tensor:
    return round_straight_through(latents - means) + means
