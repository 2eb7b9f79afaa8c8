"""Wherever bytes come from, failures are errors of this library."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import sys
import zlib
from collections.abc import Callable
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codec
from bitstream import CalotypeError, InputError, NotACaloFileError, UsageError, limits
from codec.datasets.pictures import SourceImage
from codec.system.source import opened

RGB = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def data() -> bytes:
    return codec.compress(RGB)


def test_memory_maps(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.calo"
    path.write_bytes(b"before" + data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for call in (codec.verify, codec.inspect, codec.decompress):
            view.seek(6)  # a file object is read from its current position
            call(view)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_of_every_kind(wrap: Any, data: bytes) -> None:
    assert codec.inspect(wrap(data)).width == 8


def test_strided_views(data: bytes) -> None:
    spread = bytearray(2 * len(data))
    spread[::2] = data
    assert codec.inspect(memoryview(spread)[::2]).width == 8
    assert codec.decompress(np.frombuffer(data, np.uint8), as_="numpy").shape == (8, 8, 3)  # type: ignore[call-overload]


READERS = (codec.decompress, codec.inspect, codec.verify)


@pytest.mark.parametrize("call", READERS)
def test_views_that_hold_no_file(call: Any) -> None:
    # A byte of memory that claims to be a terabyte.
    with pytest.raises(InputError, match="more than"):
        call(np.broadcast_to(np.uint8(0), (2**20, 2**20)))
    with pytest.raises(UsageError, match="ndarray"):
        call(np.zeros(4, "M8[s]"))


class Broken(io.RawIOBase):
    """A file object that raises or returns what it is given."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> Any:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


CALLS = (codec.decompress, codec.inspect, codec.verify, codec.compress)


@pytest.mark.parametrize("call", CALLS)
def test_faults_of_file_objects(call: Any) -> None:
    closed = io.BytesIO()
    closed.close()
    for source, error, message in (
        (Broken(OSError(5, "Input/output error")), InputError, "Input/output error"),
        (Broken(None), InputError, "non-blocking"),
        (Broken(bytes(2**22)), InputError, "does not heed the count"),
        (closed, InputError, "closed file"),
        (io.StringIO("abc"), UsageError, "str, expected bytes"),
        (17, UsageError, "int"),
    ):
        with pytest.raises(error, match=message):
            call(source)


def detached(kind: Any) -> Any:
    fo = kind(io.BufferedReader(io.BytesIO(b"x")))
    fo.detach()
    return fo


def with_property(name: str, base: Any = io.BytesIO) -> Any:
    """A file object with a property that raises."""

    def fail(self: Any) -> Any:
        raise ZeroDivisionError

    return type("Odd", (base,), {name: property(fail)})(b"x")


@pytest.mark.parametrize("call", CALLS)
def test_objects_that_fail_to_say_what_they_are(call: Any) -> None:
    without_a_place = type("WithoutAPlace", (io.BytesIO,), {"tell": lambda self: None})
    sources = [detached(io.TextIOWrapper), detached(io.BufferedReader), without_a_place(b"x")]
    names = ("name", "read", "closed", "seek", "tell", "seekable", "__array__", "dtype")
    for source in (*sources, *map(with_property, names)):
        with pytest.raises(CalotypeError):
            call(source)


def test_outputs_that_fail_to_say_what_they_are(data: bytes) -> None:
    for name in ("name", "closed", "mode", "fileno", "seekable"):
        fo = with_property(name)
        assert codec.compress_to_file(RGB, fo).size_bytes == len(fo.getvalue())
    for name in ("write", "seek", "tell"):
        with pytest.raises(CalotypeError):
            codec.decompress_file(data, with_property(name), format="TIFF")


class Reader:
    """An object with ``read`` that is no file object."""

    def __init__(self, read: Any) -> None:
        self.read = read


