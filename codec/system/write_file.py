"""Output files that appear complete or not at all."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

from bitstream import OutputError


class OutputExistsError(OutputError):
    """There is a file of the name of an output, perhaps since a moment ago."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object], *, force: bool) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it.

    force   replace an existing file; without it an existing file is an error, also one that
            appears while this is being written

    Whatever goes wrong, the temporary file is removed and an existing output is as it was.
    Devices and pipes are written directly.  Raises OutputError, and what ``write`` raises.
    """
    if kind_of(path) == "device":
        _write_device(path, write)
        return
    refuse_existing(path, force=force)
    # Few characters of the name: one takes up to four bytes, and a name has room for 255.
    temporary = path.with_name(f".{path.name[:20]}.{secrets.token_hex(4)}.part")
    try:
        # Outside the block that removes it: a file of this name that is there is someone else's.
        fo = temporary.open("xb")
        try:
            with fo:
                write(fo)
            _rename(temporary, path, force)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror or error}") from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputError if ``path`` cannot take a new file."""
    try:
        is_folder, is_there = path.is_dir(), path.exists() or path.is_symlink()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if is_folder:
        raise OutputError(f"cannot write {path}: it is a directory")
    if is_there and not force:
        raise OutputExistsError(f"{path} exists: give another name, or -f to replace it")


def kind_of(path: Path) -> Literal["nothing", "file", "folder", "device"]:
    """Return what stands at a path; a pipe is a device.

    Also "nothing" where a name is too long or a folder may not be entered: opening it says why.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "nothing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "device"


def _rename(temporary: Path, path: Path, force: bool) -> None:
    if force:
        temporary.replace(path)
        return
    # A link fails where a file of this name has appeared meanwhile; a rename would replace it.
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise OutputExistsError(f"{path} appeared meanwhile: give another name, or -f") from None
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
