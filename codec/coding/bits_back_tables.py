"""Integer tables for bits-back coding: from outputs of the exact networks to frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from bitstream.arrays import Int32Array, Int64Array
from bitstream.errors import WeightsMismatchError
from bitstream.tables import TOTAL, TableSet
from codec.coding.exact_layers import ACTIVATION_BITS
from codec.coding.prior_tables import bernoulli_tables

LEAST_BITS = 64  # a stack below this is exhausted: what it pops cannot be pushed back

# Fixed-point format of the posterior's frequencies.
EDGE_BITS = 16  # bin edges
RECIPROCAL_BITS = 12  # 1 / σ
GRID_BITS = 10  # 2¹⁰ grid points of the distribution function per unit
GRID_REACH = 8  # the grid covers −8 .. 8
_FRACTION_BITS = 6
LOG_VARIANCE_BITS = 8  # levels of σ are 2⁸ units of 2⁻¹⁰ apart, a quarter, in log-variance
LOWEST_LOG_VARIANCE = -12  # of level 0
LOG_VARIANCE_LEVELS = 60
LOG_ODDS_BITS = 7  # tables of pixels are 2⁷ units of 2⁻¹⁰ apart, an eighth, in log-odds
LOG_ODDS_REACH = 128  # tables on either side of 0


@dataclass(frozen=True)
class PosteriorTables:
    """Frequencies of the prior's bins under N(μ, σ²), in integer arithmetic.

    edges         int32 (bins − 1,), bounds between the bins in units of 2⁻¹⁶, ascending
    centres       int32 (bins,), medians of the bins in units of 2⁻¹⁰: the decoder network's input
    reciprocals   int32 (LOG_VARIANCE_LEVELS,), 1/σ of each level in units of 2⁻¹²
    distribution  int32 (2 · 8 · 2¹⁰ + 1,), Φ on a grid of 2⁻¹⁰, from 0 to 2²⁴ − bins − 1

    With t = (edge − μ) / σ in units of 2⁻¹⁶ and Φ interpolated between grid points, a bin has the
    frequency Φ(t right) − Φ(t left) + 1, and the escape has the remaining unit of 2²⁴.
    Raises `WeightsMismatchError` for arrays that break these rules.
    """

    edges: Int32Array
    centres: Int32Array
    reciprocals: Int32Array
    distribution: Int32Array

    def __post_init__(self) -> None:
        bins, points = self.centres.size, 2 * GRID_REACH * 2**GRID_BITS + 1
        shapes = {
            "edges": (self.edges, bins - 1),
            "centres": (self.centres, bins),
            "reciprocals": (self.reciprocals, LOG_VARIANCE_LEVELS),
            "distribution": (self.distribution, points),
        }
        for name, (array, length) in shapes.items():
            if array.dtype != np.int32 or array.shape != (length,):
                raise WeightsMismatchError(
                    f"weights file: posterior.{name} is {array.dtype}{list(array.shape)}, "
                    f"expected int32[{length}]"
                )
        if bins < 2 or bins & (bins - 1) or bins > 2**16:
            raise WeightsMismatchError(f"weights file: {bins} bins, expected 2ᵇ, b = 1 .. 16")
        ends = int(self.distribution[0]), int(self.distribution[-1])
        rising = all(bool((np.diff(a) >= 0).all()) for a in (self.edges, self.distribution))
        if not rising or ends != (0, TOTAL - bins - 1) or self.reciprocals.min() < 1:
            raise WeightsMismatchError("weights file: posterior tables do not ascend as they must")

    @property
    def bins(self) -> int:
        """Bins of the prior, a power of two."""
        return len(self.centres)

    def _below(self, edges: Int32Array, mean: Int32Array, level: Int32Array) -> Int64Array:
        """The distribution function at edges int32 (m, n) or (n,), for m means and levels."""
        distance = edges.astype(np.int64) - (
            mean.astype(np.int64)[:, None] << (EDGE_BITS - ACTIVATION_BITS)
        )
        reciprocals = self.reciprocals[level].astype(np.int64)
        return interpolated(self.distribution, distance, reciprocals[:, None])

    def frequencies(self, mean: Int32Array, level: Int32Array) -> Int32Array:
        """Means in units of 2⁻¹⁰ and levels of σ, int32 (m,) each, to int32 (m, bins + 1)."""
        below, values = self._below(self.edges, mean, level), self.distribution
        frequencies = np.empty((len(mean), self.bins + 1), dtype=np.int32)
        frequencies[:, 0] = below[:, 0] + 1
        frequencies[:, 1:-2] = np.diff(below, axis=1) + 1
        frequencies[:, -2] = values[-1] - below[:, -1] + 1
        frequencies[:, -1] = 1
        return frequencies

    def tables(self, mean: Int32Array, level: Int32Array) -> TableSet:
        """One table for each of m values."""
        frequencies = self.frequencies(mean, level)
        count, entries = frequencies.shape
        return TableSet(
            frequencies=frequencies.ravel(),
            starts=np.arange(0, count * entries + 1, entries, dtype=np.int32),
            minimums=np.zeros(count, dtype=np.int32),
        )

    def tables_of_bins(
        self, mean: Int32Array, level: Int32Array, bins: Int32Array
    ) -> tuple[Int32Array, TableSet]:
        """Smaller tables for pushing m known bins, int32 (m,), equivalent to those of `tables`.

        Returns symbols int32 (m,) and tables in which a bin has the same frequency and cumulative
        frequency, but all bins below it are one entry, and all above it, with the escape, another.
        That is enough for a push, and makes a decoder, which knows the bins, several times faster.
        """
        padded = np.pad(self.edges, 1)  # the two outer values are replaced below
        sides = self._below(np.stack([padded[bins], padded[bins + 1]], axis=1), mean, level)
        low = np.where(bins == 0, 0, sides[:, 0] + bins)
        last = int(self.distribution[-1])
        high = np.where(bins == self.bins - 1, last, sides[:, 1]) + bins + 1
        entries = np.stack([low, high - low, TOTAL - high], axis=1).astype(np.int32)
        # Entries may not be empty, so there is none below the first bin.
        present = np.ones_like(entries, dtype=np.bool_)
        present[:, 0] = low > 0
        starts = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
        symbols = present[:, 0].astype(np.int32)
        return symbols, TableSet(entries[present], starts, np.zeros(len(bins), dtype=np.int32))


def interpolated(
    distribution: Int32Array, distance: Int64Array, reciprocals: Int64Array
) -> Int64Array:
    """A distribution function at distance / scale.

    distribution  int32 (2 · reach · 2¹⁰ + 1,), ascending, on a grid of 2⁻¹⁰ from −reach to reach
    distance      in units of 2⁻¹⁶; reciprocals, of scales, in units of 2⁻¹²
    """
    point = (distance * reciprocals) >> RECIPROCAL_BITS
    reach = len(distribution) // 2 << _FRACTION_BITS
    point = np.clip(point + reach, 0, 2 * reach - 1)
    left = point >> _FRACTION_BITS
    fraction = point & (2**_FRACTION_BITS - 1)
    lower = distribution[left].astype(np.int64)
    rise = distribution[left + 1] - lower
    below: Int64Array = lower + (rise * fraction >> _FRACTION_BITS)
    return below


def variance_level(log_variance: Int32Array) -> Int32Array:
    """Level of log-variances in units of 2⁻¹⁰: the nearest quarter, 0 .. LEVELS − 1."""
    offset = (-LOWEST_LOG_VARIANCE << ACTIVATION_BITS) + (1 << (LOG_VARIANCE_BITS - 1))
    level = (log_variance.astype(np.int64) + offset) >> LOG_VARIANCE_BITS
    bounded: Int32Array = np.clip(level, 0, LOG_VARIANCE_LEVELS - 1).astype(np.int32)
    return bounded


def log_odds_index(log_odds: Int32Array) -> Int32Array:
    """Table of log-odds in units of 2⁻¹⁰: the nearest eighth, 0 .. 2 · LOG_ODDS_REACH."""
    level = (log_odds.astype(np.int64) + (1 << (LOG_ODDS_BITS - 1))) >> LOG_ODDS_BITS
    level = np.clip(level, -LOG_ODDS_REACH, LOG_ODDS_REACH) + LOG_ODDS_REACH
    index: Int32Array = level.astype(np.int32)
    return index


@cache
def bit_tables() -> TableSet:
    """The tables for `log_odds_index`, as a weights file stores them: one for each eighth."""
    steps = np.arange(-LOG_ODDS_REACH, LOG_ODDS_REACH + 1, dtype=np.float64)
    return bernoulli_tables(steps * 2.0 ** (LOG_ODDS_BITS - ACTIVATION_BITS))
