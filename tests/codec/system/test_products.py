"""Matrix products are the same in both libraries, and only large ones go to ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnxruntime import InferenceSession

from codec.system import products
from codec.system.processors import compute_threads, single_threaded_blas
from codec.system.products import product


def _whole_numbers(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(-60, 61, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "calls"), [(96, 288, 768, 1), (192, 96, 57, 1), (18, 96, 24, 0)]
)
def test_both_libraries_give_the_exact_sums(
    monkeypatch: pytest.MonkeyPatch, rows: int, inner: int, columns: int, calls: int
) -> None:
    one, other = _whole_numbers(1, (rows, inner)), _whole_numbers(2, (inner, 2 * columns))
    other = other[:, ::2]  # not contiguous, like some of many columns
    exact = one.astype(np.int64) @ other.astype(np.int64)
    assert np.abs(exact).max() < 2**24
    made: list[InferenceSession] = []
    session = products._session

    def counted() -> InferenceSession:
        made.append(session())
        return made[-1]

    monkeypatch.setattr(products, "_HAS_OPENBLAS", True)
    monkeypatch.setattr(products, "_session", counted)
    with compute_threads(2), single_threaded_blas():
        found = product(one, other)
    assert found.dtype == np.float32
    assert (found == exact).all()
    assert len(made) == calls
    with compute_threads(2):  # NumPy's library has two threads, and ONNX Runtime would have one
        assert (product(one, other) == exact).all()
    assert len(made) == calls
