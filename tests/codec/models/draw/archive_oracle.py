"""A decoder of model 9 in plain integers, written from FORMAT.md alone.

It uses no code of the codec, only the configuration and arrays of a weights file. It is slow,
without checks, and without escapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tests.bitstream.oracle import Stack
from tests.golden.draw_oracle import LIMIT, Weights, limited, times
from tests.golden.oracle import table_of, uniform

Int64Array = npt.NDArray[np.int64]
Place = tuple[int, int]  # step and level


@dataclass(frozen=True)
class Archive:
    """The stored sizes and arrays, and one of the maps."""

    weights: Weights
    side: int
    map: int

    @property
    def places(self) -> list[Place]:
        config = self.weights.config
        levels = range(len(config["codes"]))
        return [(step, level) for step in range(config["steps"]) for level in reversed(levels)]

    def positions(self, level: int) -> int:
        size = self.side // int(self.weights.config["stride"])
        for _ in range(level):
            size = (size + 1) // 2
        return size

    def bits(self, place: Place) -> Int64Array:
        step, level = place
        stored = self.weights.arrays[f"posterior.bits{level}"][self.map, step]
        size = self.positions(level)
        return np.broadcast_to(stored, (len(stored), size, size)).astype(np.int64)

    def quantile(self, number: int) -> int:
        return int(self.weights.arrays["posterior.quantiles"][number])

    @property
    def A(self) -> int:  # noqa: N802
        return len(self.weights.arrays["posterior.quantiles"]).bit_length()

    def order(self, place: Place, blocks: int) -> Iterator[tuple[int, int]]:
        """Block and flat coordinate, in the order of coding."""
        bits = self.bits(place).ravel()
        for b in range(1, int(bits.max()) + 1):
            for block in range(blocks):
                for at in np.flatnonzero(bits == b):
                    yield block, int(at)

    def coordinates(self, place: Place, bins: Int64Array) -> Int64Array:
        bits = self.bits(place)
        found = np.zeros_like(bits)
        for at in zip(*np.nonzero(bits), strict=True):
            b, j = int(bits[at]), int(bins[at])
            found[at] = (self.quantile(2 ** (self.A - b - 1) * (2 * j + 1) - 1) + 8) >> 4
        return found

    def table(self, n: int, v: int, b: int) -> list[int]:
        bounds = [self.quantile(2 ** (self.A - b) * j - 1) for j in range(1, 2**b)]
        level = min(max((v + 45184) >> 8, 0), 208)
        return between(self, "posterior", bounds, n, level, 19)


def between(
    archive: Archive, name: str, bounds: list[int], n: int, level: int, reach: int
) -> list[int]:
    """Entries between bounds in units of 2⁻¹⁶ under a stored distribution."""
    rho = int(archive.weights.arrays[f"{name}.reciprocals"][level])
    F = archive.weights.arrays[f"{name}.distribution"]
    cumulative = [0]
    for j, t in enumerate(bounds, 1):
        p = min(max(((t - 16 * n) * rho >> 12) + 2**reach, 0), 2 ** (reach + 1) - 1)
        left, right = int(F[p >> 6]), int(F[(p >> 6) + 1])
        cumulative.append(left + ((right - left) * (p % 64) >> 6) + j)
    return [right - left for left, right in pairwise([*cumulative, 2**24])]


def unshuffled(values: Int64Array, s: int) -> Int64Array:
    places = [(c, y, x) for c in range(len(values)) for y in range(s) for x in range(s)]
    return np.concatenate([values[c : c + 1, y::s, x::s] for c, y, x in places])


def shuffled(values: Int64Array, s: int) -> Int64Array:
    channels, height, width = values.shape
    canvas = np.zeros((channels // s**2, height * s, width * s), dtype=np.int64)
    for channel in range(channels):
        c, rest = divmod(channel, s * s)
        canvas[c, rest // s :: s, rest % s :: s] = values[channel]
    return canvas


def run(
    archive: Archive, bins: dict[Place, Int64Array], x: Int64Array | None
) -> tuple[Int64Array, dict[Place, tuple[Int64Array, Int64Array]]]:
    """The canvas of one block, and, if x is given, its posteriors' means and log-variances."""
    weights, config = archive.weights, archive.weights.config
    s, levels, channels = config["stride"], len(config["hidden"]), config["channels"]
    sizes = [archive.positions(level) for level in range(levels)]
    h, c, e, cells = (
        [
            np.zeros((H, size, size), np.int64)
            for H, size in zip(config["hidden"], sizes, strict=True)
        ]
        for _ in range(4)
    )
    start = weights.stored("start")[:, None, None]
    r = np.broadcast_to(start, (len(start), archive.side, archive.side))
    posteriors = {}

    def advance(gates: Int64Array, cell: Int64Array) -> tuple[Int64Array, Int64Array]:
        i, f, o, g = np.split(gates, 4)
        kept = times(weights.curve("sigmoid", f), cell)
        cell = kept + times(weights.curve("sigmoid", i), weights.curve("tanh", g))
        return times(weights.curve("sigmoid", o), weights.curve("tanh", cell)), cell

    for place in archive.places:
        _, level = place
        if level == levels - 1 and x is not None:
            bernoulli = config["likelihood"] == "bernoulli"
            shown = weights.curve("sigmoid", r) if bernoulli else r[:channels]
            y = unshuffled(limited(x - shown), s)
            for l in range(levels):  # noqa: E741
                if l > 0:
                    outside = sizes[l - 1] % 2
                    below = np.pad(e[l - 1], ((0, 0), (0, outside), (0, outside)))
                    sums = below[:, ::2, ::2] + below[:, 1::2, ::2]
                    y = (sums + below[:, ::2, 1::2] + below[:, 1::2, 1::2] + 2) >> 2
                gates = weights.convolution(f"encoder{l}", y, h[l], e[l])
                if l == 0:
                    gates = gates + weights.convolution("image", unshuffled(x, s))
                e[l], cells[l] = advance(gates, cells[l])
        above = [h[level + 1].repeat(2, 1).repeat(2, 2)] if level < levels - 1 else []
        above = [states[:, : sizes[level], : sizes[level]] for states in above]
        mean, m = np.split(weights.convolution(f"prior{level}", h[level], *above), 2)
        if x is not None:
            said = weights.convolution(f"posterior{level}", e[level], *above)
            posteriors[place] = tuple(np.split(said, 2))
        sigma = weights.stored("scales")[np.clip((m + 24704) >> 8, 0, 128)]
        u = archive.coordinates(place, bins[place])
        z = limited(mean + ((sigma * u + 2**15) >> 16))
        canvas = [unshuffled(r[:channels], s)] if level == 0 else []
        gates = weights.convolution(f"decoder{level}", z, *above, *canvas, h[level])
        h[level], c[level] = advance(gates, c[level])
        if level == 0:
            r = limited(r + shuffled(weights.convolution("paint", h[0]), s))
    return r, posteriors  # type: ignore[return-value]


