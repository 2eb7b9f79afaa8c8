"""A file object of the caller gets all bytes, or there is an error."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codec
import codec.plugins.pillow
from bitstream import CalotypeError, OutputError, UsageError
from bitstream.sink import whole_writes
from codec.pictures.picture import to_pil
from codec.pictures.read import picture_from

RGB = np.random.default_rng(5).integers(0, 256, (60, 50, 3), dtype=np.uint8)


class Short(io.RawIOBase):
    """Takes only some of the bytes that it is given, like a device, or a write that a signal cut.

    room   how many bytes it takes in total
    then   what it returns or raises afterwards
    """

    def __init__(self, room: int, then: Any = None) -> None:
        self.taken, self._room, self._then = b"", room, then

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> Any:
        piece = bytes(data)[: min(97, self._room - len(self.taken))]
        if data and not piece:
            if isinstance(self._then, Exception):
                raise self._then
            return self._then
        self.taken += piece
        return len(piece)


class Response:
    """Like the responses of web frameworks: takes everything and returns nothing."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: Any) -> None:
        self.taken += bytes(data)


@pytest.fixture(scope="module")
def data() -> bytes:
    return codec.compress(RGB)


WRITERS: dict[str, Callable[[bytes, Any], object]] = {
    "compress_to_file": lambda data, fo: codec.compress_to_file(RGB, fo),
    "the plug-in of Pillow": lambda data, fo: to_pil(picture_from(RGB)).save(fo, "CALO"),
} | {
    name: lambda data, fo, name=name: codec.decompress_file(data, fo, format=name)  # type: ignore[misc]
    for name in ("PNG", "TIFF", "PPM", "BMP")
}


@pytest.mark.parametrize("name", WRITERS)
def test_short_writes_are_continued(name: str, data: bytes) -> None:
    write, whole = WRITERS[name], io.BytesIO()
    write(data, whole)
    short, response = Short(10**9), Response()
    write(data, short)
    assert short.taken == whole.getvalue()
    write(data, response)
    assert response.taken == whole.getvalue()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("then", [None, 0, OSError(28, "No space left on device")], ids=repr)
def test_a_cut_file_is_an_error(name: str, then: Any, data: bytes) -> None:
    error = OSError if name == "the plug-in of Pillow" else OutputError
    with pytest.raises(error, match=r"cannot write the output: .*(no bytes now|No space left)"):
        WRITERS[name](data, Short(150, then))


@pytest.mark.parametrize("count", [-1, 10**6, 1.5, "3"])
def test_counts_that_cannot_be(count: Any) -> None:
    with pytest.raises(OutputError, match="expected how many it took"):
        whole_writes(Short(0, count)).write(b"abc")


@pytest.mark.parametrize("name", WRITERS)
def test_appended_files_are_whole(name: str, data: bytes, tmp_path: Path) -> None:
    write, whole, path = WRITERS[name], io.BytesIO(), tmp_path / "x"
    write(data, whole)
    path.write_bytes(b"before")
    with path.open("ab") as fo:
        write(data, fo)
    assert path.read_bytes() == b"before" + whole.getvalue()
    # As a shell opens standard output for >>, which the file object does not know.
    flags = os.O_WRONLY | os.O_APPEND
    with os.fdopen(os.open(path, flags), "wb") as fo:
        write(data, fo)
    assert path.read_bytes() == b"before" + 2 * whole.getvalue()


class Counting(io.BytesIO):
    """Returns counts as NumPy integers."""

    def write(self, data: Any) -> Any:
        return np.int64(super().write(data))


def test_integers_of_numpy_count() -> None:
    fo = Counting()
    assert whole_writes(fo).write(b"abc") == 3
    assert fo.getvalue() == b"abc"


def test_views_of_several_axes_and_of_nothing() -> None:
    short = Short(10**9)
    assert whole_writes(short).write(RGB.data) == RGB.nbytes
    assert whole_writes(short).write(RGB[:0].data) == 0
    assert short.taken == RGB.tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="a pair of sockets of POSIX")
def test_a_socket_that_does_not_block() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one.setblocking(False)
        image = np.random.default_rng(6).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        with one.makefile("wb", buffering=0) as raw:
            fo: Any = raw
            with pytest.raises(OutputError, match="no bytes now"):
                codec.compress_to_file(image, fo, lossless=True)


def closed() -> io.BytesIO:
    fo = io.BytesIO()
    fo.close()
    return fo


def for_reading() -> Any:
    raw: Any = io.BytesIO(b"x")
    return io.BufferedReader(raw)


def detached() -> Any:
    raw: Any = io.BytesIO()
    fo = io.BufferedWriter(raw)
    fo.detach()
    return fo


def without_a_place() -> Any:
    return type("WithoutAPlace", (io.BytesIO,), {"tell": lambda self: None})()


def unbuffered() -> Any:
    return io.FileIO(__file__)


UNUSABLE: dict[str, tuple[Callable[[], Any], type[CalotypeError], str]] = {
    "closed": (closed, OutputError, "closed"),
    "detached": (detached, OutputError, "detached"),
    "text": (io.StringIO, UsageError, "open it with 'wb'"),
    "for reading": (for_reading, UsageError, "open it with 'wb'"),
    "a write that is none": (type("W", (), {"write": 5}), UsageError, "with 'wb'"),
    "unbuffered, for reading": (unbuffered, UsageError, "open it with 'wb'"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_written(name: str, data: bytes) -> None:
    make, error, message = UNUSABLE[name]
    with pytest.raises(error, match=message):
        codec.compress_to_file(RGB, make())
    with pytest.raises(error, match=message):
        codec.decompress_file(data, make(), format="PNG")


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
def test_standard_output_without_a_buffer(tmp_path: Path) -> None:
    import resource

    source, output = tmp_path / "a.png", tmp_path / "a.calo"
    to_pil(picture_from(RGB)).save(source)
    command = [sys.executable, "-u", "-m", "codec", "compress", str(source), "-o", "-"]
    with output.open("wb") as cut:
        done = subprocess.run(
            command,
            stdout=cut,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)),
        )
    assert (done.returncode, output.stat().st_size) == (6, 200)
    assert "cannot write to standard output: File too large" in done.stderr