class Named:
    """A path-like object whose `__fspath__` returns or raises what it is given."""

    def __init__(self, name: Any) -> None:
        self._name = name

    def __fspath__(self) -> Any:
        if isinstance(self._name, Exception):
            raise self._name
        return self._name


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_file_object(call: Any) -> None:
    for source, error, message in (
        (Broken(EOFError()), InputError, "cannot read the file: EOFError"),
        (Broken(zlib.error("Error -3")), InputError, "cannot read the file: Error -3"),
        (Reader(lambda: b""), UsageError, "open it with 'rb'"),
        (Reader(5), UsageError, "open it with 'rb'"),
        (io.RawIOBase(), UsageError, "NotImplementedError.*open it with 'rb'"),
    ):
        with pytest.raises(error, match=message):
            call(source)


@pytest.mark.parametrize("name", [b"a.png", 5, ZeroDivisionError("x"), TypeError()], ids=repr)
def test_paths_that_name_nothing(name: Any, data: bytes, tmp_path: Path) -> None:
    path: Any = Named(name)
    calls: list[Callable[[], object]] = [
        lambda: codec.decompress_file(data, path, format="PNG"),
        lambda: codec.decompress(data, checkpoint=path),
        lambda: list(codec.compress_files([path], tmp_path)),
        lambda: list(codec.compress_files(path, tmp_path)),
        lambda: list(codec.compress_files([], path)),
        *(partial(call, path) for call in CALLS),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="names none"):
            call()


@pytest.mark.parametrize("call", CALLS)
def test_names_that_cannot_be_opened(call: Any, tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000, str(tmp_path), str(tmp_path / "nothing")):
        with pytest.raises(InputError, match="cannot read"):
            call(name)


@pytest.mark.parametrize("call", CALLS)
def test_a_file_whose_name_is_empty(call: Any, data: bytes) -> None:
    with gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data)[:-9])) as cut:
        assert cut.name == ""
        with pytest.raises(InputError, match="cannot read the file: "):
            call(cut)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file of Linux")
@pytest.mark.parametrize("call", CALLS)
def test_files_that_open_and_fail_to_read(call: Any) -> None:
    with pytest.raises(InputError):
        call("/proc/self/mem")


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe of POSIX")
def test_pipes(data: bytes) -> None:
    end, start = os.pipe()
    os.write(start, data)
    os.close(start)
    with os.fdopen(end, "rb") as pipe:
        assert codec.verify(pipe).width == 8


class Endless(io.RawIOBase):
    """Like a device that never ends."""

    def __init__(self, start: bytes) -> None:
        self.rest = start

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        raise AssertionError("all of what never ends was asked for")

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        buffer[:] = (self.rest + bytes(size))[:size]
        self.rest = self.rest[size:]
        return size


ENDLESS: dict[str, Callable[[bytes], object]] = {
    "nothing": lambda data: codec.compress(Endless(b"")),
    "a PNG": lambda data: codec.compress(Endless(b"\x89PNG\r\n\x1a\n")),
    "a file": lambda data: codec.decompress(BufferedReader(Endless(data)), partial=True),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends(name: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_STREAM_BYTES", 3 * 2**20)
    with pytest.raises(InputError, match="gives more than 3145728 bytes"):
        ENDLESS[name](data)


def test_a_picture_to_measure_that_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(bytes(2**20 + 1))
    monkeypatch.setattr(limits, "MAX_STREAM_BYTES", 2**20)
    with pytest.raises(InputError, match="gives more than"):
        SourceImage("large", path).pixels()


def test_a_large_file_that_is_no_image_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no disk
    monkeypatch.setattr("codec.pictures.read.read_all", None)
    with pytest.raises(InputError, match="not an image"):
        codec.compress(path)
    monkeypatch.undo()
    with path.open("r+b") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setattr(limits, "MAX_STREAM_BYTES", 2**20)
    with pytest.raises(InputError, match="gives more than"):
        codec.compress(path)


def test_a_text_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("text")
    with path.open() as file, pytest.raises(UsageError, match="open it with 'rb'"):
        codec.decompress(file)  # type: ignore[call-overload]


def test_seeking_is_kept(data: bytes) -> None:
    with opened(io.BytesIO(data)) as fo:
        assert fo.seekable()
        assert fo.seek(3) == 3
        assert fo.tell() == 3
        assert fo.read(2) == data[3:5]


def test_every_error_has_the_one_root() -> None:
    assert issubclass(InputError, CalotypeError)
    assert issubclass(NotACaloFileError, CalotypeError)
