"""The pattern that repeats from block to block is found, and noise is not mistaken for it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.photo.pattern import pattern_power


@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_power_of_a_tile_in_noise(noise: float) -> None:
    generator = np.random.default_rng(0)
    original = np.full((330, 500, 3), 128, np.uint8)
    tile = generator.integers(-2, 3, (16, 16, 3))
    power = (tile - tile.mean((0, 1))).var()
    error = np.tile(tile, (21, 32, 1))[:330, :500]
    drawn = error + 3 + np.rint(noise * generator.standard_normal(original.shape))
    decoded = (original + drawn).astype(np.uint8)
    assert pattern_power(original, decoded) == pytest.approx(power, abs=0.1 if noise else 1e-9)
    only_noise = (original + (drawn - error)).astype(np.uint8)
    assert abs(pattern_power(original, only_noise)) < 0.02
