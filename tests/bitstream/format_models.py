"""Decoders of the models 1 to 9, written from FORMAT.md alone, on `format_reader`.

Each returns what a worked example shows: messages as they were read, numbers on the way, pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bitstream import format_networks as networks
from tests.bitstream.format_networks import (
    Draw,
    Integers,
    Reals,
    limited,
    shuffle,
    unshuffle,
)
from tests.bitstream.format_reader import (
    Arrays,
    File,
    RangeReader,
    StackReader,
    Tables,
    TableSource,
    Uniform,
    raw_numbers,
    read_message,
    read_varint,
)

Pixels = npt.NDArray[np.uint8]
Starts = Mapping[int, tuple[int, int]]
SEED_DISTANCE = 0x9E3779B97F4A7C15F39CC0605CEDC835


@dataclass(frozen=True)
class Weights:
    """A weights file: its metadata `config` and `side`, and its arrays."""

    config: dict[str, Any]
    side: int
    arrays: Arrays


@dataclass(frozen=True)
class Message:
    symbols: list[int]
    tables: list[int]


@dataclass
class Decoded:
    """Messages of each DATA chunk, other numbers by name, and pixels (height, width, channels)."""

    messages: list[list[Message]] = field(default_factory=list)
    numbers: dict[str, Sequence[Any]] = field(default_factory=dict)
    pixels: Pixels = field(default_factory=lambda: np.zeros((0, 0, 3), dtype=np.uint8))


Get = Callable[[Sequence[int], TableSource], list[int]]


def _reader(coded: bytes, messages: list[Message]) -> tuple[RangeReader, Get]:
    coder = RangeReader(coded)

    def get(tables: Sequence[int], source: TableSource) -> list[int]:
        messages.append(Message(read_message(coder, tables, source), list(tables)))
        return messages[-1].symbols

    return coder, get


def decode_photo(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, found = file.header, Decoded()
    parts: dict[tuple[int, int], Reals] = {}
    for (top, left, height, width), coded in zip(header.tiles(16), file.coded, strict=True):
        found.messages.append([])
        coder, get = _reader(coded, found.messages[-1])
        symbols, means, mean_units = _photo_tile(get, weights, header.q, height, width)
        coder.finish()
        if not found.numbers:
            found.numbers = {"means": mean_units.ravel().tolist()}
            found.numbers["latents"] = (2**10 * symbols + means).ravel().tolist()
        parts[top, left] = symbols + means / 2**10
    rows = sorted({top for top, _ in parts})
    latents = np.concatenate(
        [np.concatenate([parts[at] for at in sorted(parts) if at[0] == row], 2) for row in rows], 1
    )
    pixels = networks.photo_pixels(weights.arrays, weights.config, latents, header.q)
    found.pixels = pixels[: header.height, : header.width]
    return found


def _photo_tile(
    get: Get, weights: Weights, q: int, height: int, width: int
) -> tuple[Integers, Integers, Integers]:
    """Symbols and means of a tile, and the means before corrections: (C, height, width)."""
    arrays, Z = weights.arrays, weights.config["hyper_channels"]
    rows, columns = -(-height // 4), -(-width // 4)
    hyper_tables, latent_tables = Tables(arrays, "hyper_tables"), Tables(arrays, "latent_tables")
    sets = len(hyper_tables) // Z
    chosen = ((q - 100) * (sets - 1) + 4950) // 9900
    indexes = np.repeat(np.arange(Z) + chosen * Z, rows * columns).tolist()
    hyper = np.array(get(indexes, hyper_tables)).reshape(Z, rows, columns)
    hidden = networks.photo_hidden(arrays, hyper, q)[:, :height, :width]
    predicted, said = networks.photo_said(arrays, hidden, q)
    symbols, means = np.zeros_like(predicted), predicted.copy()
    known = np.zeros(predicted.shape, dtype=bool)

    def read(place: npt.NDArray[np.bool_], indexes: Integers) -> None:
        numbers = np.clip((limited(indexes) + 2**9) >> 10, 0, len(latent_tables) - 1)
        symbols[place] = get(numbers[place].tolist(), latent_tables)
        known[place] = True

    everything = np.ones_like(known)
    if "context.black.out.weight" not in arrays:
        read(everything, said)
        return symbols, means, predicted

    def errors_and_latents(channels: slice) -> tuple[Integers, Integers]:
        own = known[channels]
        latents = np.where(own, limited((symbols[channels] << 10) + means[channels]), 0)
        return np.where(own, limited(latents - predicted[channels]), 0), latents

    def layer(name: str, values: Integers) -> Integers:
        return networks.photo_layer(arrays, f"context.{name}", values, q)

    A, B = (len(arrays[f"context.{step}.out.weight"]) // 2 for step in ("black", "second"))
    first, second, third = slice(0, A), slice(A, A + B), slice(A + B, None)
    even = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
    hidden_of: dict[str, Integers] = {}
    for step, channels, where in (
        ("", first, even),
        ("black", first, ~even),
        ("second", second, np.ones_like(even)),
        ("third", third, np.ones_like(even)),
    ):
        place = np.zeros_like(known)
        place[channels] = where
        new_means, indexes = predicted.copy(), said.copy()
        if step:
            e, latents = errors_and_latents(first)
            here = hidden
            if step == "third":
                seen = networks.features(*errors_and_latents(second))
                here = np.concatenate([seen, hidden, hidden_of["second"]])
            u = layer(f"{step}.here", here)
            if step != "third":
                u = u + layer(f"{step}.near", networks.features(e, latents))
            hidden_of[step] = limited(u, 0)
            to_means, to_indexes = np.split(layer(f"{step}.out", hidden_of[step]), 2)
            if step != "third":
                to_means = to_means + layer(f"{step}.linear", e)
            new_means[channels] = limited(predicted[channels] + to_means)
            indexes[channels] += to_indexes
        means[place] = new_means[place]
        read(place, indexes)
    return symbols, means, predicted


def decode_draw(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, found, config = file.header, Decoded(), weights.config
    whole = config["stride"] << (len(config["hidden"]) - 1)
    tiles = header.tiles(whole)
    found.messages = [[] for _ in file.coded]
    found.pixels = np.zeros((header.height, header.width, 3), dtype=np.uint8)
    for number, (top, left, rows, columns) in enumerate(tiles):
        draw = Draw(config, weights.arrays, header.q)
        h, c = (draw.zeros(rows * whole, columns * whole) for _ in range(2))
        start = draw.stored("start")[:, None, None]
        r: Integers = np.broadcast_to(start, (3, rows * whole, columns * whole))
        tables = Tables(weights.arrays, "step_tables")
        for step in range(header.layers):
            place = step * len(tiles) + number
            coder, get = _reader(file.coded[place], found.messages[place])
            for level in reversed(range(draw.levels)):
                above = draw.above(h, level)
                mean, m = np.split(draw.layer(f"prior{level}", h[level], *above), 2)
                indexes = np.clip((m + 12416) >> 8, 0, 128).ravel().tolist()
                if file.coded[place]:
                    k = np.array(get(indexes, tables)).reshape(mean.shape)
                else:
                    k = np.zeros_like(mean)
                    found.messages[place].append(Message(k.ravel().tolist(), indexes))
                z = limited(mean + draw.step_size(level) * k)
                if not step and not number and level == draw.levels - 1:
                    found.numbers["codes"] = z.ravel().tolist()
                canvas = [unshuffle(r, draw.s)] if level == 0 else []
                gates = draw.layer(f"decoder{level}", z, *above, *canvas, h[level])
                h[level], c[level] = draw.advance(gates, c[level])
            coder.finish()
            r = limited(r + shuffle(draw.layer("paint", h[0]), draw.s))
        if not number:
            found.numbers["canvas"] = r[:, 0].T.ravel().tolist()
        drawn = np.clip((r + 4096) >> 5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        area = found.pixels[top * whole :, left * whole :][: rows * whole, : columns * whole]
        area[:] = drawn[: area.shape[0], : area.shape[1]]
    return found


def _sheet(blocks: Sequence[Pixels], height: int, width: int) -> Pixels:
    """Blocks (B, B, channels) in raster order to what of them lies inside the image."""
    columns = -(-width // blocks[0].shape[1])
    rows = [np.concatenate(blocks[n : n + columns], 1) for n in range(0, len(blocks), columns)]
    return np.concatenate(rows)[:height, :width]


def _blocks(file: File, side: int) -> int:
    (tile,) = file.header.tiles(file.header.tile)
    return -(-tile[2] * file.header.tile // side) and len(_raster(file, side))


def _raster(file: File, side: int) -> list[tuple[int, int]]:
    rows, columns = -(-file.header.height // side), -(-file.header.width // side)
    return [(row, column) for row in range(rows) for column in range(columns)]


def _upper_bits(numbers: Iterator[int], count: int) -> list[float]:
    return [((x >> 12) + 0.5) / 2**52 for x in islice(numbers, count)]


def decode_dplc(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, config, arrays = file.header, weights.config, weights.arrays
    B, m = config["side"], config["side"] // 16
    count = len(_raster(file, B))
    r = (header.q - 1) * len(config["rates"]) // 10000
    n = config["rates"][r] * m * m
    found = Decoded([[]], {"rate": [r], "bits of a block": [n]})
    coder, get = _reader(file.coded[0], found.messages[0])
    s: list[list[int]] = [[] for _ in range(count)]
    tables = Tables(arrays, "bit_tables")
    for i in range(n):
        bias, weight = int(arrays[f"prior.{r}.bias"][i]), arrays[f"prior.{r}.weight"].tolist()
        row = weight[i * (i - 1) // 2 :][:i]
        odds = [
            bias + sum(w * (2 * bit - 1) for w, bit in zip(row, block, strict=True)) for block in s
        ]
        indexes = [min(max(((o + 64) >> 7) + 128, 0), 256) for o in odds]
        for block, bit in zip(s, get(indexes, tables), strict=True):
            assert bit in (0, 1)
            block.append(bit)
    coder.finish()
    k = m * m * config["noise"] if n else config["code"]
    noise: list[list[float]] = [[] for _ in range(count)]
    if k:
        assert header.noise_seed is not None
        unit = _upper_bits(
            raw_numbers(starts[0xCA14], header.noise_seed * SEED_DISTANCE), count * k
        )
        values = [u - 0.5 if n else NormalDist().inv_cdf(u) for u in unit]
        noise = [values[at : at + k] for at in range(0, count * k, k)]
    blocks, codes = [], []
    for bits, own in zip(s, noise, strict=True):
        code = np.array(own)
        if n:
            halves = np.array(bits).reshape(-1, m, m) - 0.5
            code = networks.dplc_code(arrays, r, halves, code.reshape(-1, m, m))
        codes.append(code.tolist())
        blocks.append(networks.dplc_block(arrays, config, code))
    found.numbers |= {"noise": noise[0], "code": codes[0], "bits": s[0]}
    found.pixels = _sheet(blocks, header.height, header.width)
    return found


def decode_rungs(file: File, weights: Weights, starts: Starts) -> Decoded:
    """The models 4, 5 and 7."""
    header, arrays = file.header, weights.arrays
    count, k = len(_raster(file, 28)), weights.config["code"]
    move = (12 * (header.q - 7500) + 1250) // 2500
    rungs = [min(max(int(o) + move, 0), 54) for o in arrays["rung_offsets"]]
    found = Decoded([[]], {"rungs": rungs})
    coder, get = _reader(file.coded[0], found.messages[0])
    indexes, name = rungs * count, {4: "round", 5: "dither", 7: "vbq"}[header.model]
    steps = [8 * 2 ** (-r / 6) for r in indexes]
    noise = [x >> 32 for x in islice(raw_numbers(starts[0xCA12], 0), count * k)]
    if header.model == 5:
        indexes = [16 * r + (n >> 28) for r, n in zip(indexes, noise, strict=True)]
        found.numbers["noise"] = noise
    symbols = get(indexes, Tables(arrays, f"{name}_tables"))
    coder.finish()
    if header.model == 4:
        codes = [step * x for step, x in zip(steps, symbols, strict=True)]
    elif header.model == 5:
        relative = [(n + 0.5) / 2**32 - 0.5 for n in noise]
        codes = [d * (x - u) for d, x, u in zip(steps, symbols, relative, strict=True)]
    else:
        codes = [NormalDist().inv_cdf(x / 2**12) for x in symbols]
    return _with_vae_pixels(found, codes, file, weights)


def decode_rec(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Model 6."""
    layouts = weights.arrays["rec_layouts"]
    sets, k = layouts.shape
    s = ((file.header.q - 100) * (sets - 1) + 4950) // 9900
    layout = [int(part) for part in layouts[s]]
    parts, count = max(layout) + 1, len(_raster(file, 28))
    found = Decoded([[]], {"set": [s], "layout": layout})
    coder, get = _reader(file.coded[0], found.messages[0])
    classes = get([s * k + b for b in range(parts)] * count, Tables(weights.arrays, "rec_tables"))
    assert max(classes) <= 15
    values = get(classes, Uniform())
    coder.finish()
    indexes = [2**c + v - 1 for c, v in zip(classes, values, strict=True)]
    found.numbers["indexes"] = indexes
    codes = [0.0] * (count * k)
    for t, index in enumerate(indexes):
        block, part = divmod(t, parts)
        own = [d for d in range(k) if layout[d] == part]
        numbers = raw_numbers(starts[0xCA10], 2**24 * t + len(own) * index)
        for d, u in zip(own, _upper_bits(numbers, len(own)), strict=True):
            codes[block * k + d] = NormalDist().inv_cdf(u)
    return _with_vae_pixels(found, codes, file, weights)


