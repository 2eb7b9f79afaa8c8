"""The coder of signals: samples are restored, and cost what the tables say."""

from __future__ import annotations

import numpy as np
import pytest

from bitstream.arrays import Array, Int32Array
from bitstream.errors import TableError, WeightsMismatchError
from codec.models.signal.coder import (
    SCALES,
    TABLES,
    Choice,
    Expected,
    SignalCoder,
    choose,
    joined,
    lanes_of,
    samples_of,
    split,
)
from codec.models.signal.lanes import INPUTS, STEPS, Step, sweep
from codec.models.signal.network import SignalConfig
from tests.codec.models.signal.tiny import CONFIG, tiny_arrays, tiny_coder, tone

LIMITS = (-(2**15), 2**15 - 1)


@pytest.mark.parametrize(("count", "lanes"), [(1, 1), (7, 3), (9, 3), (8, 8), (100, 9), (5, 4)])
def test_lanes_follow_one_another(count: int, lanes: int) -> None:
    samples = np.arange(1, count + 1, dtype=np.int32)
    rows = lanes_of(samples, lanes)
    assert rows.shape == (-(-count // lanes), lanes)
    assert rows[0, 0] == 1
    assert (np.diff(rows[:-1], axis=0) == 1).all()
    np.testing.assert_array_equal(samples_of(list(rows), count, lanes), samples)


@pytest.mark.parametrize("lanes", [1, 2, 7])
def test_a_signal_comes_back(lanes: int) -> None:
    samples = tone(300).astype(np.int32)
    data = tiny_coder().encode(samples, lanes, LIMITS)
    np.testing.assert_array_equal(tiny_coder().decode(data, 300, lanes, LIMITS), samples)


def test_bytes_are_what_the_tables_say() -> None:
    samples, coder, bits = tone(400).astype(np.int32), tiny_coder(), 0.0
    rows = lanes_of(samples, 4)

    def code(number: int, expected: Expected) -> Int32Array:
        nonlocal bits
        row: Int32Array = rows[number]
        bits += coder.tables.code_length_bits(*split(row, choose(expected), 4))
        return row

    coder.expect(400, 4, LIMITS, code)
    assert 8 * len(coder.encode(samples, 4, LIMITS)) == pytest.approx(bits, abs=64)


@pytest.mark.parametrize("low_bits", range(11))
def test_low_bits_are_put_back(low_bits: int) -> None:
    samples = np.array([-32768, -5, 0, 3, 32767], np.int32)
    centres = np.array([40, -900, 7, 3, 32767], np.int32)
    choice = Choice(centres, np.zeros(5, np.int32), np.full(5, low_bits, np.int32))
    symbols, indexes = split(samples, choice, 5)
    assert len(indexes) == len(symbols) == (10 if low_bits else 5)
    np.testing.assert_array_equal(joined(symbols, choice, 5, LIMITS), samples)


def test_every_scale_and_fraction_has_a_table() -> None:
    means = np.tile(np.arange(16.0), SCALES)
    chosen = choose(Expected(means, np.repeat(1024.0 * np.arange(SCALES, dtype=np.float64), 16)))
    used = set(chosen.tables.tolist())
    assert used == set(range(TABLES - 10))
    assert set(chosen.low_bits.tolist()) == set(range(11))


def test_every_symbol_costs_something() -> None:
    tables = tiny_coder().tables
    # So a payload ends long before a decoder has read what a hostile header announces.
    assert tables.frequencies.max() < 2**24 * (1 - 2**-12)
    assert not tables.certain.any()


def test_lanes_do_not_see_each_other_nor_what_follows() -> None:
    samples = tone(600).astype(np.int32)

    def seen(rows: Int32Array) -> list[Step]:
        steps: list[Step] = []

        def code(step: Step) -> Int32Array:
            steps.append(step)
            row: Int32Array = rows[len(steps) - 1]
            return row

        sweep(rows.shape[1], len(rows), code)
        return steps

    together = seen(lanes_of(samples, 3))
    other = lanes_of(samples, 3)[:, 1:2].copy()
    other[150:] = 99
    alone = seen(other)
    for step in range(151):
        np.testing.assert_array_equal(alone[step].inputs[:, 0], together[step].inputs[:, 1])
        np.testing.assert_array_equal(
            alone[step].predictions[:, 0], together[step].predictions[:, 1]
        )
    assert (alone[151].inputs[:, 0] != together[151].inputs[:, 1]).any()
    assert together[0].inputs.shape == (INPUTS, 3)


def test_inputs_and_predictions_are_integers_within_their_ranges() -> None:
    rng = np.random.default_rng(1)
    noise = rng.choice([-(2**15), 2**15 - 1, 0], (200, 5)).astype(np.int32)
    steps = iter(noise)

    def code(step: Step) -> Int32Array:
        for values in (step.inputs, step.predictions, step.scales):
            assert not (values % 1).any()
        assert np.abs(step.inputs).max() < 2**13
        assert np.abs(step.predictions).max() <= 2**22
        assert STEPS * step.scales.max() < 2**33
        return next(steps)

    sweep(5, 200, code)


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("first.weight", np.zeros((5, 3, 1, 1), np.int16), WeightsMismatchError),
        ("layers.1.weight", np.zeros((5, 5, 1, 1), np.int16), WeightsMismatchError),
        ("output.bias", np.zeros((1, 2), np.int32), WeightsMismatchError),
        ("tables.minimums", np.zeros(3, np.int32), TableError),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    name: str, array: Array, error: type[Exception]
) -> None:
    with pytest.raises(error):
        SignalCoder({**tiny_arrays(), name: array}, CONFIG, bytes(8))


@pytest.mark.parametrize("sizes", [(0, (1,)), (4, (0,)), (4, (2**13,)), (4, (1,) * 65)])
def test_sizes_beyond_any_use_are_refused(sizes: tuple[int, tuple[int, ...]]) -> None:
    with pytest.raises(WeightsMismatchError):
        SignalConfig(*sizes)
