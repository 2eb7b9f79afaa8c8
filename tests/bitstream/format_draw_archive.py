"""A decoder of model 9, written from FORMAT.md alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.bitstream.format_decoded import (
    Decoded,
    Message,
    Pixels,
    Starts,
    Weights,
    interpolated,
    raster_of,
    sheet_of,
)
from tests.bitstream.format_networks import Draw, Integers, limited, shuffle, times, unshuffle
from tests.bitstream.format_reader import (
    File,
    StackReader,
    Table,
    Tables,
    Uniform,
    read_message,
    read_varint,
)

Place = tuple[int, int]  # step and level


class DrawArchive:
    """The parts of model 9, one block at a time."""

    def __init__(self, weights: Weights) -> None:
        arrays = weights.arrays
        self.channels = weights.config["channels"]
        self.bernoulli = weights.config["likelihood"] == "bernoulli"
        self.side, self.draw = weights.side, Draw(weights.config, arrays, 10000)
        self.bits = [arrays[f"posterior.bits{level}"] for level in range(self.draw.levels)]
        self.quantiles = arrays["posterior.quantiles"].tolist()
        self.A = len(self.quantiles).bit_length()
        self.F = arrays["posterior.distribution"].tolist()
        self.reciprocals = arrays["posterior.reciprocals"].tolist()
        self.arrays = arrays
        self.places = [
            (step, level)
            for step in range(weights.config["steps"])
            for level in reversed(range(self.draw.levels))
        ]

    def bits_of(self, number: int, place: Place) -> Integers:
        """b of each coordinate of a step and level under a map."""
        step, level = place
        stored, size = self.bits[level][number, step], self.side // self.draw.s >> level
        return np.broadcast_to(stored, (len(stored), size, size)).astype(np.int64)

    def order(self, number: int, blocks: int) -> list[tuple[Place, int, int, int]]:
        """Step and level, block, coordinate and bits of every bin, in the order of coding."""
        found = []
        for place in self.places:
            flat = self.bits_of(number, place).ravel()
            for b in sorted(set(flat.tolist()) - {0}):
                at = np.flatnonzero(flat == b).tolist()
                found += [(place, block, i, b) for block in range(blocks) for i in at]
        return found

    def coordinate(self, b: int, j: int) -> int:
        return (int(self.quantiles[2 ** (self.A - b - 1) * (2 * j + 1) - 1]) + 8) >> 4

    def below(self, n: int, v: int, b: int, j: int) -> int:
        """Cumulative frequency of bin j of a coordinate under its posterior."""
        if j in (0, 2**b):
            return 0 if j == 0 else 2**24
        rho = self.reciprocals[min(max((v + 45184) >> 8, 0), 208)]
        t = self.quantiles[2 ** (self.A - b) * j - 1]
        p = min(max(((t - 16 * n) * rho >> 12) + 2**19, 0), 2**20 - 1)
        return interpolated(self.F, p) + j

    def run(
        self, u: Mapping[Place, Integers], x: Integers | None = None
    ) -> tuple[Integers, dict[Place, Integers]]:
        """The canvas, and, if x is given, the posteriors' means and then log-variances."""
        draw = self.draw
        h, c, e, cells = (draw.zeros(self.side, self.side) for _ in range(4))
        start = draw.stored("start")[:, None, None]
        r: Integers = np.broadcast_to(start, (len(start), self.side, self.side))
        said = {}
        for place in self.places:
            level = place[1]
            if x is not None and level == draw.levels - 1:
                self._look(x, r, h, e, cells)
            above = draw.above(h, level)
            mean, m = np.split(draw.layer(f"prior{level}", h[level], *above), 2)
            if x is not None:
                said[place] = draw.layer(f"posterior{level}", e[level], *above)
            sigma = draw.stored("scales")[np.clip((m + 24704) >> 8, 0, 128)]
            z = limited(mean + ((sigma * u[place] + 2**15) >> 16))
            canvas = [unshuffle(r[: self.channels], draw.s)] if level == 0 else []
            gates = draw.layer(f"decoder{level}", z, *above, *canvas, h[level])
            h[level], c[level] = draw.advance(gates, c[level])
            if level == 0:
                r = limited(r + shuffle(draw.layer("paint", h[0]), draw.s))
        return r, said

    def _look(
        self,
        x: Integers,
        r: Integers,
        h: list[Integers],
        e: list[Integers],
        cells: list[Integers],
    ) -> None:
        draw = self.draw
        shown = draw.curve("sigmoid", r) if self.bernoulli else r[: self.channels]
        y = unshuffle(limited(x - shown), draw.s)
        for level in range(draw.levels):
            if level:
                parts = e[level - 1].reshape(
                    len(e[level - 1]), *(n for s in h[level].shape[1:] for n in (s, 2))
                )
                y = (parts.sum((2, 4)) + 2) >> 2
            gates = draw.layer(f"encoder{level}", y, h[level], e[level])
            if level == 0:
                gates = gates + draw.layer("image", unshuffle(x, draw.s))
            e[level], cells[level] = draw.advance(gates, cells[level])

    def seen(self, values: Integers) -> Integers:
        """x of pixels 0 … 255."""
        return np.minimum(values, 1) << 12 if self.bernoulli else 16 * (2 * values - 255)

    def pop_pixels(self, stack: StackReader, r: Integers) -> tuple[Integers, Message]:
        """Pixels 0 … 255 of blocks, from canvases (blocks, channels of the canvas, B, B)."""
        if self.bernoulli:
            tables = np.clip(((r + 256) >> 9) + 128, 0, 256).ravel().tolist()
            symbols = read_message(stack, tables, Tables(self.arrays, "pixel_tables"))
            assert set(symbols) <= {0, 1}
            return 255 * np.reshape(symbols, r.shape), Message(symbols, tables)
        C, draw = self.channels, self.draw
        values = np.zeros((len(r), C, *r.shape[2:]), dtype=np.int64)
        for channel in range(C):
            n = r[:, channel]
            for known in range(channel):
                # a is for green from red; b and c are for blue from red and from green.
                coefficient = r[:, 2 * C + known + (channel == 2)]
                d = limited(self.seen(values[:, known]) - r[:, known])
                n = n + times(draw.curve("tanh", coefficient), d)
            values[:, channel] = self._pop_channel(stack, limited(n), r[:, C + channel])
        return values, Message([], [])

    def _pop_channel(self, stack: StackReader, n: Integers, log_scale: Integers) -> Integers:
        F = self.arrays["pixels.distribution"].astype(np.int64)
        rho = self.arrays["pixels.reciprocals"].astype(np.int64)
        rho = rho[np.clip((log_scale.ravel() + 28800) >> 8, 0, 144)][:, None]
        j = np.arange(1, 256)
        p = (16 * (16 * (2 * j - 256) - n.ravel()[:, None]) * rho >> 12) + 2**20
        p = np.clip(p, 0, 2**21 - 1)
        left, right = F[p >> 6], F[(p >> 6) + 1]
        below = left + ((right - left) * (p % 64) >> 6) + j
        ends = np.full((len(below), 1), 2**24)
        shares = np.diff(np.concatenate([0 * ends, below, ends], axis=1), axis=1)
        popped = [stack.entry(Table(0, tuple(row))) for row in shares.tolist()]
        return np.reshape(popped, n.shape)


