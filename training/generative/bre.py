"""Binarised representation entropy: Cao et al. 2018, "Improving GAN training via BRE"."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

RELATIVE_SOFTNESS = 1e-3


def soft_signs(h: Tensor) -> Tensor:
    """Activation pattern a = h / (|h| + ε), ε = 0.001·mean|h| without gradient; (n, d) to (n, d).

    Close to the sign of every pre-activation, and with a gradient.
    """
    softness = RELATIVE_SOFTNESS * h.detach().abs().mean()
    return h / (h.abs() + softness.clamp(min=torch.finfo(h.dtype).tiny))


def marginal_entropy_penalty(a: Tensor) -> Tensor:
    """R_ME = 1/d·Σ_k (mean_i a_ik)² of patterns a (n, d).

    0 where every unit is active for half of the images, 1 where none ever changes.
    """
    return a.mean(0).square().mean()


def correlation_penalty(a: Tensor) -> Tensor:
    """R_AC = mean over pairs i ≠ j of max(0, |a_i·a_j|/d − 3/√d) of patterns a (n, d).

    0 where the patterns of different images are unrelated (independent signs stay below three
    standard deviations), 1 − 3/√d where all are equal or opposite.
    """
    count, units = a.shape
    excess = ((a @ a.T).abs() / units - 3 / math.sqrt(units)).clamp(min=0)
    return (excess.sum() - excess.diagonal().sum()) / (count * (count - 1))


def binarized_representation_entropy(pre_activations: Sequence[Tensor]) -> Tensor:
    """R_ME + R_AC, mean over layers of pre-activations (n, …)."""
    patterns = [soft_signs(h.flatten(1).float()) for h in pre_activations]
    penalties = [marginal_entropy_penalty(a) + correlation_penalty(a) for a in patterns]
    return torch.stack(penalties).mean()
