"""The networks of the pixel models in floating point, and the likelihood they are trained by.

A pixel x, minus what is predicted, is distributed as a mixture of three logistic distributions
(Salimans et al. 2017, "PixelCNN++", equation 2). Their widths follow one scale, σ; how much wider
or narrower each is, and its weight, depend on σ alone, so that there is a table for every σ.

In the nearly lossless model σ is counted in steps of the symbols, and a symbol has the probability
of all pixels that it stands for.
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
PER_OCTAVE, _FIRST_OCTAVE = 4, -3
MORE_OCTAVES = 2
"""Octaves of σ below that, where pixels are coded in steps of several values."""
_FINE_SHARE = 0.1
"""Of the loss: the code length of pixels in steps of 1. Symbols that are 0 say nothing of where in
their step a pixel lies, so that without it few samples would tell the shift."""
_KNOTS = 9
_START = ((0.0, 0.0, -2.0), (-0.7, 0.0, 1.0))
"""Of the mixture: logarithms of weights, and of widths in units of σ."""
_LEAST = 2.0**-20

LEAST_ESCAPE = 2.0**-11
"""Of every table: so each symbol costs some bits, and a payload ends before a decoder tires."""


class PixelNetwork(nn.Module):
    """Inputs in real units to a shift in steps of a pixel, and the number of a scale."""

    def __init__(self, config: PixelConfig, *, bounded: bool = False) -> None:
        super().__init__()
        self.bounded = bounded
        more = MORE_OCTAVES if bounded else 0
        self.first_octave, self.scales = _FIRST_OCTAVE - more, SCALES + more * PER_OCTAVE
        sizes = (INPUTS + bounded, *config.hidden, 2)
        linear = [nn.Linear(into, out) for into, out in itertools.pairwise(sizes)]
        self.layers, last = nn.ModuleList(linear), linear[-1]
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, self.scales * 0.4]))
        self.mixture = nn.Parameter(torch.tensor(_START)[:, None].repeat(1, _KNOTS, 1))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(n, inputs) to shifts (n,) in values, and scales (n,) within the tables or beyond."""
        values = inputs
        for number, layer in enumerate(self.layers):
            values = layer(functional.relu(values) if number else values)
        return values[:, 0], values[:, 1]

    def bits(self, inputs: Tensor, predictions: Tensor, pixels: Tensor, steps: Tensor) -> Tensor:
        """Code lengths (n,) of pixels (n,), 0 .. 255, by predictions of the same scale.

        steps   (n,), odd: of the symbols, in values of a pixel
        """
        return self._bits(*self._expected(inputs, predictions), pixels, steps)

    def loss(self, inputs: Tensor, predictions: Tensor, pixels: Tensor, steps: Tensor) -> Tensor:
        """What training makes small: the mean code length, and something of finer steps."""
        means, scales = self._expected(inputs, predictions)
        bits = self._bits(means, scales, pixels, steps).mean()
        if not self.bounded:
            return bits
        finer = scales + PER_OCTAVE * octaves_of_step(inputs)
        fine = -self.probability(pixels - means, finer).log2().mean()
        return bits + _FINE_SHARE * fine

    def _expected(self, inputs: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        shifts, scales = self(inputs)
        if self.bounded:  # the network knows σ in values of a pixel, the tables want it in steps
            scales = scales - PER_OCTAVE * octaves_of_step(inputs)
        return (predictions + shifts).clamp(0, PEAK), scales

    def _bits(self, means: Tensor, scales: Tensor, pixels: Tensor, steps: Tensor) -> Tensor:
        centres = means.detach().round()
        symbols = ((pixels - centres) / steps).round()
        differences = (centres + steps * symbols - means) / steps
        return -self.probability(differences, scales).log2()

    def probability(self, differences: Tensor, scales: Tensor) -> Tensor:
        """Of symbols with their middles `differences` steps off the mean, at `scales`."""
        scales = scales.clamp(0, self.scales - 1)
        places = scales * ((_KNOTS - 1) / (self.scales - 1))
        left = places.detach().floor().clamp(0, _KNOTS - 2).long()
        share = (places - left)[..., None]
        weights, widths = (
            torch.lerp(knots[left], knots[left + 1], share) for knots in self.mixture
        )
        octaves = scales / PER_OCTAVE + self.first_octave
        spread = torch.exp(octaves[..., None] * math.log(2) + widths)
        # On the side of the lower tail, where a difference of sigmoids does not cancel.
        distance = differences.abs()[..., None]
        mass = torch.sigmoid((0.5 - distance) / spread) - torch.sigmoid((-0.5 - distance) / spread)
        mixed = (mass * weights.softmax(-1)).sum(-1)
        return mixed * (1 - LEAST_ESCAPE) + _LEAST


def octaves_of_step(inputs: Tensor) -> Tensor:
    """About log₂ of the step, by the last of the inputs (n, INPUTS + 1)."""
    return inputs[:, -1] * (2**10 / 128)
