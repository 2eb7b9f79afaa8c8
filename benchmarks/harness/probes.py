"""Count dots and measure slices on images of `benchmarks.harness.procedural_images`."""

from __future__ import annotations

import numpy as np

from benchmarks.harness.procedural_images import INK, PIE_INK
from bitstream.arrays import Float64Array, Int64Array
from codec.datasets.arrays import Images

SMALLEST_SHARE = 0.25
"""Share of a disc's area below which a spot is no dot."""


def count_dots(images: Images, disc_area: float) -> Int64Array:
    """Number of spots of at least a quarter of a disc, lighter than half of the ink: int64 (n,).

    images   uint8 (n, C, side, side); their channels are averaged. Pixels that share an edge
             belong to the same spot
    """
    from skimage.measure import label

    found = []
    for level in _grey(images):
        sizes = np.bincount(label(level > INK / 2, connectivity=1).ravel())[1:]
        found.append(int((sizes >= SMALLEST_SHARE * disc_area).sum()))
    return np.array(found, dtype=np.int64)


def ink_area(images: Images) -> Float64Array:
    """Area of ink on each image in pixels, Σ level / 255: (n,)."""
    found: Float64Array = _grey(images).sum(axis=(1, 2)) / INK
    return found


def pie_fraction(images: Images) -> Float64Array:
    """The lighter fraction of each pie, 0..1: (n,); NaN if there is no pie.

    It is taken over pixels without background neighbours, because pixels on the rim are mixed with
    the background and would change the fraction.
    """
    grey = _grey(images)
    around = np.pad(grey > PIE_INK / 2, ((0, 0), (1, 1), (1, 1)))
    _, height, width = grey.shape
    shifted = [around[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    inside = np.logical_and.reduce(shifted)
    whole = inside.sum(axis=(1, 2))
    lighter = (inside & (grey > (PIE_INK + INK) / 2)).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Float64Array = np.where(whole > 0, lighter / whole, np.nan)
    return found


def _grey(images: Images) -> Float64Array:
    found: Float64Array = images.astype(np.float64).mean(axis=1)
    return found
