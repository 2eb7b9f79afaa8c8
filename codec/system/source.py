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


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
