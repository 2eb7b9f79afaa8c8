"""Drawn images have the content that they state, and the counters find it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.harness.probes import count_dots, ink_area, pie_fraction
from benchmarks.harness.procedural_images import draw_dots, draw_pies
from bitstream.errors import UsageError


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), side=st.integers(28, 48), radius=st.floats(1.5, 2.4))
def test_dots_are_counted(seed: int, side: int, radius: float) -> None:
    pytest.importorskip("skimage")
    dots = draw_dots(8, side=side, radius=radius, seed=seed)
    assert dots.images.shape == (8, 1, side, side)
    assert dots.counts.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert count_dots(dots.images, dots.disc_area).tolist() == dots.counts.tolist()
    assert ink_area(dots.images) == pytest.approx(dots.counts * dots.disc_area, rel=0.05)


def test_counts_are_of_what_is_there() -> None:
    pytest.importorskip("skimage")
    dots = draw_dots(3, dots=(2, 4), seed=1)
    assert dots.counts.tolist() == [2, 3, 4]
    lost = dots.images.copy()
    rows, columns = np.nonzero(lost[2, 0] > 0)
    lost[2, 0, rows[0] : rows[0] + 6, max(0, columns[0] - 4) : columns[0] + 5] = 0
    assert count_dots(lost, dots.disc_area)[2] == 3
    speckled = dots.images.copy()
    speckled[0, 0, 0, 0] = 255  # too small for a dot
    assert count_dots(speckled, dots.disc_area)[0] == 2
    joined = np.full((1, 3, 32, 32), 255, np.uint8)
    assert count_dots(joined, dots.disc_area).tolist() == [1]
    assert count_dots(np.full_like(joined, 85), dots.disc_area).tolist() == [0]
    assert count_dots(dots.images.repeat(3, 1), dots.disc_area).tolist() == [2, 3, 4]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), side=st.integers(26, 64))
def test_slices_have_their_size(seed: int, side: int) -> None:
    pies = draw_pies(9, side=side, radius=side / 2 - 2, seed=seed)
    assert pie_fraction(pies.images) == pytest.approx(pies.fractions, abs=0.05)
    level = pies.images.astype(float).sum(axis=(1, 2, 3))
    area = np.pi * (side / 2 - 2) ** 2
    assert level == pytest.approx(area * (128 + 127 * pies.fractions), rel=0.02)


def test_pies_without_a_slice_and_no_pies() -> None:
    pies = draw_pies(2, fractions=(0.0, 1.0))
    assert pie_fraction(pies.images).tolist() == [0, 1]
    assert np.isnan(pie_fraction(np.zeros_like(pies.images))).all()


def test_the_same_seed_gives_the_same_images() -> None:
    for draw in (draw_dots, draw_pies):
        first, again, other = (draw(5, seed=seed).images for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: draw_dots(0),
        lambda: draw_dots(1, side=4),
        lambda: draw_dots(1, radius=0.5),
        lambda: draw_dots(1, dots=(3, 2)),
        lambda: draw_dots(1, gap=-1.0),
        lambda: draw_dots(8, side=12),
        lambda: draw_dots(1, side=8, radius=3.0),
        lambda: draw_pies(1, radius=20.0),
        lambda: draw_pies(1, fractions=()),
        lambda: draw_pies(1, fractions=(1.5,)),
    ],
)
def test_sizes_that_are_no_images(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError, match=r"expected|take fewer"):
        wrong()
