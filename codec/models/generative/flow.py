"""A normalising flow: an invertible network between codes and a standard normal distribution.

Affine coupling layers of Dinh et al. 2017, "Density estimation using Real NVP", equations 4 to 8.
One layer maps halves (a, b) of its input to ::

    (a, b · exp s(a) + t(a)),   s in (−2, 2)

and the next layer takes the values shuffled like a deck of cards and in reverse order, so that it
divides them in another way and changes the other half. A scale and a shift for each dimension
follow the last layer.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

_LARGEST_LOG_SCALE = 2.0


class Coupling(nn.Module):
    """One affine coupling of vectors (n, dimensions); an untrained one is the identity."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, dimensions)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        first = nn.Linear(dimensions // 2, width)
        self.layers = nn.ModuleList([first, nn.Linear(width, width), last])

    def scale_and_shift(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """The first half of a vector to log scale and shift of the second, (n, dimensions / 2)."""
        value = self.layers[0](first)
        for layer in self.layers[1:]:
            value = layer(value.relu())
        log_scale, shift = value.chunk(2, -1)
        return _LARGEST_LOG_SCALE * (log_scale / _LARGEST_LOG_SCALE).tanh(), shift

    def forward(self, values: Tensor) -> Tensor:
        """One step from the normal distribution to the codes."""
        first, second = values.chunk(2, -1)
        log_scale, shift = self.scale_and_shift(first)
        return torch.cat([first, second * log_scale.exp() + shift], -1)

    def inverse(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse, and the logarithm of its Jacobian determinant, (n,)."""
        first, second = values.chunk(2, -1)
        log_scale, shift = self.scale_and_shift(first)
        return torch.cat([first, (second - shift) * (-log_scale).exp()], -1), -log_scale.sum(-1)


class Flow(nn.Module):
    """Maps N(0, I) to the distribution of codes, both float32 (n, dimensions).

    dimensions   an even number
    """

    def __init__(self, dimensions: int, couplings: int, width: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(dimensions, width) for _ in range(couplings))
        self.log_scale = nn.Parameter(torch.zeros(dimensions))
        self.shift = nn.Parameter(torch.zeros(dimensions))

    def forward(self, z: Tensor) -> Tensor:
        """Normal vectors to codes."""
        with _full_precision(z.device):
            values = z.float()
            for coupling in self.couplings:
                values = _shuffled(coupling(values))
            return values * self.log_scale.exp() + self.shift

    def inverse(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes to normal vectors, and the logarithm of the Jacobian determinant, (n,)."""
        with _full_precision(codes.device):
            values = (codes.float() - self.shift) * (-self.log_scale).exp()
            log_determinant = -self.log_scale.sum()
            for number in reversed(range(len(self.couplings))):
                coupling = cast(Coupling, self.couplings[number])
                values, term = coupling.inverse(_unshuffled(values))
                log_determinant = log_determinant + term
            return values, log_determinant

    def log_density(self, codes: Tensor) -> Tensor:
        """log p of codes, in nats: (n, dimensions) to (n,)."""
        z, log_determinant = self.inverse(codes)
        normal = -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
        return normal + log_determinant


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """No autocast: bfloat16 is too coarse for a density. The device "meta" has none."""
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _shuffled(values: Tensor) -> Tensor:
    """Put the values of both halves in turn, then all in reverse order."""
    halves = values.reshape(*values.shape[:-1], 2, -1)
    return halves.mT.reshape(values.shape).flip(-1)


def _unshuffled(values: Tensor) -> Tensor:
    pairs = values.flip(-1).reshape(*values.shape[:-1], -1, 2)
    return pairs.mT.reshape(values.shape)