def pop_pixels(archive: Archive, stack: Stack, canvases: list[Int64Array]) -> Int64Array:
    """Values v, (blocks, channels, side, side)."""
    weights = archive.weights
    C = weights.config["channels"]
    shape = len(canvases), C, archive.side, archive.side
    r = np.stack(canvases)
    if weights.config["likelihood"] == "bernoulli":
        indexes = np.clip(((r + 256) >> 9) + 128, 0, 256).ravel()
        found = np.zeros(len(indexes), np.int64)
        for at in np.argsort(indexes, kind="stable"):
            found[at] = 255 * stack.pop(table_of(weights.arrays, "pixel_tables", indexes[at])[1])
        return found.reshape(shape)
    values = np.zeros(shape, np.int64)
    bounds = [16 * 16 * (2 * v - 256) for v in range(1, 256)]
    for channel in range(C):
        n = r[:, channel]
        for other in range(channel):
            d = limited(16 * (2 * values[:, other] - 255) - r[:, other])
            n = n + times(weights.curve("tanh", r[:, 5 + channel + other]), d)
        levels = np.clip((r[:, C + channel] + 28800) >> 8, 0, 144)
        popped = [
            stack.pop(between(archive, "pixels", bounds, int(mean), int(level), 20))
            for mean, level in zip(limited(n).ravel(), levels.ravel(), strict=True)
        ]
        values[:, channel] = np.reshape(popped, n.shape)
    return values


def decode_archive(data: bytes, weights: Weights, side: int, blocks: int) -> Int64Array:
    """Pixels (blocks, channels, side, side)."""
    maps, at = len(weights.arrays["posterior.bits0"]), 0
    groups: list[tuple[int, int, int]] = []
    begin = stage = 0
    while begin < blocks:
        w = shift = 0
        while True:
            w |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                break
        for _ in range(w // 2):
            size = 2 ** max(0, stage - maps + 1)
            assert size <= max(1, min(64, 2**16 // side**2))
            groups.append((begin, min(begin + size, blocks), min(stage, maps - 1)))
            begin = groups[-1][1]
        stage += -1 if w % 2 else 1
    body = data[at:]
    stack = Stack([int.from_bytes(body[i : i + 4], "little") for i in range(0, len(body), 4)])
    images = np.zeros((blocks, weights.config["channels"], side, side), np.int64)
    for begin, end, number in reversed(groups):
        archive, count = Archive(weights, side, number), end - begin
        bins = [{p: np.zeros_like(archive.bits(p)) for p in archive.places} for _ in range(count)]
        order = [(p, n, at) for p in archive.places for n, at in archive.order(p, count)]
        needed = [int(archive.bits(p).ravel()[at]) for p, _, at in order]
        for place in sorted(range(len(order)), key=needed.__getitem__):
            p, n, at = order[place]
            bins[n][p].ravel()[at] = stack.pop(uniform(needed[place])[1])
        canvases = [run(archive, own, None)[0] for own in bins]
        images[begin:end] = pop_pixels(archive, stack, canvases)
        assert sum(word << 32 * n for n, word in enumerate(stack.to_words())) >= 2**64
        if weights.config["likelihood"] == "bernoulli":
            x = np.where(images[begin:end] > 0, 4096, 0)
        else:
            x = 16 * (2 * images[begin:end] - 255)
        said = [run(archive, own, of)[1] for own, of in zip(bins, x, strict=True)]
        for (p, n, at), b in reversed(list(zip(order, needed, strict=True))):
            mean, v = (limited(array.ravel()[at : at + 1])[0] for array in said[n][p])
            stack.push(int(bins[n][p].ravel()[at]), archive.table(int(mean), int(v), b))
    assert stack.to_words() == [0, 0, 1]
    assert np.abs(images).max() <= LIMIT
    return images
