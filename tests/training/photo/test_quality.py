"""Qualities are spread by the scores of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from codec.models.photo.quality_map import checked_map, identity_map, position_at
from tests.codec.models.photo.tiny import tiny_coder
from tests.codec.tiny import photographs
from training.photo.quality import (
    ANCHORS,
    POSITIONS,
    mean_scores,
    measured_quality_map,
    spread,
)


def test_the_scores_of_the_anchors_are_met() -> None:
    scores = 95 - 120 * np.exp(-POSITIONS / 2500)
    row = spread(scores)
    assert (row[0], row[-1]) == (100, 10000)
    checked_map(np.stack([row, row]))
    for quality, score in ANCHORS.items():
        assert np.interp(position_at(row, quality * 100), POSITIONS, scores) == pytest.approx(
            score, abs=0.1
        )


@pytest.mark.parametrize(
    "scores",
    [
        np.full(len(POSITIONS), 50.0),  # nothing changes
        np.linspace(90, 10, len(POSITIONS)),  # the wrong way round
        np.linspace(-300, 40, len(POSITIONS)),  # no anchor is reached
        np.r_[np.zeros(len(POSITIONS) - 1), 99.0],
    ],
)
def test_any_scores_give_a_map_that_rises(scores: np.ndarray) -> None:
    row = spread(scores)
    checked_map(np.stack([row, row]))


def test_scores_are_those_of_decoded_pictures() -> None:
    pictures = [pixels[:64, :64] for pixels in photographs(seed=3)[:2]]
    scores = mean_scores(tiny_coder(), pictures)
    assert scores[-1] > scores[0] + 10
    found = measured_quality_map(tiny_coder(), pictures)
    checked_map(found)
    assert (found != identity_map()).any()
    assert (measured_quality_map(tiny_coder(), []) == identity_map()).all()
