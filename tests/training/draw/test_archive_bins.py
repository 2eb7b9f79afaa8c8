"""The number of bins of a coordinate."""

from __future__ import annotations

import numpy as np

from codec.models.draw.exact import ExactDraw
from tests.codec.models.draw.tiny_archive import BINARY, arrays, strokes
from training.draw.archive_bins import LADDER, costs, fitted_bits


def test_larger_archives_get_more_bins_and_the_first_map_none() -> None:
    found = fitted_bits(ExactDraw(BINARY, arrays(BINARY)), strokes(30, seed=4))
    assert sorted(found) == ["posterior.bits0", "posterior.bits1"]
    assert found["posterior.bits0"].shape == (len(LADDER), 2, 3, 4, 4)
    assert found["posterior.bits1"].shape == (len(LADDER), 2, 2, 2, 2)
    bits = sum(maps.reshape(len(LADDER), -1).sum(axis=1, dtype=int) for maps in found.values())
    assert isinstance(bits, np.ndarray)
    assert bits[0] == 0
    assert (np.diff(bits) >= 0).all()
    assert bits[-1] > 2 * bits[3] > 0


def test_costs_are_those_of_the_gaussian() -> None:
    loss, popped = costs()
    # Fine bins cost nothing, and pop their bits beyond the divergence.
    bits = len(loss) - 1
    mean, log_variance = 5 * (40 / 80) ** 2, -2.0
    row, column = 40, round((log_variance + 11) * 8)
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    assert abs(loss[bits, row, column]) < 1e-3
    assert abs(popped[bits, row, column] - (bits * np.log(2) - divergence)) < 1e-3
    # One bin loses at least the divergence, and a posterior that is the prior loses nothing.
    assert loss[0, row, column] >= divergence
    assert abs(loss[0, 0, 88]) < 1e-9
    assert (np.diff(loss, axis=0) <= 1e-12).all()
    assert (popped[0] == 0).all()
