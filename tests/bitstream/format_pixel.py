"""A decoder of models 12 and 13, written from FORMAT.md alone, in Python's integers."""

from __future__ import annotations

from itertools import product

import numpy as np

from tests.bitstream.format_decoded import Decoded, Message, Starts, Weights
from tests.bitstream.format_networks import integer_layer, limited
from tests.bitstream.format_reader import File, StackReader, Tables, read_message

FEATURES = (
    ((0, "W"), (0, "N"), (0, "NE"), (0, "WW"), (0, "NN"), (0, "NNE"), (0, "NWW")),
    ((1, "W"), (1, "N"), (1, "NE"), (0, "C"), (0, "W"), (0, "N"), (0, "NE")),
    ((2, "W"), (2, "N"), (0, "C"), (0, "N"), (1, "C"), (1, "W"), (1, "N")),
)
STEPS = {"N": (-1, 0), "S": (1, 0), "W": (0, -1), "E": (0, 1), "C": (0, 0)}
NONE = [[0] * 8 for _ in range(8)]


def within(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def logarithm(n: int) -> int:
    k = (n + 1).bit_length() - 1
    return 128 * (k - 1) + (128 * (n + 1) >> k)


class Tile:
    """Pixels, errors and sums by plane, row and column."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.pixels: dict[tuple[int, int, int], int] = {}
        self.errors: dict[tuple[int, int, int], int] = {}
        self.sums: dict[tuple[int, int, int], list[list[int]]] = {}
        self.bases: dict[tuple[int, int, int], tuple[list[int], int, list[list[int]]]] = {}

    def place(self, p: int, y: int, x: int) -> tuple[int, int, int] | None:
        """Where the numbers of a place are found; None for those that nothing has."""
        y = min(y, self.height - 1)
        if x < 0:
            y, x = y - 1, 0
        if y < 0:
            return None
        return p, y, min(x, self.width - 1)

    def at(self, p: int, y: int, x: int, name: str) -> tuple[int, int, int] | None:
        for step in name:
            y, x = y + STEPS[step][0], x + STEPS[step][1]
        return self.place(p, y, x)

    def pixel(self, p: int, y: int, x: int, name: str) -> int:
        found = self.at(p, y, x, name)
        return 128 if found is None else self.pixels[found]

    def error(self, p: int, y: int, x: int, name: str) -> int:
        found = self.at(p, y, x, name) if p >= 0 else None
        return 0 if found is None else self.errors[found]

    def mean(self, p: int, y: int, x: int) -> int:
        return 3 * (self.pixel(p, y, x, "W") + self.pixel(p, y, x, "N")) - 2 * self.pixel(
            p, y, x, "NW"
        )

    def predict(self, p: int, y: int, x: int) -> tuple[int, int]:
        """The prediction and the energy; keeps what `take` needs."""
        f = [4 * self.pixel(a, y, x, name) - self.mean(a, y, x) for a, name in FEATURES[p]]
        base = self.mean(p, y, x)
        if p == 1:
            base += f[3]
        elif p == 2:
            base += (f[2] + f[4]) // 2
        left, above, right = (
            NONE if place is None else self.sums[place]
            for place in (self.at(p, y, x, name) for name in ("W", "N", "NE"))
        )
        around = [
            [(10 * left[k][i] + 8 * above[k][i] + 11 * right[k][i]) // 32 for i in range(8)]
            for k in range(8)
        ]
        m = [[n + 64 * (k == i < 7) for i, n in enumerate(row)] for k, row in enumerate(around)]
        q = [[0] * 8 for _ in range(8)]
        for j in range(7):
            m[j] = [within(n, -(2**28), 2**28) for n in m[j]]
            pivot = max(m[j][j], 64)
            for i in range(j + 1, 8):
                q[j][i] = within(2**16 * m[j][i] // pivot, -(2**22), 2**22)
            for k, i in product(range(j + 1, 8), repeat=2):
                if i >= k:
                    m[k][i] -= m[j][k] * q[j][i] // 2**16
        c = [q[j][7] for j in range(7)]
        for j in reversed(range(7)):
            c[j] = within(c[j], -(2**22), 2**22)
            for i in range(j):
                c[i] -= q[i][j] * c[j] // 2**16
        total = sum(weight * value for weight, value in zip(c, f, strict=True))
        self.bases[p, y, x] = f, base, around
        return within(4 * base + total // 2**14, 0, 4080), max(m[7][7], 0)

    def take(self, p: int, y: int, x: int, pixel: int, prediction: int) -> None:
        f, base, around = self.bases.pop((p, y, x))
        f = [*f, 4 * pixel - base]
        self.pixels[p, y, x], self.errors[p, y, x] = pixel, 16 * pixel - prediction
        self.sums[p, y, x] = [[around[k][i] + f[k] * f[i] for i in range(8)] for k in range(8)]

    def inputs(self, p: int, y: int, x: int, prediction: int, energy: int) -> list[int]:
        def pixel(name: str) -> int:
            return self.pixel(p, y, x, name)

        found = [2**10 * (p == plane) for plane in range(3)]
        names = ("W", "N", "NE", "NW", "WW", "NN", "NNE", "NWW")
        found += [logarithm(abs(self.error(p, y, x, name))) for name in names]
        found.append(logarithm(energy))
        pairs = (("W", "NW"), ("N", "NW"), ("N", "NE"), ("W", "WW"), ("N", "NN"))
        found += [logarithm(16 * abs(pixel(one) - pixel(other))) for one, other in pairs]
        found.append(logarithm(min(prediction, 4080 - prediction)))
        found += [logarithm(abs(self.error(p - 1, y, x, name))) for name in "CESWN"]
        found.append(logarithm(abs(self.error(p - 2, y, x, "C"))))
        signed = [self.error(p, y, x, name) for name in names[:4]]
        signed += [prediction - 16 * pixel(name) for name in names[:4]]
        signed += [self.error(p - 1, y, x, "C"), self.error(p - 2, y, x, "C")]
        return found + [within(number, -1023, 1023) for number in signed]


def decode_pixel(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Models 12 and 13."""
    arrays, header = weights.arrays, file.header
    bound = 0
    if header.model == 13:
        assert header.variant is not None
        assert 1 <= header.variant <= 16
        bound = header.variant
    step, octaves = 2 * bound + 1, logarithm(2 * bound)
    bits = arrays["phase_bits"].tolist()
    firsts = [sum(2**b for b in bits[:scale]) for scale in range(len(bits))]
    tables, count = Tables(arrays, "tables"), len(weights.config["hidden"]) + 1
    found = Decoded()
    found.pixels = np.zeros((header.height, header.width, header.channels), np.uint8)
    for (top, left, height, width), coded in zip(header.tiles(1), file.coded, strict=True):
        planes = coded[0]
        assert planes in (1, 3)
        data = coded[1:]
        assert data[0] != 0
        stack = StackReader(data[::-1] + bytes(-len(data) % 4))
        tile, messages = Tile(height, width), []
        for t in range(width + 2 * (height - 1) + 3 * (planes - 1)):
            places = [
                (p, y, t - 3 * p - 2 * y)
                for p in range(planes)
                for y in range(height)
                if 0 <= t - 3 * p - 2 * y < width
            ]
            if not places:
                continue
            centres, indexes, predictions = [], [], []
            for p, y, x in places:
                prediction, energy = tile.predict(p, y, x)
                inputs = tile.inputs(p, y, x, prediction, energy)
                inputs += [octaves] if bound else []
                values = np.array(inputs, np.int64)[:, None, None]
                for n in range(count):
                    values = limited(values, 0) if n else values
                    values = integer_layer(
                        arrays, f"exact.{n}", values, arrays[f"exact.{n}.bias"][0]
                    )
                shift, scale = values.ravel().tolist()
                scale = within(scale - 32 * octaves + 2**9 >> 10, 0, len(bits) - 1)
                r = within(prediction + (16 * shift + 2**9 >> 10), 0, 4080)
                centres.append(r + 8 >> 4)
                rest = (2 * ((r + 8) % 16 - 8) + step) // (2 * step) + 8
                indexes.append(firsts[scale] + (rest >> 4 - bits[scale]))
                predictions.append(prediction)
            symbols = read_message(stack, indexes, tables)
            messages.append(Message(symbols, indexes))
            for place, centre, symbol, prediction in zip(
                places, centres, symbols, predictions, strict=True
            ):
                value = centre + step * symbol
                assert -bound <= value <= 255 + bound
                tile.take(*place, within(value, 0, 255), prediction)
        assert stack.number == 6209
        found.messages.append(messages)
        if not found.numbers:
            found.numbers = {"planes": [planes], "predictions": _predictions(tile)}
        colours = (1, 0, 2) if planes == 3 else (0, 0, 0)
        for (y, x), channel in product(np.ndindex(height, width), range(header.channels)):
            value = tile.pixels[colours[channel], y, x]
            found.pixels[top + y, left + x, channel] = value
    return found


def _predictions(tile: Tile) -> list[int]:
    """The predictions of the first pixels of the first plane in its second row."""
    row = min(1, tile.height - 1)
    return [16 * tile.pixels[0, row, x] - tile.errors[0, row, x] for x in range(min(8, tile.width))]
