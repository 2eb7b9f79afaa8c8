"""The decoder of DRAW as a function of standard normal noise, so that its R_p(D) can be measured.

    gaussian posteriors   z = μ_p + σ_p u,      u ~ N(0, 1)     the model's own prior
    uniform posteriors    z = μ_p + Δ σ_p u,    u ~ N(0, 1)     a Gaussian relaxation of it

The codes of a uniform-posterior model are integer quantiser steps, without a gradient.  The
relaxation takes the Gaussian from whose bins the tables were made.  Its rate is the model's own if
steps are small compared with σ_p; otherwise it is no bound on the quantised code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitstream.errors import UsageError
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import DrawState, Prior


class DrawDecoder(nn.Module):
    """Noise (n, dim) to images (n, C, side, side), pixels 0..1; differentiable.

    The noise is ordered by steps, within a step from the coarsest level to the finest, and within
    a level as (codes, h, w) in row-major order.

    network  floating-point weights
    side     side of the square images, a multiple of the network's stride
    steps    number of steps with noise; later ones take u = 0, the prior's mean
    quality  1 .. 100, for networks whose weights depend on it

    Pixels are not clipped to 0..1, because clipping would remove the gradient.
    """

    def __init__(
        self, network: DrawNetwork, side: int, *, steps: int | None = None, quality: float = 75
    ) -> None:
        super().__init__()
        config = network.config
        if side % config.stride:
            raise UsageError(f"images of side {side}, expected a multiple of {config.stride}")
        self.network, self.side, self.quality = network, side, quality
        self.steps = config.steps if steps is None else steps
        if not 1 <= self.steps <= config.steps:
            raise UsageError(f"{steps} steps, expected 1 .. {config.steps}")
        sides = [config.positions(side, level) for level in range(config.levels)]
        self._sizes = [codes * each**2 for codes, each in zip(config.codes, sides, strict=True)]

    @property
    def dim(self) -> int:
        """How many numbers of noise an image has."""
        return self.steps * sum(self._sizes)

    def forward(self, noise: Tensor) -> Tensor:
        """Float (n, dim) to (n, C, side, side)."""
        network, config = self.network, self.network.config
        if config.knots > 1:
            position = (self.quality - 1) / 99
            network.set_quality(torch.full((len(noise),), position, device=noise.device))
        state = network.recursion.begin(len(noise), self.side, self.side)
        taken = 0
        for step in range(config.steps):

            def choose(level: int, prior: Prior, step: int = step) -> Tensor:
                nonlocal taken
                if step >= self.steps:
                    return torch.zeros_like(prior.mean)
                size = self._sizes[level]
                u = noise[:, taken : taken + size].reshape(prior.mean.shape)
                taken += size
                if config.posterior == "gaussian":
                    return u
                return network.log_scale(prior.scale).exp() * u

            network.recursion.step(state, choose)
        network.set_quality(None)
        return picture(network, state.canvas)


def picture(network: DrawNetwork, canvas: Tensor) -> Tensor:
    """Pixels, 0..1 and not clipped, of a canvas (n, canvas channels, h, w): (n, C, h, w)."""
    shown = network.recursion.shown(DrawState(canvas, [], []))
    # x = (2 · level − 255) / 256.
    return shown if network.config.likelihood == "bernoulli" else (256 * shown + 255) / 510
