"""Reads and sets the number of threads with which BLAS multiplies matrices."""

from __future__ import annotations

import threading

import threadpoolctl


def blas_threads() -> set[int]:
    """The number of threads of NumPy's BLAS, if it can be determined."""
    libraries = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
    # Other packages may load a BLAS of their own after NumPy, which we do not use.
    own = [each for each in libraries if "numpy" in each["filepath"]]
    return {each["num_threads"] for each in own or libraries}


def set_blas_threads(count: int) -> None:
    """Let every BLAS take `count` threads."""
    # In a thread that ends, because no other thread can set a limit while one that did is alive.
    thread = threading.Thread(target=threadpoolctl.threadpool_limits, args=(count, "blas"))
    thread.start()
    thread.join()
