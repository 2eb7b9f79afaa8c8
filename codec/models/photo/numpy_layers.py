"""Layers in NumPy for processors: as fast as those of torch, without its import time of seconds.

The features of an image lie in one flat array, row after row, with a position of zeros behind
every row and more of them before and after all (2×3 positions, a .. f)::

    0 0 0 0 0 │ a b c 0 │ d e f 0 │ 0 0 0 0 0

so that the neighbour (dy, dx) of a position is dy · (width + 1) + dx places further on, past an
edge of the image as well, and a depthwise convolution is nine products of slices. Work is cut into
spans that fit into a core's cache, which threads take one after another; NumPy lets other threads
run while it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float32Array
from codec.system.processors import single_threaded_blas

_SPAN_BYTES = 2**20  # of the widest array of a span
_ROW_VALUES = 1024  # NumPy needs rows of some length; a vector of channels is repeated to this


@contextmanager
def crew_of(threads: int) -> Iterator[Crew]:
    """A crew of so many threads, which end with the block."""
    with single_threaded_blas(), ThreadPoolExecutor(threads) as pool:
        yield Crew(threads, pool)


class Crew:
    """Threads that share the spans of a layer."""

    def __init__(self, threads: int, pool: ThreadPoolExecutor) -> None:
        self._threads, self._pool = threads, pool

    def cut(self, rows: int, values: int) -> list[slice]:
        """Cut rows of so many values each into pieces that fit the cache, equally many a thread."""
        pieces = self._threads * -(-4 * rows * values // (self._threads * _SPAN_BYTES))
        step = -(-rows // pieces)
        return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]

    def run(self, work: Callable[[Iterable[slice]], None], spans: Sequence[slice]) -> None:
        """Process all spans: every thread calls `work` once, with the spans that it takes.

        Overflows give no warnings, because a hostile file may cause many.
        """

        def quietly(shared: Iterable[slice]) -> None:
            with np.errstate(all="ignore"):
                work(shared)

        shared = iter(spans)  # a thread that is done with a span takes the next
        if self._threads == 1 or len(spans) == 1:
            quietly(shared)
            return
        for done in [self._pool.submit(quietly, shared) for _ in range(self._threads)]:
            done.result()


class Plane:
    """Features of height × width positions, in the layout of the module's description.

    grid  float32 (height, width + 1, channels), whose last column is zero
    """

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.height, self.width, self.channels = height, width, channels
        self.repeats = max(1, _ROW_VALUES // channels)
        count = height * (width + 1)
        # Spans are whole rows of repeated channels; the last one may reach behind the image.
        self._count = -(-count // self.repeats) * self.repeats
        self._margin = width + 2
        self._flat = np.zeros((self._count + 2 * self._margin) * channels, dtype=np.float32)
        begin = self._margin * channels
        self._end = begin + count * channels
        self.grid = self._flat[begin : self._end].reshape(height, width + 1, channels)

    @property
    def image(self) -> Float32Array:
        """The features alone, (height, width, channels): a view."""
        return self.grid[:, : self.width]

    def at(self, span: slice, offset: int = 0) -> Float32Array:
        """Features at a span of positions, `offset` places further: (rows, repeats · channels)."""
        places = slice(span.start + offset + self._margin, span.stop + offset + self._margin)
        values = self._flat[places.start * self.channels : places.stop * self.channels]
        return values.reshape(-1, self.repeats * self.channels)

    def clear_around(self) -> None:
        """Zeros behind every row, and after all of them."""
        self.grid[:, self.width :] = 0
        self._flat[self._end :] = 0

    def spans(self, channels: int, crew: Crew) -> list[slice]:
        """All positions, cut for a layer with so many output channels."""
        pieces = crew.cut(self._count // self.repeats, self.repeats * channels)
        return [slice(p.start * self.repeats, p.stop * self.repeats) for p in pieces]

    def bands(self, channels: int, crew: Crew) -> list[slice]:
        """All rows, cut for a layer with so many output channels."""
        return crew.cut(self.height, (self.width + 1) * channels)


@dataclass(frozen=True)
class Dense:
    """A 1×1 convolution: weight float32 (in, out), bias (out,)."""

    weight: Float32Array
    bias: Float32Array

    def __call__(self, values: Float32Array) -> Float32Array:
        """Values (…, in) to (n, out)."""
        product: Float32Array = values.reshape(-1, len(self.weight)) @ self.weight
        product += self.bias
        return product


def interpolate(knots: Float32Array, position: float) -> Float32Array:
    """`codec.models.layers.interpolate` at one position in [0, 1]: (knots, channels) to
    (channels,)."""
    scaled = position * (len(knots) - 1)
    left = min(int(scaled), len(knots) - 2)
    fraction = np.float32(scaled - left)
    result: Float32Array = knots[left] * (1 - fraction) + knots[left + 1] * fraction
    return result


@dataclass(frozen=True)
class Block:
    """`codec.models.layers.Block` at one quality, which is folded into its weights.

    taps     (9, C) depthwise 3×3, times 1 + scale
    expand   (C, 2·C)
    floor    (2·C,), minus the bias of `expand`, the shift of the quality included. By
             ReLU(v + b) = max(v, −b) + b the addition moves behind the second product, into
    bias     (C,)
    project  (2·C, C)
    """

    taps: Float32Array
    expand: Float32Array
    floor: Float32Array
    project: Float32Array
    bias: Float32Array

    def __call__(self, source: Plane, target: Plane, crew: Crew) -> None:
        """Fill `target`, of the same size as `source`."""
        channels, width = self.expand.shape
        spans = source.spans(width, crew)
        longest = spans[0].stop // source.repeats
        taps = np.tile(self.taps, (1, source.repeats))
        floor, bias = np.tile(self.floor, source.repeats), np.tile(self.bias, source.repeats)
        row = source.width + 1
        offsets = [dy * row + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]

        def work(spans: Iterable[slice]) -> None:
            # Kept from span to span, and so in the cache.
            sums = np.empty((longest, len(bias)), dtype=np.float32)
            products, wide = np.empty_like(sums), np.empty((len(sums), len(floor)), np.float32)
            for span in spans:
                rows = (span.stop - span.start) // source.repeats
                inner, product, hidden = sums[:rows], products[:rows], wide[:rows]
                np.multiply(source.at(span, offsets[0]), taps[0], out=inner)
                for offset, tap in zip(offsets[1:], taps[1:], strict=True):
                    np.multiply(source.at(span, offset), tap, out=product)
                    np.add(inner, product, out=inner)
                flat = hidden.reshape(-1, width)
                np.matmul(inner.reshape(-1, channels), self.expand, out=flat)
                np.maximum(hidden, floor, out=hidden)
                np.matmul(flat, self.project, out=product.reshape(-1, channels))
                np.add(product, bias, out=product)
                np.add(source.at(span), product, out=target.at(span))

        crew.run(work, spans)
        target.clear_around()


@dataclass(frozen=True)
class ModulatedBlock:
    """`codec.models.layers.Block` at all qualities: the parameters of that module, (in, out)
    matrices.

    spatial  taps (9, C) and bias (C,)
    scale    knots (knots, C), as those of shift
    """

    spatial: Dense
    scale: Float32Array
    shift: Float32Array
    expand: Dense
    project: Dense

    def at(self, position: float) -> Block:
        """The block at the position of a quality in [0, 1]."""
        scale: Float32Array = 1 + interpolate(self.scale, position)
        shift: Float32Array = self.spatial.bias * scale + interpolate(self.shift, position)
        bias: Float32Array = shift @ self.expand.weight + self.expand.bias
        return Block(
            taps=self.spatial.weight * scale,
            expand=self.expand.weight,
            floor=-bias,
            project=self.project.weight,
            bias=bias @ self.project.weight + self.project.bias,
        )


def stage(plane: Plane, blocks: Sequence[Block], crew: Crew) -> Plane:
    """Apply blocks one after another; the contents of `plane` are overwritten."""
    other = Plane(plane.height, plane.width, plane.channels)
    for block in blocks:
        block(plane, other, crew)
        plane, other = other, plane
    return plane


def shuffled(plane: Plane, factor: int) -> Float32Array:
    """A view of a plane as a pixel shuffle makes it: (row, dy, column, (dx, c)), coarse rows."""
    height, width = plane.height // factor, plane.width // factor
    rows = plane.grid.reshape(height, factor, -1)[:, :, : plane.width * plane.channels]
    return rows.reshape(height, factor, width, factor * plane.channels)


def upsample(source: Plane, layer: Dense, factor: int, crew: Crew) -> Plane:
    """A 1×1 convolution, whose outputs are in the order (dy, dx, c), then a pixel shuffle."""
    channels = len(layer.bias) // factor**2
    target = Plane(source.height * factor, source.width * factor, channels)
    lines = shuffled(target, factor)

    def work(spans: Iterable[slice]) -> None:
        for band in spans:
            values = source.grid[band]
            product = layer(values).reshape(*values.shape[:2], factor, factor * channels)
            lines[band] = product[:, : source.width].swapaxes(1, 2)

    crew.run(work, source.bands(len(layer.bias), crew))
    return target


def downsample(
    source: Plane, layer: Dense, factor: int, crew: Crew, add: Plane | None = None
) -> Plane:
    """A pixel unshuffle, whose outputs are in the order (dy, dx, c), then a 1×1 convolution.

    add  features to be added, of the size of the result
    """
    target = Plane(source.height // factor, source.width // factor, len(layer.bias))
    lines = shuffled(source, factor)

    def work(spans: Iterable[slice]) -> None:
        for band in spans:
            image = target.image[band]
            image[:] = layer(lines[band].swapaxes(1, 2)).reshape(image.shape)
            if add is not None:
                image += add.image[band]

    crew.run(work, target.bands(len(layer.weight), crew))
    return target


def add_dense(target: Plane, source: Plane, layer: Dense, crew: Crew) -> None:
    """Add a 1×1 convolution of `source` to `target`, both of one size."""

    def work(spans: Iterable[slice]) -> None:
        for band in spans:
            values = source.grid[band]
            target.image[band] += layer(values).reshape(*values.shape[:2], -1)[:, :-1]

    crew.run(work, source.bands(len(layer.bias), crew))
