"""How many threads to compute with, who starts them, and what becomes of the memory they leave."""

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
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_ARRAY_BYTES = 2**25


def thread_count() -> int:
    """Threads for one image: what torch would take, without loading it; at least 1.

    That is what it was told, the environment variable OMP_NUM_THREADS (see `compute_threads`), or
    the number of cores that this process may use.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):  # or it is being imported
        return int(torch.get_num_threads())
    told = os.environ.get(VARIABLE, "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Let images be computed with so many threads in the block, in this thread.

    The number is one of the process, too, for threads that begin later: the last of several
    blocks at a time puts that back. Torch takes it where it is loaded, and where it is loaded in
    the block.
    """
    with _threads.lock:
        if _threads.blocks == 0:
            _threads.before = thread_count()
            _threads.told = os.environ.get(VARIABLE)
        _threads.blocks += 1
        _tell(count)
    try:
        yield
    finally:
        with _threads.lock:
            _threads.blocks -= 1
            _tell(count if _threads.blocks else _threads.before)
            if _threads.blocks == 0:
                del os.environ[VARIABLE]
                if _threads.told is not None:
                    os.environ[VARIABLE] = _threads.told


def _tell(count: int) -> None:
    os.environ[VARIABLE] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


class _Threads:
    """Blocks of `compute_threads` in this process, and the number from before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks = 0
        self.before = 0
        self.told: str | None = None


_threads = _Threads()


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep some of the memory that arrays leave, for those that follow.

    Arrays of megabytes go back to the system one by one, else, and come page by page again: that
    is a third of the time of parsing a tile. For the GNU C library on Linux, whose `mallopt` this
    is; a process that was told about that in its environment (`MALLOC_…_`, `GLIBC_TUNABLES`) is
    left as it is.
    """
    told = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if told or not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_ARRAY_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_ARRAY_BYTES)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Have NumPy multiply matrices in the thread that asks for it, within the block.

    For threads that share the work already: others, which the library keeps busy waiting for the
    next product, would take the cores from them. The number is one of the process: the last of
    several blocks at a time puts back what it was.
    """
    with _blas.lock:
        if _blas.blocks == 0:
            _blas.limit = _controller().limit(limits=1, user_api="blas")
        _blas.blocks += 1
    try:
        yield
    finally:
        with _blas.lock:
            _blas.blocks -= 1
            if _blas.blocks == 0:
                _blas.limit.restore_original_limits()


class _Blas:
    """Blocks of `single_threaded_blas` in this process, and what ends the first one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks = 0
        self.limit: Any = None


_blas = _Blas()


@functools.cache
def _controller() -> Any:
    import numpy as np  # its BLAS must be loaded to be found
    import threadpoolctl

    del np
    return threadpoolctl.ThreadpoolController()
