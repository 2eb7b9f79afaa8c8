"""The tile grid: which latents belong to a tile, and which its pixels depend on.

Entropy coding stops at the borders of a tile, so one tile can be read alone; the transforms
look across them, so no seams are visible::

    ┌────────┬────────┐      the latents of a tile are coded together
    │ 0      │ 1  ┊   │
    ├────────┼────┊───┤      the pixels of tile 0 also depend on the latents of tiles 1, 2 and 3
    │┈┈┈┈┈┈┈┈│┈┈┈┈┘   │      inside the dotted line (the context)
    │ 2      │ 3      │
    └────────┴────────┘
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bitstream.errors import HeaderError
from bitstream.header import Header


@dataclass(frozen=True)
class Window:
    """A rectangle of rows top..bottom and columns left..right, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def empty(self) -> bool:
        return self.height <= 0 or self.width <= 0

    def grow(self, margin: int) -> Window:
        return Window(
            self.top - margin, self.left - margin, self.bottom + margin, self.right + margin
        )

    def intersect(self, other: Window) -> Window:
        return Window(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def scale(self, factor: int) -> Window:
        return Window(
            self.top * factor, self.left * factor, self.bottom * factor, self.right * factor
        )

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Row and column slices of this window in an array that holds `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )

    def cover(self, cell: int) -> Window:
        """The window of cells of `cell` pixels that contains this window of pixels."""
        return Window(
            self.top // cell, self.left // cell, -(-self.bottom // cell), -(-self.right // cell)
        )


class TileGrid:
    """Windows of latents, of `stride` pixels each, for the tiles of a header.

    Raises `HeaderError` for several tiles whose side is no multiple of `stride`.
    """

    def __init__(self, header: Header, stride: int) -> None:
        self.pixels = Window(0, 0, header.height, header.width)
        self.latents = self.pixels.cover(stride)
        self.columns, self.count = header.tiles_x, header.tile_count
        # A single tile may end inside its last latents; the borders of several must coincide.
        self.side = -(-header.tile_size // stride)
        if header.tile_count > 1 and header.tile_size % stride:
            raise HeaderError(
                f"{header.tile_count} tiles of {header.tile_size} pixels, but the model "
                f"{header.model_id} codes one tile of blocks of {stride} pixels: the file was not "
                "written by a conforming encoder"
            )

    def tile(self, number: int) -> Window:
        """Latents of a tile, tiles numbered in raster order."""
        row, column = divmod(number, self.columns)
        top, left = row * self.side, column * self.side
        whole = Window(top, left, top + self.side, left + self.side)
        return whole.intersect(self.latents)

    def rows_overlapping(self, window: Window) -> Iterator[range]:
        """Tiles that share latents with `window`: one range of numbers per row, from the top."""
        inside = window.intersect(self.latents)
        if inside.empty:
            return
        cells = inside.cover(self.side)
        for row in range(cells.top, cells.bottom):
            start = row * self.columns
            yield range(start + cells.left, start + cells.right)

    def overlapping(self, window: Window) -> Iterator[int]:
        """Tiles that share latents with `window`, in raster order."""
        for numbers in self.rows_overlapping(window):
            yield from numbers
