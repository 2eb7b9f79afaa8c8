"""A decoder of models 15 to 17, written from FORMAT.md alone."""

from __future__ import annotations

import numpy as np

from tests.bitstream.format_decoded import Decoded, Message, Starts, Weights, raster_of, sheet_of
from tests.bitstream.format_networks import Integers, limited
from tests.bitstream.format_reader import Arrays, File, RangeReader, Tables, read_message


class Network:
    """Layers of a weights file, and the pixels of a group's blocks (n, 28, 28) decoded so far."""

    def __init__(self, weights: Weights, blocks: int) -> None:
        self.arrays: Arrays = weights.arrays
        self.hidden, self.layers = weights.config["hidden"], weights.config["layers"]
        self.pixels = np.zeros((blocks, 28, 28), np.int64)

    def moved(self, name: str, sums: Integers) -> Integers:
        """Sums (n, out) in the units of activations, without the bias."""
        found: Integers = sums >> int(self.arrays[f"{name}.weight_bits"])
        return found

    def layer(self, name: str, inputs: Integers) -> Integers:
        """(n, in) to (n, out)."""
        weight, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        found: Integers = self.moved(name, inputs @ weight.astype(np.int64).T) + bias
        return found


class Made(Network):
    def __init__(self, weights: Weights, blocks: int) -> None:
        super().__init__(weights, blocks)
        self.degrees = [1 + 783 * u // self.hidden for u in range(self.hidden)]
        self.units: list[Integers] = []
        self.begin, self.unit_begin = 0, 0

    def output(self, name: str, number: int, begin: int, inputs: list[Integers]) -> Integers:
        weight = self.arrays[f"{name}.weight"][begin : begin + len(inputs)].astype(np.int64)
        columns = np.stack(inputs) if inputs else np.zeros((0, len(self.pixels)), np.int64)
        found: Integers = self.moved(name, weight @ columns)
        return found + int(self.arrays[f"{name}.bias"][number])

    def log_odds(self, i: int) -> Integers:
        flat = list(1024 * self.pixels.reshape(-1, 784).T)
        while len(self.units) < self.hidden and self.degrees[len(self.units)] <= i:
            u = len(self.units)
            seen = flat[: self.degrees[u]]
            self.units.append(limited(self.output("hidden", u, self.unit_begin, seen), 0))
            self.unit_begin += len(seen)
        inputs = flat[:i] + self.units
        found = self.output("output", i, self.begin, inputs)
        self.begin += len(inputs)
        return found


class PixelCnn(Network):
    def __init__(self, weights: Weights, blocks: int) -> None:
        super().__init__(weights, blocks)
        # v of every step, with a border of zeros around the block.
        self.v = np.zeros((self.layers, blocks, self.hidden, 30, 30), np.int64)

    def log_odds(self, i: int) -> Integers:
        y, x = divmod(i, 28)
        around = np.pad(1024 * self.pixels, ((0, 0), (3, 0), (3, 3)))
        rows = around[:, y : y + 3, x : x + 7].reshape(len(around), -1)
        v = limited(self.layer("first", np.concatenate([rows, around[:, y + 3, x : x + 3]], 1)))
        for n in range(self.layers):
            self.v[n, :, :, y + 1, x + 1] = v
            square = self.v[n, :, :, y : y + 2, x : x + 3].reshape(*v.shape, 6)
            gate = self.layer(f"layers.{n}.gate", square[:, :, :5].reshape(len(v), -1))
            places = np.clip(gate, -8192, 8192) + 8192
            t = self.arrays["gate.tanh"].astype(np.int64)[places[:, : self.hidden]]
            s = self.arrays["gate.sigmoid"].astype(np.int64)[places[:, self.hidden :]]
            v = limited(v + self.layer(f"layers.{n}.mix", t * s >> 10))
        hidden = limited(self.layer("hidden", limited(v, 0)), 0)
        found: Integers = self.layer("output", hidden)[:, 0]
        return found


def decode_autoregressive(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Models 15 to 17."""
    count, coder = len(raster_of(file, 28)), RangeReader(file.coded[0])
    tables, found = Tables(weights.arrays, "pixel_tables"), Decoded([[]])
    blocks = []
    for begin in range(0, count, 1024):
        kind = PixelCnn if file.header.model == 17 else Made
        network = kind(weights, min(1024, count - begin))
        for i in range(784):
            o = limited(network.log_odds(i))
            indexes = np.clip((o + 64 >> 7) + 128, 0, 256).tolist()
            symbols = read_message(coder, indexes, tables)
            assert set(symbols) <= {0, 1}
            network.pixels[:, i // 28, i % 28] = symbols
            found.messages[0].append(Message(symbols, indexes))
        blocks += [(255 * block).astype(np.uint8)[:, :, None] for block in network.pixels]
    coder.finish()
    found.pixels = sheet_of(blocks, file.header.height, file.header.width)
    return found
