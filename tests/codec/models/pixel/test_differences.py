"""Lists of differences: only values of blue that can occur have a probability."""

from __future__ import annotations

import numpy as np
import pytest

from bitstream.arrays import BoolArray, Int32Array, Uint8Array
from bitstream.errors import PayloadError
from bitstream.symbols import StackDecoder, StackEncoder
from bitstream.tables import TOTAL
from codec.models.pixel.answers import EVEN, answer_tables
from codec.models.pixel.coder import GREEN_FIRST, WITH_DIFFERENCES, WITH_MAP
from codec.models.pixel.differences import SIDE, Blues, code_differences, differences_of
from tests.codec.models.pixel.tiny import from_chroma, scene, tiny_coder, tiny_near_lossless


def planes_of(pixels: Uint8Array) -> Int32Array:
    planes: Int32Array = pixels.transpose(2, 0, 1)[list(GREEN_FIRST)].astype(np.int32)
    return planes


def put_into(encoder: StackEncoder, pairs: BoolArray) -> BoolArray:
    def put(tables: Int32Array, bits: Int32Array | None) -> Int32Array:
        assert bits is not None
        encoder.put(bits, tables, answer_tables())
        return bits

    return code_differences(put, pairs)


def get_from(data: bytes) -> BoolArray:
    decoder = StackDecoder(data)
    found = code_differences(lambda tables, _: decoder.get(tables, answer_tables()))
    decoder.finish()
    return found


def test_pictures_of_luma_and_chroma_have_a_list_and_others_none() -> None:
    coder = tiny_coder()
    for pixels, flag in ((from_chroma(60, 70), WITH_DIFFERENCES), (scene(60, 70), 0)):
        planes = planes_of(pixels)
        (payload,) = coder.encode_tile(coder.analyze(pixels, 100), 100)
        assert payload[0] == 3 | flag
        decoded = coder.decode_tile([payload], 60, 70, 100)
        np.testing.assert_array_equal(decoded.transpose(1, 2, 0), pixels)
        without = 1 + sum(map(len, coder._encode(planes, None, None)[1].finish()))
        assert len(payload) == without if not flag else len(payload) < 0.9 * without


@pytest.mark.parametrize("reds", [1, 2, 3, 40])
@pytest.mark.parametrize("blues", [1, 2, 3, 4])
def test_lists_of_few_rows_and_columns(reds: int, blues: int) -> None:
    pairs = np.zeros((SIDE, SIDE), np.bool_)
    pairs[200 : 200 + reds, 300 : 300 + blues] = True
    pairs[201, 300] &= reds < 3  # not all of them
    encoder = StackEncoder()
    np.testing.assert_array_equal(put_into(encoder, pairs), pairs)
    np.testing.assert_array_equal(get_from(b"".join(encoder.finish())), pairs)


@pytest.mark.parametrize("same", ["blue as green", "red as green", "one mark on grey"])
def test_pictures_in_which_colours_are_tied_come_back(same: str) -> None:
    rng = np.random.default_rng(0)
    green = rng.integers(40, 200, (40, 50))
    other = green + rng.integers(-10, 10, green.shape)
    pixels = {
        "blue as green": [other, green, green],
        "red as green": [green, green, other],
        "one mark on grey": [green, green, green],
    }[same]
    picture = np.stack(pixels, -1).astype(np.uint8)
    if same == "one mark on grey":
        picture[3, 4] = 200, 30, 30
    coder, planes = tiny_coder(), planes_of(picture)
    pairs = differences_of(planes)
    assert pairs is not None
    first, encoder = coder._encode(planes, None, pairs)
    assert first == 3 | WITH_DIFFERENCES
    payload = bytes([first]) + b"".join(encoder.finish())
    chosen = coder.encode_tile(coder.analyze(picture, 100), 100)[0]
    assert len(chosen) <= len(payload)
    for data in (payload, chosen):
        decoded = coder.decode_tile([data], 40, 50, 100)
        np.testing.assert_array_equal(decoded.transpose(1, 2, 0), picture)


def test_the_list_has_every_pair_of_pixels_that_were_not_clipped() -> None:
    pixels = from_chroma(60, 70).astype(np.int32)
    pixels[:5] = np.clip(3 * pixels[:5] - 200, 0, 255)
    planes = planes_of(pixels.astype(np.uint8))
    pairs = differences_of(planes)
    assert pairs is not None
    expected = {
        (red - green + 255, blue - green + 255)
        for green, red, blue in planes.reshape(3, -1).T.tolist()
        if min(green, red, blue) > 0 and max(green, red, blue) < 255
    }
    assert set(zip(*(axis.tolist() for axis in np.nonzero(pairs)), strict=True)) == expected


