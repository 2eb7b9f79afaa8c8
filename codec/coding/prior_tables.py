"""Integer tables of a standard-normal prior: code lengths of a sample z ~ N(0, 1) on a grid.

The steps of all quantisers are rungs of one ladder, so one set of tables serves every dimension
and quality; integer arithmetic picks the rung of a dimension::

    rung j         0      1      2     …     RUNGS − 1
    step Δ_j       8   8·2^(−1/6)  …        8·2^(−9) ≈ 0.016

Tables are built in floating point when a model is exported, and shipped as integers. Two kinds
need only integer arithmetic and are built at run time: `uniform_tables`, and the tables that
`codec.coding.bits_back_tables` derives from a stored normal distribution function.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from bitstream.arrays import Float64Array, Int32Array, Int64Array
from bitstream.errors import UsageError
from bitstream.tables import PRECISION, TOTAL, TableSet, tables_from_pmfs

LARGEST_STEP = 8.0
RUNGS_PER_OCTAVE = 6
RUNGS = 9 * RUNGS_PER_OCTAVE + 1
NOISE_LEVELS = 16
TAIL_MASS = 2.0**-20
DYADIC_BITS = 12
_SMOOTHING = 1e-3
_VALUES_AT_ONCE = 2**13  # so that they stay in the processor's cache


def step_sizes() -> Float64Array:
    """float64 (RUNGS,): the step of each rung, in units of the prior's standard deviation."""
    return LARGEST_STEP * 2.0 ** (-np.arange(RUNGS) / RUNGS_PER_OCTAVE)


def normal_distribution(values: Float64Array) -> Float64Array:
    """Φ: float64 of any shape to probabilities in [0, 1]; precise in the lower tail."""
    # One call per value is slow, but this only computes tables that are made once.
    tails = np.vectorize(math.erfc, otypes=[np.float64])(values * -math.sqrt(0.5))
    result: Float64Array = 0.5 * tails
    return result


def normal_quantile(probabilities: Float64Array) -> Float64Array:
    """Φ⁻¹: float64 in [0, 1] of any shape to standard-normal values, ±∞ at the ends.

    Wichura 1988, "Algorithm AS 241: the percentage points of the normal distribution", accurate to
    about 16 digits: ratios of polynomials near the middle, in the tails, and far out.
    """
    found = np.empty(np.shape(probabilities))
    flat, source = found.ravel(), np.ravel(probabilities)
    for begin in range(0, len(flat), _VALUES_AT_ONCE):
        part = slice(begin, begin + _VALUES_AT_ONCE)
        flat[part] = _quantiles(source[part])
    return found


def _quantiles(probabilities: Float64Array) -> Float64Array:
    offset = probabilities - 0.5
    found = offset * _ratio(_MIDDLE, 0.180625 - offset**2)
    outer = np.flatnonzero(np.abs(offset) > 0.425)
    rest = np.minimum(probabilities[outer], 1 - probabilities[outer])
    with np.errstate(divide="ignore", invalid="ignore"):  # at 0 and 1
        distance = np.sqrt(-np.log(rest))
        tail = np.where(distance <= 5, _ratio(_TAIL, distance - 1.6), _ratio(_FAR, distance - 5))
    found[outer] = np.copysign(np.where(rest == 0, np.inf, tail), offset[outer])
    return found


def _ratio(polynomials: Float64Array, values: Float64Array) -> Float64Array:
    """The quotient of two polynomials of degree 7 at values (n,)."""
    numerator, denominator = (np.full(values.shape, row[0]) for row in polynomials)
    for above, below in polynomials.T[1:]:
        numerator *= values
        numerator += above
        denominator *= values
        denominator += below
    numerator /= denominator
    return numerator


# Numerator and denominator of each part of `normal_quantile`, the highest power first.
# fmt: off
_MIDDLE = np.array([
    [2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0],
    [5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0],
])
_TAIL = np.array([
    [7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0],
    [1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0],
])
_FAR = np.array([
    [2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
     5.46378491116411436990e0, 6.65790464350110377720e0],
    [2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922737805310e-1,
     5.99832206555887937690e-1, 1.0],
])
# fmt: on


def interval_masses(edges: Float64Array) -> Float64Array:
    """N(0, 1) masses (n,) between ascending edges (n + 1,); precise in both tails."""
    left, right = edges[:-1], edges[1:]
    mirrored = left > 0  # there Φ is near 1, and differences would lose all digits
    upper = np.where(mirrored, -left, right)
    lower = np.where(mirrored, -right, left)
    return normal_distribution(upper) - normal_distribution(lower)


def rounding_tables(steps: Sequence[float] | Float64Array) -> TableSet:
    """One table per step: P(K = k) of K = round(z / Δ), z ~ N(0, 1)."""
    return tables_from_pmfs([_grid_pmf(float(step), 0.0) for step in steps])


def dither_tables(
    steps: Sequence[float] | Float64Array, noise_levels: int = NOISE_LEVELS
) -> TableSet:
    """Table `rung · noise_levels + level`: P(K = k | u') of K = round((z + u') / Δ).

    The mass of [ΔK − u' − Δ/2, ΔK − u' + Δ/2] is Δ times the density of N(0, 1) convolved with
    the uniform U(−Δ/2, Δ/2) at ẑ = ΔK − u': the entropy model of universal quantisation (Ziv
    1985; Agustsson and Theis 2020). u' / Δ is taken at the middle of its level.
    """
    pmfs = []
    for step in steps:
        for level in range(noise_levels):
            pmfs.append(_grid_pmf(float(step), (level + 0.5) / noise_levels - 0.5))
    return tables_from_pmfs(pmfs)