def decode_draw_archive(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Model 9."""
    archive, data = DrawArchive(weights), file.coded[0]
    count, maps, at = len(raster_of(file, weights.side)), len(archive.bits[0]), 0
    runs: list[int] = []
    groups: list[tuple[int, int, int]] = []
    begin = stage = 0
    while begin < count:
        w, at = read_varint(data, at)
        runs.append(w)
        for _ in range(w // 2):
            end = min(begin + 2 ** max(0, stage - maps + 1), count)
            groups.append((begin, end, min(stage, maps - 1)))
            begin = end
        stage += -1 if w % 2 else 1
    stack, uniform = StackReader(data[at:]), Uniform()
    found = Decoded([[]], {"runs": runs})
    images: dict[int, Pixels] = {}
    for begin, end, number in reversed(groups):
        order = archive.order(number, end - begin)
        popped = read_message(stack, [b for *_, b in order], uniform)
        assert stack.number >= 2**64
        coordinates = [
            {place: np.zeros_like(archive.bits_of(number, place)) for place in archive.places}
            for _ in range(begin, end)
        ]
        for (place, block, i, b), j in zip(order, popped, strict=True):
            coordinates[block][place].ravel()[i] = archive.coordinate(b, j)
        canvases = np.stack([archive.run(u)[0] for u in coordinates])
        values, message = archive.pop_pixels(stack, canvases)
        assert stack.number >= 2**64
        if end == count:
            found.numbers |= {"bins": popped, "bits": [b for *_, b in order]}
            found.messages[0].append(message)
        for block in range(begin, end):
            images[block] = values[block - begin].astype(np.uint8).transpose(1, 2, 0)
        if not order:
            continue
        said = [
            archive.run(u, archive.seen(v))[1] for u, v in zip(coordinates, values, strict=True)
        ]
        for (place, block, i, b), j in reversed(list(zip(order, popped, strict=True))):
            n, v = limited(said[block][place]).reshape(2, -1)[:, i].tolist()
            below = archive.below(n, v, b, j)
            stack.push(below, archive.below(n, v, b, j + 1) - below)
    assert stack.words == [0, 0, 1]
    blocks = [images[number] for number in range(count)]
    found.pixels = sheet_of(blocks, file.header.height, file.header.width)
    return found
