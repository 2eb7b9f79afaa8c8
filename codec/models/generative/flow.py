"""A continuous flow: it moves samples of a standard normal distribution to codes.

Lipman et al. 2023, "Flow matching for generative modeling". Samples z ~ N(0, I) move along ::

    dx/dt = v(x, t),   x(0) = z,   from t = 0 to 1

and the code is x(1), scaled and shifted in each dimension. v is a network, trained as the direction
of straight lines from normal samples to codes. Unlike a flow of coupling layers, which is trained
for its density and spreads samples over the gaps between the modes of the codes, this one is not
restricted in its form, and separates the modes.

Heun's method solves the equation in a fixed number of steps, so a sample is the same each time up
to rounding.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TIME_FEATURES = 16
"""The network sees cos(kπt), k from 0: a complete basis of functions of t from 0 to 1."""


class VelocityBlock(nn.Module):
    """h + second(silu(first(norm(h)) + time(cos kπt))), with the mean 0 and the variance 1 of each
    vector as its norm.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.time = nn.Linear(TIME_FEATURES, width, bias=False)
        self.second = nn.Linear(width, width)

    def forward(self, value: Tensor, features: Tensor) -> Tensor:
        """Vectors (n, width), and the features of the time, (`TIME_FEATURES`,) or one row each."""
        normal = F.layer_norm(value, value.shape[-1:])
        inner = F.silu(self.first(normal) + self.time(features))
        return value + self.second(inner)  # type: ignore[no-any-return]


class Velocity(nn.Module):
    """v(x, t), a residual network; an untrained one is 0."""

    def __init__(self, dimensions: int, blocks: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(dimensions, width)
        self.blocks = nn.ModuleList(VelocityBlock(width) for _ in range(blocks))
        self.last = nn.Linear(width, dimensions)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Velocities float32 (n, dimensions) at x of the same shape and times () or (n, 1)."""
        orders = torch.arange(TIME_FEATURES, device=time.device, dtype=time.dtype)
        features = (math.pi * orders * time).cos()
        value = self.first(x)
        for block in self.blocks:
            value = block(value, features)
        return self.last(F.layer_norm(value, value.shape[-1:])).float()  # type: ignore[no-any-return]


class Flow(nn.Module):
    """Maps z ~ N(0, I), (n, dimensions), to the distribution of codes of the same shape; float32.

    blocks, width   of the velocity's network
    steps           of Heun's method; each evaluates the network twice
    """

    def __init__(self, dimensions: int, blocks: int, width: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.velocity = Velocity(dimensions, blocks, width)
        self.log_scale = nn.Parameter(torch.zeros(dimensions))
        self.shift = nn.Parameter(torch.zeros(dimensions))

    def forward(self, z: Tensor) -> Tensor:
        """Normal vectors to codes."""
        x = z.float()
        step = 1 / self.steps
        times = torch.linspace(0, 1, self.steps + 1, device=z.device)
        for start, end in pairwise(times):
            first = self.velocity(x, start)
            x = x + step / 2 * (first + self.velocity(x + step * first, end))
        return x * self.log_scale.exp() + self.shift

    def matching_loss(self, codes: Tensor, z: Tensor, times: Tensor) -> Tensor:
        """How far the velocity is from the direction of lines from z to codes, equation 23 with
        σ_min = 0: the mean squared error, a scalar.

        Codes and z are float32 (n, dimensions), times float32 (n, 1) in [0, 1]. The scale and the
        shift get no gradient, because one that maps all codes to a point would lower the error.
        """
        normal = (codes - self.shift.detach()) * (-self.log_scale.detach()).exp()
        found = self.velocity(torch.lerp(z, normal, times), times)
        return F.mse_loss(found, normal - z)
