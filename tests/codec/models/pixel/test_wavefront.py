"""The decoding order, and that only decoded pixels are used."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitstream.arrays import Int32Array
from codec.coding.exact_logarithm import logarithm
from codec.models.pixel.wavefront import INPUTS, LAG, PEAK, STEPS, Front, sweep
from tests.codec.models.pixel.tiny import scene

Seen = dict[tuple[int, int, int], tuple[float, ...]]


def seen(planes: Int32Array) -> Seen:
    """The prediction and the inputs of every pixel: by plane, row and column."""
    found: Seen = {}

    def code(front: Front) -> Int32Array:
        start = 0
        for part in front.parts:
            for row, column in zip(part.rows.tolist(), part.columns.tolist(), strict=True):
                numbers = (front.predictions[start], *front.inputs[:, start])
                found[part.plane, row, column] = tuple(map(float, numbers))
                start += 1
        pixels: Int32Array = np.concatenate(
            [planes[p.plane, p.rows, p.columns] for p in front.parts]
        )
        return pixels

    sweep((len(planes), *planes.shape[1:]), code)
    return found


def planes_of(height: int, width: int, count: int = 3) -> Int32Array:
    planes: Int32Array = scene(height, width).transpose(2, 0, 1)[:count].astype(np.int32)
    return planes


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 17), (17, 5)])
@pytest.mark.parametrize("count", [1, 3])
def test_every_pixel_is_visited_once_in_the_order_of_its_time(
    shape: tuple[int, int], count: int
) -> None:
    times: list[int] = []
    visited: set[tuple[int, int, int]] = set()

    def code(front: Front) -> Int32Array:
        total = 0
        found: set[int] = set()
        for part in front.parts:
            total += len(part.rows)
            found |= set((part.columns + 2 * part.rows + LAG * part.plane).tolist())
            visited.update(zip([part.plane] * len(part.rows), part.rows, part.columns, strict=True))
        assert len(found) == 1
        times.extend(found)
        assert front.inputs.shape == (INPUTS, total)
        assert 0 <= front.predictions.min() <= front.predictions.max() <= STEPS * PEAK
        return np.zeros(total, np.int32)

    sweep((count, *shape), code)
    assert times == sorted(set(times))
    assert len(visited) == count * shape[0] * shape[1]


def test_nothing_depends_on_what_is_decoded_later() -> None:
    planes = planes_of(9, 12)
    before = seen(planes)
    for plane, row, column in [(0, 4, 5), (1, 4, 5), (2, 4, 5), (0, 8, 11), (0, 3, 0)]:
        changed = planes.copy()
        changed[plane, row, column] ^= 255
        after = seen(changed)
        time = column + 2 * row + LAG * plane
        different = [key for key in before if before[key] != after[key]]
        assert all(x + 2 * y + LAG * p > time for p, y, x in different)
        last = (plane, row, column) == (0, 8, 11)
        assert (plane, row, column) not in different
        assert any(p == plane for p, _, _ in different) != last


def test_flat_pictures_and_ramps_are_learned_to_less_than_a_quarter_of_a_step() -> None:
    height, width = 24, 30
    flat = np.full((1, height, width), 77, np.int32)
    rows, columns = np.mgrid[:height, :width]
    ramp = (5 * rows + 3 * columns)[None].astype(np.int32)
    for planes in (flat, ramp):
        found = seen(planes)
        largest = [
            max(
                abs(STEPS * planes[0, row, column] - found[0, row, column][0])
                for column in range(4, width - 4)
            )
            for row in range(3, height)
        ]
        assert largest == sorted(largest, reverse=True)
        assert largest[9 - 3] < STEPS / 4


def test_inputs_are_small_integers() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (3, 20, 20)).astype(np.int32) * 255
    numbers = np.array(list(seen(noise).values()))
    np.testing.assert_array_equal(numbers, np.rint(numbers))
    assert np.abs(numbers).max() < 2**13


def test_the_logarithm_is_that_of_the_text() -> None:
    values = np.array([0, 1, 2, 3, 4, 7, 100, 4079, 2**20 - 1, 2**20, 2**40 + 12345])
    expected = []
    for n in values.tolist():
        k = (n + 1).bit_length() - 1
        expected.append((128 * (k - 1) * 2**k + 128 * (n + 1)) // 2**k)
    assert logarithm(values.astype(np.float64)).tolist() == expected
    for n in (1, 2**10 - 1):
        assert logarithm(np.array([float(n)]))[0] == 128 * math.log2(n + 1)
