"""The number of compute threads, sharing work among them, and malloc's handling of freed memory."""

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
_MOST_THREADS = 16  # or the number of cores, if that is larger

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_ARRAY_BYTES, _KEPT_BYTES = 12 * 2**20, 2**27


def thread_count() -> int:
    """Threads for one image, as many as torch would use, without loading torch; at least 1.

    That is the environment variable OMP_NUM_THREADS, which `compute_threads` sets, or the
    number of cores that this process may use. The variable is limited to 16 or the number of
    cores, whichever is larger.
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
        # ONNX Runtime would start any number of threads, until memory runs out.
        return min(int(chosen), max(cores, _MOST_THREADS))
    return cores


class _Blocks:
    """Counts open `with` blocks that change a process-wide setting.

    The first block to enter saves the setting, and the last one to exit restores it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.before: Any = None


_thread_blocks = _Blocks()


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Compute images with `count` threads within the block.

    The setting also holds for threads of the process that start later. If several blocks
    overlap, the last one to exit restores the setting. Torch follows it, whether it is loaded
    already or within the block.
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
    """Limits BLAS to one thread while there are users.

    If several threads limit BLAS at the same time, `threadpoolctl` restores the number correctly
    only if the first one to set the limit is also the last to lift it. Users come and go in any
    order, so a dedicated thread sets the limit, and lifts it after the last user has left.
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
                # A daemon, so an abandoned block does not stop the interpreter from exiting.
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
    """Have NumPy multiply matrices in the calling thread, without BLAS threads, within the block.

    For work that is already spread over threads: idle BLAS threads spin and would take the cores
    from them. The limit holds for the whole process. If several blocks overlap, it holds until
    the last one exits.
    """
    _blas_limit.enter()
    try:
        yield
    finally:
        _blas_limit.leave()


def blas_is_single_threaded() -> bool:
    """Whether matrix products run single-threaded: BLAS is limited, or there is one thread."""
    return _blas_limit.held or thread_count() == 1


def share(work: Callable[[Piece], None], pieces: Sequence[Piece]) -> None:
    """Call `work` with every piece, in several threads if BLAS is limited to one.

    The calls may run in any order. An error is raised after all running calls have ended.
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
    """Split the items 0 .. length into nearly equal slices of at most `most` values each.

    each   number of values per item; a slice has at least one item
    """
    count = max(1, -(-length // max(1, most // max(1, each))))
    ends = [length * number // count for number in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # not needed with one thread

    return ThreadPoolExecutor(_MOST_THREADS, "calotype-share")


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    import numpy as np  # threadpoolctl finds only libraries that are loaded
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
    """Have malloc keep freed arrays of up to 12 MiB for reuse.

    Otherwise malloc returns arrays of megabytes to the OS one by one, and new ones are faulted in
    page by page, which takes a third of the time of parsing a tile. The largest arrays, those of
    the analysis, are still returned: kept, they would fragment the heap by hundreds of megabytes.
    This calls `mallopt` of the GNU C library on Linux, unless the environment configures malloc
    (`MALLOC_…_`, `GLIBC_TUNABLES`).
    """
    is_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_set or not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_ARRAY_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        # With one arena, threads reuse the memory that other threads have freed.
        library.mallopt(_M_ARENA_MAX, 1)
