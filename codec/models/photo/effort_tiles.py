"""Coding the tiles of a picture at an effort, each with regard to the tiles around it.

The transforms look across the borders of tiles, so the best symbols of a tile depend on its
neighbours. Tiles are decided one after another: earlier tiles are final, and later ones are taken
as optimised quantisation alone would code them. With twice the model's context around a tile, all
pixels that it affects can be computed as the decoder will see them.

No tile has more bytes than after one pass, whatever the search finds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitstream.arrays import Float32Array, Int32Array, SampleArray
from codec.coding.tiling import TileGrid, Window
from codec.models.photo.coder import PhotoCoder, TileSymbols
from codec.models.photo.config import COEFFICIENTS
from codec.models.photo.effort import needs_torch, optimised, search
from codec.system.missing_extra import missing

Analyze = Callable[[int, float], Float32Array]


class EffortEncoder:
    """Codes the tiles of a picture in raster order.

    pixels     uint8 or uint16 (height, width, 1 or 3)
    effort     3 .. 9, see `codec.models.photo.effort`
    analyze    returns latents float32 (768, h, w) from the number of a tile and a quality
    progress   is called with the share of the picture that is done, up to 1

    From effort 4 on it keeps the border latents of a few rows of tiles. Raises `MissingExtraError`
    if the effort and the coder's tune need a library that is not installed.
    """

    def __init__(
        self,
        coder: PhotoCoder,
        grid: TileGrid,
        pixels: SampleArray,
        quality: float,
        effort: int,
        *,
        analyze: Analyze,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        self._coder, self._grid, self._pixels = coder, grid, pixels
        self._quality, self._effort = quality, effort
        self._analyze, self._progress = analyze, progress
        self._borders: dict[int, list[tuple[Window, Int32Array]]] = {}
        self._search = self._searching() if needs_torch(effort) else self._optimised

    def encode(self, number: int) -> tuple[bytes, ...]:
        """Code a tile; return its payloads."""
        latents = self._analyze(number, self._quality)
        coder, quality = self._coder, self._quality
        tile = self._search(number, latents)
        payloads = coder.encode_symbols(tile, quality)
        one_pass = coder.encode_tile(latents, quality)
        if _size(one_pass) < _size(payloads):
            _, height, width = latents.shape
            tile = coder.decode_symbols(one_pass, height, width, quality)
            payloads = one_pass
        if needs_torch(self._effort):
            self._keep(number, tile.decoded, is_decided=True)
        self._progress((number + 1) / self._grid.count)
        return payloads

    def _optimised(self, number: int, latents: Float32Array) -> TileSymbols:
        return optimised(self._coder, latents, self._quality)

    def _searching(self) -> Callable[[int, Float32Array], TileSymbols]:
        _check_tune(self._coder.tune, self._effort)
        from codec.models.photo.cost import Surroundings, TileCost  # load torch

        coder, quality = self._coder, self._quality
        model = coder.trainable()

        def searched(number: int, latents: Float32Array) -> TileSymbols:
            own = self._grid.tile(number)
            window = own.grow(2 * coder.context).intersect(self._grid.latents)
            pixels = _pixels_under(window, self._grid, self._pixels, coder.stride)
            around = Surroundings(pixels, self._around(number, window), *own.within(window))
            count = self._grid.count
            return search(
                coder,
                TileCost(coder, model, around, quality),
                latents,
                quality,
                self._effort,
                progress=lambda share: self._progress((number + share) / count),
            )

        return searched

    def _around(self, number: int, window: Window) -> Int32Array:
        """`TileSymbols.decoded` in a window around a tile, int32 (768 + hidden, h, w)."""
        grid = self._grid
        numbers = [n for n in grid.overlapping(window) if n != number]
        # Tiles in rows above are not needed again.
        first_row = min([number, *numbers]) // grid.columns
        for done in [n for n in self._borders if n // grid.columns < first_row]:
            del self._borders[done]
        shape = (COEFFICIENTS + self._coder.config.hidden, window.height, window.width)
        decoded = np.zeros(shape, dtype=np.int32)
        for neighbour in numbers:
            if neighbour not in self._borders:
                latents = self._analyze(neighbour, self._quality)
                tile = optimised(self._coder, latents, self._quality)
                self._keep(neighbour, tile.decoded, is_decided=False)
            for border, values in self._borders[neighbour]:
                shared = border.intersect(window)
                if not shared.empty:
                    rows, columns = shared.within(window)
                    own_rows, own_columns = shared.within(border)
                    decoded[:, rows, columns] = values[:, own_rows, own_columns]
        return decoded

    def _keep(self, number: int, decoded: Int32Array, *, is_decided: bool) -> None:
        """Keep the borders of a tile that later tiles see or, unless decided, earlier ones."""
        own, margin = self._grid.tile(number), 2 * self._coder.context
        if is_decided:
            borders = [
                Window(own.bottom - margin, own.left, own.bottom, own.right),
                Window(own.top, own.right - margin, own.bottom, own.right),
            ]
        else:
            borders = [
                Window(own.top, own.left, own.top + margin, own.right),
                Window(own.top, own.left, own.bottom, own.left + margin),
            ]
        kept = []
        for border in (b.intersect(own) for b in borders):
            rows, columns = border.within(own)
            kept.append((border, decoded[:, rows, columns].copy()))
        self._borders[number] = kept


def _size(payloads: tuple[bytes, ...]) -> int:
    return sum(map(len, payloads))


def _pixels_under(window: Window, grid: TileGrid, pixels: SampleArray, stride: int) -> SampleArray:
    """The part of the picture under a window of latents."""
    area = window.scale(stride).intersect(grid.pixels)
    return pixels[area.top : area.bottom, area.left : area.right]


def _check_tune(tune: str, effort: int) -> None:
    """Raise `MissingExtraError` if the library that an effort needs for this tune is missing.

    The extra that it names also installs torch, so this is checked before torch is imported.
    """
    if tune == "visual":
        error = missing(f"effort {effort} for the tune 'visual'", "ssimulacra2")
        if error is not None:
            raise error
