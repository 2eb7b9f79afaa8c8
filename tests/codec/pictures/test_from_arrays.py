"""Arrays and tensors of every kind: they are coded, or a message says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import codec
from bitstream import InputError, UsageError
from bitstream.arrays import SampleArray
from codec.pictures.picture import Picture, to_numpy, to_torch
from codec.pictures.read import picture_from

RNG = np.random.default_rng(6)


def noise(bits: int, channels: int) -> SampleArray:
    kind = np.uint8 if bits == 8 else np.uint16
    found = RNG.integers(0, 2**bits, (7, 9, channels), dtype=kind)
    found[0, 0] = 2**bits - 1
    return found


def picture(bits: int, channels: int) -> Picture:
    samples = noise(bits, channels)
    colours = 1 if channels < 3 else 3
    alpha = samples[..., -1].copy() if channels in (2, 4) else None
    return Picture(samples[..., :colours].copy(), alpha, bit_depth=bits)


def same(one: Picture, other: Picture) -> bool:
    return one.bit_depth == other.bit_depth and np.array_equal(to_numpy(one), to_numpy(other))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_what_decompress_gives_goes_in_again(bits: int, channels: int) -> None:
    before = picture(bits, channels)
    for form in (to_numpy(before), to_torch(before)):
        again = picture_from(form, keep_depth=True, bit_depth=bits)
        assert same(again, before)
        assert again.notices == ()
    if bits in (8, 16):
        assert same(picture_from(to_numpy(before), keep_depth=True), before)


@pytest.mark.parametrize("kind", ["int16", "int32", "int64", "uint32", "uint8", ">i4", ">u2"])
def test_integers_of_any_type_with_a_depth(kind: str) -> None:
    values = np.array([[0, 100, 127]]).astype(kind)
    for bits in (8, 10, 12, 16):
        found = picture_from(values, keep_depth=True, bit_depth=bits)
        assert found.bit_depth == bits
        assert found.pixels.ravel().tolist() == [0, 100, 127]


@pytest.mark.parametrize(
    ("array", "bits", "message"),
    [
        (np.array([[1024]], np.uint16), 10, r"from 1024 to 1024, expected 0 \.\. 1023"),
        (np.array([[-1]], np.int32), 16, r"from -1 to -1, expected 0 \.\. 65535"),
        (np.array([[256]], np.int64), 8, r"expected 0 \.\. 255 of bit_depth=8"),
        (np.array([[0, 255.0]]), None, "divide them by 255"),
        (np.array([[0, 256.0]]), None, "scale them"),
        (np.array([[-0.5, 0.5]]), None, r"floats from -0.5 to 0.5, expected 0 \.\. 1: scale"),
        (np.array([[np.nan, 0.5]]), None, "and NaN, expected"),
        (np.array([[1]], np.int64), None, "say with bit_depth=8"),
    ],
)
def test_values_out_of_range(array: npt.NDArray[Any], bits: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        picture_from(array, keep_depth=True, bit_depth=bits)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7, 9), (1, 7, 9), (2, 7, 9), (3, 7, 9), (4, 7, 9)])
def test_tensors(kind: torch.dtype, shape: tuple[int, ...]) -> None:
    values = torch.from_numpy(RNG.integers(0, 2, shape, dtype=np.uint8))
    tensor = values * 255 if kind is torch.uint8 else values.to(kind)
    found = picture_from(tensor.requires_grad_(tensor.dtype.is_floating_point))
    expected = 255 * values.reshape(-1, 7, 9).permute(1, 2, 0).numpy()
    ours = to_numpy(found)
    np.testing.assert_array_equal(ours[..., None] if ours.ndim == 2 else ours, expected)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(7, 9, 3), r"\(7, 9, 3\).*permute\(2, 0, 1\)"),
        (torch.zeros(1, 3, 7, 9), r"\(1, 3, 7, 9\).*tensor\[0\]"),
        (torch.zeros(9), "expected"),
        (torch.zeros(3, 7, 9, dtype=torch.bool), "type bool"),
        (torch.zeros(3, 7, 9, dtype=torch.complex64), "type complex64"),
        (torch.zeros(3, 7, 9, device="meta"), "cannot hold"),
        (torch.zeros(7, 9).to_sparse(), "cannot hold"),
    ],
)
def test_tensors_that_are_no_pictures(tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        picture_from(tensor)


def test_what_numpy_takes_for_an_array() -> None:
    class Like:
        dtype = np.dtype(np.uint8)

        def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
            return noise(8, 3)

    assert picture_from(Like()).pixels.shape == (7, 9, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.int64])
def test_masked_values_are_refused(kind: type[np.generic]) -> None:
    values = np.ones((7, 9), kind)
    masked = np.ma.masked_array(values, mask=np.arange(63).reshape(7, 9) % 9 < 2)
    with pytest.raises(UsageError, match=r"14 of 63 values are masked.*filled\(0\)"):
        picture_from(masked, keep_depth=True, bit_depth=8)
    for whole in (masked.filled(0), masked.data, np.ma.masked_array(values)):
        found = picture_from(whole, keep_depth=True, bit_depth=8)
        assert type(found.pixels) is np.ndarray


class Units(np.ndarray[Any, Any]):
    """A subclass, like the arrays of packages that store units."""


def other_forms(samples: SampleArray) -> dict[str, npt.NDArray[Any]]:
    read_only = samples.copy()
    read_only.flags.writeable = False
    spread = np.zeros((14, 18, samples.shape[2]), samples.dtype)
    spread[::2, ::2] = samples
    return {
        "subclass": samples.view(Units),
        "read-only": read_only,
        "turned twice": samples[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": samples.astype(samples.dtype.newbyteorder(">")),
        "Fortran": np.asfortranarray(samples),
        "every second": spread[::2, ::2],
        "floats": (samples / np.iinfo(samples.dtype).max).astype(">f8"),
        "long floats": samples / np.longdouble(np.iinfo(samples.dtype).max),
        "masks nothing": np.ma.masked_array(samples),
    }


@pytest.mark.parametrize("bits", [8, 16])
def test_arrays_of_other_makes(bits: int) -> None:
    samples = noise(bits, 3)
    before = picture_from(samples, keep_depth=True)
    for name, array in other_forms(samples).items():
        found = picture_from(array, keep_depth=True, bit_depth=bits if "floats" in name else None)
        assert same(found, before), name
        assert type(found.pixels) is np.ndarray, name


def test_one_value_repeated_without_memory() -> None:
    found = picture_from(np.broadcast_to(np.uint8(9), (50, 60, 3)))
    assert found.pixels.shape == (50, 60, 3)
    assert (found.pixels == 9).all()


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_gray() -> None:
    matrix = np.asmatrix(noise(8, 1)[..., 0])
    assert same(picture_from(matrix), picture_from(np.asarray(matrix)))


def test_the_imaginary_part_of_a_conjugate() -> None:
    values = torch.full((3, 7, 9), 0.5)
    turned = torch.complex(values, -values).conj().imag
    assert turned.is_neg()
    assert same(picture_from(turned), picture_from(values))


class Elsewhere:
    """Like arrays on graphics cards, which NumPy must not convert by itself."""

    dtype = np.dtype(np.uint8)

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        raise TypeError("implicit conversion is not allowed: use .get()")


def test_what_numpy_cannot_take() -> None:
    with pytest.raises(UsageError, match=r"Elsewhere that NumPy cannot take.*use \.get\(\)"):
        picture_from(Elsewhere())  # type: ignore[arg-type]
    structured = np.zeros((7, 9), [("r", "u1"), ("g", "u1"), ("b", "u1")])
    for array in (structured, np.ma.masked_array(structured, mask=True)):
        with pytest.raises(UsageError, match="values of type"):
            picture_from(array)


@pytest.mark.usefixtures("tiny_weights")
def test_the_library(tmp_path: Any) -> None:
    array = noise(8, 3)
    data = codec.compress(array)
    tensor = torch.from_numpy(array.transpose(2, 0, 1).copy())
    assert codec.compress(tensor) == data
    assert codec.compress(tensor / 255) == data
    assert codec.compress(array.astype(np.int64), bit_depth=8) == data
    deep = noise(12, 3)
    kept = codec.decompress(codec.compress(deep, bit_depth=12), as_="numpy")
    assert kept.dtype == np.uint16
    assert kept.shape == deep.shape
    with pytest.raises(InputError, match="12 bits per channel, and the model pixel codes 8"):
        codec.compress(deep, bit_depth=12, model="pixel")
    assert codec.inspect(codec.compress(noise(12, 3), bit_depth=12, reduce_depth=True)).width == 9
    with pytest.raises(UsageError, match="expected one of 8, 10, 12, 16"):
        codec.compress(array, bit_depth=9)
    with pytest.raises(UsageError, match="only arrays and tensors"):
        codec.compress("photo.png", bit_depth=8)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 7, 9), r"\(3, 7, 9\).*array\.transpose\(1, 2, 0\) moves channels"),
        ((0, 9, 3), r"\(0, 9, 3\).*no pixels"),
        ((7, 9, 5), "RGBA$"),
        ((1, 7, 9, 3), "RGBA$"),
    ],
)
def test_arrays_of_other_shapes(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        picture_from(np.zeros(shape, np.uint8))
