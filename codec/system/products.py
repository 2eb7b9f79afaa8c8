"""Products of matrices, by whichever library is faster.

OpenBLAS, which NumPy's wheels contain, chooses its kernels by the processor's model number. For a
newer processor it falls back to kernels that reach half of its speed. ONNX Runtime checks the
processor's features instead.
"""

from __future__ import annotations

import functools
import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from codec.system.processors import blas_is_single_threaded

if TYPE_CHECKING:
    import onnxruntime

_FEWEST = 2**20  # multiplications; with fewer, a call costs more than it saves
_HAS_OPENBLAS = platform.machine().lower() in ("x86_64", "amd64")
"""Elsewhere NumPy uses Apple's library, or OpenBLAS detects the processor's features."""


Matrix = npt.NDArray[np.floating[Any]]


def product(one: Matrix, other: Matrix) -> Matrix:
    """one @ other, (m, k) and (k, n) to (m, n).

    If all partial sums are integers times a power of two that the type holds exactly, the result
    does not depend on the library. Otherwise the last bits may.
    """
    multiplications = one.size * other.shape[1]
    is_worth_it = _HAS_OPENBLAS and multiplications >= _FEWEST and blas_is_single_threaded()
    if one.dtype == other.dtype == np.float32 and is_worth_it:
        found: Matrix = _session().run(None, {"one": one, "other": other})[0]
        return found
    return one @ other


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    from codec.system.onnx_session import session  # most commands need none
    from codec.system.onnx_writer import Graph

    graph = Graph()
    one = graph.input("one", "float32", ["m", "k"])
    other = graph.input("other", "float32", ["k", "n"])
    graph.output(graph.node("MatMul", [one, other]), "float32", ["m", "n"])
    return session(graph, threads=1, keep_memory=False)
