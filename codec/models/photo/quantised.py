"""Layers with an 8-bit integer twin, and how training imitates it.

Every layer of the synthesis reads 8-bit activations, multiplies them by 7-bit weights, and rounds
the sum to 8 bits again. All units are powers of two, so the sums are integers below 2²⁴ and any
arithmetic that holds these gives the same result: int8 kernels, matrix products in float32, int64.
Training keeps the numbers in their range from the start and, with `rounded`, rounds them with
straight-through gradients (Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", but with powers of two as scales).
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
        """Values clipped to the range and, if `rounded`, rounded to whole units."""
        unit = 2.0**-self.bits
        # The gradient of `hardtanh` takes one pass over memory, that of `clamp` four.
        values = F.hardtanh(values, self.low * unit, self.high * unit)
        return _rounded(values, unit) if rounded else values


STREAM = Units(STREAM_BITS, -128, 127)
"""Inputs and outputs of blocks: −8 .. 8."""
RECTIFIED = Units(RECTIFIED_BITS, 0, 255)
"""Outputs of a ReLU: 0 .. 8."""
IMAGE = Units(IMAGE_BITS, -128, 127)
"""Pixels divided by 32 levels: one unit is one level."""


def _rounded(values: Tensor, unit: float | Tensor) -> Tensor:
    return values + ((values / unit).round() * unit - values).detach()


def weight_unit(weight: Tensor) -> Tensor:
    """The smallest power of two per output, (out, 1, 1, 1), in which its weights fit −63 .. 63."""
    largest = weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=2.0**-20)
    return torch.exp2(torch.ceil(torch.log2(largest / WEIGHT_LIMIT)))


class Convolution(nn.Conv2d):
    """A 1×1 or depthwise 3×3 convolution whose weights can be rounded to 7 bits."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, groups=groups)

    def apply(self, values: Tensor, *, rounded: bool) -> Tensor:  # type: ignore[override]
        """Apply the layer to (batch, in, h, w) with zero padding."""
        weight = self.weight
        if rounded:
            weight = _rounded(weight, weight_unit(weight))
        return F.conv2d(values, weight, self.bias, padding=self.padding, groups=self.groups)


class ConditionTable(nn.Module):
    """A vector for each tune and quality, interpolated linearly along the quality.

    One checkpoint serves every rate and tune: each layer that depends on them reads its
    per-channel gain or bias from such a table (Cui et al. 2021, "Asymmetric gained deep image
    compression", generalised from pairs of gains to any vector).
    """

    def __init__(self, knots: int, channels: int, initial: Tensor | None = None) -> None:
        super().__init__()
        start = torch.zeros(2, knots, channels)
        self.knots = nn.Parameter(start if initial is None else start + initial)

    def forward(self, mix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Knot weights (batch, 2·knots), see `shares`, to vectors (batch, channels, 1, 1).

        dtype   that of the features, so that combining them does not promote the features
        """
        # In float32 even under autocast, because gains span many powers of two.
        with torch.autocast(mix.device.type, enabled=False):
            vectors = mix @ self.knots.flatten(0, 1)
        return vectors[:, :, None, None].to(dtype)


def shares(position: Tensor, tune: Tensor, knots: int) -> Tensor:
    """The weight of each knot of a table in the interpolation: (batch, 2·knots).

    position   position of the quality, float (batch,) in [0, 1]
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
            # Blocks start near the identity, because the untrained codec must work.
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
        return STREAM(stream + hidden, rounded=False)  # sums of whole units need no rounding
