"""Tables of the prior, and the quantisers that use them."""

from __future__ import annotations

import math
import statistics

import numpy as np
import numpy.typing as npt
import pytest

from bitstream import TableSet, UsageError
from bitstream.tables import gaussian_tables
from codec.coding import prior_tables, quantize
from codec.coding.prior_tables import NOISE_LEVELS, RUNGS, normal_distribution, step_sizes

STEPS = np.array([4.0, 1.0, 0.25])


def masses(tables: TableSet, table: int) -> npt.NDArray[np.float64]:
    entries = tables.frequencies[tables.starts[table] : tables.starts[table + 1]]
    result: npt.NDArray[np.float64] = entries / 2**24
    return result


def test_the_ladder_of_steps() -> None:
    steps = step_sizes()
    assert (len(steps), steps[0], steps[6]) == (RUNGS, 8.0, 4.0)
    assert steps[-1] == 8.0 / 512


def test_the_normal_quantile_is_that_of_the_standard_library() -> None:
    probabilities = np.concatenate([np.arange(1, 1000) / 1000, 10.0 ** np.arange(-300, -1, 7)])
    probabilities = np.append(probabilities, 1 - 2.0**-53)
    expected = [statistics.NormalDist().inv_cdf(p) for p in probabilities]
    np.testing.assert_allclose(
        prior_tables.normal_quantile(probabilities), expected, rtol=1e-14, atol=1e-15
    )
    ends = prior_tables.normal_quantile(np.array([[0.0, 0.5, 1.0]]))
    np.testing.assert_array_equal(ends, [[-np.inf, 0.0, np.inf]])


def test_normal_functions_are_inverse_and_keep_their_tails() -> None:
    values = np.linspace(-8, 5, 40)
    found = prior_tables.normal_quantile(normal_distribution(values))
    np.testing.assert_allclose(found, values, rtol=1e-6)
    tail = prior_tables.interval_masses(np.array([7.0, 7.5, np.inf]))
    expected = np.array([math.erfc(7 / 2**0.5) - math.erfc(7.5 / 2**0.5), math.erfc(7.5 / 2**0.5)])
    np.testing.assert_allclose(tail, expected / 2, rtol=1e-9)


def test_rounding_tables_hold_the_masses_of_the_cells() -> None:
    tables = prior_tables.rounding_tables(STEPS)
    for number, step in enumerate(STEPS):
        low = tables.minimums[number]
        centres = step * np.arange(low, low + tables.sizes[number])
        upper = normal_distribution(centres + step / 2)
        expected = upper - normal_distribution(centres - step / 2)
        assert np.abs(masses(tables, number)[:-1] - expected).max() < 2e-6
        assert masses(tables, number)[-1] < 2e-5
    # The codec's Gaussian tables are made for a step of one.
    gaussian = masses(gaussian_tables(np.array([1.0])), 0)
    assert masses(tables, 1).max() == pytest.approx(gaussian.max(), abs=1e-5)


def test_dither_tables_are_the_prior_convolved_with_the_uniform() -> None:
    tables = prior_tables.dither_tables(STEPS)
    assert len(tables) == len(STEPS) * NOISE_LEVELS
    for number, step in enumerate(STEPS):
        for level in (0, 5, NOISE_LEVELS - 1):
            table = number * NOISE_LEVELS + level
            noise = (level + 0.5) / NOISE_LEVELS - 0.5
            symbol = int(tables.minimums[table] + tables.sizes[table] // 2)
            centre = step * (symbol - noise)
            density, fine = 0.0, np.linspace(-step / 2, step / 2, 2001)
            density = float(np.exp(-((centre + fine) ** 2) / 2).mean() / math.sqrt(2 * math.pi))
            found = masses(tables, table)[symbol - tables.minimums[table]]
            assert found == pytest.approx(step * density, rel=1e-3)


def test_uniform_tables_cost_their_bits() -> None:
    tables = prior_tables.uniform_tables(5)
    for bits in range(6):
        symbols = np.arange(2**bits, dtype=np.int32)
        costs = prior_tables.symbol_bits(symbols, np.full_like(symbols, bits), tables)
        np.testing.assert_allclose(costs, bits, atol=1e-4)
    with pytest.raises(UsageError):
        prior_tables.uniform_tables(17)


def test_symbol_bits_sum_to_the_code_length() -> None:
    tables = prior_tables.rounding_tables(STEPS)
    rng = np.random.default_rng(0)
    indexes = rng.integers(0, 3, 400).astype(np.int32)
    symbols = np.rint(rng.normal(0, 4, 400)).astype(np.int32)
    symbols[7] = 10**6  # an escape
    bits = prior_tables.symbol_bits(symbols, indexes, tables)
    assert bits.sum() == pytest.approx(tables.code_length_bits(symbols, indexes))
    assert bits[7] > 24


def test_bernoulli_tables() -> None:
    tables = prior_tables.bernoulli_tables(np.array([0.0, 2.0, -40.0]))
    assert masses(tables, 0)[1] == pytest.approx(0.5, abs=1e-6)
    assert masses(tables, 1)[1] == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-6)
    assert tables.frequencies[tables.starts[2] + 1] == 1


