"""Effort of the photo model's encoder: cheaper symbols for the same decoder.

The levels:

1, 2  one pass, and rounding with a dead zone, which is wide where ±1 costs much more than 0
3     rate-distortion optimised quantisation: takes the symbol closer to zero if the saved bits
      are worth more than the added error in quantiser steps. Needs no torch
4–9   descent: latents follow the gradient of the distortion, and are quantised as in level 3
      after every step

Annealing of latents and hyper-latents (Yang, Bamler and Mandt 2020, "Improving inference for neural
image compression") is not used: after descent it seldom lowered J, and each of its steps takes as
long as a pass of descent.

Gains are spent on bytes: if a level has less distortion than one pass, the next one gets
fewer bits. From level 4 on, new symbols replace the old ones only if they increase neither the
bits nor J = bits + λ · distortion of the tune, measured on the decoder's pixels. Each level
continues from the one below. So for a tile, no level from 3 on has more bits than a lower one, and
none from 4 on has a larger J.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bitstream.arrays import Float32Array, Int32Array
from codec.coding.optimised_quantize import cheaper_symbols

if TYPE_CHECKING:
    from codec.models.photo.coder import PhotoCoder, TileSymbols
    from codec.models.photo.cost import Candidate, TileCost

Progress = Callable[[float], None]

FIRST_CURVATURES = {"psnr": 22.0, "visual": 30.0}
"""Bits that a squared error of one quantiser step is worth in level 3, by the tune. Theory gives 9
for independent errors; but errors towards zero add up, and predictions of other latents suffer."""

_CURVATURES = {"psnr": 8.0, "visual": 10.0}
"""The same in descent: less, because its gradients account for how errors add up."""
_SHARE = 0.2  # step size of the first pass of descent
_GIVEN_BACK = 0.8
"""The share of a level's gain in distortion over one pass that the next level must save in bits."""
_FITTED_CURVATURES = (4.0, 150.0)
_FITS = 5

DESCENT = {4: 2, 5: 2, 6: 3, 7: 3, 8: 4, 9: 4}
"""Passes that each level adds to the level below."""


def needs_torch(effort: int) -> bool:
    """Whether an effort of 3 .. 9 uses gradients."""
    return effort >= min(DESCENT)


def optimised(
    coder: PhotoCoder,
    latents: Float32Array,
    quality: float,
    *,
    hyper_latents: Int32Array | None = None,
    curvature: float | None = None,
) -> TileSymbols:
    """Rate-distortion optimised symbols for latents (768, h, w), without channels not worth coding.

    hyper_latents  int32 (Z, ⌈h/4⌉, ⌈w/4⌉) instead of those of the network
    curvature      bits that a squared error of one step is worth; None for `FIRST_CURVATURES`
    """

    worth = FIRST_CURVATURES[coder.tune] if curvature is None else curvature

    def choose(residuals: Float32Array, indexes: Int32Array, channels: slice) -> Int32Array:
        return cheaper_symbols(residuals, indexes, coder.latent_tables, worth)

    channels = coder.channels_in_use(latents)
    tile = coder.symbols(
        latents, quality, channels=channels, hyper_latents=hyper_latents, choose=choose
    )
    return tile.first(coder.useful_channels(tile, latents))


def search(
    coder: PhotoCoder,
    cost: TileCost,
    latents: Float32Array,
    quality: float,
    effort: int,
    *,
    progress: Progress = lambda share: None,
) -> TileSymbols:
    """The cheapest symbols that an effort of 4 .. 9 finds for a tile.

    cost       cost function of the tile
    latents    float32 (768, h, w), as `analyze` returns them
    progress   is called with the share of the work that is done, up to 1
    """
    passes = [count for level, count in DESCENT.items() if level <= effort]
    total = sum(passes) + 1
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done / total)

    start = optimised(coder, latents, quality)
    found = Found(cost(start), latents)
    advance()
    one_pass = coder.symbols(latents, quality, hyper_latents=start.hyper_latents)
    aim = cost(one_pass.first(coder.useful_channels(one_pass, latents))).distortion_bits
    for count in passes:
        surplus = max(0.0, aim - found.best.distortion_bits)
        ceiling = found.best.rate_bits - _GIVEN_BACK * surplus
        found = descend(coder, cost, found, quality, count, ceiling, advance)
    return found.best.tile


@dataclass(frozen=True)
class Found:
    """The best symbols so far, and the latents float32 (768, h, w) that were quantised to them."""

    best: Candidate
    target: Float32Array


def descend(
    coder: PhotoCoder,
    cost: TileCost,
    start: Found,
    quality: float,
    passes: int,
    ceiling_bits: float,
    advance: Callable[[], None] = lambda: None,
) -> Found:
    """Improve `start` in a number of passes: J never grows, and new symbols respect the ceiling.

    A pass approximates the distortion by D(ŷ) + g·δ + c·δ² with the same curvature c for all
    latents, with its minimum at ŷ − g/2c. The target latents move a fraction of the way there, by
    at most one step, and are quantised to as many bits as the ceiling allows. The true D has other
    curvatures, and errors of neighbours add up: a pass that raises J is undone, and the next
    one moves the latents half as far.

    advance   called after every pass
    """
    best, target = start.best, start.target
    share, curvature = _SHARE, _CURVATURES[coder.tune]
    gradient: Float32Array | None = None
    for _ in range(passes):
        if gradient is None:
            gradient = cost.gradient(best)
        step = np.clip(best.latents - gradient / (2 * curvature) - target, -1, 1)
        moved = target + share * step
        hyper_latents = best.tile.hyper_latents
        found = cost(_fitted(coder, moved, hyper_latents, quality, ceiling_bits))
        if found.rate_bits <= ceiling_bits and found.cost_bits <= best.cost_bits:
            best, target, gradient = found, moved, None
        else:
            share /= 2
        advance()
    return Found(best, target)


def _fitted(
    coder: PhotoCoder,
    latents: Float32Array,
    hyper_latents: Int32Array,
    quality: float,
    ceiling_bits: float,
) -> TileSymbols:
    """Symbols of refined latents with as many bits as a ceiling allows.

    If even the coarsest symbols have more bits, returns those.
    """
    low, high = _FITTED_CURVATURES

    def at(curvature: float) -> TileSymbols:
        return optimised(coder, latents, quality, hyper_latents=hyper_latents, curvature=curvature)

    fitting: TileSymbols | None = None
    for _ in range(_FITS):
        middle = float(np.sqrt(low * high))
        tile = at(middle)
        if coder.rate_bits(tile, quality) <= ceiling_bits:
            fitting, low = tile, middle
        else:
            high = middle
    return at(low) if fitting is None else fitting
