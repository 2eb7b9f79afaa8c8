"""How many threads multiply matrices: asked of the library that does, and told to it."""

from __future__ import annotations

import threading

import threadpoolctl


def blas_threads() -> set[int]:
    """How many threads each BLAS takes that can be told."""
    libraries = threadpoolctl.threadpool_info()
    return {each["num_threads"] for each in libraries if each["user_api"] == "blas"}


def set_blas_threads(count: int) -> None:
    """Let every BLAS take so many threads."""
    # In a thread that ends: while one lives that has set a limit, others cannot.
    thread = threading.Thread(target=threadpoolctl.threadpool_limits, args=(count, "blas"))
    thread.start()
    thread.join()
