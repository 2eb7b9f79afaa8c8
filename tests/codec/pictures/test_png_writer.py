"""PNG files written row by row: Pillow reads back every sample and all metadata."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codec.pictures.bands import Band, Bands, bands_of
from codec.pictures.picture import Picture, to_numpy
from codec.pictures.png_writer import write_png
from codec.pictures.read import picture_from
from tests.codec.tiny import photographs

Uint8Array = npt.NDArray[np.uint8]


def written(bands: Bands) -> bytes:
    fo = io.BytesIO()
    write_png(fo, bands)
    return fo.getvalue()


def in_pieces(picture: Picture, rows: int) -> Bands:
    """The picture in bands of `rows` rows."""

    def bands() -> Iterator[Band]:
        for top in range(0, picture.height, rows):
            own = slice(top, top + rows)
            yield picture.pixels[own], None if picture.alpha is None else picture.alpha[own]

    return replace(bands_of(picture), bands=bands())


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, payload = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert int.from_bytes(data[place + 8 + length : place + 12 + length], "big") == zlib.crc32(
            kind + payload
        )
        found.append((kind, payload))
        place += 12 + length
    return found


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.integers(1, 41),
    st.integers(0, 2**32 - 1),
)
def test_every_sample_comes_back(
    height: int, width: int, channels: int, has_alpha: bool, rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    high = int(rng.integers(1, 257))
    pixels = rng.integers(0, high, (height, width, channels), dtype=np.uint8)
    alpha = rng.integers(0, high, (height, width), dtype=np.uint8) if has_alpha else None
    picture = Picture(pixels, alpha)
    with Image.open(io.BytesIO(written(in_pieces(picture, rows)))) as image:
        mode = {1: "L", 3: "RGB"}[channels] + ("A" if has_alpha else "")
        assert (image.mode, image.size) == (mode, (width, height))
        assert np.array_equal(np.asarray(image), to_numpy(picture))


def test_bands_make_no_difference_to_the_rows() -> None:
    picture = Picture(photographs(1, side=96)[0])
    rows = {zlib.decompress(idat(written(in_pieces(picture, n)))) for n in (1, 7, 96)}
    assert len(rows) == 1


def idat(data: bytes) -> bytes:
    return b"".join(payload for kind, payload in chunks(data) if kind == b"IDAT")


def test_each_row_takes_the_filter_that_suits_it() -> None:
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 256, (1, 64), dtype=np.uint8)
    ramp = np.arange(64, dtype=np.uint8)[None] * 3
    plane = np.concatenate([np.zeros((1, 64), np.uint8), ramp, noise, noise, ramp + noise])
    rows = zlib.decompress(idat(written(bands_of(Picture(plane[..., None])))))
    kinds = [rows[65 * row] for row in range(5)]
    # No filter, then left, and above if two rows are alike.
    assert kinds[:2] == [0, 1]
    assert kinds[3] == 2


def test_photographs_are_not_larger_than_pillows() -> None:
    pixels = photographs(1, side=256)[0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    assert len(written(bands_of(Picture(pixels)))) < 1.03 * len(buffer.getvalue())


def test_what_repeats_is_found() -> None:
    rng = np.random.default_rng(1)
    tile = rng.integers(0, 2, (16, 20, 3), dtype=np.uint8) * np.uint8(255)
    pixels = np.tile(tile.repeat(2, axis=0).repeat(2, axis=1), (20, 20, 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = written(bands_of(Picture(pixels)))
    assert len(data) < 1.25 * len(buffer.getvalue())
    assert (np.asarray(Image.open(io.BytesIO(data))) == pixels).all()


def test_metadata() -> None:
    exif = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    xmp = "<x:xmpmeta>café</x:xmpmeta>".encode()
    picture = Picture(np.zeros((2, 3, 3), np.uint8), icc=b"a profile", exif=exif, xmp=xmp)
    data = written(bands_of(picture))
    kinds = [kind for kind, _ in chunks(data)]
    assert kinds == [b"IHDR", b"iCCP", b"iTXt", b"eXIf", b"IDAT", b"IEND"]
    again = picture_from(data)
    assert (again.icc, again.exif, again.xmp) == (picture.icc, exif, xmp)
    # XMP that is not UTF-8 still gives a file that can be read.
    again = picture_from(written(bands_of(replace(picture, xmp=b"caf\xe9"))))
    assert again.xmp == "caf\ufffd".encode()


def test_the_file_grows_while_the_picture_is_made() -> None:
    picture = Picture(np.random.default_rng(0).integers(0, 256, (600, 500, 3), dtype=np.uint8))
    fo = io.BytesIO()
    sizes = []

    def slow(bands: Iterator[Band]) -> Iterator[Band]:
        for band in bands:
            sizes.append(fo.tell())
            yield band

    pieces = in_pieces(picture, 100)
    write_png(fo, replace(pieces, bands=slow(pieces.bands)))
    assert len(sizes) == 6
    # Noise does not deflate: most of each band of 150,000 bytes is written before the next band.
    assert all(later - sooner > 75_000 for sooner, later in pairwise(sizes[1:]))


def test_a_picture_in_bands_is_the_picture() -> None:
    pixels = photographs(1, side=64)[0]
    whole = Picture(pixels, pixels[..., 0], b"i", b"e", b"x", ("n",))
    for rows in (1, 10, 64):
        again = in_pieces(whole, rows).picture()
        assert np.array_equal(again.pixels, pixels)
        assert again.alpha is not None
        assert np.array_equal(again.alpha, pixels[..., 0])
        assert (again.icc, again.exif, again.xmp, again.notices) == (b"i", b"e", b"x", ("n",))


@pytest.mark.parametrize("width", [1, 3000])
def test_wide_and_narrow_pictures_come_in_bands(width: int) -> None:
    pixels = np.zeros((5000, width, 1), np.uint8)
    bands = [band for band, _ in bands_of(Picture(pixels)).bands]
    assert sum(len(band) for band in bands) == 5000
    assert all(band.base is pixels for band in bands)
    assert max(band.size for band in bands) <= 2**22
