"""How many threads multiply matrices: asked of the library that does, and told to it."""

from __future__ import annotations

import threading

import threadpoolctl


def blas_threads() -> set[int]:
    """How many threads NumPy's BLAS takes, if it can be told."""
    libraries = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
    # Other packages may bring one of their own, later than NumPy, with which we do not multiply.
    own = [each for each in libraries if "numpy" in each["filepath"]]
    return {each["num_threads"] for each in own or libraries}


def set_blas_threads(count: int) -> None:
    """Let every BLAS take so many threads."""
    # In a thread that ends: while one lives that has set a limit, others cannot.
    thread = threading.Thread(target=threadpoolctl.threadpool_limits, args=(count, "blas"))
    thread.start()
    thread.join()