def _with_vae_pixels(found: Decoded, codes: list[float], file: File, weights: Weights) -> Decoded:
    config = weights.config
    assert (config["architecture"], config["activation"]) == ("mlp", "tanh")
    rows: Reals = np.array(codes).reshape(-1, config["code"])
    found.numbers["codes"] = rows[0].tolist()
    blocks = [networks.vae_block(weights.arrays, row) for row in rows]
    found.pixels = _sheet(blocks, file.header.height, file.header.width)
    return found


def _interpolated(distribution: list[int], p: int) -> int:
    left, right = distribution[p >> 6 : (p >> 6) + 2]
    return left + ((right - left) * (p % 64) >> 6)


def decode_vae_archive(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Model 8."""
    arrays, count = weights.arrays, len(_raster(file, 28))
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
                        sides.append(_interpolated(F, min(max(p, 0), 2**20 - 1)))
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
    found.pixels = _sheet(blocks, file.header.height, file.header.width)
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
        return _interpolated(self.F, p) + j

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
    count, maps, at = len(_raster(file, weights.side)), len(archive.bits[0]), 0
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
    found.pixels = _sheet(blocks, file.header.height, file.header.width)
    return found


DECODERS = {
    1: decode_photo,
    2: decode_draw,
    3: decode_dplc,
    4: decode_rungs,
    5: decode_rungs,
    6: decode_rec,
    7: decode_rungs,
    8: decode_vae_archive,
    9: decode_draw_archive,
}
