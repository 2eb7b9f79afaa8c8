"""A decoder of model 2 in plain integers, written from FORMAT.md alone.

It uses no code of the codec, only the configuration and arrays of a weights file. It is slow,
without checks, and without escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.golden.oracle import Arrays, Message, read, table_of

Int64Array = npt.NDArray[np.int64]
LIMIT = 2**22


@dataclass(frozen=True)
class Weights:
    """The stored sizes and arrays, and the quality in hundredths."""

    config: dict[str, Any]
    arrays: Arrays
    q: int

    def stored(self, name: str) -> Int64Array:
        array: Int64Array = self.arrays[f"exact.{name}"].astype(np.int64)
        return array

    def at_quality(self, name: str) -> Int64Array:
        knots = self.stored(name)
        count = len(knots)
        if count == 1:
            first: Int64Array = knots[0]
            return first
        p = (self.q - 100) * (count - 1)
        i = min(p // 9900, count - 2)
        f = p - 9900 * i
        found: Int64Array = (knots[i] * (9900 - f) + knots[i + 1] * f) // 9900
        return found

    def convolution(self, name: str, *inputs: Int64Array) -> Int64Array:
        values = np.concatenate(inputs)
        height, width = values.shape[1:]
        around = np.pad(values, ((0, 0), (1, 1), (1, 1)))
        weight, b = self.stored(f"{name}.weight"), int(self.stored(f"{name}.weight_bits"))
        sums = np.zeros((len(weight), height, width), dtype=np.int64)
        for y in range(3):
            for x in range(3):
                seen = around[:, y : y + height, x : x + width]
                sums += np.einsum("oi,ihw->ohw", weight[:, :, y, x], seen)
        bias = self.at_quality(f"{name}.bias")[:, None, None]
        return limited(((sums + (1 << b - 1)) >> b) + bias)

    def curve(self, name: str, values: Int64Array) -> Int64Array:
        found: Int64Array = self.stored(name)[np.clip(((values + 2) >> 2) + 8192, 0, 16384)]
        return found


def limited(values: Int64Array) -> Int64Array:
    return np.clip(values, -LIMIT, LIMIT)


def times(left: Int64Array, right: Int64Array) -> Int64Array:
    found: Int64Array = (left * right + 2**11) >> 12
    return found


def unshuffled(canvas: Int64Array, s: int) -> Int64Array:
    return np.concatenate([
        canvas[c : c + 1, y::s, x::s] for c in range(3) for y in range(s) for x in range(s)
    ])  # fmt: skip


def shuffled(values: Int64Array, s: int) -> Int64Array:
    channels, height, width = values.shape
    canvas = np.zeros((3, height * s, width * s), dtype=np.int64)
    for channel in range(channels):
        c, rest = divmod(channel, s * s)
        canvas[c, rest // s :: s, rest % s :: s] = values[channel]
    return canvas


def decode_tile(
    payloads: Sequence[bytes], weights: Weights, height: int, width: int
) -> tuple[Int64Array, list[list[int]]]:
    """Pixels (height, width, 3) of a tile, and the symbols of each message.

    payloads   payloads of the layers that were read
    """
    config, s = weights.config, weights.config["stride"]
    levels = len(config["hidden"])
    whole = s << (levels - 1)
    rows, columns = -(-height // whole) * whole, -(-width // whole) * whole
    h, c = (
        [
            np.zeros((hidden, rows // s >> level, columns // s >> level), dtype=np.int64)
            for level, hidden in enumerate(config["hidden"])
        ]
        for _ in range(2)
    )
    r = np.broadcast_to(weights.stored("start")[:, None, None], (3, rows, columns))
    decoded: list[list[int]] = []
    for step in range(config["steps"]):
        messages: list[Message] = []
        for level in reversed(range(levels)):
            above = [h[level + 1].repeat(2, 1).repeat(2, 2)] if level < levels - 1 else []
            said = weights.convolution(f"prior{level}", h[level], *above)
            mean, scale = np.split(said, 2)
            symbols = np.zeros(mean.shape, dtype=np.int64)
            if step < len(payloads) and not payloads[step]:
                decoded.append([0] * symbols.size)
            elif step < len(payloads):
                indexes = np.clip((scale + 12416) >> 8, 0, 128).ravel().tolist()
                tables = {n: table_of(weights.arrays, "step_tables", n) for n in set(indexes)}
                messages.append((indexes, tables))
                decoded.append(read(payloads[step], messages))
                symbols = np.array(decoded[-1]).reshape(mean.shape)
            code = limited(mean + weights.at_quality(f"steps{level}")[:, None, None] * symbols)
            canvas = [unshuffled(r, s)] if level == 0 else []
            gates = weights.convolution(f"decoder{level}", code, *above, *canvas, h[level])
            i, f, o, g = np.split(gates, 4)
            kept = times(weights.curve("sigmoid", f), c[level])
            c[level] = kept + times(weights.curve("sigmoid", i), weights.curve("tanh", g))
            h[level] = times(weights.curve("sigmoid", o), weights.curve("tanh", c[level]))
        r = limited(r + shuffled(weights.convolution("paint", h[0]), s))
    pixels = np.clip((r + 4096) >> 5, 0, 255)
    return pixels[:, :height, :width].transpose(1, 2, 0), decoded
