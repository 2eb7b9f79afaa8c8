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
"""Held while a folder is made for a file and while an empty one is removed."""
_made_folders: set[Path] = set()
"""Folders that `make_folder` made, and in which nothing was written yet."""


class OutputExistsError(OutputError):
    """There is a file of the name of an output, perhaps since a moment ago."""


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], *, force: bool, make_folders: bool = False
) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it.

    force         replace an existing file; without it an existing file is an error, also one that
                  appears while this is being written
    make_folders  make the folder of the file, and those above it, where they are missing

    Whatever goes wrong, the temporary file is removed, as are folders that were made for it and are
    empty, and an existing output is as it was.  What a process that was killed has left of the same
    output is removed.  Devices and pipes are written directly.  Raises OutputError, and what
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
    """Make a folder and those above it, where they are missing; raises OutputError."""
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
    """Remove a folder and those above it that were made for outputs, if they are empty still."""
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
            path.lstat()  # which tells more than those below
        is_folder, is_there = path.is_dir(), path.exists() or path.is_symlink()
    # A name that is too long, or has a NUL; a folder that may not be entered.
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {reason_of(error)}") from error
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


@contextmanager
def _temporary(path: Path, make_folders: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside an output, which is removed in the end unless it was renamed.

    Its name is the same each time, so that the next run finds what a process that was killed has
    left, without a look through the folder. As long as a process lives, it holds a lock on its
    file, and others take another name.
    """
    # Few characters of the name: one takes up to four bytes, and a name has room for 255.
    start = f".{path.name[:20]}."
    # Locks may be unknown to other machines that share the folder: each has names of its own.
    usual = f"{zlib.crc32(os.fsencode(platform.node() + '/' + path.name)):08x}"
    temporary, lock = path.with_name(f"{start}{usual}.part"), None
    _remove_abandoned(temporary)
    for attempts_left in (2, 1, 0):
        try:
            with _folders:
                if make_folders:
                    make_folder(path.parent)
                # A file of this name that is there is another's.
                fo = temporary.open("xb")
            own = os.fstat(fo.fileno())
            try:
                lock = _lock(temporary)
            except _InUseError:  # taken for abandoned in the moment before it was locked
                fo.close()
                raise
            break
        except (FileExistsError, FileNotFoundError):
            # No folder: another process took it for empty, after an output of its own failed.
            if not attempts_left:
                raise
            temporary = path.with_name(f"{start}{secrets.token_hex(4)}.part")
    try:
        yield temporary, fo
    finally:
        fo.close()
        with suppress(FileNotFoundError):
            # Once it was renamed, a file of this name is another's.
            if os.path.samestat(temporary.lstat(), own):
                temporary.unlink()
        if lock is not None:
            os.close(lock)


class _InUseError(FileExistsError):
    """Another process holds the lock of a file, or has put another file in its place."""


def _lock(temporary: Path) -> int | None:
    """A descriptor that holds the lock of a file; None where the system knows no locks.

    Raises _InUseError.
    """
    if sys.platform == "win32":
        return None
    try:
        lock = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _InUseError(errno.ENOENT, "another process removed it", str(temporary)) from None
    except OSError:  # of a mask of permissions that forbids reading
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), temporary.lstat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # a file system without locks, where no file is taken for abandoned
        os.close(lock)
        return None
    os.close(lock)
    raise _InUseError(errno.EEXIST, "another process uses it", str(temporary))


def _remove_abandoned(temporary: Path) -> None:
    """Remove a temporary file whose process has ended, and no other's."""
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
