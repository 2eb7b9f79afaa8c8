"""The networks of the autoregressive models in floating point.

Each gives the log-odds of all pixels of an image at once. Masks hide from each its own pixel and
all later ones, row by row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bitstream.arrays import BoolArray
from codec.models.autoregressive.config import PIXELS, AutoregressiveConfig
from codec.models.autoregressive.networks import FIRST_KERNEL, hidden_mask, output_mask


class MaskedLinear(nn.Linear):
    """A linear layer with some weights held at 0."""

    mask: Tensor

    def __init__(self, mask: BoolArray) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", torch.from_numpy(mask).float(), persistent=False)
        with torch.no_grad():
            self.weight.mul_(self.mask)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = functional.linear(values, self.weight * self.mask, self.bias)
        return found


class MaskedConvolution(nn.Conv2d):
    """A convolution that sees the rows above, and its own row up to the left neighbour.

    itself   whether it also sees its own place: mask B of van den Oord et al. 2016, else mask A
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, itself: bool) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        seen = torch.arange(kernel**2) < kernel**2 // 2 + itself
        self.register_buffer("mask", seen.float().view(1, 1, kernel, kernel), persistent=False)
        with torch.no_grad():
            self.weight.mul_(self.mask)

    def forward(self, values: Tensor) -> Tensor:
        return functional.conv2d(values, self.weight * self.mask, self.bias, padding=self.padding)


class Made(nn.Module):
    """A masked autoencoder (Germain et al. 2015) with direct connections from pixels to pixels.

    Without hidden units it is a fully visible sigmoid belief network.
    """

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.output = MaskedLinear(output_mask(hidden))
        self.hidden = MaskedLinear(hidden_mask(hidden)) if hidden else None
        with torch.no_grad():
            self.output.weight[:, :PIXELS].zero_()

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1)
        if self.hidden is None:
            log_odds: Tensor = self.output(pixels)
        else:
            units = functional.relu(self.hidden(pixels))
            log_odds = self.output(torch.cat([pixels, units.to(pixels.dtype)], 1))
        return log_odds.view(images.shape)


class GatedLayer(nn.Module):
    """tanh(W ∗ x) · σ(V ∗ x), a 1×1 convolution, and x (van den Oord et al. 2016b, equation 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = MaskedConvolution(channels, 2 * channels, 3, itself=True)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, values: Tensor) -> Tensor:
        left, right = self.gate(values).chunk(2, 1)
        added: Tensor = self.mix(torch.tanh(left) * torch.sigmoid(right))
        return values + added


class PixelCnn(nn.Module):
    """One stack of masked convolutions (van den Oord et al. 2016) with gated layers."""

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__()
        channels = config.hidden
        self.first = MaskedConvolution(1, channels, FIRST_KERNEL, itself=False)
        self.layers = nn.ModuleList(GatedLayer(channels) for _ in range(config.layers))
        self.hidden = nn.Conv2d(channels, channels, 1)
        self.output = nn.Conv2d(channels, 1, 1)
        with torch.no_grad():
            nn.init.zeros_(self.output.weight)

    def forward(self, images: Tensor) -> Tensor:
        values = self.first(images)
        for layer in self.layers:
            values = layer(values)
        log_odds: Tensor = self.output(functional.relu(self.hidden(functional.relu(values))))
        return log_odds


def autoregressive_network(config: AutoregressiveConfig) -> Made | PixelCnn:
    """An untrained network: images float32 (n, 1, 28, 28), 0 or 1, to log-odds of 1."""
    return PixelCnn(config) if config.kind == "pixelcnn" else Made(config)


def nats(log_odds: Tensor, images: Tensor) -> Tensor:
    """−ln p of images (n, 1, 28, 28), 0 or 1: (n,)."""
    each = functional.binary_cross_entropy_with_logits(log_odds.float(), images, reduction="none")
    return each.flatten(1).sum(1)
