"""Output files that appear complete or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from bitstream import OutputError


def write_atomically(path: Path, write: Callable[[BinaryIO], object], *, force: bool) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it.

    force   replace an existing file; without it an existing file is an error, also one that
            appears while this is being written

    Whatever goes wrong, the temporary file is removed and an existing output is as it was.
    Devices and pipes are written directly.  Raises OutputError, and what ``write`` raises.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        _write_device(path, write)
        return
    refuse_existing(path, force=force)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        try:
            with temporary.open("xb") as fo:
                write(fo)
                fo.flush()
            _rename(temporary, path, force)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputError if ``path`` cannot take a new file."""
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a directory")
    if not force and (path.exists() or path.is_symlink()):
        raise OutputError(f"{path} exists: give another name, or -f to replace it")


def _rename(temporary: Path, path: Path, force: bool) -> None:
    if force:
        temporary.replace(path)
        return
    # A link fails where a file of this name has appeared meanwhile; a rename would replace it.
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise OutputError(f"{path} appeared meanwhile: give another name, or -f") from None
    except OSError:
        # File systems without links: the check and the rename are two steps there.
        refuse_existing(path, force=False)
        temporary.rename(path)


def _write_device(path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with path.open("wb") as fo:
            write(fo)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
