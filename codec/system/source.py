"""Where bytes come from: memory, a path, or an open file."""

import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from bitstream import SIGNATURE, CalotypeError, InputError, UsageError, limits
from bitstream.foreign import attribute_of, has, integer_of, reason_of, shown

_PIECE_BYTES = 2**20

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | mmap.mmap | BinaryIO


@contextmanager
def opened(data: Source) -> Iterator[BinaryIO]:
    """Give a binary file object for bytes, a path, or a file object (which is left open).

    It can seek if the data can.  A failed read raises InputError, and a read that returns text
    UsageError.  Raises InputError for a path that cannot be opened, UsageError for other kinds of
    data.
    """
    if isinstance(data, (str, os.PathLike)):
        with open_path(data) as fo:
            yield _checked(fo)
    elif has(data, "read"):
        yield _checked(data)
    else:
        try:
            view = memoryview(cast(Any, data))
        except (TypeError, ValueError, BufferError):  # arrays of dates raise ValueError
            raise UsageError(
                f"data of type {type(data).__name__}, expected bytes, a path, or a binary file"
            ) from None
        # Check first: a non-contiguous view is copied, and a broadcast one may be huge.
        if view.nbytes > limits.MAX_STREAM_BYTES:
            raise _too_large("the data")
        yield io.BytesIO(view if view.c_contiguous else view.tobytes())


@contextmanager
def opened_seekable(data: Source) -> Iterator[BinaryIO]:
    """As `opened` for a .calo file, but a pipe, which cannot seek, is read into memory first."""
    with opened(data) as fo:
        yield fo if fo.seekable() else io.BytesIO(read_calo(fo))


def read_all(fo: BinaryIO) -> bytes:
    """Return the bytes of a file from its current position on.

    Raises InputError if there are more than any image can have, because a device may never end.
    """
    kept = io.BytesIO()
    while piece := fo.read(_PIECE_BYTES):
        if kept.tell() + len(piece) > limits.MAX_STREAM_BYTES:
            raise _too_large(getattr(fo, "name", "the file"))
        kept.write(piece)
    return kept.getvalue()


def read_calo(fo: BinaryIO) -> bytes:
    """As `read_all`, but if the file does not begin with the .calo signature, stop there.

    The first bytes are enough for the error message, and a device may never end.
    """
    first = b""
    while len(first) < len(SIGNATURE) and (piece := fo.read(len(SIGNATURE) - len(first))):
        first += piece
    return first + read_all(fo) if first == SIGNATURE else first


def _too_large(name: str) -> InputError:
    return InputError(
        f"{name} gives more than {limits.MAX_STREAM_BYTES} bytes, which no image that a .calo "
        "file can hold has: name another file"
    )


def open_path(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; raises InputError if that fails."""
    named = path_of(path)
    try:
        return named.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise InputError(f"cannot read {named}: {reason_of(error)}") from error


def path_of(path: str | os.PathLike[str]) -> Path:
    """Return the path that an object names; raises UsageError if its ``__fspath__`` fails."""
    try:
        return Path(path)
    except Exception as error:  # a foreign ``__fspath__`` may raise anything
        raise UsageError(
            f"a path of type {type(path).__name__} was given, which names none "
            f"({reason_of(error)}): give a str or a pathlib.Path"
        ) from error


def _checked(fo: Any) -> BinaryIO:
    return cast(BinaryIO, fo if isinstance(fo, _Checked) else _Checked(fo))


class _Checked:
    """A binary file object whose failures are errors of this library.

    What a closed file, a device or a file system raises becomes an InputError.
    """

    def __init__(self, fo: Any) -> None:
        self._fo = fo
        # The name is empty for some files, such as compressed ones.
        self.name = str(attribute_of(fo, "name") or "the file")

    def read(self, count: int = -1) -> bytes:
        data = self._call("read", *(() if count < 0 else (count,)))
        if data is None:
            raise InputError(f"cannot read {self.name}: it gives no bytes now (non-blocking)")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise UsageError(
                f"{self.name} gave {type(data).__name__}, expected bytes: open it with 'rb'"
            )
        if 0 <= count < len(data):
            raise InputError(
                f"{self.name} gave {len(data)} bytes, expected at most {count}: its read(count) "
                "does not heed the count"
            )
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._call("seek", offset, whence)
        return self.tell()

    def tell(self) -> int:
        found = self._call("tell")
        place = integer_of(found)
        if place is None:
            raise InputError(
                f"cannot read {self.name}: its tell() returned {shown(found)}, expected an integer"
            )
        return place

    def seekable(self) -> bool:
        # A memory map can seek, but has no ``seekable`` before Python 3.13.
        if not has(self._fo, "seekable"):
            return has(self._fo, "seek", "tell")
        return bool(self._call("seekable"))

    def _call(self, method: str, *arguments: int) -> Any:
        try:
            return getattr(self._fo, method)(*arguments)
        except (TypeError, AttributeError, NotImplementedError) as error:
            raise UsageError(
                f"{self.name} has no {method}({', '.join(map(str, arguments))}) of a binary file "
                f"({reason_of(error)}): open it with 'rb'"
            ) from error
        except CalotypeError:
            raise  # from a file object wrapped in another
        except Exception as error:  # decompressors and network files raise their own exceptions
            raise InputError(f"cannot read {self.name}: {reason_of(error)}") from error
