"""DRAW in floating point, for training, and its distributions.

Everything is differentiable and batched; for coding, `codec.models.draw.exact` runs the same
recursion with rounded weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitstream.arrays import Array
from codec.models.draw.exact import UNIT_BITS, ExactDraw
from codec.models.draw.recursion import DrawConfig, Recursion

HALF_LEVEL = 1 / 256
"""Half the distance between two of the 256 levels of x, which are in (−1, 1)."""


def interpolate(knots: Tensor, position: Tensor) -> Tensor:
    """Knots (knots, channels) at positions (batch,) in [0, 1]: (batch, channels, 1, 1)."""
    scaled = position.clamp(0, 1) * (knots.shape[0] - 1)
    left = scaled.floor().long().clamp(max=knots.shape[0] - 2)
    fraction = (scaled - left).unsqueeze(1)
    values = knots[left] * (1 - fraction) + knots[left + 1] * fraction
    return values[:, :, None, None]


class DrawNetwork(nn.Module):
    """The weights of a DRAW model and its floating-point `Operations`.

    Images are float32 (batch, channels, height, width), with sides that are multiples of
    `config.stride`: 0 or 1 under the Bernoulli likelihood, otherwise (2 · level − 255) / 256 for
    8-bit levels.
    """

    def __init__(self, config: DrawConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.convolutions()
        self.weights = nn.ParameterDict()
        self.biases = nn.ParameterDict()
        for name, (inputs, outputs) in sizes.items():
            weight = torch.empty(outputs, inputs, 3, 3)
            nn.init.normal_(weight, std=_initial_spread(name, inputs, config.posterior))
            self.weights[name] = nn.Parameter(weight)
            bias = torch.zeros(config.knots, outputs)
            if name.startswith("prior") and config.posterior == "uniform":
                # Initially most residuals are 0.
                bias[:, outputs // 2 :] = -1.0
            if name.startswith(("encoder", "decoder")):
                # A forget gate that is open at first (Gers, Schmidhuber & Cummins 2000).
                bias[:, outputs // 4 : outputs // 2] = 1.0
            self.biases[name] = nn.Parameter(bias)
        if config.posterior == "uniform":
            self.log_steps = nn.ParameterList(
                torch.linspace(1.0, -1.0, config.knots)[:, None].repeat(1, codes)
                for codes in config.codes
            )
        start = torch.zeros(config.canvas_channels)
        if config.likelihood == "logistic":
            start[config.channels : 2 * config.channels] = -1.5
        self.start = nn.Parameter(start)
        self.recursion = Recursion(config, self)
        self._position: Tensor | None = None

    # The methods of `Operations`.

    def convolve(self, name: str, values: Tensor) -> Tensor:
        found = F.conv2d(values, self.weights[name], padding=1)
        return found + self._at_quality(self.biases[name])

    def sigmoid(self, values: Tensor) -> Tensor:
        return torch.sigmoid(values)

    def tanh(self, values: Tensor) -> Tensor:
        return torch.tanh(values)

    def sum(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return left * right

    def code(self, level: int, mean: Tensor, scale: Tensor, coordinate: Tensor) -> Tensor:
        if self.config.posterior == "gaussian":
            return mean + self.log_scale(scale).exp() * coordinate
        return mean + coordinate * self.step(level)

    def pool(self, values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2, ceil_mode=True, divisor_override=4)

    def canvas(self, batch: int, height: int, width: int) -> Tensor:
        return self.start[:, None, None].expand(batch, -1, height, width)

    def zeros(self, batch: int, channels: int, height: int, width: int) -> Tensor:
        return self.start.new_zeros(batch, channels, height, width)

    # Quality

    def set_quality(self, position: Tensor | None) -> None:
        """Set the qualities at which the next images are coded: positions (batch,) in [0, 1]."""
        self._position = position

    def step(self, level: int) -> Tensor:
        """Δ of a level at the current quality: (batch or 1, codes, 1, 1)."""
        return self._at_quality(self.log_steps[level].exp())

    def _at_quality(self, knots: Tensor) -> Tensor:
        if self._position is None or len(knots) == 1:
            return knots[-1][:, None, None]
        return interpolate(knots, self._position)

    def log_scale(self, said: Tensor) -> Tensor:
        """ln σ_p from the output of a head, clipped to its bounds."""
        return said.clamp(*self.config.log_scales)


def _initial_spread(name: str, inputs: int, posterior: str) -> float:
    """Standard deviation of initial weights: small for heads, which then start near their biases.

    Uniform posteriors start large, because residuals that all round to 0 teach the decoder nothing.
    """
    factor = 0.1 if name == "paint" or name.startswith(("prior", "posterior")) else 1.0
    if name.startswith("posterior") and posterior == "uniform":
        factor = 3.0
    return factor / math.sqrt(9 * inputs)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(m, e^l) ‖ N(0, 1)) in nats, elementwise."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def bin_bits(offset: Tensor, log_scale: Tensor) -> Tensor:
    """−log₂ of the density of N(0, σ²) convolved with a uniform of width one, at `offset`.

    It is computed in logarithms and with |offset|, so that tails and their gradients do not vanish;
    and in double precision, because the gradient of `log_ndtr` is a difference of large numbers.
    """
    deviation = log_scale.double().exp()
    distance = offset.double().abs()
    upper: Tensor = torch.special.log_ndtr((0.5 - distance) / deviation)
    lower: Tensor = torch.special.log_ndtr((-0.5 - distance) / deviation)
    nats = -(upper + _log_of_one_less(lower - upper))
    return (nats / math.log(2)).to(offset.dtype)


def bernoulli_nats(logits: Tensor, image: Tensor) -> Tensor:
    """−log p(x) of x in {0, 1}, elementwise."""
    return F.softplus(logits) - image * logits


def logistic_nats(canvas: Tensor, image: Tensor) -> Tensor:
    """−log p(x) of 8-bit levels under discretised logistics, elementwise (batch, C, H, W).

    The canvas holds C means, C log-scales and, for C = 3, coefficients a, b, c: green's mean is
    shifted by a times the error of red, blue's by b and c times the errors of red and green. With
    coefficients of zero the channels are independent (Salimans et al. 2017, section 2.2).
    """
    mean, scale = conditional_means(canvas, image)
    inverse = torch.exp(-scale)
    below = F.logsigmoid(inverse * (image - mean + HALF_LEVEL))
    above = F.logsigmoid(inverse * (mean - image + HALF_LEVEL))
    # σ(u) − σ(l) = σ(u) σ(−l) (1 − e^(l − u)); the outer levels take the tails.
    inner = below + above + _log_of_one_less(-2 * HALF_LEVEL * inverse)
    lowest, highest = image < 2 * HALF_LEVEL - 1, image > 1 - 2 * HALF_LEVEL
    return -torch.where(lowest, below, torch.where(highest, above, inner))


def _log_of_one_less(exponent: Tensor) -> Tensor:
    """ln(1 − e^x) for x < 0."""
    return torch.log(-torch.expm1(exponent))


def conditional_means(canvas: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Means of each channel given those before it, and log-scales: (batch, C, H, W) each."""
    channels = image.shape[1]
    mean, scale = canvas[:, :channels], canvas[:, channels : 2 * channels]
    scale = scale.clamp(-7.0, 2.0)
    if channels == 1:
        return mean, scale
    a, b, c = canvas[:, 6:9].tanh().unbind(1)
    off = image - mean
    shift = torch.stack([torch.zeros_like(a), a * off[:, 0], b * off[:, 0] + c * off[:, 1]], 1)
    return mean + shift, scale


def network_from_arrays(config: DrawConfig, arrays: Mapping[str, Array]) -> DrawNetwork:
    """The network of a weights file for evaluation: its `exact.*` arrays in floating point.

    Raises `WeightsMismatchError` for arrays that `ExactDraw` refuses.
    """
    ExactDraw(config, arrays)

    def values(name: str, bits: int = UNIT_BITS) -> Tensor:
        return torch.from_numpy(arrays[f"exact.{name}"].astype(np.float32)) * 2.0**-bits

    state = {"start": values("start")}
    for name in config.convolutions():
        bits = int(arrays[f"exact.{name}.weight_bits"])
        state[f"weights.{name}"] = values(f"{name}.weight", bits)
        state[f"biases.{name}"] = values(f"{name}.bias")
    if config.posterior == "uniform":
        for level in range(config.levels):
            state[f"log_steps.{level}"] = values(f"steps{level}").log()
    network = DrawNetwork(config)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)
