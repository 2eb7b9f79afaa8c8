"""The alpha plane: lossless, small, and safe against hostile bytes."""

import tracemalloc
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bitstream import CalotypeError, LimitError, PayloadError, UsageError
from bitstream.arrays import SampleArray
from codec.pictures.alpha import AlphaReader, encode_alpha

Plane = npt.NDArray[np.uint8]


def decode_alpha(data: bytes, height: int, width: int, bit_depth: int = 8) -> SampleArray:
    """The whole plane, in bands of 256 rows."""
    reader = AlphaReader(data, height, width, bit_depth)
    bands = [reader.read(min(256, height - top)) for top in range(0, height, 256)]
    reader.finish()
    return np.concatenate(bands)


def check_round_trip(alpha: SampleArray, bit_depth: int = 8) -> bytes:
    data = encode_alpha(alpha, bit_depth)
    height, width = alpha.shape
    decoded = decode_alpha(data, height, width, bit_depth)
    assert decoded.dtype == alpha.dtype
    assert np.array_equal(decoded, alpha)
    return data


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_every_plane_round_trips(alpha: Plane) -> None:
    check_round_trip(alpha)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (255, 3), (256, 3), (257, 3)])
def test_bands_join(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    check_round_trip(rng.integers(0, 256, shape, dtype=np.uint8))
    check_round_trip(np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.uint8))


def test_constant_planes_take_two_bytes() -> None:
    assert check_round_trip(np.full((1000, 1000), 255, np.uint8)) == b"\x01\xff"
    assert check_round_trip(np.zeros((1, 1), np.uint8)) == b"\x01\x00"


def test_exact_bytes() -> None:
    # Row 0: residuals to the left are smallest; row 1 equals row 0, so it is predicted from above.
    alpha = np.array([[10, 11, 12], [10, 11, 12]], np.uint8)
    data = encode_alpha(alpha)
    assert data[0] == 0
    assert zlib.decompress(data[1:]) == bytes([1, 10, 1, 1, 2, 0, 0, 0])


@given(
    st.sampled_from([10, 12, 16]).flatmap(
        lambda bits: st.tuples(
            st.just(bits),
            arrays.arrays(
                np.uint16,
                arrays.array_shapes(min_dims=2, max_dims=2, max_side=20),
                elements=st.integers(0, 2**bits - 1),
            ),
        )
    )
)
def test_every_deep_plane_round_trips(drawn: tuple[int, npt.NDArray[np.uint16]]) -> None:
    bit_depth, alpha = drawn
    check_round_trip(alpha, bit_depth)


def test_deep_bands_join() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 300), (257, 3), (513, 2)):
        check_round_trip(rng.integers(0, 65536, shape, dtype=np.uint16), 16)
        slopes = np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.uint16)
        check_round_trip(slopes, 10)


def test_exact_bytes_of_deep_planes() -> None:
    assert check_round_trip(np.full((9, 9), 1023, np.uint16), 10) == b"\x03\xff\x03"
    alpha = np.array([[1000, 1001, 1002], [1000, 1001, 1002]], np.uint16)
    data = encode_alpha(alpha, 10)
    assert data[0] == 2
    rows = bytes([1, 3, 0, 0, 0xE8, 1, 1]) + bytes([2, 0, 0, 0, 0, 0, 0])
    assert zlib.decompress(data[1:]) == rows


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" + zlib.compress(bytes(4 * 6)),  # methods of 8 bits
        b"\x01\xff",
        b"\x04\xff\x03",
        b"\x03\xff",
        b"\x03\xff\x03\x00",
        b"\x03\x00\x04",  # 1024 has 11 bits
        b"\x02not zlib",
        b"\x02" + zlib.compress(bytes(4 * 11 - 1)),
        b"\x02" + zlib.compress(bytes(4 * 11 + 1)),
        b"\x02" + zlib.compress(b"\x03" + bytes(4 * 11 - 1)),
        b"\x02" + zlib.compress(b"\x00\x04" + bytes(4 * 11 - 2)),  # a pixel of 1024
    ],
)
def test_hostile_bytes_of_deep_planes(data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode_alpha(data, 4, 5, 10)


def test_deep_methods_need_a_deep_header() -> None:
    for data in (b"\x03\xff\x00", encode_alpha(np.eye(4, dtype=np.uint16), 16)):
        with pytest.raises(PayloadError, match="method"):
            decode_alpha(data, 4, 4)


def test_masks_are_small() -> None:
    y, x = np.mgrid[:400, :400]
    disc = (((x - 200) ** 2 + (y - 200) ** 2) < 150**2).astype(np.uint8) * 255
    assert len(check_round_trip(disc)) < 2000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x01",
        b"\x01\x00\x00",
        b"\x02abc",
        b"\x00not zlib",
        b"\x00" + zlib.compress(bytes(4 * 6))[:-1],  # cut
        b"\x00" + zlib.compress(bytes(4 * 6)) + b"x",  # a byte too many
        b"\x00" + zlib.compress(bytes(4 * 6 - 1)),  # a pixel short
        b"\x00" + zlib.compress(bytes(4 * 6 + 1)),  # a pixel long
        b"\x00" + zlib.compress(b"\x03" + bytes(4 * 6 - 1)),  # unknown prediction
    ],
)
def test_hostile_bytes_give_a_typed_error(data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode_alpha(data, 4, 5)


@given(st.binary(max_size=60))
def test_random_bytes_never_escape_the_error_tree(data: bytes) -> None:
    try:
        plane = decode_alpha(data, 3, 4)
    except CalotypeError:
        return
    assert plane.shape == (3, 4)


def test_a_bomb_is_not_inflated() -> None:
    bomb = b"\x00" + zlib.compress(bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(PayloadError, match=r"more than 12 bytes|inflates"):
        decode_alpha(bomb, 3, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_large_header_with_few_bytes_allocates_little() -> None:
    tracemalloc.start()
    with pytest.raises(PayloadError):
        decode_alpha(b"\x00" + zlib.compress(bytes(100)), 16000, 16000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (2**21, 1), (2**19, 2**19)])
def test_sizes_are_checked_first(shape: tuple[int, int]) -> None:
    with pytest.raises(LimitError):
        decode_alpha(b"\x01\x00", *shape)


@pytest.mark.parametrize(
    "plane",
    [np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), np.uint16), np.zeros((0, 2), np.uint8)],
)
def test_other_arrays_are_refused(plane: Plane) -> None:
    with pytest.raises(UsageError, match="expected uint8"):
        encode_alpha(plane)