def test_dither_is_uniform_independent_noise() -> None:
    rng = np.random.default_rng(1)
    latents = rng.normal(0, 1, (20_000, 2)).astype(np.float32)
    steps = np.array([0.3, 2.0])
    noise = quantize.dither_noise(20_000, 2)
    symbols = quantize.quantize_dithered(latents, steps, noise)
    errors = (quantize.dequantize_dithered(symbols, steps, noise) - latents) / steps
    for column, latent in zip(errors.T, latents.T, strict=True):
        uniform = (np.arange(20_000) + 0.5) / 20_000 - 0.5
        assert np.abs(np.sort(column) - uniform).max() < 0.015  # Kolmogorov, p about 0.0005
        assert abs(np.corrcoef(column, latent)[0, 1]) < 0.025
        assert abs(np.corrcoef(column**2, latent**2)[0, 1]) < 0.025


def test_shared_noise_is_fixed_for_good() -> None:
    noise = quantize.dither_noise(2, 3)
    assert noise.tolist() == [
        [3674008742, 3191230649, 4026474531],
        [833354886, 3693900718, 3700689635],
    ]
    np.testing.assert_array_equal(quantize.dither_noise(5, 3)[:2], noise)
    levels = quantize.noise_levels(np.array([0, 2**28 - 1, 2**28, 2**32 - 1], np.uint32))
    assert levels.tolist() == [0, 0, 1, NOISE_LEVELS - 1]


def test_rounding_goes_to_the_nearest_multiple() -> None:
    latents = np.array([[0.49, -1.0], [1.6, np.nan], [np.inf, -np.inf]], np.float32)
    symbols = quantize.round_to_grid(latents, np.array([1.0, 0.25]))
    limit = quantize.SYMBOL_LIMIT
    assert symbols.tolist() == [[0, -4], [2, 0], [limit, -limit]]
    found = quantize.multiples(symbols[:2], np.array([1.0, 0.25]))
    assert found.tolist() == [[0.0, -1.0], [2.0, 0.0]]


def test_table_sets_are_chosen_by_integers() -> None:
    assert [quantize.table_set(h, 25) for h in (100, 305, 307, 7500, 10_000)] == [0, 0, 1, 18, 24]
    assert quantize.table_set(5000, 1) == 0


def test_cells_of_the_dyadic_grid_are_those_of_the_minimum() -> None:
    points = np.array([-2.0, -0.7, -0.6, 0.0, 0.1, 1.5])
    costs = np.array([3.0, 2.0, 9.0, 1.0, 1.2, 2.5])
    bounds = prior_tables.cell_bounds(points, costs, 0.2)
    values = np.linspace(-3, 3, 4001)
    best = ((points - values[:, None]) ** 2 / 0.4 + costs).argmin(axis=1)
    for number in range(len(points)):
        inside = (values > bounds[number] + 1e-6) & (values < bounds[number + 1] - 1e-6)
        assert (best[inside] == number).all()
    assert (bounds[0], bounds[-1]) == (-np.inf, np.inf)
    assert bounds[2] == bounds[3], "a point that is never best has an empty cell"


def test_variational_quantisation_spends_bits_where_the_posterior_is_sure() -> None:
    step = step_sizes()[20]
    tables = prior_tables.dyadic_tables([step], 2)
    bits = 24 - np.log2(tables.frequencies[:-1])[None]
    mean = np.random.default_rng(2).normal(0, 1, (400, 1))
    points = prior_tables.dyadic_quantiles()
    errors, rates = [], []
    for spread in (0.02, 0.2, 1.0):
        symbols = quantize.quantize_variational(mean, np.full_like(mean, spread**2), 1.0, bits)
        errors.append(float(np.abs(points[symbols - 1] - mean).mean()))
        rates.append(float(bits[0, symbols - 1].mean()))
    assert errors == sorted(errors)
    assert rates == sorted(rates, reverse=True)
    # The distribution to which the table was fitted is coded near its rate-distortion function.
    symbols = quantize.quantize_variational(mean, np.full_like(mean, step**2 / 12), 1.0, bits)
    rate = float(bits[0, symbols - 1].mean())
    ideal = 0.5 * math.log2(1 / np.mean((points[symbols - 1] - mean) ** 2))
    assert ideal < rate < ideal + 0.7
