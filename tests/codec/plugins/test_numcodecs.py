"""The codec of numcodecs, alone and used by zarr."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codec
from bitstream import UsageError

numcodecs = pytest.importorskip("numcodecs")

from codec.plugins.images import image_of_chunk  # noqa: E402
from codec.plugins.numcodecs import Calotype  # noqa: E402

ROOT = Path(__file__).parents[3]


def test_the_registry_knows_the_name() -> None:
    found = numcodecs.get_codec({"id": "calotype", "quality": 30})
    assert found == Calotype(quality=30)
    config = found.get_config()
    assert config == {"id": "calotype", "quality": 30, "model": "photo", "effort": 1}
    assert numcodecs.get_codec(json.loads(json.dumps(config))) == found
    assert repr(found) == (
        "Calotype(bit_depth=None, effort=1, max_error=None, model='photo', quality=30, tune=None)"
    )


def test_a_misspelt_option_names_the_nearest() -> None:
    misspelt: Any = {"qualty": 3}
    with pytest.raises(TypeError, match=r"Calotype\(\) has no option 'qualty'; did you mean 'qual"):
        Calotype(**misspelt)
    with pytest.raises(TypeError, match="did you mean 'effort'"):
        numcodecs.get_codec({"id": "calotype", "efort": 3})


def test_the_entry_point_names_the_class() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, name = project["entry-points"]["numcodecs.codecs"]["calotype"].partition(":")
    assert getattr(import_module(module), name) is Calotype


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((48, 64), (48, 64)),
        ((48, 64, 1), (48, 64, 1)),
        ((48, 64, 3), (48, 64, 3)),
        ((48, 64, 4), (48, 64, 4)),
        ((1, 48, 64), (48, 64)),
        ((1, 1, 48, 64, 3), (48, 64, 3)),
        ((1, 1, 48, 64), (48, 64)),
        ((1, 1), (1, 1)),
    ],
)
def test_chunks_there_and_back(
    tiny_weights: Path, photograph: Any, shape: tuple[int, ...], image: tuple[int, ...]
) -> None:
    chunk = np.resize(photograph, shape)
    calotype = Calotype(quality=40)
    data = calotype.encode(chunk)
    assert data == codec.compress(chunk.reshape(image), quality=40)
    back = calotype.decode(data)
    assert back.dtype == np.uint8
    assert back.size == chunk.size
    assert np.array_equal(back.ravel(), codec.decompress(data, as_="numpy").ravel())
    out = np.zeros(shape, np.uint8)
    calotype.decode(memoryview(data), out=out)
    assert np.array_equal(out.ravel(), back.ravel())
    if shape[-1] == 4:
        assert np.array_equal(out[..., 3], chunk[..., 3])


def test_an_output_in_fortran_order_is_refused(tiny_weights: Path) -> None:
    data = Calotype(quality=40).encode(np.zeros((8, 9), np.uint8))
    out = np.full((8, 9), 77, np.uint8, order="F")
    with pytest.raises(UsageError, match="order='C'"):
        Calotype().decode(data, out=out)
    assert (out == 77).all()


@pytest.mark.parametrize("data", [None, 3, "a.calo", 2.5, [1]], ids=repr)
def test_what_is_no_file_is_refused(data: Any) -> None:
    with pytest.raises(UsageError, match="expected the bytes"):
        Calotype().decode(data)


def test_an_output_that_cannot_be_written_to_is_refused(tiny_weights: Path) -> None:
    data = Calotype().encode(np.zeros((8, 9), np.uint8))
    out = np.full((8, 9), 77, np.uint8)
    out.flags.writeable = False
    for one in (out, memoryview(bytes(72)), bytes(72), [77] * 72, 3):
        with pytest.raises(UsageError, match="out"):
            Calotype().decode(data, out=one)
    assert (out == 77).all()


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (72, 2), (8, 9, 3)])
def test_an_output_of_another_size_is_refused(tiny_weights: Path, shape: tuple[int, ...]) -> None:
    data = Calotype(quality=40).encode(np.zeros((8, 9), np.uint8))
    out = np.full(shape, 77, np.uint8)
    with pytest.raises(UsageError, match=r"expected 72: .* uint8 \(8, 9\)"):
        Calotype().decode(data, out=out)
    assert (out == 77).all()


@pytest.mark.parametrize("bit_depth", [None, 10, 12, 16])
def test_deep_chunks(tiny_weights: Path, photograph: Any, bit_depth: int | None) -> None:
    chunk = photograph.astype("<u2") << ((bit_depth or 16) - 8)
    calotype = Calotype(quality=60, bit_depth=bit_depth)
    assert numcodecs.get_codec(calotype.get_config()) == calotype
    data = calotype.encode(chunk)
    assert codec.inspect(data).bit_depth == (bit_depth or 16)
    out = np.zeros_like(chunk)
    calotype.decode(data, out=out)
    np.testing.assert_array_equal(out, codec.decompress(data, as_="numpy"))
    assert calotype.decode(data).dtype == np.dtype("<u2")
    assert codec.inspect(calotype.encode(photograph)).bit_depth == 8
    with pytest.raises(UsageError, match="expected uint8"):
        Calotype(bit_depth=8).encode(chunk)


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros((4, 4), np.uint32), "type uint32, expected uint8 or uint16"),
        (np.zeros((4, 4), ">u2"), "big-endian"),
        (np.zeros((4, 4), np.int8), "type int8"),
        (np.zeros(16, np.uint8), "shape (16,)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "before it only axes of length 1"),
        (np.zeros((2, 8, 8), np.uint8), "before it only axes of length 1"),
        (np.zeros((8, 8, 2), np.uint8), "before it only axes of length 1"),
        (np.zeros((0, 8), np.uint8), "shape (0, 8)"),
        (np.zeros((8, 9), np.uint8, order="F"), "order='C'"),
        (np.ma.masked_equal(np.eye(8, dtype=np.uint8), 1), "8 of 64 values are masked"),
    ],
)
def test_other_chunks_are_refused(chunk: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Calotype().encode(chunk)
    assert message in str(caught.value)


def test_a_view_is_read_in_the_order_of_its_indices() -> None:
    whole = np.arange(96, dtype=np.uint8).reshape(8, 12)
    assert np.array_equal(image_of_chunk(whole[::2, 1:5]), whole[::2, 1:5])


def test_configurations_are_checked_at_once() -> None:
    with pytest.raises(UsageError, match="quality 0"):
        Calotype(quality=0)
    with pytest.raises(codec.UnknownModelError):
        Calotype(model="vapor")


@pytest.mark.filterwarnings("default")
def test_a_zarr_array(tiny_weights: Path, photograph: Any, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3.0")
    place = str(tmp_path / "photos.zarr")
    array = zarr.create_array(
        place,
        shape=(2, 70, 64, 3),
        chunks=(1, 48, 64, 3),
        dtype="uint8",
        zarr_format=2,
        compressors=Calotype(quality=60),
    )
    images = np.stack([photograph, photograph[::-1]])
    array[:, :48] = images
    again = zarr.open_array(place, mode="r")
    for number, image in enumerate(images):
        expected = codec.decompress(codec.compress(image, quality=60), as_="numpy")
        assert np.array_equal(again[number, :48], expected)
    # Unwritten chunks have the fill value, and each chunk is a file that the command can read.
    assert not again[:, 48:].any()
    assert codec.inspect(tmp_path / "photos.zarr/0.0.0.0").quality == 60
    assert json.loads((tmp_path / "photos.zarr/.zarray").read_text())["compressor"] == {
        "id": "calotype", "quality": 60, "model": "photo", "effort": 1,
    }  # fmt: skip
