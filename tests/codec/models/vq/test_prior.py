"""The prior of codes: coding with integers, in an order that a decoder can follow."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream import SymbolDecoder, SymbolEncoder, WeightsMismatchError
from bitstream.tables import TableSet
from codec.coding.exact_layers import to_fixed_point, to_floats
from codec.coding.prior_tables import bernoulli_tables
from codec.models.vq.networks import VqConfig
from codec.models.vq.prior import (
    AROUND,
    BEFORE,
    ExactCodePrior,
    Front,
    fronts,
    network_inputs,
    paths,
)
from tests.codec.models.vq.tiny import COLOUR, GREY, random_prior
from training.vq.code_prior import CodePrior, chosen_lengths, code_lengths

Int32Array = npt.NDArray[np.int32]
BLOCKS = 5
CASES = pytest.mark.parametrize(
    ("config", "level"), [(COLOUR, 0), (COLOUR, 1), (GREY, 0)], ids=["top", "bottom", "only"]
)


def random_codes(config: VqConfig, level: int) -> Int32Array:
    side = config.grid(level)
    rng = np.random.default_rng(level + 7)
    return rng.integers(0, config.codes[level], (BLOCKS, side, side)).astype(np.int32)


def encoded(
    prior: ExactCodePrior, codes: Int32Array, above: Int32Array | None, quality: int = 5000
) -> tuple[bytes, float]:
    """The bytes of codes, and their bits under the prior."""
    lengths: list[float] = []

    def choose(front: Front, part: slice, indexes: Int32Array) -> Int32Array:
        numbers = np.ascontiguousarray(codes[part][:, front.rows, front.columns]).ravel()
        rows = prior.code_lengths(indexes)
        lengths.extend(rows[np.arange(len(numbers)), numbers].tolist())
        return numbers

    encoder = SymbolEncoder()
    found = prior.encode(len(codes), above, quality, choose, encoder)
    np.testing.assert_array_equal(found, codes)
    return encoder.finish(), sum(lengths)


def case(config: VqConfig, level: int) -> tuple[ExactCodePrior, Int32Array, Int32Array | None]:
    above = random_codes(config, level - 1) if level else None
    return random_prior(config, level), random_codes(config, level), above


@CASES
@pytest.mark.parametrize("quality", [100, 3333, 10_000])
def test_codes_come_back_in_the_bits_that_the_prior_says(
    config: VqConfig, level: int, quality: int
) -> None:
    prior, codes, above = case(config, level)
    data, bits = encoded(prior, codes, above, quality)
    decoder = SymbolDecoder(data)
    np.testing.assert_array_equal(prior.decode(BLOCKS, above, quality, decoder), codes)
    decoder.finish()
    assert 8 * len(data) == pytest.approx(bits, abs=24)
    # Log-odds that are not rounded to eighths give about as many.
    nats = prior.nats(codes, above, quality)
    assert nats.shape == (BLOCKS,)
    assert nats.sum() / np.log(2) == pytest.approx(bits, rel=0.01)
    assert prior.nats(codes[1:2], None if above is None else above[1:2], quality) == pytest.approx(
        nats[1:2]
    )


@CASES
def test_many_blocks_at_a_time_are_coded_as_few(
    config: VqConfig, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, codes, above = case(config, level)
    data = encoded(prior, codes, above)[0]
    monkeypatch.setattr("codec.models.vq.prior._CODES_AT_ONCE", 3)
    assert encoded(prior, codes, above)[0] == data
    np.testing.assert_array_equal(prior.decode(BLOCKS, above, 5000, SymbolDecoder(data)), codes)


def test_the_order_goes_through_the_map_once_and_never_looks_ahead() -> None:
    for side in (1, 2, 5, 16):
        time = np.full((side, side), -1)
        for number, front in enumerate(fronts(side)):
            assert (time[front.rows, front.columns] == -1).all()
            assert (np.diff(front.rows) > 0).all()
            time[front.rows, front.columns] = number
        assert (time >= 0).all()
        for (row, column), (down, right) in itertools.product(np.ndindex(side, side), BEFORE):
            y, x = row + down, column + right
            if 0 <= y < side and 0 <= x < side:
                assert time[y, x] < time[row, column]
    assert (len(BEFORE), len(AROUND)) == (12, 9)


def test_a_code_is_a_path_down_a_tree() -> None:
    nodes, bits = paths(np.arange(8, dtype=np.int32), 3)
    assert nodes.tolist()[5] == [0, 2, 5]
    assert bits.tolist()[5] == [1, 0, 1]
    for path, steps in zip(nodes.tolist(), bits.tolist(), strict=True):
        for node, bit, then in zip(path, steps, path[1:], strict=False):
            assert then == 2 * node + 1 + bit


@CASES
def test_the_prior_in_training_is_the_one_that_codes(config: VqConfig, level: int) -> None:
    exact, codes, above = case(config, level)
    torch.manual_seed(5)
    prior = CodePrior(config, level)
    with torch.no_grad():
        prior.embedding.weight.copy_(torch.from_numpy(exact.embedding / 1024))
        if prior.above is not None:
            assert exact.above is not None
            prior.above.weight.copy_(torch.from_numpy(exact.above / 1024))
        for mine, layer in zip((prior.first, prior.second, prior.last), exact.network, strict=True):
            weight, bias = to_floats(layer)
            mine.weight.copy_(torch.from_numpy(weight[:, :, 0, 0]))
            mine.bias.copy_(torch.from_numpy(bias))
        quality = torch.full((BLOCKS,), 0.37)
        wide = torch.from_numpy(codes).long()
        odds = prior(wide, None if above is None else torch.from_numpy(above).long(), quality)
        bits = float(chosen_lengths(odds, wide, prior.depth).sum())
        every = code_lengths(odds, prior.depth)
    torch.testing.assert_close(
        every.gather(-1, wide[..., None])[..., 0], chosen_lengths(odds, wide, prior.depth)
    )
    torch.testing.assert_close((2.0**-every).sum(-1), torch.ones(wide.shape))
    # Tables have steps of an eighth in log-odds, and integers are rounded down.
    expected = encoded(exact, codes, above, 100 + round(0.37 * 9900))[1]
    assert bits == pytest.approx(expected, rel=0.01)


def test_a_prior_of_other_sizes_is_refused() -> None:
    prior = random_prior(COLOUR, 1)
    first, second, last = prior.network
    rng = np.random.default_rng(0)
    knots = to_fixed_point(rng.normal(0, 1, (7, 6, 1, 1)), np.zeros((2, 7)))
    tables = prior.tables
    moved = TableSet(tables.frequencies, tables.starts, tables.minimums + np.int32(1))
    wrong: list[dict[str, Any]] = [
        {"network": (second, second, last)},
        {"network": (first, second, second)},
        {"network": (first, second, knots)},
        {"tables": bernoulli_tables(np.zeros(256))},
        {"tables": moved},
    ]
    for change in wrong:
        with pytest.raises(WeightsMismatchError, match="prior of codes"):
            dataclasses.replace(prior, **change)
    assert network_inputs(COLOUR, 1) == first.weight.shape[1] == 12 * 3 + 9 * 3 + 2
