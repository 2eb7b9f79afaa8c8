"""The networks of the pixel models in floating point, and the likelihood that trains them.

A pixel x minus its prediction has as distribution a mixture of three logistic distributions
(Salimans et al. 2017, "PixelCNN++", equation 2). Their widths follow one scale, σ; how much wider
or narrower each is, and its weight, depend on σ alone, so that there is a table for every σ.

In the nearly lossless model σ is in units of the step of symbols, and a symbol has the probability
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
"""Number of tables; their σ rise from 1/8 step by a quarter of an octave each."""
PER_OCTAVE, _FIRST_OCTAVE = 4, -3
MORE_OCTAVES = 2
"""Further octaves of σ below that, for pixels that are coded in steps of several values."""
_FINE_SHARE = 0.1
"""Share of the loss for the code length of pixels in steps of 1. A symbol of 0 does not tell where
in its step a pixel lies, so without this term only few samples would train the shift."""
_KNOTS = 9
_START = ((0.0, 0.0, -2.0), (-0.7, 0.0, 1.0))
"""Initial mixture: logarithms of the weights, and of the widths in units of σ."""
_LEAST = 2.0**-20

LEAST_ESCAPE = 2.0**-11
"""Least escape share of a table: so every symbol costs bits, which limits those of a payload."""


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
        """(n, inputs) to shifts (n,) in values, and scales (n,), perhaps outside the tables."""
        values = inputs
        for number, layer in enumerate(self.layers):
            values = layer(functional.relu(values) if number else values)
        return values[:, 0], values[:, 1]

    def bits(self, inputs: Tensor, predictions: Tensor, pixels: Tensor, steps: Tensor) -> Tensor:
        """Code lengths (n,) of pixels (n,), 0 .. 255; predictions have the same scale.

        steps   steps of the symbols in pixel values, (n,), odd
        """
        return self._bits(*self._expected(inputs, predictions), pixels, steps)

    def loss(self, inputs: Tensor, predictions: Tensor, pixels: Tensor, steps: Tensor) -> Tensor:
        """The loss: the mean code length, and a share of that in finer steps."""
        means, scales = self._expected(inputs, predictions)
        bits = self._bits(means, scales, pixels, steps).mean()
        if not self.bounded:
            return bits
        finer = scales + PER_OCTAVE * octaves_of_step(inputs)
        fine = -self.probability(pixels - means, finer).log2().mean()
        return bits + _FINE_SHARE * fine

    def _expected(self, inputs: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        shifts, scales = self(inputs)
        if self.bounded:  # the network has σ in pixel values, the tables have it in steps
            scales = scales - PER_OCTAVE * octaves_of_step(inputs)
        return (predictions + shifts).clamp(0, PEAK), scales

    def _bits(self, means: Tensor, scales: Tensor, pixels: Tensor, steps: Tensor) -> Tensor:
        centres = means.detach().round()
        symbols = ((pixels - centres) / steps).round()
        differences = (centres + steps * symbols - means) / steps
        return -self.probability(differences, scales).log2()

    def probability(self, differences: Tensor, scales: Tensor) -> Tensor:
        """Probability of symbols with middles `differences` steps from the mean, at `scales`."""
        scales = scales.clamp(0, self.scales - 1)
        places = scales * ((_KNOTS - 1) / (self.scales - 1))
        left = places.detach().floor().clamp(0, _KNOTS - 2).long()
        share = (places - left)[..., None]
        weights, widths = (
            torch.lerp(knots[left], knots[left + 1], share) for knots in self.mixture
        )
        octaves = scales / PER_OCTAVE + self.first_octave
        spread = torch.exp(octaves[..., None] * math.log(2) + widths)
        # On the side of the lower tail, where the difference of sigmoids does not cancel.
        distance = differences.abs()[..., None]
        mass = torch.sigmoid((0.5 - distance) / spread) - torch.sigmoid((-0.5 - distance) / spread)
        mixed = (mass * weights.softmax(-1)).sum(-1)
        return mixed * (1 - LEAST_ESCAPE) + _LEAST


def octaves_of_step(inputs: Tensor) -> Tensor:
    """About log₂ of the step, from the last of the inputs (n, INPUTS + 1)."""
    return inputs[:, -1] * (2**10 / 128)
