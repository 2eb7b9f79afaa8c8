"""The highest point of a weighted sum of equal Gaussian kernels, by ascent from many starts.

    g(y) = Σ_i w_i exp(−τ ‖x_i − y‖²)

Both dual bounds on R(D) under squared error need  sup over y of g(y).  A step of mean shift,
y ← Σ r_i x_i with r the kernels' shares at y, never descends (Carreira-Perpiñán, "Mode-finding for
mixtures of Gaussian distributions", 2000, also from the centroids).  The highest mode found is a
lower bound on the supremum: the search is thorough if the candidates cover the modes, and proves
nothing if they do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from codec.rate_distortion.tensor_checks import row_blocks

BLOCK_ENTRIES = 2**21


@dataclass(frozen=True)
class SearchEffort:
    """How widely and how long to search.

    candidates   number of kernels at whose centres g is evaluated: half of them are the heaviest,
                 half are random
    starts       number of best candidates from which ascent starts
    finalists    number of best places after `steps` that go on for `final_steps`
    """

    candidates: int = 2048
    starts: int = 64
    steps: int = 15
    finalists: int = 8
    final_steps: int = 100


def log_kernel_sum(
    places: torch.Tensor, points: torch.Tensor, log_weights: torch.Tensor, tau: float
) -> torch.Tensor:
    """log g(y) at places (m, d), for points (k, d) and log w (k,): (m,), in blocks."""
    rows = max(1, BLOCK_ENTRIES // len(points))
    parts = [
        torch.logsumexp(_exponents(part, points, log_weights, tau), dim=1)
        for part in row_blocks(places, rows)
    ]
    return torch.cat(parts)


def _exponents(
    places: torch.Tensor, points: torch.Tensor, log_weights: torch.Tensor, tau: float
) -> torch.Tensor:
    squares = places.square().sum(1)[:, None] + points.square().sum(1)
    return log_weights - tau * (squares - 2 * places @ points.T).clamp_min(0)


def _shift(
    places: torch.Tensor, points: torch.Tensor, log_weights: torch.Tensor, tau: float, steps: int
) -> torch.Tensor:
    rows = max(1, BLOCK_ENTRIES // len(points))
    moved = []
    for part in row_blocks(places, rows):
        for _ in range(steps):
            shares = torch.softmax(_exponents(part, points, log_weights, tau), dim=1)
            part = shares @ points
        moved.append(part)
    return torch.cat(moved)


@torch.no_grad()
def highest_modes(
    points: torch.Tensor,
    log_weights: torch.Tensor,
    tau: float,
    *,
    effort: SearchEffort,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best places found (finalists, d) and log g there (finalists,), highest first.

    points (k, d) and log_weights (k,) in one floating dtype; τ is positive.
    """
    centre = points.mean(dim=0)
    points = points - centre
    count = len(points)
    if count > effort.candidates:
        heavy = log_weights.topk(effort.candidates // 2).indices
        random = torch.randint(
            count, (effort.candidates // 2,), generator=generator, device=points.device
        )
        candidates = points[torch.cat([heavy, random])]
    else:
        candidates = points
    places = candidates
    for keep, steps in ((effort.starts, effort.steps), (effort.finalists, effort.final_steps)):
        heights = log_kernel_sum(places, points, log_weights, tau)
        places = places[heights.topk(min(keep, len(places))).indices]
        places = _shift(places, points, log_weights, tau, steps)
    heights, order = log_kernel_sum(places, points, log_weights, tau).sort(descending=True)
    return places[order] + centre, heights


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with uniform ±1/√inputs weights and biases, or zeros without a generator."""
    # Built on the meta device, because the usual constructor draws from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    limit = 1 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            if generator is None:
                parameter.zero_()
            else:
                parameter.uniform_(-limit, limit, generator=generator)
    return layer
