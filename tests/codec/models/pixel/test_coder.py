"""The lossless coder: pictures are restored, and files cost what the tables say."""

from __future__ import annotations

import numpy as np
import pytest

from bitstream.arrays import Int32Array
from bitstream.errors import WeightsMismatchError
from codec.models.pixel.coder import (
    GREEN_FIRST,
    WITH_DIFFERENCES,
    WITH_MAP,
    PixelCoder,
    PixelConfig,
)
from codec.models.pixel.wavefront import Front, sweep
from tests.codec.models.pixel.tiny import (
    CONFIG,
    Uint8Array,
    drawing,
    scene,
    tiny_arrays,
    tiny_coder,
)

RNG = np.random.default_rng(0)
PICTURES: dict[str, Uint8Array] = {
    "one pixel": scene(1, 1),
    "a row": scene(1, 40),
    "a column": scene(40, 1),
    "two rows": scene(2, 33),
    "odd sides": scene(31, 45, seed=3),
    "high": scene(50, 7),
    "noise": RNG.integers(0, 256, (24, 24, 3)).astype(np.uint8),
    "black and white": RNG.integers(0, 2, (24, 24, 3)).astype(np.uint8) * np.uint8(255),
    "flat": np.full((20, 20, 3), (255, 0, 7), np.uint8),
    "grey": np.repeat(scene(24, 31)[:, :, :1], 3, axis=2),
    "grey but for one value": np.repeat(scene(9, 9)[:, :, :1], 3, axis=2),
}
PICTURES["grey but for one value"][8, 8, 2] ^= 1
PICTURES["drawing"] = drawing(40, 50)
REPEATED = {"flat", "drawing", "black and white"}
"""Those pictures that are coded with a map of colours."""


def encode(pixels: Uint8Array) -> bytes:
    coder = tiny_coder()
    (payload,) = coder.encode_tile(coder.analyze(pixels, 100), 100)
    return payload


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_comes_back(name: str) -> None:
    pixels, coder = PICTURES[name], tiny_coder()
    payload = encode(pixels)
    height, width = pixels.shape[:2]
    decoded = coder.decode_tile([payload], height, width, 100)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(coder.synthesize(decoded, 100), pixels)
    planes = 1 if name == "grey" else 3
    # If almost all pixels are grey, few differences occur.
    flag = WITH_DIFFERENCES if name == "grey but for one value" else 0
    assert payload[0] == planes | (WITH_MAP if name in REPEATED else flag)


def test_a_file_costs_what_its_tables_say() -> None:
    pixels, coder = scene(40, 40), tiny_coder()
    planes = pixels.transpose(2, 0, 1)[list(GREEN_FIRST)].astype(np.int32)
    bits = 0.0

    def code(front: Front) -> Int32Array:
        nonlocal bits
        values = np.concatenate([planes[p.plane, p.rows, p.columns] for p in front.parts])
        centres, tables = coder.predict(front)
        bits += coder.tables.code_length_bits(values - centres, tables)
        return values

    sweep((3, 40, 40), code)
    assert 8 * len(encode(pixels)) == pytest.approx(bits, abs=64)
    assert coder.code_length_bits(coder.analyze(pixels, 100)) == pytest.approx(bits)


def test_grey_costs_less_than_colour() -> None:
    colour = scene(32, 32)
    grey = np.repeat(colour[:, :, 1:2], 3, axis=2)
    assert len(encode(grey)) < 0.6 * len(encode(colour))


def test_every_symbol_costs_something() -> None:
    tables = tiny_coder().tables
    # So a payload ends long before a decoder has decoded the tiles that a hostile header announces.
    assert tables.frequencies.max() < 2**24 * (1 - 2**-12)
    assert not tables.certain.any()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("phase_bits", np.zeros(40, np.int64)),
        ("phase_bits", np.zeros((2, 20), np.int32)),
        ("phase_bits", np.full(40, 5, np.int32)),
        ("phase_bits", np.zeros(39, np.int32)),
        ("phase_bits", np.zeros(0, np.int32)),
        ("exact.0.weight", np.zeros((6, 3, 1, 1), np.int16)),
        ("exact.1.weight", np.zeros((3, 6, 1, 1), np.int16)),
        ("exact.0.bias", np.zeros((2, 5), np.int32)),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(name: str, array: np.ndarray) -> None:
    arrays = {**tiny_arrays(), name: array}
    with pytest.raises(WeightsMismatchError):
        PixelCoder(arrays, CONFIG, bytes(8))


def test_missing_arrays_and_other_sizes_are_refused() -> None:
    for name in ("phase_bits", "exact.0.weight", "exact.1.bias"):
        with pytest.raises(WeightsMismatchError):
            PixelCoder({k: a for k, a in tiny_arrays().items() if k != name}, CONFIG, bytes(8))
    with pytest.raises(WeightsMismatchError, match="expected"):
        PixelCoder(tiny_arrays(), PixelConfig(hidden=(7,)), bytes(8))
