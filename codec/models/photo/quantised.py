"""Layers whose twin computes with integers of 8 bits, and how training imitates that.

Every layer of the synthesis reads activations of 8 bits, multiplies them by weights of 7 bits and
sign, and rounds the sum to 8 bits again. All units are powers of two, so that the sums are integers
below 2²⁴ and any arithmetic that holds these gives the same result: int8 kernels, products of
matrices in float32, int64. Training keeps the numbers in their range from the start, and rounds
them, with gradients that pass straight through, once it is told to (Jacob et al. 2018,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
with powers of two for scales).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.photo.integers import (
    GAIN_BITS,
    GAIN_LIMIT,
    IMAGE_BITS,
    RECTIFIED_BITS,
    STREAM_BITS,
    WEIGHT_LIMIT,
)


@dataclass(frozen=True)
class Units:
    """Activations low .. high in units of 2⁻ᵇⁱᵗˢ."""

    bits: int
    low: int
    high: int

    def __call__(self, values: Tensor, *, rounded: bool) -> Tensor:
        """Values brought into the range, and to whole units where `rounded`."""
        unit = 2.0**-self.bits
        # Its gradient takes one pass over memory, that of `clamp` takes four.
        values = F.hardtanh(values, self.low * unit, self.high * unit)
        return _rounded(values, unit) if rounded else values


STREAM = Units(STREAM_BITS, -128, 127)
"""What blocks read and write: −8 .. 8."""
RECTIFIED = Units(RECTIFIED_BITS, 0, 255)
"""What a ReLU leaves: 0 .. 8."""
IMAGE = Units(IMAGE_BITS, -128, 127)
"""Pixels, in units of 32 levels: a level is one unit."""


def _rounded(values: Tensor, unit: float | Tensor) -> Tensor:
    return values + ((values / unit).round() * unit - values).detach()


def weight_unit(weight: Tensor) -> Tensor:
    """The power of two, for each output (out, 1, 1, 1), in which its weights fit −63 .. 63."""
    largest = weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=2.0**-20)
    return torch.exp2(torch.ceil(torch.log2(largest / WEIGHT_LIMIT)))


class Convolution(nn.Conv2d):
    """1×1, or depthwise 3×3, whose weights are rounded to 7 bits where that is asked for."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, groups=groups)

    def apply(self, values: Tensor, *, rounded: bool) -> Tensor:  # type: ignore[override]
        """The layer on (batch, in, h, w); zeros lie outside."""
        weight = self.weight
        if rounded:
            weight = _rounded(weight, weight_unit(weight))
        return F.conv2d(values, weight, self.bias, padding=self.padding, groups=self.groups)


class ConditionTable(nn.Module):
    """A vector for each tune and quality, interpolated linearly along the quality.

    One checkpoint serves every rate and tune: each place that must know them reads its
    per-channel gain or bias from such a table (Cui et al. 2021, "Asymmetric gained deep image
    compression", generalised from pairs of gains to any vector).
    """

    def __init__(self, knots: int, channels: int, initial: Tensor | None = None) -> None:
        super().__init__()
        start = torch.zeros(2, knots, channels)
        self.knots = nn.Parameter(start if initial is None else start + initial)

    def forward(self, mix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Shares of the knots (batch, 2·knots), see `shares`, to (batch, channels, 1, 1).

        dtype   of the features that the vectors meet: of two types the wider one would win
        """
        # In float32 under autocast: gains span many powers of two.
        with torch.autocast(mix.device.type, enabled=False):
            vectors = mix @ self.knots.flatten(0, 1)
        return vectors[:, :, None, None].to(dtype)


def shares(position: Tensor, tune: Tensor, knots: int) -> Tensor:
    """How much each knot of a table counts: (batch, 2·knots).

    position   of the quality, float (batch,) in [0, 1]
    tune       0 or 1, int64 (batch,)
    """
    scaled = position.clamp(0, 1) * (knots - 1)
    distance = (scaled[:, None] - torch.arange(knots, device=position.device)).abs()
    along = (1 - distance).clamp(min=0)
    chosen = F.one_hot(tune, 2).to(along.dtype)
    return (chosen[:, :, None] * along[:, None]).flatten(1)


class QuantisedBlock(nn.Module):
    """Residual block: depthwise 3×3, gain by tune and quality, 1×1, ReLU, 1×1."""

    def __init__(self, width: int, knots: int, expansion: int = 2) -> None:
        super().__init__()
        self.spatial = Convolution(width, width, size=3, groups=width)
        self.shift = ConditionTable(knots, width)
        self.gain = ConditionTable(knots, width, torch.ones(()))
        self.expand = Convolution(width, expansion * width)
        self.project = Convolution(expansion * width, width)
        with torch.no_grad():
            # Near-identity blocks keep the codec, which starts as a linear one, working.
            self.project.weight.mul_(0.2)
            assert self.project.bias is not None
            self.project.bias.zero_()

    def forward(self, stream: Tensor, mix: Tensor, *, rounded: bool) -> Tensor:
        """Map (batch, width, h, w), in the units of `STREAM`, to the same shape."""
        unit = 2.0**-GAIN_BITS
        gain = self.gain(mix).clamp(0, GAIN_LIMIT * unit)
        if rounded:
            gain = _rounded(gain, unit)
        hidden = self.spatial.apply(stream, rounded=rounded)
        hidden = (hidden + self.shift(mix, hidden.dtype)) * gain.to(hidden.dtype)
        hidden = STREAM(hidden, rounded=rounded)
        hidden = RECTIFIED(self.expand.apply(hidden, rounded=rounded), rounded=rounded)
        hidden = STREAM(self.project.apply(hidden, rounded=rounded), rounded=rounded)
        return STREAM(stream + hidden, rounded=False)  # a sum of whole units is one
