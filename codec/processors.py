"""How many threads to compute with, and who starts them."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def thread_count() -> int:
    """Threads for one image: what torch would take, without loading it; at least 1.

    That is what it was told (`codec.workers.torch_threads`), the environment variable
    OMP_NUM_THREADS, or the number of cores that this process may use.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):  # or it is being imported
        return int(torch.get_num_threads())
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
