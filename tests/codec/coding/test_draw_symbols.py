"""Random symbols have the probabilities of their tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream.tables import TOTAL, tables_from_pmfs
from codec.coding.draw_symbols import draw_symbols


def test_samples_of_tables_have_their_frequencies() -> None:
    pmfs = [(-1, np.array([0.2, 0.5, 0.2])), (5, np.array([0.99])), (0, np.array([0.5, 0.5]))]
    tables = tables_from_pmfs(pmfs)
    indexes = np.repeat(np.array([0, 1], dtype=np.int32), 200_000)
    symbols = draw_symbols(tables, indexes, np.random.default_rng(0))
    assert symbols.dtype == np.int32
    first, second = symbols[:200_000], symbols[200_000:]
    # Escapes become 0: a tenth of the first symbols, a hundredth of the second.
    shares = [float(np.mean(first == value)) for value in (-1, 0, 1)]
    np.testing.assert_allclose(shares, [0.2, 0.6, 0.2], atol=0.004)
    np.testing.assert_allclose(np.mean(second == 5), 0.99, atol=0.001)
    assert set(second.tolist()) == {0, 5}


def test_samples_take_the_entry_that_holds_their_number() -> None:
    class Fixed:
        def integers(self, low: int, high: int, size: int) -> npt.NDArray[np.int64]:
            assert (low, high) == (0, TOTAL)
            return np.array(places)[:size]

    tables = tables_from_pmfs([(-1, np.array([0.25, 0.5, 0.25 - 2.0**-24]))])
    starts = np.cumsum([0, *tables.frequencies])
    places = [0, starts[1] - 1, starts[1], starts[2] - 1, starts[2], starts[3] - 1, starts[3]]
    indexes = np.zeros(len(places), dtype=np.int32)
    generator: Any = Fixed()
    assert draw_symbols(tables, indexes, generator).tolist() == [-1, -1, 0, 0, 1, 1, 0]
