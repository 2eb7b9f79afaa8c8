"""A payload of the DRAW archive means what FORMAT.md says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from codec.models.draw.recursion import DrawConfig
from codec.models.sheets import sheet_of
from tests.codec.models.draw.archive_oracle import decode_archive
from tests.codec.models.draw.tiny_archive import BINARY, COLOUR, SIDE, arrays, images, load
from tests.golden.draw_oracle import Weights


@pytest.mark.parametrize(("config", "count"), [(BINARY, 24), (COLOUR, 5)], ids=["binary", "colour"])
def test_a_decoder_written_from_the_text_agrees(config: DrawConfig, count: int) -> None:
    # Few maps, so that groups of several blocks come early.
    few = {n: array[[0, 2, 4]] for n, array in arrays(config).items() if ".bits" in n}
    model, blocks = load(config, few), images(config, count, 7)
    assert len(model.push_blocks(blocks)[0]) > len(model.binned.maps)
    (payload,) = model.encode_tile(model.analyze(sheet_of(blocks, 1, count), 75), 75)
    weights = Weights(dataclasses.asdict(config), {**arrays(config), **few}, 10000)
    np.testing.assert_array_equal(decode_archive(payload, weights, SIDE, count), blocks)
