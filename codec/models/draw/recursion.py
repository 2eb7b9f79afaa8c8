"""Convolutional DRAW (Gregor et al. 2016): a recurrent VAE whose steps are the layers of a file.

At each of T steps the encoder looks at the image x and at the remaining error of the canvas r, a
code z is sent, and the decoder adds to the canvas. Levels of codes are numbered from fine (0) to
coarse, each at half the resolution of the one below::

    ε = x − μ(r)                                       error feedback
    h_e[0] = LSTM(x, ε, h_d[0]);  h_e[l] = LSTM(pool h_e[l−1], h_d[l])
    for l from coarse to fine:
        p(z[l]) = N(μ_p, σ_p²) of (h_d[l], h_d[l+1])   the learned recurrent prior
        q(z[l]) of (h_e[l], h_d[l+1])                  stated relative to the prior, see below
        h_d[l] = LSTM(z[l], h_d[l+1]; at l = 0 also the means of r)
    r = r + W h_d[0]

All gates and heads are 3×3 convolutions, so images may have any size. The image enters and
the canvas leaves through pixel shuffles by `stride`.

What is coded of z is a coordinate u in which the prior is simple:

    gaussian posterior   z = μ_p + σ_p u,  u ~ N(0, 1) under p and N(m, e^l) under q
    uniform posterior    z = μ_p + Δ u,  u = K an integer, the residual e rounded; under p it has
                         the mass of N(0, σ_p²) convolved with a uniform of width one; the step Δ
                         of each channel depends on the quality

The recursion is written once, over `Operations`: floating point for training and fixed point
(`codec.models.draw.exact`) for coding, where encoder and decoder must agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.errors import WeightsMismatchError

Likelihood = Literal["bernoulli", "logistic", "gaussian"]
PosteriorName = Literal["gaussian", "uniform"]


@dataclass(frozen=True)
class DrawConfig:
    """Sizes of a network.

    channels    channels of the image, 1 or 3
    likelihood  bernoulli: black and white; logistic: discretised, 8 bits; gaussian: squared error
    posterior   gaussian for likelihoods and bits-back archives, uniform for files
    steps       T, 1 .. 64
    stride      pixels per position of the finest level, in each direction
    hidden      features of the LSTMs of each level, fine to coarse
    codes       channels of z of each level
    knots       knots of parameters that depend on quality; 1 if none do
    """

    channels: int
    likelihood: Likelihood
    posterior: PosteriorName
    steps: int = 8
    stride: int = 4
    hidden: tuple[int, ...] = (48,)
    codes: tuple[int, ...] = (8,)
    knots: int = 1

    def __post_init__(self) -> None:
        sizes = (self.channels, self.steps, self.stride, self.knots, *self.hidden, *self.codes)
        counts: tuple[object, ...] = sizes  # of JSON
        sound = (
            all(isinstance(n, int) and 1 <= n <= 1024 for n in counts)
            and self.channels in (1, 3)
            and self.steps <= 64
            and self.stride <= 16
            and 1 <= len(self.hidden) == len(self.codes) <= 3
            and self.likelihood in get_args(Likelihood)
            and self.posterior in get_args(PosteriorName)
        )
        if not sound:
            raise WeightsMismatchError(f"{self} is not the configuration of a DRAW network")

    @property
    def log_scales(self) -> tuple[float, float]:
        """Least and largest ln σ_p that a prior may have."""
        return (-6.0, 2.0) if self.posterior == "gaussian" else (-3.0, 5.0)

    @property
    def levels(self) -> int:
        """Levels of codes in a step."""
        return len(self.hidden)

    @property
    def block(self) -> int:
        """Pixels per position of the coarsest level, in each direction."""
        return self.stride << (self.levels - 1)

    def positions(self, side: int, level: int) -> int:
        """Positions of a level along a side of `side` pixels.

        Each level has half as many as the one below, rounded up.
        """
        return -(-side // (self.stride << level))

    @property
    def canvas_channels(self) -> int:
        """Means; with the logistic likelihood log-scales and, in colour, three coefficients."""
        if self.likelihood != "logistic":
            return self.channels
        return 9 if self.channels == 3 else 2

    def convolutions(self) -> dict[str, tuple[int, int]]:
        """Channels in and out of each convolution, by name."""
        sizes: dict[str, tuple[int, int]] = {}
        pixels = self.stride**2
        last = self.levels - 1
        for level, (hidden, codes) in enumerate(zip(self.hidden, self.codes, strict=True)):
            above = 0 if level == last else self.hidden[level + 1]
            seen = self.channels * pixels if level == 0 else self.hidden[level - 1]
            heads = 2 if self.posterior == "gaussian" else 1
            sizes[f"encoder{level}"] = (seen + 2 * hidden, 4 * hidden)
            sizes[f"prior{level}"] = (hidden + above, 2 * codes)
            sizes[f"posterior{level}"] = (hidden + above, heads * codes)
            painted = self.channels * pixels if level == 0 else 0
            sizes[f"decoder{level}"] = (codes + above + painted + hidden, 4 * hidden)
        sizes["image"] = (self.channels * pixels, 4 * self.hidden[0])
        sizes["paint"] = (self.hidden[0], self.canvas_channels * pixels)
        return sizes


class Operations(Protocol):
    """Arithmetic on one kind of number; tensors are (batch, channels, h, w)."""

    def convolve(self, name: str, values: Tensor) -> Tensor:
        """The convolution of this name, 3×3 with zero padding, plus its bias."""

    def sigmoid(self, values: Tensor) -> Tensor:
        """1 / (1 + e⁻ˣ)."""

    def tanh(self, values: Tensor) -> Tensor:
        """Hyperbolic tangent."""

    def sum(self, left: Tensor, right: Tensor) -> Tensor:
        """Elementwise sum."""

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Elementwise product."""

    def code(self, level: int, mean: Tensor, scale: Tensor, coordinate: Tensor) -> Tensor:
        """z from a coordinate u, and the prior's mean and scale as in `Prior`."""

    def pool(self, values: Tensor) -> Tensor:
        """Means of 2×2 positions, with zero padding."""

    def canvas(self, batch: int, height: int, width: int) -> Tensor:
        """r₀, (batch, canvas channels, height, width)."""

    def zeros(self, batch: int, channels: int, height: int, width: int) -> Tensor:
        """An initial state."""


