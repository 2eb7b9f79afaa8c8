"""Every colour type, depth, key and interlacing of PNG gives the samples of the file."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from codec.pictures.picture import Picture
from codec.pictures.read import picture_from
from tests.codec.pictures.png_by_hand import CHANNELS, chunk, png

FORMS = [
    *((0, depth) for depth in (1, 2, 4, 8, 16)),
    *((3, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (2, 4, 6) for depth in (8, 16)),
]
SHAPE = (9, 13)  # no pass of an interlaced file is empty, and no row of 1 bit fills its bytes
RNG = np.random.default_rng(8)
PALETTE = RNG.integers(0, 256, (256, 3), dtype=np.uint8)


def samples_of(colour_type: int, depth: int) -> npt.NDArray[np.int64]:
    """Every pixel may have any value; with 16 bits the lower bytes matter, also next to a key."""
    found = RNG.integers(0, 2**depth, (*SHAPE, CHANNELS[colour_type]))
    found[2, 3] = found[0, 0]
    found[2, 4, 0] = found[0, 0, 0] ^ 1  # differs from the key only in the lowest bit
    found[2, 4, 1:] = found[0, 0, 1:]
    return found


def expected(
    samples: npt.NDArray[np.int64], colour_type: int, depth: int, key: Any, bits: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Colours and alpha at 8 or 16 bits: the nearest value, by exact integers."""

    def to(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        peak = 2**depth - 1
        nearest: npt.NDArray[np.int64] = (2 * values * (2**bits - 1) + peak) // (2 * peak)
        return nearest

    white = 2**bits - 1
    if colour_type == 3:
        index = samples[..., 0]
        alpha = None
        if key is not None:
            table = np.full(256, 255)
            table[: len(key)] = list(key)
            alpha = table[index]
        return PALETTE[index].astype(np.int64), alpha
    if colour_type in (4, 6):
        return to(samples[..., :-1]), to(samples[..., -1])
    alpha = None if key is None else np.where((samples == key).all(axis=2), 0, white)
    return to(samples), alpha


def check(
    picture: Picture, colours: npt.NDArray[np.int64], alpha: npt.NDArray[np.int64] | None
) -> None:
    np.testing.assert_array_equal(picture.pixels, colours)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(picture.alpha, alpha)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("has_key", [False, True])
@pytest.mark.parametrize(("colour_type", "depth"), FORMS)
def test_every_form(colour_type: int, depth: int, has_key: bool, interlaced: bool) -> None:
    if has_key and colour_type in (4, 6):
        return  # the specification allows no key together with an alpha channel
    samples = samples_of(colour_type, depth)
    before, key = [], None
    if colour_type == 3:
        before.append(chunk(b"PLTE", PALETTE[: 2**depth].tobytes()))
    if has_key and colour_type == 3:
        key = list(range(0, 2 ** min(depth, 4), 1))
        before.append(chunk(b"tRNS", bytes(key)))
    elif has_key:
        key = samples[0, 0]
        before.append(chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
    data = png(samples, colour_type, depth, before=before, interlaced=interlaced)
    reduced = picture_from(data, reduce_depth=True)
    check(reduced, *expected(samples, colour_type, depth, key, 8))
    if depth == 16:
        whole = picture_from(data, keep_depth=True)
        assert whole.bit_depth == 16
        check(whole, *expected(samples, colour_type, depth, key, 16))
    else:
        assert reduced.notices == ()
    # The same for an image that the caller opened, and for one that is loaded already.
    for is_loaded in (False, True):
        image = Image.open(io.BytesIO(data))
        if is_loaded:
            image.load()
        check(
            picture_from(image, reduce_depth=True), *expected(samples, colour_type, depth, key, 8)
        )
    assert_as_pillow(data, reduced, depth)


def assert_as_pillow(data: bytes, picture: Picture, depth: int) -> None:
    """Pillow reads the same colours, except that it drops the lower 8 of 16 bits in colour."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I"):
            theirs = np.asarray(image)[..., None] / 257
        else:
            theirs = np.asarray(image.convert("RGBA"))[..., :3]
        ours = np.broadcast_to(picture.pixels, (*SHAPE, theirs.shape[2]))
        assert np.abs(ours.astype(float) - theirs).max() <= (0 if depth <= 8 else 1)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_of_a_key_with_too_many_bits_the_lower_ones_count(depth: int, last: bool) -> None:
    samples = samples_of(0, depth)
    key = samples.max(axis=(0, 1)) if last else samples.min(axis=(0, 1))
    wide = int(key[0]) | 0x100
    data = png(samples, 0, depth, before=[chunk(b"tRNS", struct.pack(">H", wide))])
    check(picture_from(data), *expected(samples, 0, depth, key, 8))


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_a_key_whose_file_is_closed(depth: int) -> None:
    samples = np.arange(12).reshape(3, 4, 1) % 2**depth
    data = png(samples, 0, depth, before=[chunk(b"tRNS", struct.pack(">H", 3))])
    with io.BytesIO(data) as file:
        image = Image.open(file)
        image.load()
    picture = picture_from(image)
    is_named = any("which grey is transparent is not known" in note for note in picture.notices)
    assert is_named == (depth < 8)
    if depth == 8:
        check(picture, *expected(samples, 0, 8, 3, 8))
