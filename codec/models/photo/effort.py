"""Effort of the photo model's encoder: cheaper symbols for the same decoder.

A tile's symbols are judged by J = bits + exchange rate · squared error, with the real tables and
with pixels rounded to eight bits. The exchange rate is what the picture itself pays where it is
coded in one pass at a little more quality, so that symbols of less J put a file below the
rate-distortion curve of one pass. The levels:

1, 2  one pass and rounding
3–7   rate-distortion optimised quantisation, a symbol nearer to zero where that saves more bits
      than the distortion it adds; then descent, the same again and again with latents that
      follow the gradient of the distortion
8, 9  annealing of latents and hyper-latents (`codec.models.photo.refine`), then descent

Each level keeps the cheapest symbols that it has seen. Levels 3 to 7 continue one another, and
8 and 9 also try all that 7 tries. So no level has a larger J than a lower one, except that 9 may
have a larger J than 8. Random numbers come from seeds: the same machine writes the same file again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float32Array, Int32Array
from bitstream.tables import TableSet
from codec.coding.optimised_quantize import cheaper_symbols
from codec.models.photo.coder import Choose, PhotoCoder, TileSymbols
from codec.models.photo.cost import Candidate, Surroundings, TileCost
from codec.models.photo.refine import Annealing, anneal

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Level:
    """The work of an effort beyond optimised quantisation: passes of descent, and annealing."""

    descent: int = 0
    annealing: Annealing | None = None


LEVELS = {
    3: Level(1),
    4: Level(3),
    5: Level(6),
    6: Level(12),
    7: Level(32),
    8: Level(32, Annealing(300, 5e-3)),
    9: Level(32, Annealing(1000, 3e-3)),
}

# Errors towards zero add up, so that each costs more than the theory of independent errors gives.
_FIRST_STIFFNESS = 6.0
_STIFFNESS, _SHARE = 1.0, 0.7  # at the first pass of descent
_SEED = 1841


def search(
    coder: PhotoCoder,
    around: Surroundings,
    quality: float,
    effort: int,
    *,
    exchange_rate: float | None = None,
    progress: Progress = lambda share: None,
) -> TileSymbols:
    """The cheapest symbols that an effort of 3 .. 9 finds for a tile.

    exchange_rate   as `TileCost` takes it
    progress        is called with the share of the work that is done, up to 1
    """
    level = LEVELS[effort]
    annealed = level.annealing.steps if level.annealing else 0
    total = annealed + level.descent * (2 if annealed else 1) + 1
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done / total)

    latents = around.latents[:, around.rows, around.columns]
    cost = TileCost(coder, around, quality, exchange_rate)
    one_pass = coder.symbols(latents, quality)
    hyper = one_pass.hyper_latents
    start = _cheapest(cost(one_pass), cost(_optimised(coder, cost, latents, hyper, quality)))
    advance()
    found = descend(coder, cost, start, quality, level.descent, advance)
    if level.annealing:
        refined, hyper = anneal(coder.trainable(), cost, latents, level.annealing, advance)
        rounded = coder.symbols(refined, quality, hyper_latents=hyper)
        start = _cheapest(cost(rounded), cost(_optimised(coder, cost, refined, hyper, quality)))
        found = _cheapest(found, descend(coder, cost, start, quality, level.descent, advance))
    return found.tile


def descend(
    coder: PhotoCoder,
    cost: TileCost,
    start: Candidate,
    quality: float,
    passes: int,
    advance: Callable[[], None] = lambda: None,
) -> Candidate:
    """The cheapest of `start` and what a number of passes make of it.

    A pass takes the distortion for D(ŷ) + g·δ + c·δ² with one curvature c for all latents, moves a
    random share of them by −g/2c, which is its minimum, by one step at most, and quantises that
    with the same c. The true D has other curvatures, and errors of neighbours add up: a pass that
    raises J is taken back, and the next one moves fewer latents by less.

    advance   called after every pass
    """
    rng = np.random.default_rng(_SEED)
    best, stiffness, share = start, _STIFFNESS, _SHARE
    for number in range(passes):
        assert best.gradient is not None
        curvature = cost.curvature * stiffness
        moved = rng.random(best.gradient.shape, dtype=np.float32) < share
        move = np.clip(best.gradient / (-2 * curvature), -1, 1) * moved
        tile = coder.symbols(
            best.latents + move,
            quality,
            hyper_latents=best.tile.hyper_latents,
            choose=optimised_quantiser(coder.latent_tables, curvature),
        )
        found = cost(tile, with_gradient=number + 1 < passes)
        if found.cost_bits <= best.cost_bits:
            best, stiffness, share = found, 0.9 * stiffness, min(1.0, 1.02 * share)
        else:
            stiffness, share = 1.2 * stiffness, 0.8 * share
        advance()
    return best


def optimised_quantiser(tables: TableSet, curvature: float) -> Choose:
    """`cheaper_symbols` in place of rounding, for `PhotoCoder.symbols`."""

    def choose(residuals: Float32Array, indexes: Int32Array, channels: slice) -> Int32Array:
        return cheaper_symbols(residuals, indexes, tables, curvature)

    return choose


def _optimised(
    coder: PhotoCoder,
    cost: TileCost,
    latents: Float32Array,
    hyper_latents: Int32Array,
    quality: float,
) -> TileSymbols:
    choose = optimised_quantiser(coder.latent_tables, _FIRST_STIFFNESS * cost.curvature)
    return coder.symbols(latents, quality, hyper_latents=hyper_latents, choose=choose)


def _cheapest(one: Candidate, other: Candidate) -> Candidate:
    return one if one.cost_bits <= other.cost_bits else other
