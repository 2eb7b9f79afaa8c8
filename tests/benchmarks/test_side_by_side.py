"""The picture of three: what is cut out of each is what is shown."""

from __future__ import annotations

import numpy as np

from benchmarks.photo.side_by_side import ENLARGE, GAP, LABEL, at_most, panels
from tests.codec.tiny import photographs


def test_panels_show_the_same_part_of_each() -> None:
    one = photographs(1, side=64)[0]
    other = np.invert(one)
    sheet = np.asarray(panels([("one", one), ("other", other)], (8, 16, 40, 48)))
    side = 32 * ENLARGE
    assert sheet.shape == (side + LABEL, 2 * side + GAP, 3)
    for number, pixels in enumerate((one, other)):
        left = number * (side + GAP)
        shown = sheet[:side:ENLARGE, left : left + side : ENLARGE]
        np.testing.assert_array_equal(shown, pixels[16:48, 8:40])
    assert (sheet[side:] < 128).any()  # the label is written


def test_our_file_is_no_larger_than_the_other(tiny_weights: object) -> None:
    file = at_most(photographs(1, side=96)[0], 500, effort=1)
    assert 300 < len(file.data) <= 500
    assert file.pixels.shape == (96, 96, 3)
