"""How many threads compute, who starts them, and what happens to the memory that they free."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import threadpoolctl

Piece = TypeVar("Piece")

VARIABLE = "OMP_NUM_THREADS"
_MOST_THREADS = 16  # or as many as there are cores, if those are more

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_ARRAY_BYTES, _KEPT_BYTES = 12 * 2**20, 2**27


def thread_count() -> int:
    """Threads for one image: what torch would take, without loading it; at least 1.

    That is the environment variable OMP_NUM_THREADS, which `compute_threads` sets, or the
    number of cores that this process may use. More than 16 threads, and more than cores, are not
    taken from the variable.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):  # or it is being imported
        return int(torch.get_num_threads())
    chosen = os.environ.get(VARIABLE, "")
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    if chosen.isdecimal() and int(chosen) > 0:
        # ONNX Runtime takes any number, and memory for each thread until there is none.
        return min(int(chosen), max(cores, _MOST_THREADS))
    return cores


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


class _BlasLimit:
    """Holds BLAS to one thread while anybody needs that.

    Of several threads that limit BLAS at a time, `threadpoolctl` heeds the first one alone, which
    must put back what was there. Users come and go in any order: so a thread that waits for the
    last of them sets the limit, and takes it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._done = threading.Event()
        self._holder: threading.Thread | None = None

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                held, self._done = threading.Event(), threading.Event()
                # A daemon, so that an abandoned block does not keep the interpreter from its end.
                self._holder = threading.Thread(
                    target=self._hold, args=(held, self._done), name="calotype-blas", daemon=True
                )
                self._holder.start()
                held.wait()
            self._users += 1

    @property
    def held(self) -> bool:
        return self._users > 0

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._holder is not None:
                self._done.set()
                self._holder.join()
                self._holder = None

    @staticmethod
    def _hold(held: threading.Event, done: threading.Event) -> None:
        try:
            with _controller().limit(limits=1, user_api="blas"):
                held.set()
                done.wait()
        finally:
            held.set()


_blas_limit = _BlasLimit()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Have NumPy multiply matrices in the thread that asks for it, within the block.

    For threads that share the work already: those of the library wait for the next product in a
    busy loop, and take the cores from them. The number is one of the process. It holds until the
    last of several blocks at a time ends, and is then what it was before the first.
    """
    _blas_limit.enter()
    try:
        yield
    finally:
        _blas_limit.leave()


def shares_work() -> bool:
    """Whether the threads of `share` have the work of NumPy's library, or there is one thread."""
    return _blas_limit.held or thread_count() == 1


def share(work: Callable[[Piece], None], pieces: Sequence[Piece]) -> None:
    """Call `work` with every piece: here, and in further threads where BLAS is held to one.

    The calls may come in any order. An error of one is raised once none is running.
    """
    helpers = min(thread_count(), len(pieces)) - 1 if _blas_limit.held else 0
    if helpers < 1:
        for piece in pieces:
            work(piece)
        return
    left = deque(pieces)

    def take() -> None:
        while True:
            try:
                piece = left.popleft()
            except IndexError:
                return
            work(piece)

    started = [_helpers().submit(take) for _ in range(helpers)]
    try:
        take()
    finally:
        left.clear()
        for helper in started:
            if not helper.cancel():
                helper.result()


def bands(length: int, most: int, each: int = 1) -> list[slice]:
    """Equal parts of 0 .. length, of at most so many values, or of one item.

    each   how many values an item has
    """
    count = max(1, -(-length // max(1, most // max(1, each))))
    ends = [length * number // count for number in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # one thread needs none

    return ThreadPoolExecutor(_MOST_THREADS, "calotype-share")


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    import numpy as np  # its BLAS must be loaded to be found
    import threadpoolctl

    del np
    return threadpoolctl.ThreadpoolController()


def _set_threads(count: int) -> None:
    os.environ[VARIABLE] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep some of the memory that arrays leave, for those that follow.

    Otherwise arrays of megabytes return to the system one by one, and come back page by page: that
    is a third of the time of parsing a tile. The largest, those of the analysis, do return: between
    the others they would leave gaps, of hundreds of megabytes in all. For the GNU C library on
    Linux, whose `mallopt` this is; a process whose environment sets it (`MALLOC_…_`,
    `GLIBC_TUNABLES`) is left as it is.
    """
    is_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_set or not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_ARRAY_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        # What one thread frees, another one uses.
        library.mallopt(_M_ARENA_MAX, 1)
