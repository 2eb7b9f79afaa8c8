"""The prior of the codes in floating point, for training.

The network is that of `codec.models.vq.prior`, which has a diagram of the codes that it sees.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.vq.networks import VqConfig, interpolate
from codec.models.vq.prior import AROUND, BEFORE, REACH, Place, network_inputs


class KnottedLinear(nn.Module):
    """A linear layer whose bias is interpolated between knots by quality."""

    def __init__(self, inputs: int, outputs: int, knots: int) -> None:
        super().__init__()
        linear = nn.Linear(inputs, outputs)
        self.weight = linear.weight
        self.bias = nn.Parameter(linear.bias.detach().expand(knots, -1).clone())

    def forward(self, values: Tensor, quality: Tensor) -> Tensor:
        """float (n, h, w, inputs) and qualities (n,) to (n, h, w, outputs)."""
        found: Tensor = (
            F.linear(values, self.weight) + interpolate(self.bias, quality)[:, None, None]
        )
        return found


class CodePrior(nn.Module):
    """The prior of a level: from its codes and those of the level above to log-odds of nodes."""

    def __init__(self, config: VqConfig, level: int) -> None:
        super().__init__()
        codes, size, hidden = config.codes[level], config.embedding, config.hidden
        self.codes, self.depth = codes, config.depth_of_codes(level)
        self.embedding = nn.Embedding(codes + 1, size)
        self.above = nn.Embedding(config.codes[level - 1] + 1, size) if level else None
        self.first = KnottedLinear(network_inputs(config, level), hidden, config.knots)
        self.second = KnottedLinear(hidden, hidden, config.knots)
        self.last = KnottedLinear(hidden, codes - 1, config.knots)
        # At first every code costs its number of bits.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, codes: Tensor, above: Tensor | None, quality: Tensor) -> Tensor:
        """Log-odds float32 (n, h, w, codes − 1) of all nodes.

        codes   int64 (n, h, w)
        above   codes of the level above, int64 (n, h / 2, w / 2), if there is one
        """
        inputs = [_neighbours(self.embedding, codes, BEFORE, REACH)]
        if self.above is not None:
            assert above is not None
            found = _neighbours(self.above, above, AROUND, 1)
            inputs.append(found.repeat_interleave(2, 1).repeat_interleave(2, 2))
            inputs.append(_halves(codes).to(found.dtype))
        value = F.relu(self.first(torch.cat(inputs, dim=-1), quality))
        value = F.relu(self.second(value, quality))
        with torch.autocast(value.device.type, enabled=False):
            log_odds: Tensor = self.last(value.float(), quality)
        return log_odds


def _neighbours(
    embedding: nn.Embedding, codes: Tensor, places: tuple[Place, ...], reach: int
) -> Tensor:
    """Embeddings of the codes around each: (n, h, w, places · embedding)."""
    height, width = codes.shape[1:]
    outside = embedding.num_embeddings - 1
    vectors = embedding(F.pad(codes, (reach,) * 4, value=outside))
    seen = [
        vectors[:, reach + row : reach + row + height, reach + column : reach + column + width]
        for row, column in places
    ]
    return torch.cat(seen, dim=-1)


def _halves(codes: Tensor) -> Tensor:
    """In which half of its parent each code lies, −1 or 1: (n, h, w, 2)."""
    rows, columns = (
        torch.arange(size, device=codes.device) % 2 * 2 - 1 for size in codes.shape[1:]
    )
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
    return grid.expand(len(codes), -1, -1, -1)


def code_lengths(log_odds: Tensor, depth: int) -> Tensor:
    """Bits of every code from the log-odds of the nodes, (…, 2ᵈ − 1) to (…, 2ᵈ)."""
    lengths = log_odds.new_zeros(*log_odds.shape[:-1], 1)
    for level in range(depth):
        odds = log_odds[..., 2**level - 1 : 2 ** (level + 1) - 1]
        ones = F.softplus(-odds)
        lengths = torch.stack([lengths + ones + odds, lengths + ones], dim=-1).flatten(-2)
    return lengths / math.log(2)


def chosen_lengths(log_odds: Tensor, codes: Tensor, depth: int) -> Tensor:
    """Bits of the given codes, int64 (…), in the same shape."""
    shifts = torch.arange(depth, device=codes.device)
    nodes = (codes[..., None] >> (depth - shifts)) + 2**shifts - 1
    bits = (codes[..., None] >> (depth - 1 - shifts)) & 1
    odds = log_odds.gather(-1, nodes)
    return F.softplus(odds * (1 - 2 * bits)).sum(-1) / math.log(2)
