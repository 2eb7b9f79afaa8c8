"""Layers that start from a seed of their own, and leave torch's global generator alone."""

from __future__ import annotations

import math

import torch
from torch import nn


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with uniform ±1/√inputs weights and biases, or zeros without a generator."""
    # Built without values: the usual constructor would draw from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    limit = 1 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            if generator is None:
                parameter.zero_()
            else:
                parameter.uniform_(-limit, limit, generator=generator)
    return layer
