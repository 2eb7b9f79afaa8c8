"""Tiles of a picture at an effort: each coded with what is known of the tiles around it.

The transforms look across the borders of tiles, so what is best for a tile depends on those around
it. Tiles are decided one after another: those before are as they were decided, those after as one
pass would code them. With twice the model's context around a tile all pixels that it moves are as
the decoder will draw them, so the whole picture gains exactly what a tile gains in its window.

Bits and errors are weighed alike in all tiles, and as the picture itself does: see `exchange_rate`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitstream.arrays import Float32Array, Uint8Array
from codec.coding.quantize import dequantize
from codec.coding.tiling import TileGrid, Window
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.cost import Surroundings, TileCost, trained_exchange_rate
from codec.models.photo.effort import search

Analyze = Callable[[int, float], Float32Array]

_SAMPLED_TILES = 4
_QUALITY_STEP = 2.0
_TRUSTED = (0.7, 2.5)


class EffortEncoder:
    """Codes the tiles of a picture in raster order. Keeps the latents of a few rows of tiles.

    pixels     uint8 (height, width, 1 or 3)
    effort     3 .. 9, see `codec.models.photo.effort`
    analyze    latents float32 (C, h, w) of a tile, by its number, at a quality
    progress   is called with the share of the picture that is done, up to 1
    """

    def __init__(
        self,
        coder: PhotoCoder,
        grid: TileGrid,
        pixels: Uint8Array,
        quality: float,
        effort: int,
        *,
        analyze: Analyze,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        self._coder, self._grid, self._pixels = coder, grid, pixels
        self._quality, self._effort = quality, effort
        self._analyze, self._progress = analyze, progress
        self._decoded: dict[int, Float32Array] = {}
        self._exchange_rate = exchange_rate(coder, grid, pixels, quality, analyze)

    def encode(self, number: int) -> tuple[bytes, ...]:
        around = self._around(number)
        count = self._grid.count
        tile = search(
            self._coder,
            around,
            self._quality,
            self._effort,
            exchange_rate=self._exchange_rate,
            progress=lambda share: self._progress((number + share) / count),
        )
        self._decoded[number] = dequantize(tile.symbols, tile.means)
        return self._coder.encode_symbols(tile, self._quality)

    def _around(self, number: int) -> Surroundings:
        grid, stride = self._grid, self._coder.stride
        own = grid.tile(number)
        window = own.grow(2 * self._coder.context).intersect(grid.latents)
        numbers = list(grid.overlapping(window))
        # Tiles above these are not needed again.
        for done in [n for n in self._decoded if n // grid.columns < numbers[0] // grid.columns]:
            del self._decoded[done]
        own_latents = self._analyze(number, self._quality)
        latents = np.empty((len(own_latents), window.height, window.width), dtype=np.float32)
        for neighbour in numbers:
            tile = grid.tile(neighbour)
            shared = tile.intersect(window)
            source = own_latents if neighbour == number else self._latents(neighbour)
            rows, columns = shared.within(window)
            tile_rows, tile_columns = shared.within(tile)
            latents[:, rows, columns] = source[:, tile_rows, tile_columns]
        pixels = _pixels_under(window, grid, self._pixels, stride)
        return Surroundings(pixels, latents, *own.within(window))

    def _latents(self, number: int) -> Float32Array:
        """Dequantised latents of a tile: as decided, or else those of one pass."""
        if number not in self._decoded:
            tile = self._coder.symbols(self._analyze(number, self._quality), self._quality)
            self._decoded[number] = dequantize(tile.symbols, tile.means)
        return self._decoded[number]


def exchange_rate(
    coder: PhotoCoder, grid: TileGrid, pixels: Uint8Array, quality: float, analyze: Analyze
) -> float:
    """Bits that a squared error of 1, of samples in [0, 1], is worth in this picture.

    It is what one pass spends on the least of them: the bits that a little more quality costs over
    the error that it takes away, in up to four tiles. For single pictures it differs from that of
    training, by a factor of 1 to 2 mostly; one that is far off counts as the nearest trusted.
    """
    chosen = {round(n) for n in np.linspace(0, grid.count - 1, min(grid.count, _SAMPLED_TILES))}
    bits, errors = [], []
    for near in (max(1.0, quality - _QUALITY_STEP), min(100.0, quality + _QUALITY_STEP)):
        near_bits = near_error = 0.0
        for number in sorted(chosen):
            own = grid.tile(number)
            latents = analyze(number, near)
            own_pixels = _pixels_under(own, grid, pixels, coder.stride)
            whole = slice(None), slice(None)
            cost = TileCost(coder, Surroundings(own_pixels, latents, *whole), near)
            tile = coder.symbols(latents, near)
            near_bits += cost.rate_bits(tile)
            near_error += cost.squared_error(tile)
        bits.append(near_bits)
        errors.append(near_error)
    trained = trained_exchange_rate(quality, pixels.shape[2])
    spent, gained = bits[1] - bits[0], errors[0] - errors[1]
    low, high = (factor * trained for factor in _TRUSTED)
    if spent <= 0 or gained <= 0:
        return trained
    return min(max(spent / gained, low), high)


def _pixels_under(window: Window, grid: TileGrid, pixels: Uint8Array, stride: int) -> Uint8Array:
    """The part of the picture under a window of latents."""
    area = window.scale(stride).intersect(grid.pixels)
    return pixels[area.top : area.bottom, area.left : area.right]
