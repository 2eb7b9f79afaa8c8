"""From latents of tiles to bands of pixels, with memory for a few tiles whatever the image size.

A tile is decoded and synthesised once, and then only a margin is kept, which its neighbours need::

    ┌──────────┬──────────┐
    │ ········ │ ········ │   · kept from the tiles above: their last 2·context rows
    ├──────────┼───────┬──┤   : kept from the tile to the left: its last 2·context columns
    │        : │ this  ┊  │
    │        : │ tile  ┊  │   With this tile, the latents up to ┊ and ┈ are surrounded by those that
    │        : ├┈┈┈┈┈┈┈┘  │   their pixels depend on. The rest, `context` rows and columns, is
    └──────────┴──────────┘   synthesised with the next tiles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bitstream.arrays import SampleArray
from codec.coding.tiling import TileGrid, Window
from codec.models.base import DecodedLatents
from codec.system.processors import single_threaded_blas, thread_count

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")

_AHEAD = 2


def tiles_under(grid: TileGrid, pixels: Window, stride: int, context: int) -> list[range]:
    """Rows of tiles, as ranges of numbers, that the pixels of a window depend on.

    stride    pixels that a latent covers in each direction
    context   how many latents beyond its own a pixel depends on, in each direction
    """
    return list(grid.rows_overlapping(pixels.cover(stride).grow(context)))


def draw_bands(
    grid: TileGrid,
    wanted: Window,
    *,
    stride: int,
    context: int,
    latents_of: Callable[[int], DecodedLatents],
    synthesize: Callable[[DecodedLatents], SampleArray],
) -> Iterator[SampleArray]:
    """Synthesise a window of pixels in bands (rows, wanted.width, channels) from the top.

    wanted            window of pixels inside the image
    stride, context   as `tiles_under` takes them
    latents_of        latents (C, h, w) of a tile; called once for each tile, in raster order
    synthesize        latents (C, h, w) to pixels (h·stride, w·stride, channels) of the same type

    Every pixel is synthesised with `context` latents around it, or up to the border of the image,
    so the result is the same as if all latents had been synthesised at once.
    """
    cells = wanted.cover(stride)
    rows = tiles_under(grid, wanted, stride, context)
    margins = _Margins(2 * context)
    top = cells.top
    for numbers in rows:
        bottom = _reach(grid.tile(numbers[0]).bottom - context, top, cells.bottom)
        if numbers == rows[-1]:
            bottom = cells.bottom
        strip = Window(top, cells.left, bottom, cells.right).scale(stride).intersect(wanted)
        band: SampleArray | None = None
        margins.start_row()
        left = cells.left
        for number in numbers:
            tile = grid.tile(number)
            known, latents = margins.add(
                tile,
                latents_of(number),
                right=number != numbers[-1],
                below=numbers != rows[-1],
            )
            right = _reach(tile.right - context, left, cells.right)
            if number == numbers[-1]:
                right = cells.right
            target = Window(top, left, bottom, right)
            left = right
            if target.empty:
                continue
            source = target.grow(context).intersect(grid.latents)
            own_rows, own_columns = source.within(known)
            drawn = synthesize(np.ascontiguousarray(latents[:, own_rows, own_columns]))
            visible = target.scale(stride).intersect(wanted)
            if band is None:
                shape = (strip.height, strip.width, drawn.shape[2])
                band = np.empty(shape, dtype=drawn.dtype)
            into_rows, into_columns = visible.within(strip)
            from_rows, from_columns = visible.within(source.scale(stride))
            band[into_rows, into_columns] = drawn[from_rows, from_columns]
        top = bottom
        if band is not None:
            yield band


def ahead(work: Callable[[int], Result], numbers: Sequence[int]) -> Generator[Result, None, None]:
    """Yield the results of `work` for all numbers, in order.

    With more than one thread, two results are computed while another one is used. Until the
    generator ends or is closed, BLAS is single-threaded, because its threads mostly wait in
    products as small as those of a tile; `share` divides the work on a tile instead. An error of a
    call is raised in place of its result, and ends the generator.
    """
    if thread_count() == 1:
        yield from map(work, numbers)
        return
    with single_threaded_blas():
        if len(numbers) == 1:
            yield from map(work, numbers)
        else:
            yield from _by_threads(work, numbers)


def _by_threads(
    work: Callable[[int], Result], numbers: Sequence[int]
) -> Generator[Result, None, None]:
    from concurrent.futures import ThreadPoolExecutor  # not needed for one tile

    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(work, number))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Margins:
    """Keeps the last `keep` rows and columns of latents from tiles before the current one."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._above: dict[int, DecodedLatents] = {}  # by the column of their tile
        self._left: DecodedLatents | None = None

    def start_row(self) -> None:
        """Call this before the first tile of each row."""
        self._left = None

    def add(
        self, tile: Window, latents: DecodedLatents, *, right: bool, below: bool
    ) -> tuple[Window, DecodedLatents]:
        """A window of the tile and its kept margins, and the latents (C, h, w) in it.

        right, below   whether tiles on that side follow and need the margin of this one
        """
        block = latents
        if tile.left in self._above:
            block = np.concatenate([self._above.pop(tile.left), block], axis=1)
        if self._left is not None:
            block = np.concatenate([self._left, block], axis=2)
        rows, columns = block.shape[1:]
        first_row, first_column = max(0, rows - self._keep), max(0, columns - self._keep)
        # Copies, so that the block itself can be freed.
        if below:
            self._above[tile.left] = block[:, first_row:, columns - tile.width :].copy()
        self._left = block[:, :, first_column:].copy() if right else None
        known = Window(tile.bottom - rows, tile.right - columns, tile.bottom, tile.right)
        return known, block


def _reach(end: int, start: int, limit: int) -> int:
    """`end`, but not before `start` and not beyond `limit`."""
    return min(max(end, start), limit)
