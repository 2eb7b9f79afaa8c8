"""How many bins the coordinates of a DRAW network need for an archive by bits-back coding.

A coordinate with 2ᵇ bins has two costs for an archive: in every image, the loss because its bins
are coarse; and once, the bits that its posterior pops before the stack has any. Both follow for a
posterior N(m, e^l) if −log p(x|z) is quadratic around it. After training its slope is −m, which
balances that of the divergence, and its curvature e^(−l) − 1. So, with û a bin's centre and q the
posterior's distribution over bins,

    loss(b) = KL(q ‖ uniform) + E[−m (û − m) + (e^(−l) − 1) (û − m)² / 2]
              − KL(N(m, e^l) ‖ N(0, 1)) − (1 − e^l) / 2
    popped(b) = b ln 2 − KL(q ‖ uniform)

An archive of N images needs the b that minimises N · loss + popped, both averaged over images.
Since earlier images fill the stack for later ones, a weights file has such maps for a ladder of N.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Float64Array, Uint8Array
from codec.coding.prior_tables import normal_quantile
from codec.models.draw.bins import LARGEST_BITS, LOG_VARIANCES
from codec.models.draw.exact import UNIT_BITS, ExactDraw, image_units
from codec.models.draw.recursion import Prior

LADDER = (0, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
"""N of each map; the first map has no bins at all."""
_MEAN_REACH, _MEANS, _LOG_VARIANCES = 5.0, 81, 105
_AT_ONCE = 50


def fitted_bits(network: ExactDraw, images: Uint8Array, *, seed: int = 0) -> dict[str, Uint8Array]:
    """`posterior.bits<level>` of a weights file: uint8 (maps, steps, codes, h, w).

    images   training images, uint8 (n, channels, side, side); about a thousand are useful
    """
    config = network.config
    table = costs()
    totals: list[Float64Array] = []
    generator = torch.Generator().manual_seed(seed)
    for begin in range(0, len(images), _AT_ONCE):
        for number, said in enumerate(
            _posteriors(network, images[begin : begin + _AT_ONCE], generator)
        ):
            found = _look_up(table, said)
            if number == len(totals):
                totals.append(np.zeros_like(found))
            totals[number] += found / len(images)
    arrays = {}
    for level in range(config.levels):
        # Steps one after another, coarse to fine.
        of_level = np.stack(totals[config.levels - 1 - level :: config.levels], axis=2)
        arrays[f"posterior.bits{level}"] = _maps(*of_level)
    return arrays


def _maps(loss: Float64Array, popped: Float64Array) -> Uint8Array:
    """Bits (maps, …) of the ladder, from mean costs in nats (bits, …)."""
    maps = [(count * loss + popped).argmin(axis=0) for count in LADDER]
    maps[0][:] = 0
    return np.stack(maps).astype(np.uint8)


def costs() -> Float64Array:
    """Loss and popped nats: (2, bits, means, log-variances), for means 0 .. 5 and all l."""
    mean, log_variance = np.meshgrid(_mean_grid(), _log_variance_grid(), indexing="ij")
    variance, deviation = np.exp(log_variance), torch.from_numpy(np.exp(log_variance / 2))
    mean_tensor = torch.from_numpy(mean)
    curvature = np.maximum(1 / variance - 1, 0)
    whole = 0.5 * (mean**2 + variance - 1 - log_variance) + 0.5 * curvature * variance
    found = []
    for bits in range(LARGEST_BITS + 1):
        count = 1 << bits
        edges = normal_quantile(np.arange(1, count) / count)
        centres = normal_quantile((np.arange(count) + 0.5) / count)
        below, divergence, first, second = np.zeros((4, *mean.shape))
        for number in range(count):
            above = (
                torch.special.ndtr((edges[number] - mean_tensor) / deviation).numpy()
                if number < count - 1
                else np.ones_like(mean)
            )
            mass, off = above - below, centres[number] - mean
            divergence += mass * np.log(np.maximum(mass * count, 1e-30))
            first += mass * off
            second += mass * off**2
            below = above
        loss = divergence - mean * first + 0.5 * curvature * second - whole
        found.append((loss, bits * math.log(2) - divergence))
    table: Float64Array = np.array(found).transpose(1, 0, 2, 3)
    # Fewer bins are never better, whatever the quadratic says far away; without bins all of the
    # posterior's information is lost.
    table[0, 0] = np.maximum(table[0, 0], whole - 0.5 * curvature * variance)
    table[0] = np.maximum.accumulate(table[0, ::-1], axis=0)[::-1]
    return table


def _mean_grid() -> Float64Array:
    """Means from 0, densest at 0, where most coordinates are."""
    return _MEAN_REACH * np.linspace(0, 1, _MEANS) ** 2


def _log_variance_grid() -> Float64Array:
    return np.linspace(*LOG_VARIANCES, _LOG_VARIANCES)


def _look_up(table: Float64Array, said: Tensor) -> Float64Array:
    """Sums over images of the costs of (m, l), (2, n, codes, h, w): (2, bits, codes, h, w)."""
    mean, log_variance = said.numpy() / 2**UNIT_BITS
    low, high = LOG_VARIANCES
    shares = np.sqrt(np.minimum(np.abs(mean) / _MEAN_REACH, 1))
    rows = np.rint(shares * (_MEANS - 1)).astype(np.intp)
    places = (np.clip(log_variance, low, high) - low) / (high - low)
    columns = np.rint(places * (_LOG_VARIANCES - 1)).astype(np.intp)
    found: Float64Array = table[:, :, rows, columns].sum(axis=2)
    return found


def _posteriors(network: ExactDraw, images: Uint8Array, generator: torch.Generator) -> list[Tensor]:
    """(m, l) stacked, (2, n, codes, h, w), for each step and level; codes are drawn from these."""
    recursion, config = network.recursion, network.config
    found: list[Tensor] = []

    def choose(level: int, prior: Prior) -> Tensor:
        said = torch.stack(recursion.posterior(state, level).chunk(2, 1))
        found.append(said)
        mean, log_variance = said / 2**UNIT_BITS
        deviation = (log_variance.clamp(*LOG_VARIANCES) / 2).exp()
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        coordinate: Tensor = ((mean + deviation * noise) * 2**UNIT_BITS).round_()
        return coordinate

    with torch.inference_mode():
        image = image_units(torch.from_numpy(np.ascontiguousarray(images)), config)
        state = recursion.begin(len(images), *images.shape[2:])
        part = recursion.image_part(image)
        for _ in range(config.steps):
            recursion.look(state, image, part)
            recursion.step(state, choose)
    return found
