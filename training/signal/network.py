"""The network of the signal model in floating point, and the likelihood that trains it.

A sample minus its prediction has as distribution a mixture of three logistic distributions
(Salimans et al. 2017, "PixelCNN++", equation 2). Their widths follow one scale, σ; how much wider
or narrower each is, and its weight, depend on σ alone, so that there is a table for every σ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.models.signal.coder import FIRST_OCTAVE, SCALES, SCALES_PER_OCTAVE
from codec.models.signal.lanes import INPUTS
from codec.models.signal.network import OUTPUTS, SignalConfig

LEAST_ESCAPE = 2.0**-11
"""Least escape share of a table: so every symbol costs bits, which limits those of a payload."""
_KNOTS = 9
_START = ((0.0, 0.0, -2.0), (-0.7, 0.0, 1.0))
"""Initial mixture: logarithms of the weights, and of the widths in units of σ."""
_LEAST = 2.0**-22


class SignalNetwork(nn.Module):
    """A causal dilated convolutional network; each layer sees a place and one before it."""

    def __init__(self, config: SignalConfig) -> None:
        super().__init__()
        wide = config.channels
        self.dilations = config.dilations
        self.first = nn.Conv1d(INPUTS, wide, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(wide, wide, 2, dilation=dilation) for dilation in config.dilations
        )
        self.hidden = nn.Conv1d(wide, wide, 1)
        self.output = nn.Conv1d(wide, OUTPUTS, 1)
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.mul_(0.5)  # type: ignore[operator]
            for parameter in self.output.parameters():
                parameter.zero_()
        self.mixture = nn.Parameter(torch.tensor(_START)[:, None].repeat(1, _KNOTS, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (n, INPUTS, length) to outputs (n, OUTPUTS, length)."""
        values = self.first(inputs)
        for layer, dilation in zip(self.layers, self.dilations, strict=True):
            values = values + layer(functional.pad(functional.relu(values), (dilation, 0)))
        outputs: Tensor = self.output(functional.relu(self.hidden(functional.relu(values))))
        return outputs

    def bits(self, inputs: Tensor, errors: Tensor, scales: Tensor) -> Tensor:
        """Code lengths (n, length) of samples; see `training.signal.samples.Samples`."""
        numbers, shifts, shares = self(inputs).unbind(1)
        numbers = numbers + SCALES_PER_OCTAVE * (scales.log2() - FIRST_OCTAVE)
        left = errors[:, 0] - shares * errors[:, 1] - shifts * scales
        return -self.probability(left, numbers).log2()

    def probability(self, differences: Tensor, scales: Tensor) -> Tensor:
        """Probability of samples that are `differences` from the mean, at `scales`."""
        scales = scales.clamp(0, SCALES - 1)
        places = scales * ((_KNOTS - 1) / (SCALES - 1))
        left = places.detach().floor().clamp(0, _KNOTS - 2).long()
        share = (places - left)[..., None]
        weights, widths = (
            torch.lerp(knots[left], knots[left + 1], share) for knots in self.mixture
        )
        octaves = scales / SCALES_PER_OCTAVE + FIRST_OCTAVE
        spread = torch.exp(octaves[..., None] * math.log(2) + widths)
        # σ(a) − σ(b) = σ(a) σ(−b) (1 − exp(b − a)) does not cancel, however wide the distribution.
        distance = differences.abs()[..., None]
        upper, lower = (0.5 - distance) / spread, (0.5 + distance) / spread
        mass = torch.sigmoid(upper) * torch.sigmoid(lower) * -torch.expm1(-1 / spread)
        mixed = (mass * weights.softmax(-1)).sum(-1)
        return mixed * (1 - LEAST_ESCAPE) + _LEAST
