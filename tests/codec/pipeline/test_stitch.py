"""Bands drawn tile by tile equal those drawn all at once, with memory for only a few tiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream.header import Header
from codec.coding.tiling import TileGrid, Window
from codec.pipeline.stitch import draw_bands, tiles_under

Float32Array = npt.NDArray[np.float32]
Uint8Array = npt.NDArray[np.uint8]

STRIDE = 16


def around(latents: Float32Array, context: int) -> Float32Array:
    """Sums (h, w) over squares of 2·context + 1 latents, zeros outside; integers, so exact."""
    padded = np.pad(latents[0], context)
    size = 2 * context + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    sums: Float32Array = windows.sum(axis=(2, 3))
    return sums


class Counted:
    """A transform whose pixels depend on `context` latents around; records its calls."""

    def __init__(self, grid: TileGrid, context: int, seed: int) -> None:
        shape = (1, grid.latents.height, grid.latents.width)
        self.latents = np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)
        self.grid, self.context = grid, context
        self.asked: list[int] = []
        self.windows: list[tuple[int, int]] = []

    def latents_of(self, number: int) -> Float32Array:
        self.asked.append(number)
        rows, columns = self.grid.tile(number).within(self.grid.latents)
        return self.latents[:, rows, columns]

    def synthesize(self, latents: Float32Array) -> Uint8Array:
        self.windows.append((latents.shape[1], latents.shape[2]))
        levels = (around(latents, self.context) % 251).astype(np.uint8)[..., None]
        # Pixels of one latent differ, so that a shift would be seen.
        place = np.arange(STRIDE, dtype=np.uint8)
        pixels = levels.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
        height, width = latents.shape[1:]
        marked: Uint8Array = (
            pixels ^ np.tile(place[:, None] * 16 + place, (height, width))[..., None]
        )
        return marked

    def draw(self, wanted: Window) -> Uint8Array:
        bands = draw_bands(
            self.grid,
            wanted,
            stride=STRIDE,
            context=self.context,
            latents_of=self.latents_of,
            synthesize=self.synthesize,
        )
        return np.concatenate(list(bands))


@st.composite
def windows(draw: st.DrawFn, height: int, width: int) -> Window:
    top = draw(st.integers(0, height - 1))
    left = draw(st.integers(0, width - 1))
    return Window(top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width)))


@given(st.data())
def test_windows_of_tiles_are_windows_of_the_whole(data: st.DataObject) -> None:
    height, width = (data.draw(st.integers(1, 420)) for _ in range(2))
    context, side = data.draw(st.integers(0, 7)), data.draw(st.sampled_from([64, 128, 256]))
    grid = TileGrid(Header(width, height, 3, 8, 50, 1, bytes(8), side), STRIDE)
    wanted = data.draw(st.just(grid.pixels) | windows(height, width))
    model = Counted(grid, context, seed=height)
    expected = model.synthesize(model.latents)[
        wanted.top : wanted.bottom, wanted.left : wanted.right
    ]
    model.windows.clear()

    assert np.array_equal(model.draw(wanted), expected)
    needed = [n for row in tiles_under(grid, wanted, STRIDE, context) for n in row]
    assert model.asked == needed
    # Interior windows have their context and no more; the drawn parts never overlap.
    assert max(max(window) for window in model.windows) <= side // STRIDE + 2 * context
    assert len(model.windows) <= len(needed)


@pytest.mark.parametrize(
    "wanted", [Window(0, 0, 1, 1), Window(63, 63, 65, 65), Window(8, 0, 9, 256)]
)
def test_tiles_outside_the_context_are_not_asked_for(wanted: Window) -> None:
    grid = TileGrid(Header(256, 256, 1, 8, 50, 1, bytes(8), 64), STRIDE)
    model = Counted(grid, 1, seed=0)
    model.draw(wanted)
    near = wanted.cover(STRIDE).grow(1)
    assert model.asked == [n for n in range(16) if not grid.tile(n).intersect(near).empty]
    assert len(model.asked) < 16


def test_a_tile_is_decoded_only_when_its_band_is_read() -> None:
    grid = TileGrid(Header(192, 640, 1, 8, 50, 1, bytes(8), 64), STRIDE)
    model = Counted(grid, 2, seed=0)
    bands = draw_bands(
        grid,
        grid.pixels,
        stride=STRIDE,
        context=2,
        latents_of=model.latents_of,
        synthesize=model.synthesize,
    )
    assert model.asked == []
    heights = []
    for number, band in enumerate(bands, 1):
        assert model.asked == list(range(3 * number))
        heights.append(band.shape[0])
    # The first band lacks the rows whose context is in the second row of tiles.
    assert heights == [32, *[64] * 8, 96]