class Prior(NamedTuple):
    """The prior of a level: mean of z, and ln σ_p of z or of u, (batch, codes, h, w) each.

    σ_p is in units of z for gaussian posteriors, in quantiser steps for uniform ones. `scale` is
    the raw output, which is clipped only where it is used: see `DrawConfig.log_scales`.
    """

    mean: Tensor
    scale: Tensor


@dataclass
class DrawState:
    """The state of the recursion. `encoder` and `decoder` hold (h, c) for each level.

    A step replaces tensors and never modifies them in place; decoding needs no `encoder`.
    """

    canvas: Tensor
    decoder: list[tuple[Tensor, Tensor]]
    encoder: list[tuple[Tensor, Tensor]]

    def to(self, dtype: torch.dtype) -> DrawState:
        """The same state in another type; steps on one do not affect the other."""

        def converted(states: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
            return [(hidden.to(dtype), cell.to(dtype)) for hidden, cell in states]

        return DrawState(self.canvas.to(dtype), converted(self.decoder), converted(self.encoder))


Choose = Callable[[int, Prior], Tensor]


@dataclass(frozen=True)
class Recursion:
    """The equations above, over any arithmetic."""

    config: DrawConfig
    operations: Operations

    def begin(self, batch: int, height: int, width: int) -> DrawState:
        """States for images of height × width pixels, multiples of `config.stride`."""
        config, zeros = self.config, self.operations.zeros

        def states() -> list[tuple[Tensor, Tensor]]:
            found = []
            for level, hidden in enumerate(config.hidden):
                size = (config.positions(height, level), config.positions(width, level))
                found.append((zeros(batch, hidden, *size), zeros(batch, hidden, *size)))
            return found

        return DrawState(self.operations.canvas(batch, height, width), states(), states())

    def image_part(self, image: Tensor) -> Tensor:
        """The contribution of x to the encoder's gates, which is the same at every step."""
        return self.operations.convolve("image", F.pixel_unshuffle(image, self.config.stride))

    def look(self, state: DrawState, image: Tensor, image_part: Tensor) -> None:
        """Update the encoder's states from x, (batch, channels, height, width)."""
        operations, config = self.operations, self.config
        error = operations.sum(image, -self.shown(state))
        error = F.pixel_unshuffle(error, config.stride)
        for level in range(config.levels):
            hidden, cell = state.encoder[level]
            if level > 0:
                error = operations.pool(state.encoder[level - 1][0])
            gates = operations.convolve(
                f"encoder{level}", torch.cat([error, state.decoder[level][0], hidden], 1)
            )
            state.encoder[level] = self._lstm(gates + image_part if level == 0 else gates, cell)

    def shown(self, state: DrawState) -> Tensor:
        """μ(r), in units of x."""
        if self.config.likelihood == "bernoulli":
            return self.operations.sigmoid(state.canvas)
        return state.canvas[:, : self.config.channels]

    def step(self, state: DrawState, choose: Choose) -> None:
        """Advance by one step, with the coordinates u that `choose` returns, coarse to fine."""
        operations = self.operations
        for level in reversed(range(self.config.levels)):
            prior = self._prior(state, level)
            coordinate = choose(level, prior)
            code = operations.code(level, prior.mean, prior.scale, coordinate)
            inputs = [code, *self._above(state, level)]
            if level == 0:
                means = state.canvas[:, : self.config.channels]
                inputs.append(F.pixel_unshuffle(means, self.config.stride))
            hidden, cell = state.decoder[level]
            gates = operations.convolve(f"decoder{level}", torch.cat([*inputs, hidden], 1))
            state.decoder[level] = self._lstm(gates, cell)
        painted = operations.convolve("paint", state.decoder[0][0])
        painted = F.pixel_shuffle(painted, self.config.stride)
        state.canvas = operations.sum(state.canvas, painted)

    def posterior(self, state: DrawState, level: int) -> Tensor:
        """(m, l) stacked for gaussian posteriors, e for uniform ones; call within `choose`."""
        inputs = [state.encoder[level][0], *self._above(state, level)]
        return self.operations.convolve(f"posterior{level}", torch.cat(inputs, 1))

    def _prior(self, state: DrawState, level: int) -> Prior:
        inputs = [state.decoder[level][0], *self._above(state, level)]
        said = self.operations.convolve(f"prior{level}", torch.cat(inputs, 1))
        return Prior(*said.chunk(2, 1))

    def _above(self, state: DrawState, level: int) -> list[Tensor]:
        if level == self.config.levels - 1:
            return []
        above = state.decoder[level + 1][0].repeat_interleave(2, 2).repeat_interleave(2, 3)
        height, width = state.decoder[level][0].shape[2:]
        return [above[:, :, :height, :width]]

    def _lstm(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        operations, hidden = self.operations, cell.shape[1]
        enter, keep, leave = operations.sigmoid(gates[:, : 3 * hidden]).chunk(3, 1)
        entered = operations.product(enter, operations.tanh(gates[:, 3 * hidden :]))
        cell = operations.sum(operations.product(keep, cell), entered)
        return operations.product(leave, operations.tanh(cell)), cell