def test_clipped_pixels_come_back() -> None:
    pixels, coder = from_chroma(60, 70).astype(np.int32), tiny_coder()
    pixels[10:14] = np.clip(4 * pixels[10:14] - 300, 0, 255)
    (payload,) = coder.encode_tile(coder.analyze(pixels.astype(np.uint8), 100), 100)
    assert payload[0] == 3 | WITH_DIFFERENCES
    decoded = coder.decode_tile([payload], 60, 70, 100)
    np.testing.assert_array_equal(decoded.transpose(1, 2, 0), pixels)


@pytest.mark.parametrize("places", [[(0, 0)], [(510, 510)], [(0, 510), (510, 0)], "lattice"])
def test_lists_come_back(places: str | list[tuple[int, int]]) -> None:
    pairs = np.zeros((SIDE, SIDE), np.bool_)
    if isinstance(places, str):
        i, j = np.ogrid[:SIDE, :SIDE]
        pairs[200:300, 220:290] = ((3 * i + 5 * j) % 7 == 0)[200:300, 220:290]
    else:
        pairs[tuple(zip(*places, strict=True))] = True
    encoder = StackEncoder()
    np.testing.assert_array_equal(put_into(encoder, pairs), pairs)
    data = b"".join(encoder.finish())
    np.testing.assert_array_equal(get_from(data), pairs)
    # Repetition is soon learned.
    assert len(data) < 500


@pytest.mark.parametrize("ends", [(5, 4, 0, 0), (0, 0, 9, 8), (0, 511, 0, 0), (0, 0, 0, 511)])
def test_bounds_that_no_list_has_are_refused(ends: tuple[int, ...]) -> None:
    bits = np.array([end >> 8 - n & 1 for end in ends for n in range(9)], np.int32)
    encoder = StackEncoder()
    encoder.put(bits, np.full(36, EVEN, np.int32), answer_tables())
    with pytest.raises(PayloadError, match="ascending"):
        get_from(b"".join(encoder.finish()))


def test_blue_costs_what_is_left_and_comes_back_from_anywhere() -> None:
    coder, count = tiny_coder(), 400
    rng = np.random.default_rng(3)
    pairs = rng.random((SIDE, SIDE)) < 0.25
    blues = Blues(pairs, coder.tables)
    known = rng.integers(0, 256, (2, count)).astype(np.int32)
    known[0, :9], known[1, 9:20] = 0, 255
    centres = rng.integers(0, 256, count).astype(np.int32)
    tables = rng.integers(0, len(coder.tables), count).astype(np.int32)
    rows = blues._frequencies(known, centres, tables)
    assert rows.min() == 1
    assert (rows.sum(axis=1) == TOTAL).all()
    # Values near the centre and far from it, listed or not.
    values = np.where(
        rng.random(count) < 0.5, centres + rng.integers(-40, 41, count), 255 - centres
    )
    values = values.clip(0, 255).astype(np.int32)
    encoder = StackEncoder()
    blues.encode(encoder, values, known, centres, tables)
    data = b"".join(encoder.finish())
    decoder = StackDecoder(data)
    np.testing.assert_array_equal(blues.decode(decoder, known, centres, tables), values)
    decoder.finish()
    assert 8 * len(data) == pytest.approx(encoder.code_length_bits(), abs=64)
    listed = Blues(np.ones_like(pairs), coder.tables)
    near = np.flatnonzero(pairs[known[1] - known[0] + 255, centres - known[0] + 255])
    ratio = rows[near, 33] / listed._frequencies(known, centres, tables)[near, 33]
    assert 1 < np.median(ratio) < 4


def test_nearly_lossless_and_grey_tiles_have_no_list() -> None:
    coder = tiny_near_lossless(1)
    pixels = from_chroma(60, 70)
    (payload,) = coder.encode_tile(coder.analyze(pixels, 100), 100)
    assert payload[0] == 3
    for lossless, flags in ((coder, 3 | WITH_DIFFERENCES), (tiny_coder(), 1 | WITH_DIFFERENCES)):
        with pytest.raises(PayloadError, match="planes"):
            lossless.decode_tile([bytes([flags]) + payload[1:]], 60, 70, 100)
    both = 3 | WITH_DIFFERENCES | WITH_MAP
    with pytest.raises(PayloadError, match="planes"):
        tiny_coder().decode_tile([bytes([both]) + payload[1:]], 60, 70, 100)
