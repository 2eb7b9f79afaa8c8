"""The network of the lossless model in floating point, and the likelihood that it is trained by.

A pixel x, minus what is predicted, is distributed as a mixture of three logistic distributions
(Salimans et al. 2017, "PixelCNN++", equation 2). Their widths follow one scale, σ; how much wider
or narrower each is, and its weight, depend on σ alone, so that there is a table for every σ.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.models.pixel.coder import PixelConfig
from codec.models.pixel.wavefront import INPUTS, PEAK

SCALES = 40
"""Tables differ in σ by a quarter of an octave, from 1/8 step on."""
_PER_OCTAVE, _FIRST_OCTAVE = 4, -3
_KNOTS = 9
_START = ((0.0, 0.0, -2.0), (-0.7, 0.0, 1.0))
"""Of the mixture: logarithms of weights, and of widths in units of σ."""
_LEAST = 2.0**-20

LEAST_ESCAPE = 2.0**-11
"""Of every table: so each symbol costs some bits, and a payload ends before a decoder tires."""


class PixelNetwork(nn.Module):
    """Inputs in real units to a shift in steps of a pixel, and the number of a scale."""

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        sizes = (INPUTS, *config.hidden, 2)
        linear = [nn.Linear(into, out) for into, out in itertools.pairwise(sizes)]
        self.layers, last = nn.ModuleList(linear), linear[-1]
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, SCALES * 0.4]))
        self.mixture = nn.Parameter(torch.tensor(_START)[:, None].repeat(1, _KNOTS, 1))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(n, INPUTS) to shifts (n,) and scales (n,), which may lie outside 0 .. 39."""
        values = inputs
        for number, layer in enumerate(self.layers):
            values = layer(functional.relu(values) if number else values)
        return values[:, 0], values[:, 1]

    def bits(self, inputs: Tensor, predictions: Tensor, pixels: Tensor) -> Tensor:
        """Code lengths (n,) of pixels (n,), 0 .. 255, by predictions of the same scale."""
        shifts, scales = self(inputs)
        means = (predictions + shifts).clamp(0, PEAK)
        return -self.probability(pixels - means, scales).log2()

    def probability(self, differences: Tensor, scales: Tensor) -> Tensor:
        """Of a pixel that differs from its mean by `differences`, at `scales`; any one shape."""
        scales = scales.clamp(0, SCALES - 1)
        places = scales * ((_KNOTS - 1) / (SCALES - 1))
        left = places.detach().floor().clamp(0, _KNOTS - 2).long()
        share = (places - left)[..., None]
        weights, widths = (
            torch.lerp(knots[left], knots[left + 1], share) for knots in self.mixture
        )
        octaves = scales / _PER_OCTAVE + _FIRST_OCTAVE
        spread = torch.exp(octaves[..., None] * math.log(2) + widths)
        # On the side of the lower tail, where a difference of sigmoids does not cancel.
        distance = differences.abs()[..., None]
        mass = torch.sigmoid((0.5 - distance) / spread) - torch.sigmoid((-0.5 - distance) / spread)
        mixed = (mass * weights.softmax(-1)).sum(-1)
        return mixed * (1 - LEAST_ESCAPE) + _LEAST
