"""Probability tables fitted to the symbols that a trained model produces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array, Int64Array
from bitstream.tables import TableSet, gaussian_tables, tables_from_pmfs

HISTOGRAM_LIMIT = 1023
# Weight of the parametric shape, in symbols: the prior of a table.
LATENT_PRIOR_COUNT = 3000.0
HYPER_PRIOR_COUNT = 30.0
# Share of symbols other than 0 below which a table of residuals becomes certain of 0.
CERTAIN_SHARE = 2.0**-13


class SymbolCounts:
    """Histograms of hyper-latents by table and of residual symbols by table index."""

    def __init__(self, hyper_sets: int, hyper_channels: int, latent_tables: int) -> None:
        self.hyper_sets, self.hyper_channels = hyper_sets, hyper_channels
        self.hyper = new_histogram(hyper_sets * hyper_channels)
        self.latent = new_histogram(latent_tables)


def new_histogram(tables: int) -> Int64Array:
    """Counts of the symbols −1023 .. 1023 of each table, zeros: int64 (tables, 2047)."""
    return np.zeros((tables, 2 * HISTOGRAM_LIMIT + 1), dtype=np.int64)


def count_symbols(
    histogram: Int64Array, indexes: npt.NDArray[np.int32], symbols: npt.NDArray[np.int32]
) -> None:
    """Add symbols (n,) with their tables (n,) to a histogram, except those outside its range."""
    inside = np.abs(symbols) <= HISTOGRAM_LIMIT
    bins = histogram.shape[1]
    flat = indexes[inside].astype(np.int64) * bins + symbols[inside] + HISTOGRAM_LIMIT
    histogram += np.bincount(flat, minlength=histogram.size).reshape(histogram.shape)


def latent_tables(histogram: Int64Array, scales: Float64Array) -> TableSet:
    """Tables of residuals: a Gaussian for each scale, reshaped by the counts of its symbols.

    Residuals have heavier tails than the Gaussian that training assumes; the symmetrised histogram
    of each scale corrects this where there is enough data.
    """
    gaussian = gaussian_tables(scales)
    pmfs = []
    for table in range(len(gaussian)):
        start, end = gaussian.starts[table], gaussian.starts[table + 1]
        shape = gaussian.frequencies[start : end - 1].astype(np.float64)
        reach = len(shape) // 2
        observed = histogram[table].astype(np.float64)
        observed = (observed + observed[::-1]) / 2
        inside = observed[HISTOGRAM_LIMIT - reach : HISTOGRAM_LIMIT + reach + 1]
        escapes = observed.sum() - inside.sum()
        weighted = inside + LATENT_PRIOR_COUNT * shape / shape.sum()
        pmfs.append((-reach, weighted / (weighted.sum() + escapes + 0.5)))
    return tables_from_pmfs(pmfs)


def made_certain(tables: TableSet, histogram: Int64Array) -> TableSet:
    """Tables of residuals, of which those whose symbols are almost always 0 are made certain.

    Half of all latents then need no coding.
    """
    counts = histogram.sum(axis=1)
    others = counts - histogram[:, HISTOGRAM_LIMIT]
    # The + 1 requires enough symbols: a few zeros prove nothing.
    return tables.with_certain(others + 1 < CERTAIN_SHARE * counts)


def hyper_tables(counts: SymbolCounts) -> TableSet:
    """Tables of the hyper-latents: histograms smoothed by a logistic of their own moments."""
    symbols = np.arange(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT + 1)
    pmfs = []
    for observed in counts.hyper.astype(np.float64):
        total = observed.sum()
        mean = (observed * symbols).sum() / total if total else 0.0
        variance = (observed * (symbols - mean) ** 2).sum() / total if total else 1.0
        scale = max(np.sqrt(3 * variance) / np.pi, 0.15)
        seen = np.flatnonzero(observed)
        low, high = (seen[0], seen[-1]) if total else (HISTOGRAM_LIMIT, HISTOGRAM_LIMIT)
        margin = int(np.ceil(4 * scale)) + 1
        window = slice(max(0, low - margin), min(len(symbols), high + margin + 1))
        shape = _logistic(symbols[window] - mean, scale)
        weighted = observed[window] + HYPER_PRIOR_COUNT * shape
        pmfs.append((int(symbols[window][0]), weighted / (weighted.sum() + 0.5)))
    return tables_from_pmfs(pmfs)


def _logistic(distance: Float64Array, scale: float) -> Float64Array:
    def distribution(value: Float64Array) -> Float64Array:
        return 0.5 * (1 + np.tanh(value / (2 * scale)))

    return distribution(distance + 0.5) - distribution(distance - 0.5)
