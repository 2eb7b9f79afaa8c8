"""Smaller pictures, in which each pixel is the rounded mean of a square."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from bitstream.arrays import SampleArray


def box_mean(samples: SampleArray, side: int) -> SampleArray:
    """Means of squares, halves rounded up: (h, w, …) to (⌈h / side⌉, ⌈w / side⌉, …), same type.

    Squares at the right and bottom may have fewer than `side` columns or rows.
    """
    rows, columns = (np.arange(0, length, side) for length in samples.shape[:2])
    sums = np.add.reduceat(samples, rows, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns, axis=1, dtype=np.uint32)
    heights, widths = (
        np.diff(np.append(starts, length)).astype(np.uint32)
        for starts, length in zip((rows, columns), samples.shape, strict=False)
    )
    counts = np.multiply.outer(heights, widths)
    counts = counts.reshape(*counts.shape, *(1 for _ in samples.shape[2:]))
    means: SampleArray = ((sums + counts // 2) // counts).astype(samples.dtype)
    return means


def box_means(bands: Iterable[SampleArray], side: int) -> Iterator[SampleArray]:
    """The same for a picture in bands of any number of rows, (rows, w, …)."""
    rest: SampleArray | None = None
    for band in bands:
        rows = band if rest is None else np.concatenate([rest, band])
        whole = len(rows) - len(rows) % side
        if whole:
            yield box_mean(rows[:whole], side)
        rest = rows[whole:]
    if rest is not None and len(rest):
        yield box_mean(rest, side)
