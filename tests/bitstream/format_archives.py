"""Decoders of the models 8 and 9, written from FORMAT.md alone: archives on a stack."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np

from tests.bitstream import format_networks as networks
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
from tests.bitstream.format_networks import Draw, Integers, limited, shuffle, unshuffle
from tests.bitstream.format_reader import (
    File,
    StackReader,
    Tables,
    Uniform,
    raw_numbers,
    read_message,
    read_varint,
)


def decode_vae_archive(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Model 8."""
    arrays, count = weights.arrays, len(raster_of(file, 28))
    w, at = read_varint(file.coded[0], 0)
    assert 16 <= w <= 2**14
    stack = StackReader(file.coded[0][at:])
    centres = limited(arrays["posterior.centres"].astype(np.int64))
    bins, k = len(centres), arrays["decoder.0.weight"].shape[1]
    edges, F = arrays["posterior.edges"].tolist(), arrays["posterior.distribution"].tolist()
    reciprocals = arrays["posterior.reciprocals"].tolist()
    found, groups = Decoded([[]], {"seed words": [w]}), []
    begin = 0
    while begin < count:
        size = min(max(1, begin // 4), 64, 2**22 // (k * (bins + 1)), count - begin)
        groups.append((begin, begin + size))
        begin += size
    found.numbers["groups"] = [end - begin for begin, end in groups]
    prior, tables = Uniform()[bins.bit_length() - 1], Tables(arrays, "pixel_tables")
    images: dict[int, Pixels] = {}
    for begin, end in reversed(groups):
        codes = [stack.entry(prior) for _ in range(k * (end - begin))]
        outputs = networks.exact_mlp(arrays, "decoder", centres[np.reshape(codes, (-1, k))])
        indexes = np.clip(((outputs + 64) >> 7) + 128, 0, 256).ravel().tolist()
        pixels = read_message(stack, indexes, tables)
        assert set(pixels) <= {0, 1}
        assert stack.number >= 2**64
        if end == count:
            found.numbers["codes"] = codes
            found.messages[0].append(Message(pixels, indexes))
        rows = np.reshape(pixels, (-1, 784))
        said = networks.exact_mlp(arrays, "encoder", rows.astype(np.int64) << 10).tolist()
        entries = []
        for number, outputs_of_block in enumerate(said):
            images[begin + number] = (255 * rows[number]).astype(np.uint8).reshape(28, 28, 1)
            for d in range(k):
                mean, log_variance = outputs_of_block[d], outputs_of_block[k + d]
                rho = reciprocals[min(max((log_variance + 12416) >> 8, 0), 59)]
                j, sides = codes[number * k + d], []
                for edge in (j - 1, j):
                    if 0 <= edge < len(edges):
                        p = ((edges[edge] - 64 * mean) * rho >> 12) + 2**19
                        sides.append(interpolated(F, min(max(p, 0), 2**20 - 1)))
                    else:
                        sides.append(0 if edge < 0 else F[-1])
                # Every bin before it has its share and one more.
                entries.append((sides[0] + j, sides[1] - sides[0] + 1))
        for below, frequency in reversed(entries):
            stack.push(below, frequency)
    start = [number >> 32 for number in islice(raw_numbers(starts[0xCA13], 0), w)]
    start[-1] |= 2**31
    assert stack.words == start
    blocks = [images[number] for number in range(count)]
    found.pixels = sheet_of(blocks, file.header.height, file.header.width)
    return found


Place = tuple[int, int]  # step and level


class DrawArchive:
    """The parts of model 9, for black-and-white images, one block at a time."""

    def __init__(self, weights: Weights) -> None:
        arrays = weights.arrays
        assert weights.config["likelihood"] == "bernoulli"
        self.side, self.draw = weights.side, Draw(weights.config, arrays, 10000)
        self.bits = [arrays[f"posterior.bits{level}"] for level in range(self.draw.levels)]
        self.quantiles = arrays["posterior.quantiles"].tolist()
        self.A = len(self.quantiles).bit_length()
        self.F = arrays["posterior.distribution"].tolist()
        self.reciprocals = arrays["posterior.reciprocals"].tolist()
        self.pixel_tables = Tables(arrays, "pixel_tables")
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
        """The canvas, and with x what the posteriors say: means, then log-variances."""
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
            canvas = [unshuffle(r, draw.s)] if level == 0 else []
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
        y = unshuffle(limited(x - draw.curve("sigmoid", r)), draw.s)
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
        indexes = np.clip(((canvases + 256) >> 9) + 128, 0, 256).ravel().tolist()
        pixels = read_message(stack, indexes, archive.pixel_tables)
        assert set(pixels) <= {0, 1}
        assert stack.number >= 2**64
        if end == count:
            found.numbers |= {"bins": popped, "bits": [b for *_, b in order]}
            found.messages[0].append(Message(pixels, indexes))
        values = np.reshape(pixels, canvases.shape)
        for block in range(begin, end):
            own = (255 * values[block - begin]).astype(np.uint8)
            images[block] = own.transpose(1, 2, 0)
        if not order:
            continue
        said = [
            archive.run(u, v.astype(np.int64) << 12)[1]
            for u, v in zip(coordinates, values, strict=True)
        ]
        for (place, block, i, b), j in reversed(list(zip(order, popped, strict=True))):
            n, v = limited(said[block][place]).reshape(2, -1)[:, i].tolist()
            below = archive.below(n, v, b, j)
            stack.push(below, archive.below(n, v, b, j + 1) - below)
    assert stack.words == [0, 0, 1]
    blocks = [images[number] for number in range(count)]
    found.pixels = sheet_of(blocks, file.header.height, file.header.width)
    return found
