"""Output files that appear complete or not at all."""

import errno
import os
import platform
import secrets
import stat
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from bitstream import OutputError
from bitstream.foreign import reason_of

if sys.platform != "win32":
    import fcntl

_folders = threading.RLock()
"""Held while a folder is created for a file and while an empty one is removed."""
_made_folders: set[Path] = set()
"""Folders that `make_folder` created and that may still be empty."""


class OutputExistsError(OutputError):
    """The output exists; it may have appeared only a moment ago."""


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], *, force: bool, make_folders: bool = False
) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it.

    force         replace an existing file; without it an existing file is an error, even if it
                  appears during writing
    make_folders  create the folder of the file and its parents if they are missing

    On any failure the temporary file is removed, as are empty folders that were created for it,
    and an existing output is unchanged.  A temporary file that a killed process has left for the
    same output is removed.  Devices and pipes are written directly.  Raises OutputError, and what
    ``write`` raises.
    """
    if kind_of(path) == "device":
        _write_device(path, write)
        return
    refuse_existing(path, force=force)
    try:
        with _temporary(path, make_folders) as (temporary, fo):
            with fo:
                write(fo)
            _rename(temporary, path, force)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if make_folders:
            _remove_empty(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they are missing; raises OutputError."""
    if kind_of(folder) == "folder":
        return
    with _folders:
        missing = [one for one in (folder, *folder.parents) if kind_of(one) == "nothing"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {folder}: {error.strerror or error}") from error
        _made_folders.update(missing)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and its parents if `make_folder` created them and they are still empty."""
    if folder not in _made_folders:
        return
    with _folders:
        for one in (folder, *folder.parents):
            if one not in _made_folders:
                return
            _made_folders.discard(one)
            try:
                one.rmdir()
            except OSError:  # another output is in it
                return


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputError if ``path`` cannot take a new file."""
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()  # its errors are more precise than those of the calls below
        is_folder, is_there = path.is_dir(), path.exists() or path.is_symlink()
    # The name is too long or has a NUL, or the folder may not be entered.
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {reason_of(error)}") from error
    if is_folder:
        raise OutputError(f"cannot write {path}: it is a directory")
    if is_there and not force:
        raise OutputExistsError(f"{path} exists: give another name, or -f to replace it")


def kind_of(path: Path) -> Literal["nothing", "file", "folder", "device"]:
    """Return what kind of file a path is; a pipe counts as a device.

    If the name is too long or the folder may not be entered, it is "nothing": opening the file
    will give the error.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "nothing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "device"


@contextmanager
def _temporary(path: Path, make_folders: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside an output, which is removed at the end unless it was renamed.

    Its name is the same each time, so the next run finds the file of a killed process without
    listing the folder. A live process holds a lock on its file, and other processes then use
    another name.
    """
    # Only 20 characters: each takes up to 4 bytes, and a file name has at most 255.
    start = f".{path.name[:20]}."
    # Other machines that share the folder may not see our locks, so names differ by machine.
    usual = f"{zlib.crc32(os.fsencode(platform.node() + '/' + path.name)):08x}"
    temporary, lock = path.with_name(f"{start}{usual}.part"), None
    _remove_abandoned(temporary)
    for attempts_left in (2, 1, 0):
        try:
            with _folders:
                if make_folders:
                    make_folder(path.parent)
                # A file that still has this name belongs to another process.
                fo = temporary.open("xb")
            own = os.fstat(fo.fileno())
            try:
                lock = _lock(temporary)
            except _InUseError:  # another process took it for abandoned before it was locked
                fo.close()
                raise
            break
        except (FileExistsError, FileNotFoundError):
            # The folder may be missing: another process removed it when its own output failed.
            if not attempts_left:
                raise
            temporary = path.with_name(f"{start}{secrets.token_hex(4)}.part")
    try:
        yield temporary, fo
    finally:
        fo.close()
        with suppress(FileNotFoundError):
            # After the rename, a file with this name belongs to another process.
            if os.path.samestat(temporary.lstat(), own):
                temporary.unlink()
        if lock is not None:
            os.close(lock)


class _InUseError(FileExistsError):
    """Another process holds the lock of a file, or has put another file in its place."""


def _lock(temporary: Path) -> int | None:
    """A descriptor that holds the lock of a file; None if the system has no locks.

    Raises _InUseError.
    """
    if sys.platform == "win32":
        return None
    try:
        lock = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _InUseError(errno.ENOENT, "another process removed it", str(temporary)) from None
    except OSError:  # the umask forbids reading
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), temporary.lstat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # the file system has no locks: no file counts as abandoned
        os.close(lock)
        return None
    os.close(lock)
    raise _InUseError(errno.EEXIST, "another process uses it", str(temporary))


def _remove_abandoned(temporary: Path) -> None:
    """Remove a temporary file if its process has ended."""
    try:
        lock = _lock(temporary)
    except _InUseError:
        return
    if lock is None or sys.platform == "win32":
        return
    try:
        status = os.fstat(lock)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            temporary.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _rename(temporary: Path, path: Path, force: bool) -> None:
    if force:
        temporary.replace(path)
        return
    # Linking fails if a file of this name has appeared meanwhile; renaming would replace it.
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise OutputExistsError(f"{path} appeared meanwhile: give another name, or -f") from None
    except OSError:
        # The file system has no hard links, so check and rename are separate steps.
        refuse_existing(path, force=False)
        temporary.rename(path)


def _write_device(path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with path.open("wb") as fo:
            write(fo)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
