"""Drawn images with a known content: dots to count, and pies whose parts are known.

They probe what a codec invents if it cannot keep everything: whether the number of dots is right
after decoding, and whether a slice keeps its size. After Zhao, Ren, Yuan, Song, Goodman and Ermon,
"Bias and generalization in deep generative models" (NeurIPS 2018), who test samples in this way.

Images are grey on black; edge pixels are averages over 8×8 places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import BoolArray, Float64Array, Int64Array
from bitstream.errors import UsageError
from codec.datasets.arrays import Images

INK = 255
PIE_INK = 128
"""Level of the rest of a pie; its slice has `INK`."""
FINER = 8
ATTEMPTS, ATTEMPTS_AT_ONCE = 10_000, 250
MAX_SIDE = 512


@dataclass(frozen=True)
class DotImages:
    """Images of discs that do not touch.

    images   uint8 (n, 1, side, side)
    counts   discs on each, int64 (n,)
    radius   radius of every disc, in pixels
    """

    images: Images
    counts: Int64Array
    radius: float

    @property
    def disc_area(self) -> float:
        """Number of pixels that a disc covers."""
        return math.pi * self.radius**2


@dataclass(frozen=True)
class PieImages:
    """Images of one pie each, with a lighter slice.

    images      uint8 (n, 1, side, side)
    fractions   lighter fraction of each pie, 0..1, float64 (n,)
    radius      radius of every pie, in pixels
    """

    images: Images
    fractions: Float64Array
    radius: float


def draw_dots(
    count: int,
    *,
    side: int = 32,
    radius: float = 2.5,
    gap: float = 2.0,
    dots: tuple[int, int] = (1, 8),
    seed: int = 0,
) -> DotImages:
    """Images with dots at random places, equally many images for each number of dots.

    gap    least distance between two discs, and between a disc and the edge, in pixels
    dots   smallest and largest number of dots

    Raises `UsageError` for impossible sizes, or if there is no room for the dots.
    """
    _check(count, side, radius)
    low, high = dots
    if not 1 <= low <= high or gap < 0:
        raise UsageError(f"dots {dots}, gap {gap:g}: expected 1 or more dots and no negative gap")
    rng = np.random.default_rng(seed)
    counts = np.array([low + number % (high - low + 1) for number in range(count)], dtype=np.int64)
    grid = _grid(side)
    images = np.empty((count, 1, side, side), dtype=np.uint8)
    for number, many in enumerate(counts):
        centres = _places(rng, int(many), side, radius, gap)
        inside = np.zeros((side * FINER, side * FINER), dtype=bool)
        for y, x in centres:
            inside |= _within(grid, y, x, radius)
        images[number, 0] = _coverage(INK * inside.astype(np.float64))
    return DotImages(images, counts, radius)


def draw_pies(
    count: int,
    *,
    side: int = 32,
    radius: float = 11.0,
    fractions: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    seed: int = 0,
) -> PieImages:
    """Images of pies, equally many for each fraction, randomly rotated, centred within a pixel.

    Raises `UsageError` for impossible sizes, or fractions outside 0..1.
    """
    _check(count, side, radius + 1)
    if not fractions or not all(0 <= fraction <= 1 for fraction in fractions):
        raise UsageError(f"fractions {fractions}: expected numbers in 0..1")
    rng = np.random.default_rng(seed)
    stated = np.array([fractions[number % len(fractions)] for number in range(count)])
    grid = _grid(side)
    images = np.empty((count, 1, side, side), dtype=np.uint8)
    for number, fraction in enumerate(stated):
        y, x = side / 2 + rng.uniform(-1, 1, 2)
        start = rng.uniform(0, 2 * math.pi)
        angle = np.arctan2(grid[:, None] - y, grid[None, :] - x)
        is_slice = np.mod(angle - start, 2 * math.pi) < 2 * math.pi * fraction
        level = np.where(is_slice, INK, PIE_INK) * _within(grid, y, x, radius)
        images[number, 0] = _coverage(level.astype(np.float64))
    return PieImages(images, stated, radius)


def _check(count: int, side: int, radius: float) -> None:
    if count < 1 or not 8 <= side <= MAX_SIDE or not 1 <= radius <= side / 2:
        raise UsageError(
            f"{count} images of side {side} with a radius of {radius:g}: expected 1 image or "
            f"more, a side of 8 .. {MAX_SIDE}, and a radius of 1 pixel that fits"
        )


def _places(
    rng: np.random.Generator, many: int, side: int, radius: float, gap: float
) -> Float64Array:
    """Centres (many, 2) of discs that keep their distance, drawn one after another.

    The first ones may leave no room for the rest; after some attempts all are redrawn.
    """
    margin = radius + gap
    found: list[Float64Array] = []
    for attempt in range(ATTEMPTS if 2 * margin <= side else 0):
        if attempt % ATTEMPTS_AT_ONCE == 0:
            found.clear()
        place = rng.uniform(margin, side - margin, 2)
        if all(math.dist(place, other) >= 2 * radius + gap for other in found):
            found.append(place)
        if len(found) == many:
            return np.array(found)
    raise UsageError(
        f"{many} discs of radius {radius:g} with a gap of {gap:g} find no room in {side}×{side}: "
        "take fewer, or smaller ones"
    )


def _grid(side: int) -> Float64Array:
    """Sampling positions within the pixels along a side."""
    return (np.arange(side * FINER) + 0.5) / FINER


def _within(grid: Float64Array, y: float, x: float, radius: float) -> BoolArray:
    return (grid[:, None] - y) ** 2 + (grid[None, :] - x) ** 2 <= radius**2


def _coverage(levels: Float64Array) -> Images:
    side = len(levels) // FINER
    means = levels.reshape(side, FINER, side, FINER).mean(axis=(1, 3))
    found: Images = np.rint(means).astype(np.uint8)
    return found
