"""Latents to symbols and back.

`residuals`                for the photo model, in steps around a predicted mean
`round_to_grid`            to the nearest multiple of a step
`quantize_dithered`        the same with shared noise added before and subtracted after rounding:
                           universal quantisation
`quantize_variational`     to the prior quantile that best trades bits for posterior density: VBQ
"""

from __future__ import annotations

import math

import numpy as np

from bitstream.arrays import Float32Array, Float64Array, Int32Array, Uint32Array
from codec.coding.exact_layers import ACTIVATION_BITS
from codec.coding.prior_tables import NOISE_LEVELS, dyadic_quantiles

SYMBOL_LIMIT = 2**30


DITHER_SEED = 0xCA12
_ROWS = 256  # whose distances to all points are in memory at once

_UNIT = np.float32(2.0**-ACTIVATION_BITS)


def residuals(latents: Float32Array, means: Int32Array) -> Float32Array:
    """y − μ: latents in quantiser steps, means in units of 2⁻¹⁰ steps, equal shapes.

    NaN becomes 0 and values beyond ±2³⁰ are clipped, so any input has symbols.
    """
    values: Float32Array = latents - means.astype(np.float32) * _UNIT
    if values.size and max(-values.min(), values.max()) <= SYMBOL_LIMIT:  # not so with NaN
        return values
    return np.clip(np.nan_to_num(values, nan=0.0), -SYMBOL_LIMIT, SYMBOL_LIMIT)


def round_hyper_latents(hyper_latents: Float32Array) -> Int32Array:
    """Round to integers in −4096 .. 4096, the range of the exact path."""
    bounded = np.clip(np.nan_to_num(hyper_latents, nan=0.0), -4096, 4096)
    return np.rint(bounded).astype(np.int32)


def table_set(hundredths: int, sets: int) -> int:
    """The nearest of `sets` table sets, spread evenly over the qualities: 0 .. sets − 1.

    hundredths   quality in hundredths, 100 .. 10000. Integer arithmetic: it selects tables.
    """
    return ((hundredths - 100) * (sets - 1) + 4950) // 9900


def round_to_grid(latents: Float32Array, steps: Float64Array) -> Int32Array:
    """K = round(y / Δ): latents (n, k), steps (k,); NaN becomes 0, |K| at most 2³⁰."""
    return _to_symbols(latents / steps)


def multiples(symbols: Int32Array, steps: Float64Array) -> Float32Array:
    """ŷ = Δ K: symbols (n, k), steps (k,)."""
    return (symbols * steps).astype(np.float32)


def dither_noise(count: int, dimensions: int) -> Uint32Array:
    """Shared noise, uint32 (count, dimensions): u' / Δ = (r + ½) / 2³² − ½, r uniform.

    These are the upper halves of raw PCG64 numbers from a fixed seed, which NumPy guarantees.
    """
    raw = np.random.PCG64(DITHER_SEED).random_raw(count * dimensions)
    noise: Uint32Array = (raw >> np.uint64(32)).astype(np.uint32)
    return noise.reshape(count, dimensions)


def noise_levels(noise: Uint32Array) -> Int32Array:
    """The level of the noise that selects a table, 0 .. NOISE_LEVELS − 1: its upper bits."""
    return ((noise.astype(np.int64) * NOISE_LEVELS) >> 32).astype(np.int32)


def quantize_dithered(latents: Float32Array, steps: Float64Array, noise: Uint32Array) -> Int32Array:
    """K = round((y + u') / Δ): latents and noise (n, k), steps (k,)."""
    return _to_symbols(latents / steps + _relative(noise))


def dequantize_dithered(
    symbols: Int32Array, steps: Float64Array, noise: Uint32Array
) -> Float32Array:
    """ŷ = Δ K − u', which is distributed as y + U, U uniform on [−Δ/2, Δ/2] (Ziv 1985)."""
    return ((symbols - _relative(noise)) * steps).astype(np.float32)


def quantize_variational(
    mean: Float64Array, variance: Float64Array, trade_off: float, bits: Float64Array
) -> Int32Array:
    """The dyadic prior quantile ẑ that minimises (ẑ − μ)² / 2σ² + λ · ln 2 · bits(ẑ).

    mean, variance   posterior, float64 (n, k), variance > 0
    trade_off        λ > 0: 1 weighs bits as the evidence lower bound does
    bits             float64 (k, 2ᴮ − 1), code length of each point in each dimension

    Returns i = 1 .. 2ᴮ − 1, int32 (n, k): ẑ = Φ⁻¹(i / 2ᴮ). Variational Bayesian quantisation (Yang,
    Bamler and Mandt 2020) on the quantiles of the standard normal.
    """
    points = dyadic_quantiles()
    costs = trade_off * math.log(2) * bits
    symbols = np.empty(mean.shape, dtype=np.int32)
    for begin in range(0, len(mean), _ROWS):
        rows = slice(begin, begin + _ROWS)
        for dimension in range(mean.shape[1]):
            distance = points - mean[rows, dimension, None]
            cost = distance**2 / (2 * variance[rows, dimension, None]) + costs[dimension]
            symbols[rows, dimension] = cost.argmin(axis=1) + 1
    return symbols


def _relative(noise: Uint32Array) -> Float64Array:
    return (noise.astype(np.float64) + 0.5) * 2.0**-32 - 0.5


def _to_symbols(scaled: Float64Array) -> Int32Array:
    bounded = np.clip(np.nan_to_num(scaled, nan=0.0), -SYMBOL_LIMIT, SYMBOL_LIMIT)
    return np.rint(bounded).astype(np.int32)
