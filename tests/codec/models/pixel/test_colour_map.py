"""Maps of colours: repeated colours are not coded again."""

from __future__ import annotations

import numpy as np
import pytest

from bitstream.arrays import Int32Array, Uint8Array
from bitstream.errors import PayloadError
from bitstream.symbols import StackDecoder, StackEncoder
from codec.models.pixel.answers import COUNT_LIMIT, answer_tables
from codec.models.pixel.coder import WITH_MAP
from codec.models.pixel.colour_map import (
    LARGEST,
    ColourMap,
    code_map,
    numbers_of,
    repeated_share,
)
from tests.codec.models.pixel.tiny import drawing, scene, tiny_coder, tiny_near_lossless


def planes_of(pixels: Uint8Array) -> Int32Array:
    planes: Int32Array = pixels.transpose(2, 0, 1).astype(np.int32)
    return planes


def coded(numbers: Int32Array) -> bytes:
    encoder = StackEncoder()

    def put(tables: Int32Array, bits: Int32Array | None) -> Int32Array:
        assert bits is not None
        encoder.put(bits, tables, answer_tables())
        return bits

    np.testing.assert_array_equal(code_map(numbers.shape, put, numbers).numbers, numbers)
    return b"".join(encoder.finish())


def decoded(data: bytes, height: int, width: int) -> ColourMap:
    decoder = StackDecoder(data)
    found = code_map((height, width), lambda tables, _: decoder.get(tables, answer_tables()))
    decoder.finish()
    return found


def size_of(planes: Int32Array, numbers: Int32Array | None) -> int:
    """Bytes of the payload of planes, with or without a map."""
    return 1 + sum(map(len, tiny_coder()._encode(planes, numbers, None)[1].finish()))


def many_colours() -> Uint8Array:
    """More colours than a map has: most of them twice, the last ones three times."""
    pairs = np.arange(130 * 130).repeat(2)
    number = np.concatenate([pairs, pairs[-260::2]]).reshape(-1, 130)
    return np.stack([number % 251, number % 253, number % 255], axis=2).astype(np.uint8)


PICTURES = {
    "drawing": drawing(40, 61),
    "high drawing": drawing(90, 11, seed=2),
    "one pixel": drawing(1, 1),
    "flat": np.full((30, 50, 3), 7, np.uint8),
    "grey": np.repeat(drawing(20, 30)[:, :, :1], 3, axis=2),
    "photograph": scene(24, 31),
    "more colours than numbers": many_colours(),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_map_comes_back_and_says_which_pixels_are_coded(name: str) -> None:
    pixels = PICTURES[name]
    numbers = numbers_of(planes_of(pixels))
    height, width = numbers.shape
    found = decoded(coded(numbers), height, width)
    np.testing.assert_array_equal(found.numbers, numbers)
    # In decoding order, the first pixel of each number is coded, and all pixels of 0.
    seen: set[int] = set()
    places = sorted(np.ndindex(height, width), key=lambda place: (place[1] + 2 * place[0], place))
    for place in places:
        number = int(numbers[place])
        assert found.coded[place] == (number == 0 or number not in seen), place
        seen.add(number)
    assert seen - {0} == set(range(1, numbers.max() + 1))
    assert numbers.max() <= LARGEST


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_of_one_number_have_one_colour(name: str) -> None:
    pixels = PICTURES[name]
    numbers = numbers_of(planes_of(pixels))
    named = np.concatenate([numbers[:, :, None], pixels], axis=2)[numbers > 0]
    assert len(np.unique(named, axis=0)) == len(np.unique(named[:, 0])) == numbers.max()
    repeated, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    expected = min(LARGEST, int((counts > 1).sum()))
    assert numbers.max() == expected
    # If there are too many colours, those with most pixels have a number.
    for colour in repeated[counts > 2]:
        assert numbers[(pixels == colour).all(axis=2)].max() > 0


def test_a_drawing_takes_a_fraction_of_the_bytes_and_a_photograph_no_map() -> None:
    coder = tiny_coder()
    planes = planes_of(drawing(60, 80))[[1, 0, 2]]
    with_map, without = (size_of(planes, map_) for map_ in (numbers_of(planes), None))
    assert with_map < 0.4 * without
    latents = coder.analyze(drawing(60, 80), 100)
    assert len(coder.encode_tile(latents, 100)[0]) == with_map
    assert repeated_share(planes_of(scene(40, 40))) < 0.5
    assert coder.encode_tile(coder.analyze(scene(40, 40), 100), 100)[0][0] == 3


def test_few_colours_at_random_places_take_a_map() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (16, 3), np.uint8)[rng.integers(0, 16, (64, 64))]
    assert repeated_share(planes_of(pixels)) < 0.5
    coder = tiny_coder()
    (payload,) = coder.encode_tile(coder.analyze(pixels, 100), 100)
    assert payload[0] == 3 | WITH_MAP
    assert len(payload) < 64 * 64 * 5 / 8
    decoded_pixels = coder.decode_tile([payload], 64, 64, 100)
    np.testing.assert_array_equal(decoded_pixels.transpose(1, 2, 0), pixels)


def test_of_both_ways_the_smaller_one_is_taken() -> None:
    # Half of it repeats, but it is still noise.
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    pixels[:, 1::2] = pixels[:, ::2]
    for picture in (pixels, drawing(30, 30)):
        planes = planes_of(picture)[[1, 0, 2]]
        sizes = [size_of(planes, map_) for map_ in (numbers_of(planes), None)]
        (payload,) = tiny_coder().encode_tile(tiny_coder().analyze(picture, 100), 100)
        assert len(payload) == min(sizes)


def test_nearly_lossless_tiles_have_no_map() -> None:
    coder = tiny_near_lossless(2)
    (payload,) = coder.encode_tile(coder.analyze(drawing(30, 30), 100), 100)
    assert payload[0] == 3
    with pytest.raises(PayloadError, match="planes"):
        coder.decode_tile([bytes([3 | WITH_MAP]) + payload[1:]], 30, 30, 100)


def test_every_answer_costs_something_and_contexts_stay_small() -> None:
    # So a payload ends long before a decoder has read what a hostile header announces.
    tables = answer_tables()
    assert tables.frequencies.max() < 2**24 * (1 - 2**-11)
    assert not tables.certain.any()
    flat = numbers_of(np.zeros((1, 300, 300), np.int32))
    assert 8 * len(coded(flat)) > 300 * 300 * 2**-11
    assert COUNT_LIMIT < 2**10


def test_numbers_that_a_map_has_not_are_refused() -> None:
    # The first pixel introduces 1. The second is not that of its left neighbour, but a known one,
    # whose number is 0.
    answers = iter([1, 0, 1, *[0] * 14])

    def say(tables: Int32Array, bits: Int32Array | None) -> Int32Array:
        return np.array([next(answers) for _ in tables], np.int32)

    with pytest.raises(PayloadError, match="none of the 1"):
        code_map((1, 5), say)
    with pytest.raises(PayloadError, match="neither 0 nor 1"):
        code_map((1, 5), lambda tables, _: np.full(len(tables), 2, np.int32))
