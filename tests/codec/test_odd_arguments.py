"""Arguments of the wrong kind are errors of this library, before anything is computed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import codec
from bitstream import InputError, OutputError, UsageError
from codec.options import CompressOptions, DecompressOptions

pytestmark = pytest.mark.usefixtures("tiny_weights")

ARRAY = np.zeros((16, 16, 3), np.uint8)


class Unshown:
    """An object whose repr fails."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


def nested(depth: int) -> list[Any]:
    whole: list[Any] = []
    for _ in range(depth):
        whole = [whole]
    return whole


# Kept until the end, because freeing it would unwind the whole depth.
DEEP = nested(100_000)
JUNK: tuple[Any, ...] = (
    1j,
    10**400,
    -1,
    float("nan"),
    [1],
    {},
    {1},
    object,
    np.array([1, 2]),
    Ellipsis,
    b"x",
    len,
)


@pytest.fixture(scope="module")
def data() -> bytes:
    return codec.compress(ARRAY)


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_every_function(junk: Any, data: bytes, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    out = tmp_path / "out"
    calls: list[Callable[[], object]] = [
        lambda: codec.compress_to_file(ARRAY, junk),
        lambda: codec.decompress(data, as_=junk),
        lambda: codec.decompress_file(data, junk, format="PNG"),
        lambda: codec.decompress_file(data, io.BytesIO(), format=junk),
        lambda: codec.decompress_file(data, io.BytesIO(), format="JPEG", output_quality=junk),
        lambda: codec.compress_files([junk], out),
        lambda: codec.compress_files([image], junk),
        lambda: codec.compress_files([image], out, root=junk),
        lambda: codec.compress_files([image], out, overwrite=junk),
        lambda: codec.compress_files([image], out, skip_existing=junk),
        lambda: codec.compress_files([image], out, executor=junk),
        lambda: codec.decompress_files([image], out, suffix=junk),
        lambda: codec.decompress_progressive(data, as_=junk),
    ]
    for call in calls:
        with pytest.raises(UsageError):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("junk", [DEEP, Unshown()], ids=["nested", "not shown"])
def test_options_that_cannot_be_shown(junk: Any, data: bytes, tmp_path: Path) -> None:
    test_every_function(junk, data, tmp_path)
    for name in (field.name for field in fields(CompressOptions)):
        with pytest.raises(UsageError, match=name):
            codec.compress(ARRAY, **{name: junk})
    for name in (field.name for field in fields(DecompressOptions)):
        with pytest.raises(UsageError, match=name):
            codec.decompress(data, **{name: junk})


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"], ids=["NUL", "half a pair"])
def test_names_that_no_file_can_have(name: str, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        codec.decompress_file(data, tmp_path / f"{name}.png")
    for folder, root in ((tmp_path / name, None), (tmp_path, name)):
        with pytest.raises(UsageError, match="which cannot be a file name"):
            codec.compress_files([tmp_path / "a.png"], folder, root=root)
    assert list(tmp_path.iterdir()) == []


def test_pillow_images_that_were_closed_or_changed() -> None:
    closed, changed = Image.fromarray(ARRAY), Image.fromarray(ARRAY)
    closed.close()
    changed.info = None  # type: ignore[assignment]
    file = io.BytesIO()
    Image.fromarray(ARRAY).save(file, "PNG")
    of_file = Image.open(file)
    of_file.close()
    for image in (closed, changed, of_file):
        with pytest.raises(InputError, match="incomplete or closed"):
            codec.compress(image)


@pytest.mark.parametrize("paths", [None, 3, np.array(3), [None], [3], ["a\0b"], "photo.png"])
def test_paths(paths: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="path"):
        codec.compress_files(paths, tmp_path)


@pytest.mark.parametrize("kind", ["bool", "int8", "complex64", "U1", "O", "M8[s]", "V3"])
def test_arrays_of_other_kinds(kind: str) -> None:
    with pytest.raises(UsageError, match="has values of type"):
        codec.compress(np.zeros((4, 4), kind))


@pytest.mark.parametrize("shape", [(), (4,), (4, 4, 5), (1, 4, 4, 3), (0, 4), (4, 0, 3)])
@pytest.mark.parametrize("kind", ["uint8", "float32", "uint16"])
def test_arrays_of_other_shapes(shape: tuple[int, ...], kind: str) -> None:
    with pytest.raises(UsageError, match="an array of shape"):
        codec.compress(np.zeros(shape, kind), reduce_depth=True)
