"""How many threads compute, who starts them, and what happens to the memory that they free."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VARIABLE = "OMP_NUM_THREADS"

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_ARRAY_BYTES = 2**25


def thread_count() -> int:
    """Threads for one image: what torch would take, without loading it; at least 1.

    That is the environment variable OMP_NUM_THREADS, which `compute_threads` sets, or the number of
    cores that this process may use.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):  # or it is being imported
        return int(torch.get_num_threads())
    chosen = os.environ.get(VARIABLE, "")
    if chosen.isdecimal() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Blocks:
    """Blocks that change a number of the whole process: the first one on entry remembers it, the
    last one on exit puts it back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.before: Any = None


_thread_blocks = _Blocks()


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Compute images with so many threads in the block, in this thread.

    The number is one of the process, too, for threads that begin later: the last of several
    blocks at a time puts back what was there. Torch takes it where it is loaded, and where it is
    loaded in the block.
    """
    with _thread_blocks.lock:
        if _thread_blocks.count == 0:
            _thread_blocks.before = thread_count(), os.environ.get(VARIABLE)
        _thread_blocks.count += 1
        _set_threads(count)
    try:
        yield
    finally:
        with _thread_blocks.lock:
            _thread_blocks.count -= 1
            before, variable = _thread_blocks.before
            _set_threads(count if _thread_blocks.count else before)
            if _thread_blocks.count == 0:
                del os.environ[VARIABLE]
                if variable is not None:
                    os.environ[VARIABLE] = variable


def _set_threads(count: int) -> None:
    os.environ[VARIABLE] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep some of the memory that arrays leave, for those that follow.

    Otherwise arrays of megabytes return to the system one by one, and come back page by page: that
    is a third of the time of parsing a tile. For the GNU C library on Linux, whose `mallopt` this
    is; a process whose environment sets it (`MALLOC_…_`, `GLIBC_TUNABLES`) is left as it is.
    """
    is_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_set or not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_ARRAY_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_ARRAY_BYTES)
        # What one thread frees, another one uses.
        library.mallopt(_M_ARENA_MAX, 1)
