"""Limits on the CPU time and memory of a call, which also hold on a busy machine."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Assert that the block takes less CPU time than this, over all threads of the process."""
    begin = time.process_time()
    try:
        yield
    finally:
        assert time.process_time() - begin < seconds


@contextmanager
def memory_limit(peak_bytes: int) -> Iterator[None]:
    """Assert that Python and NumPy allocate less than this in the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < peak_bytes
    finally:
        tracemalloc.stop()


def check_refusal(
    call: Callable[[], object],
    error: type[Exception],
    *,
    cpu_seconds: float,
    peak_bytes: int,
) -> None:
    """Assert that the call raises this error, in little CPU time and little memory.

    It runs twice, because tracing memory takes time and so needs a separate run.
    """
    with cpu_limit(cpu_seconds), pytest.raises(error):
        call()
    with memory_limit(peak_bytes), pytest.raises(error):
        call()
