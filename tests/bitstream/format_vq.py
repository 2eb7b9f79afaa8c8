"""A decoder of model 14, written from FORMAT.md alone, with codes in Python's integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bitstream.format_decoded import Decoded, Starts, Weights, raster_of, reader_of, sheet_of
from tests.bitstream.format_networks import (
    Reader,
    Reals,
    at_quality,
    convolution,
    integer_layer,
    levels,
    limited,
    shuffle,
)
from tests.bitstream.format_reader import Arrays, File, Tables

Map = dict[tuple[int, int], int]
SEEN = [(-2, x) for x in range(-2, 3)] + [(-1, x) for x in range(-2, 3)] + [(0, -2), (0, -1)]


def decode_vq(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, config, arrays = file.header, weights.config, weights.arrays
    count = len(raster_of(file, config["side"]))
    found = Decoded([[]])
    coder, get = reader_of(file.coded[0], found.messages[0])
    tables = Tables(arrays, "bit_tables")
    blocks: list[list[Map]] = [[] for _ in range(count)]
    for level, (stride, codes) in enumerate(zip(config["strides"], config["codes"], strict=True)):
        m, depth = config["side"] // stride, codes.bit_length() - 1
        for block in blocks:
            block.append({})
        for t in range(m + 3 * (m - 1)):
            places = [(y, t - 3 * y) for y in range(m) if 0 <= t - 3 * y < m]
            here = [(block, place) for block in blocks for place in places]
            if not here:
                continue
            odds = [node_odds(arrays, level, *one, header.q) for one in here]
            nodes = [0] * len(here)
            for _ in range(depth):
                indexes = [
                    min(max(((o[n] + 64) >> 7) + 128, 0), 256)
                    for o, n in zip(odds, nodes, strict=True)
                ]
                bits = get(indexes, tables)
                assert set(bits) <= {0, 1}
                nodes = [2 * n + 1 + bit for n, bit in zip(nodes, bits, strict=True)]
            for (block, place), node in zip(here, nodes, strict=True):
                block[level][place] = node - (codes - 1)
    coder.finish()
    found.numbers["codes"] = [
        block[level][y, x]
        for block in blocks
        for level, stride in enumerate(config["strides"])
        for y in range(config["side"] // stride)
        for x in range(config["side"] // stride)
    ]
    pixels = [drawn(arrays, config, block, header.q) for block in blocks]
    found.pixels = sheet_of(pixels, header.height, header.width)
    return found


def node_odds(
    arrays: Arrays, level: int, block: list[Map], place: tuple[int, int], q: int
) -> list[int]:
    """Log-odds of all nodes of the code at a place."""
    (y, x), name = place, f"prior.{level}"
    embedding = arrays[f"{name}.embedding"]
    outside = len(embedding) - 1
    inputs = [
        number
        for dy, dx in SEEN
        for number in embedding[block[level].get((y + dy, x + dx), outside)]
    ]
    if level:
        above = arrays[f"{name}.above"]
        for Y in (y // 2 - 1, y // 2, y // 2 + 1):
            for X in (x // 2 - 1, x // 2, x // 2 + 1):
                inputs += list(above[block[0].get((Y, X), len(above) - 1)])
        inputs += [1024 if y % 2 else -1024, 1024 if x % 2 else -1024]
    values = np.array(inputs, dtype=np.int64).reshape(-1, 1, 1)
    for number in range(3):
        layer = f"{name}.layers.{number}"
        bias = at_quality(arrays[f"{layer}.bias"], q)
        values = integer_layer(arrays, layer, values if number == 0 else limited(values, 0), bias)
    return [min(max(int(o), -(2**30)), 2**30) for o in values.ravel()]


def scaled(read: Reader, name: str, values: Reals, q: int) -> Reals:
    scale, shift = read(f"{name}.scale"), read(f"{name}.shift")
    place = (q - 100) * (len(scale) - 1) / 9900
    rows = np.arange(len(scale))
    factors = np.array([np.interp(place, rows, column) for column in scale.T])
    shifts = np.array([np.interp(place, rows, column) for column in shift.T])
    found: Reals = values * factors[:, None, None] + shifts[:, None, None]
    return found


def drawn(
    arrays: Arrays, config: dict[str, Any], block: list[Map], q: int
) -> npt.NDArray[np.uint8]:
    """The pixels (B, B, channels) of a block."""
    read, value = Reader(arrays), None
    linear = np.full((config["channels"], config["side"], config["side"]), 0.5)
    for level, stride in enumerate(config["strides"]):
        m, name = config["side"] // stride, f"networks.levels.{level}"
        codebook = read(f"{name}.codebook")
        vectors = np.array([[codebook[block[level][y, x]] for x in range(m)] for y in range(m)])
        joined = vectors.transpose(2, 0, 1)
        linear += shuffle(convolution(joined, read(f"{name}.unproject.weight")), stride)
        if value is not None:
            joined = np.concatenate([joined, value])
        value = scaled(read, f"{name}.drawn_scale", read.layer(f"{name}.first", joined), q)
        for r in range(config["depth"]):
            first = read.layer(f"{name}.blocks.{r}.first", np.maximum(value, 0))
            value = value + read.layer(f"{name}.blocks.{r}.second", np.maximum(first, 0))
        value = read.layer(f"{name}.last", np.maximum(value, 0))
        if level < len(config["strides"]) - 1:
            value = shuffle(value, 2)
    assert value is not None
    u = read.layer("networks.painter.first", np.maximum(value, 0))
    u = np.maximum(shuffle(u, config["strides"][-1] // 2), 0)
    u = u + np.maximum(read.layer("networks.painter.second", u), 0)
    return levels(shuffle(read.layer("networks.painter.last", u), 2) + linear)
