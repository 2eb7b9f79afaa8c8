"""Conversion of samples between bit depths: exact, and lossless to larger depths."""

from fractions import Fraction

import numpy as np
import pytest

from bitstream import UsageError
from bitstream.limits import BIT_DEPTHS
from codec.pictures.depth import carried_depth, rescale, to_eight_bits
from codec.pictures.picture import Picture, to_numpy, to_pil, to_torch


@pytest.mark.parametrize("bits", range(1, 17))
def test_to_16_bits_and_back_changes_nothing(bits: int) -> None:
    peak = 2**bits - 1
    samples = np.arange(peak + 1, dtype=np.uint16)
    deep = rescale(samples, bits, 16)
    assert deep.dtype == np.uint16
    assert (deep[0], deep[-1]) == (0, 65535)
    np.testing.assert_array_equal(rescale(deep, 16, bits), samples)
    carried = carried_depth(bits)
    there = rescale(samples, bits, carried)
    np.testing.assert_array_equal(rescale(there, carried, bits), samples)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("new_bits", [8, 10, 12, 16])
def test_the_nearest_value(bits: int, new_bits: int) -> None:
    peak, new_peak = 2**bits - 1, 2**new_bits - 1
    samples = np.unique(np.linspace(0, peak, 200).astype(np.uint16))
    found = rescale(samples, bits, new_bits)
    for before, after in zip(samples.tolist(), found.tolist(), strict=True):
        assert abs(Fraction(before * new_peak, peak) - after) < Fraction(1, 2)


def test_8_bits_are_the_same_values() -> None:
    samples = np.arange(256, dtype=np.uint8)
    assert rescale(samples, 8, 16).tolist() == [257 * value for value in range(256)]
    assert to_eight_bits(samples, 8) is samples
    assert to_eight_bits(rescale(samples, 8, 12), 12).tolist() == samples.tolist()


def test_the_format_carries_other_depths_at_the_next_of_its_own() -> None:
    assert [carried_depth(bits) for bits in (1, 8, 9, 10, 11, 12, 13, 14, 16)] == [
        8, 8, 10, 10, 12, 12, 16, 16, 16,
    ]  # fmt: skip


@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
def test_pictures_hold_one_type(bit_depth: int) -> None:
    right, wrong = (np.uint8, np.uint16) if bit_depth == 8 else (np.uint16, np.uint8)
    shape = (2, 3, 3)
    Picture(np.zeros(shape, right), np.zeros(shape[:2], right), bit_depth=bit_depth)
    with pytest.raises(UsageError, match="pixels of type"):
        Picture(np.zeros(shape, wrong), bit_depth=bit_depth)
    with pytest.raises(UsageError, match="alpha of type"):
        Picture(np.zeros(shape, right), np.zeros(shape[:2], wrong), bit_depth=bit_depth)


@pytest.mark.parametrize("bit_depth", [10, 12])
def test_pictures_hold_no_larger_values(bit_depth: int) -> None:
    most = np.full((2, 3, 1), 2**bit_depth - 1, np.uint16)
    Picture(most, most[..., 0], bit_depth=bit_depth)
    with pytest.raises(UsageError, match="expected 0"):
        Picture(most + np.uint16(1), bit_depth=bit_depth)
    with pytest.raises(UsageError, match="expected 0"):
        Picture(most, most[..., 0] + np.uint16(1), bit_depth=bit_depth)


@pytest.mark.parametrize("bit_depth", [-1, 0, 9, 14, 32])
def test_pictures_have_a_depth_of_the_format(bit_depth: int) -> None:
    with pytest.raises(UsageError, match="bit depth"):
        Picture(np.zeros((1, 1, 1), np.uint16), bit_depth=bit_depth)


def test_forms_of_deep_pictures() -> None:
    grey = np.array([[[0], [1], [1023]]], np.uint16)
    picture = Picture(grey, bit_depth=10)
    assert to_numpy(picture).tolist() == [[0, 1, 1023]]
    image = to_pil(picture)
    assert (image.mode, np.asarray(image).tolist()) == ("I;16", [[0, 64, 65535]])
    for other in (
        Picture(np.repeat(grey, 3, axis=2), bit_depth=10),
        Picture(grey, grey[..., 0], bit_depth=10),
    ):
        with pytest.raises(UsageError, match="as_='numpy'"):
            to_pil(other)


def test_tensors_of_deep_pictures() -> None:
    torch = pytest.importorskip("torch")
    samples = np.array([[[0, 1, 65535]]], np.uint16)
    tensor = to_torch(Picture(samples, bit_depth=16))
    assert (tensor.dtype, tensor.tolist()) == (torch.int32, [[[0]], [[1]], [[65535]]])