def _grid_pmf(step: float, shift: float) -> tuple[int, Float64Array]:
    """Masses of the cells [Δ(k − shift − ½), Δ(k − shift + ½)] until TAIL_MASS is left."""
    reach = float(normal_quantile(np.array([1 - TAIL_MASS / 2]))[0])
    first = int(np.ceil(-reach / step + shift - 0.5))
    last = max(first, int(np.floor(reach / step + shift + 0.5)))
    edges = step * (np.arange(first, last + 2, dtype=np.float64) - (shift + 0.5))
    return first, interval_masses(edges)


def dyadic_quantiles() -> Float64Array:
    """Φ⁻¹(i / 2ᴮ), i = 1 .. 2ᴮ − 1, B = DYADIC_BITS: float64, ascending."""
    return normal_quantile(np.arange(1, 2**DYADIC_BITS) / 2**DYADIC_BITS)


def dyadic_tables(steps: Sequence[float] | Float64Array, rounds: int) -> TableSet:
    """One table per step over i = 1 .. 2ᴮ − 1: the probabilities of the dyadic quantiles.

    The initial code length of i / 2ᴮ is its number of binary digits after the point, without
    trailing zeros, plus the cost of that number, as in variational Bayesian quantisation (Yang,
    Bamler and Mandt 2020). Then, `rounds` times: codes z ~ N(0, 1) of noise s² = Δ²/12 go to the
    point that minimises (ẑ − z)² / 2s² + ln 2 · bits, and each point gets the mass of its cell.
    """
    points = dyadic_quantiles()
    digits = np.log2(2**DYADIC_BITS / _lowest_bit(np.arange(1, len(points) + 1)))
    first = 2.0**-digits * 2 / DYADIC_BITS  # uniform over digits, each shared by 2^(digits−1) i
    pmfs = []
    for step in steps:
        masses = first
        for _ in range(rounds):
            bounds = cell_bounds(points, -np.log(masses), float(step) ** 2 / 12)
            masses = (1 - _SMOOTHING) * interval_masses(bounds) + _SMOOTHING * first
        pmfs.append((1, masses / masses.sum()))
    return tables_from_pmfs(pmfs)


def _lowest_bit(numbers: Int64Array) -> Int64Array:
    return numbers & -numbers


def cell_bounds(points: Float64Array, costs: Float64Array, variance: float) -> Float64Array:
    """Bounds (n + 1,) of the cells of n points: a z belongs to argmin (p − z)² / 2v + cost.

    The term z² / 2v is the same for all points, so this is the lower envelope of lines; a point
    that is never best has equal bounds.
    """
    offsets = points**2 / 2 + variance * costs
    kept: list[int] = []
    starts: list[float] = []
    for number in range(len(points)):
        start = -np.inf
        while kept:
            last = kept[-1]
            start = (offsets[number] - offsets[last]) / (points[number] - points[last])
            if start > starts[-1]:
                break
            kept.pop()
            starts.pop()
            start = -np.inf
        kept.append(number)
        starts.append(float(start))
    bounds = np.full(len(points) + 1, np.inf)
    bounds[kept] = starts
    # Accumulated from the right: a dropped point begins where the next kept one does.
    return np.minimum.accumulate(bounds[::-1])[::-1]


@functools.cache
def uniform_tables(largest_bits: int) -> TableSet:
    """Table m, 0 .. `largest_bits`, makes 0 .. 2ᵐ − 1 equally likely: m raw bits.

    Each entry is 2^(24 − m), minus one in the last for the escape. Raises `UsageError` for more
    than 16 bits.
    """
    if not 0 <= largest_bits <= 16:
        raise UsageError(f"uniform tables of {largest_bits} bits: expected 0 .. 16")
    tables = []
    for bits in range(largest_bits + 1):
        table = np.full(2**bits + 1, TOTAL >> bits, dtype=np.int32)
        table[-2] -= 1
        table[-1] = 1
        tables.append(table)
    return TableSet(
        frequencies=np.concatenate(tables),
        starts=np.cumsum([0, *map(len, tables)], dtype=np.int32),
        minimums=np.zeros(len(tables), dtype=np.int32),
    )


def bernoulli_tables(log_odds: Float64Array) -> TableSet:
    """Table i over {0, 1}: P(1) = 1 / (1 + exp(−log_odds[i])); the escape keeps one unit."""
    ones = 1 / (1 + np.exp(-log_odds))
    return tables_from_pmfs([(0, np.array([1 - one, one])) for one in ones])


def symbol_bits(symbols: Int32Array, indexes: Int32Array, tables: TableSet) -> Float64Array:
    """Ideal code length of each symbol in bits, float64 (n,), including the bits after an escape.

    symbols, indexes   int32 (n,), as for `bitstream.SymbolEncoder.put`
    Raises `UsageError`.
    """
    if not len(symbols):
        return np.zeros(0)
    sizes = tables.sizes[indexes].astype(np.int64)
    entries = symbols.astype(np.int64) - tables.minimums[indexes]
    outside = (entries < 0) | (entries >= sizes)
    entries = np.where(outside, sizes, entries)
    bits: Float64Array = PRECISION - np.log2(tables.frequencies[tables.starts[indexes] + entries])
    for number in np.flatnonzero(outside):
        one = slice(number, number + 1)
        bits[number] = tables.code_length_bits(symbols[one], indexes[one])
    return bits
