"""The serializer of zarr 3, through zarr's own functions."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codec
from bitstream import InputError, UsageError

zarr = pytest.importorskip("zarr", minversion="3.0")

from codec.plugins.zarr import Calotype  # noqa: E402

pytestmark = [pytest.mark.usefixtures("tiny_weights"), pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[3]


def create(place: Path, shape: tuple[int, ...], chunks: tuple[int, ...], **more: Any) -> Any:
    options = {"dtype": "uint8", "serializer": Calotype(quality=60), "compressors": None, **more}
    return zarr.create_array(str(place), shape=shape, chunks=chunks, zarr_format=3, **options)


def test_images_there_and_back(photograph: Any, tmp_path: Path) -> None:
    array = create(tmp_path / "a", (2, 70, 64, 3), (1, 48, 64, 3))
    images = np.stack([photograph, photograph[::-1]])
    array[:, :48] = images
    again = zarr.open_array(str(tmp_path / "a"), mode="r")
    for number, image in enumerate(images):
        expected = codec.decompress(codec.compress(image, quality=60), as_="numpy")
        assert np.array_equal(again[number, :48], expected)
    # Unwritten chunks have the fill value, and each chunk is a file that the command can read.
    assert not again[:, 48:].any()
    assert codec.inspect(tmp_path / "a/c/0/0/0/0").quality == 60
    (entry,) = json.loads((tmp_path / "a/zarr.json").read_text())["codecs"]
    assert entry == {
        "name": "calotype", "configuration": {"quality": 60, "model": "photo", "effort": 1},
    }  # fmt: skip


def test_a_misspelt_option_names_the_nearest() -> None:
    misspelt: Any = {"qualty": 3}
    with pytest.raises(TypeError, match=r"Calotype\(\) has no option 'qualty'; did you mean 'qual"):
        Calotype(**misspelt)
    assert Calotype(60, effort=1) == Calotype(quality=60)


@pytest.mark.parametrize("order", ["C", "F"])
def test_gray_chunks_of_any_order(photograph: Any, tmp_path: Path, order: str) -> None:
    image = np.asarray(photograph[..., 0], order=order)  # type: ignore[call-overload]
    array = create(tmp_path / "a", (48, 64), (48, 64), config={"order": order})
    array[:] = image
    out = zarr.open_array(str(tmp_path / "a"), mode="r")[:]
    expected = codec.decompress(codec.compress(photograph[..., 0], quality=60), as_="numpy")
    assert np.array_equal(out, expected)


def test_shards(photograph: Any, tmp_path: Path) -> None:
    array = create(tmp_path / "a", (2, 48, 64, 3), (1, 48, 64, 3), shards=(2, 48, 64, 3))
    array[:] = np.stack([photograph, photograph])
    expected = codec.decompress(codec.compress(photograph, quality=60), as_="numpy")
    assert np.array_equal(zarr.open_array(str(tmp_path / "a"))[1], expected)


def test_other_arrays_are_refused_when_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="type int16, expected uint8 or uint16"):
        create(tmp_path / "a", (48, 64), (48, 64), dtype="int16")
    with pytest.raises(UsageError, match="before it only axes of length 1"):
        create(tmp_path / "b", (4, 48, 64), (4, 48, 64))
    with pytest.raises(UsageError, match="quality 0"):
        Calotype(quality=0)
    with pytest.raises(codec.UnknownModelError):
        Calotype(model="vapor")


def test_configurations(tmp_path: Path) -> None:
    one = Calotype(quality=30, model="photo", tune="psnr", bit_depth=12)
    assert Calotype.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert Calotype.from_dict({"name": "calotype"}) == Calotype()
    with pytest.raises(UsageError, match="color was read, expected only quality"):
        Calotype.from_dict({"name": "calotype", "configuration": {"color": 1}})
    with pytest.raises(UsageError, match="expected the name"):
        Calotype.from_dict({"name": "gzip"})
    with pytest.raises(UsageError, match="1, color was read"):
        Calotype.from_dict({"name": "calotype", "configuration": {"color": 1, 1: 2}})
    with pytest.raises(UsageError, match="a codec None was read"):
        Calotype.from_dict(None)


def test_16_bits_need_a_model_that_keeps_them(tmp_path: Path) -> None:
    serializer = Calotype(model="draw")
    array = create(tmp_path / "a", (48, 64), (48, 64), dtype="uint16", serializer=serializer)
    with pytest.raises(InputError, match="16 bits per channel, and the model draw codes 8"):
        array[:] = np.full((48, 64), 1000, np.uint16)


@pytest.mark.parametrize("bit_depth", [None, 12])
def test_16_bits(bit_depth: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALOTYPE_WEIGHTS")  # trained ones come nearer
    peak = 65535 if bit_depth is None else 4095
    ramp = np.linspace(0.1 * peak, 0.9 * peak, 64 * 48).astype(np.uint16).reshape(48, 64)
    serializer = Calotype(quality=95, model="photo", bit_depth=bit_depth)
    array = create(tmp_path / "a", (48, 64), (48, 64), dtype="uint16", serializer=serializer)
    array[:] = ramp
    found = zarr.open_array(str(tmp_path / "a"), mode="r")[:]
    assert found.dtype == np.uint16
    assert np.abs(found.astype(int) - ramp).max() < 0.05 * peak
    assert codec.inspect(tmp_path / "a/c/0/0").bit_depth == (bit_depth or 16)


def test_a_chunk_of_another_array_is_refused(photograph: Any, tmp_path: Path) -> None:
    array = create(tmp_path / "a", (48, 64, 3), (48, 64, 3))
    array[:] = photograph
    (tmp_path / "a/c/0/0/0").write_bytes(codec.compress(photograph[:40]))
    with pytest.raises(UsageError, match="belongs to another array"):
        array[:]


def test_the_entry_point_names_the_class() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, name = project["entry-points"]["zarr.codecs"]["calotype"].partition(":")
    assert getattr(import_module(module), name) is Calotype
