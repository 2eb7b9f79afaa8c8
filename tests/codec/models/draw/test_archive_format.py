"""A payload of the DRAW archive means what FORMAT.md says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from codec.models.draw.exact import ExactDraw
from codec.models.draw.recursion import DrawConfig
from codec.models.sheets import sheet_of
from tests.codec.models.draw.archive_oracle import decode_archive
from tests.codec.models.draw.tiny_archive import BINARY, COLOUR, SIDE, arrays, images, load
from tests.golden.draw_oracle import Weights
from training.draw.archive_bins import fitted_bits


@pytest.mark.parametrize(("config", "count"), [(BINARY, 24), (COLOUR, 5)], ids=["binary", "colour"])
def test_a_decoder_written_from_the_text_agrees(config: DrawConfig, count: int) -> None:
    # Only few maps, so that groups of several blocks come early.
    few = {n: array[[0, 2, 4]] for n, array in arrays(config).items() if ".bits" in n}
    model, blocks = load(config, few), images(config, count, 7)
    assert len(model.push_blocks(blocks)[0]) > len(model.binned.maps)
    (payload,) = model.encode_tile(model.analyze(sheet_of(blocks, 1, count), 75), 75)
    weights = Weights(dataclasses.asdict(config), {**arrays(config), **few}, 10000)
    np.testing.assert_array_equal(decode_archive(payload, weights, SIDE, count), blocks)


def test_positions_may_lie_half_outside() -> None:
    # 3×3 positions in level 0, and 2×2 in level 1.
    side, count = 6, 24
    strokes = images(BINARY, 100 + count, 7)[:, :, :side, :side]
    bits = fitted_bits(ExactDraw(BINARY, arrays(BINARY)), strokes[count:])
    assert bits["posterior.bits1"].shape[-2:] == (2, 2)
    few = {name: array[[0, 2, 4]] for name, array in bits.items()}
    model, blocks = load(BINARY, few, side=str(side)), strokes[:count]
    assert len(model.push_blocks(blocks)[0]) > len(model.binned.maps)
    (payload,) = model.encode_tile(model.analyze(sheet_of(blocks, 1, count), 75), 75)
    weights = Weights(dataclasses.asdict(BINARY), {**arrays(BINARY), **few}, 10000)
    np.testing.assert_array_equal(decode_archive(payload, weights, side, count), blocks)
