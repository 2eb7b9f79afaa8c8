"""A normalising flow: an invertible network between codes and a standard normal distribution.

Affine coupling layers of Dinh et al. 2017, "Density estimation using Real NVP", equations 4 to 8.
One layer maps halves (a, b) of its input to ::

    (a, b · exp s(a) + t(a)),   s in (−2, 2)

and the next layer takes the values shuffled like a deck of cards and in reverse order, so that it
divides them in another way and changes the other half. A scale and a shift for each dimension
follow the last layer.

A normal distribution has one mode, and the codes of images of several classes have one or more for
each. A flow is continuous, so some samples lie between the classes, and look like none of them. To
make these rarer, z may also have a score for each class, and the networks of all layers see

    softmax(κ · scores),   κ = 10

which is nearly the one-hot label of the largest score. The scores are N(0, I) as the rest of z, so
all classes are equally likely.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

_LARGEST_LOG_SCALE = 2.0
_SHARPNESS = 10.0


class Coupling(nn.Module):
    """One affine coupling of vectors (n, dimensions); an untrained one is the identity.

    Its methods take the classes (n, classes) as well, which have no columns without classes.
    """

    def __init__(self, dimensions: int, width: int, classes: int) -> None:
        super().__init__()
        last = nn.Linear(width, dimensions)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        first = nn.Linear(dimensions // 2 + classes, width)
        self.layers = nn.ModuleList([first, nn.Linear(width, width), last])

    def scale_and_shift(self, first: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The first half of a vector to log scale and shift of the second, (n, dimensions / 2)."""
        value = self.layers[0](torch.cat([first, classes], -1))
        for layer in self.layers[1:]:
            value = layer(value.relu())
        log_scale, shift = value.chunk(2, -1)
        return _LARGEST_LOG_SCALE * (log_scale / _LARGEST_LOG_SCALE).tanh(), shift

    def forward(self, values: Tensor, classes: Tensor) -> Tensor:
        """One step from the normal distribution to the codes."""
        first, second = values.chunk(2, -1)
        log_scale, shift = self.scale_and_shift(first, classes)
        return torch.cat([first, second * log_scale.exp() + shift], -1)

    def inverse(self, values: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse, and the logarithm of its Jacobian determinant, (n,)."""
        first, second = values.chunk(2, -1)
        log_scale, shift = self.scale_and_shift(first, classes)
        return torch.cat([first, (second - shift) * (-log_scale).exp()], -1), -log_scale.sum(-1)


class Flow(nn.Module):
    """Maps z ~ N(0, I), (n, dimensions + classes), to the distribution of codes (n, dimensions).

    Both are float32. The scores of the classes are the last columns of z.

    dimensions   an even number
    """

    def __init__(self, dimensions: int, couplings: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            Coupling(dimensions, width, classes) for _ in range(couplings)
        )
        self.log_scale = nn.Parameter(torch.zeros(dimensions))
        self.shift = nn.Parameter(torch.zeros(dimensions))

    def forward(self, z: Tensor) -> Tensor:
        """Normal vectors to codes."""
        with _full_precision(z.device):
            values, classes = self._parts(z)
            for coupling in self.couplings:
                values = _shuffled(coupling(values, classes))
            return values * self.log_scale.exp() + self.shift

    def inverse(self, codes: Tensor, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes, given the scores of the classes (n, classes), to the other columns of z
        (n, dimensions), and the logarithm of the Jacobian determinant, (n,).
        """
        with _full_precision(codes.device):
            if scores is None:
                scores = codes[..., :0]
            values, classes = self._parts(torch.cat([codes, scores], -1))
            values = (values - self.shift) * (-self.log_scale).exp()
            log_determinant = -self.log_scale.sum()
            for number in reversed(range(len(self.couplings))):
                coupling = cast(Coupling, self.couplings[number])
                values, term = coupling.inverse(_unshuffled(values), classes)
                log_determinant = log_determinant + term
            return values, log_determinant

    def log_density(self, codes: Tensor, scores: Tensor | None = None) -> Tensor:
        """log p of codes (n, dimensions) given the scores (n, classes), in nats, (n,)."""
        z, log_determinant = self.inverse(codes, scores)
        normal = -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
        return normal + log_determinant

    def _parts(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Values (n, dimensions), and what the couplings see of the classes, (n, classes)."""
        place = len(self.shift)
        values, scores = vectors.float()[..., :place], vectors.float()[..., place:]
        return values, (_SHARPNESS * scores).softmax(-1)


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
