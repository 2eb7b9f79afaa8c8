"""Effort of the photo model's encoder: cheaper symbols for the same decoder.

The levels:

1, 2  one pass, and rounding with a dead zone, which is wide where ±1 costs much more than 0
3     rate-distortion optimised quantisation: takes the symbol closer to zero if the saved bits
      are worth more than the added error in quantiser steps. Needs no torch
4–9   descent: latents follow the gradient of J, and are quantised as in level 3 after every step

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

FIRST_CURVATURE = 27.0
"""Bits that a squared error of one quantiser step is worth in level 3. Theory gives 9 for
independent errors; but errors towards zero add up, and predictions of other latents suffer."""

_CURVATURES = {"psnr": 8.0, "visual": 10.0}
"""The same in descent: less, because its gradients account for how errors add up."""
_FIRST_SHARE, _SHRINKING, _LAST_SHARE = 0.4, 0.95, 0.1
"""Step sizes of descent."""
_CORRECTION, _SMALLEST_CURVATURE, _LARGEST_CURVATURE = 4.0, 5.0, 13.0
_GIVEN_BACK = 0.8
"""The share of a level's gain in distortion over one pass that the next level must save in bits."""

DESCENT = {4: 3, 5: 3, 6: 5, 7: 5, 8: 8, 9: 10}
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
    curvature      bits that a squared error of one step is worth; None for `FIRST_CURVATURE`
    """

    worth = FIRST_CURVATURE if curvature is None else curvature

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
    first = cost(start)
    found = Found(first, first, latents, 0, _CURVATURES[coder.tune])
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
    """Where the descent of a tile is.

    best        the best symbols so far
    last        those of the last pass
    target      latents float32 (768, h, w) that were quantised to `last`
    passes      number of passes so far
    curvature   that of the quantisation to `last`
    """

    best: Candidate
    last: Candidate
    target: Float32Array
    passes: int
    curvature: float


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

    A pass approximates J by J(ŷ) + g·δ + c·δ² with the same curvature c for all latents, with its
    minimum at ŷ − g/2c. The target latents move a share of the way there, by at most one step, and
    are quantised again. The true J has other curvatures, and quantisation is not smooth, so J may
    rise in a pass; the best symbols are kept, and the shares shrink. With more bits than the
    ceiling allows, errors are worth less in the next pass, with fewer more.

    advance   called after every pass
    """
    best, last, target, curvature = start.best, start.last, start.target, start.curvature
    for number in range(start.passes, start.passes + passes):
        share = max(_FIRST_SHARE * _SHRINKING**number, _LAST_SHARE)
        minimum = last.latents - cost.gradient(last) / (2 * _CURVATURES[coder.tune])
        target = target + share * np.clip(minimum - target, -1, 1)
        last = cost(
            optimised(
                coder,
                target,
                quality,
                hyper_latents=best.tile.hyper_latents,
                curvature=curvature,
            )
        )
        if last.rate_bits <= ceiling_bits and last.cost_bits <= best.cost_bits:
            best = last
        # Bits change far less than the curvature does.
        curvature *= (ceiling_bits / last.rate_bits) ** _CORRECTION if last.rate_bits else 1
        curvature = min(max(curvature, _SMALLEST_CURVATURE), _LARGEST_CURVATURE)
        advance()
    return Found(best, last, target, start.passes + passes, curvature)
