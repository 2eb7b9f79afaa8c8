"""Differentiable code lengths of quantised values, for training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def gaussian_bits(values: Tensor, scales: Tensor) -> Tensor:
    """Bits (batch,) of unit bins centred on `values` under zero-mean Gaussians."""
    magnitude = values.abs()
    inverse = 1 / (scales * math.sqrt(2))
    # Both terms are upper tails, where erfc keeps its relative precision.
    mass = 0.5 * (torch.erfc((magnitude - 0.5) * inverse) - torch.erfc((magnitude + 0.5) * inverse))
    return _bits(mass)


def logistic_bits(values: Tensor, scales: Tensor) -> Tensor:
    """Bits (batch,) of unit bins centred on `values` under zero-mean logistics."""
    magnitude = values.abs()
    mass = torch.sigmoid((0.5 - magnitude) / scales) - torch.sigmoid((-0.5 - magnitude) / scales)
    return _bits(mass)


class _LowerBound(torch.autograd.Function):
    """max(x, bound), with a gradient that can still raise x from below (Ballé et al. 2018)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bound = bound
        return values.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        passes = (values >= ctx.bound) | (gradient < 0)
        return gradient * passes, None


def lower_bound(values: Tensor, bound: float) -> Tensor:
    """Elementwise max(values, bound) with the gradient of `_LowerBound`."""
    bounded: Tensor = _LowerBound.apply(values, bound)  # type: ignore[no-untyped-call, unused-ignore]
    return bounded


def _bits(mass: Tensor) -> Tensor:
    return -torch.log2(lower_bound(mass, 1e-9)).flatten(1).sum(1)
