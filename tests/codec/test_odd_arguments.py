"""Arguments of the wrong kind are errors of this library, before anything is computed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codec
from bitstream import UsageError

pytestmark = pytest.mark.usefixtures("tiny_weights")

ARRAY = np.zeros((16, 16, 3), np.uint8)
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
