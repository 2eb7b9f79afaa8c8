"""Where compressed bytes come from: memory, a path, or an open file."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bitstream import InputError, UsageError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


@contextmanager
def opened(data: Source) -> Iterator[BinaryIO]:
    """Give a binary file object for bytes, a path, or a file object (which is left open).

    Raises InputError for a path that cannot be opened, UsageError for other kinds of data.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        yield io.BytesIO(data)
    elif isinstance(data, (str, os.PathLike)):
        with _open(Path(data)) as fo:
            yield fo
    elif hasattr(data, "read"):
        yield data
    else:
        raise UsageError(
            f"data of type {type(data).__name__}, expected bytes, a path, or a binary file"
        )


@contextmanager
def opened_seekable(data: Source) -> Iterator[BinaryIO]:
    """As `opened`, but what has no places to go to, such as a pipe, is read into memory first."""
    with opened(data) as fo:
        if fo.seekable():
            yield fo
            return
        try:
            content = fo.read()
        except OSError as error:
            name = getattr(fo, "name", "the data")
            raise InputError(f"cannot read {name}: {error.strerror or error}") from error
        yield io.BytesIO(content)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
