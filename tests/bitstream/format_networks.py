"""The networks of the models in NumPy, written from FORMAT.md alone.

Integer networks use int64 and are exact. Floating-point networks use float64: their pixels are
within a level of the product's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bitstream.format_reader import Arrays

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
LIMIT = 2**22


def limited(values: Integers, low: int = -LIMIT) -> Integers:
    found: Integers = np.clip(values, low, LIMIT)
    return found


def at_quality(knots: npt.NDArray[Any], q: int) -> Integers:
    """A number at the quality: knots (K, …) of integers."""
    wide = knots.astype(np.int64)
    if len(wide) == 1:
        first: Integers = wide[0]
        return first
    p = (q - 100) * (len(wide) - 1)
    i = min(p // 9900, len(wide) - 2)
    f = p - 9900 * i
    found: Integers = (wide[i] * (9900 - f) + wide[i + 1] * f) // 9900
    return found


def convolution(values: npt.NDArray[Any], weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of weight (out, in, k, k), k = 1 or 3, times values (in, h, w), zero outside."""
    _, height, width = values.shape
    reach = weight.shape[-1] // 2
    around = np.pad(values, ((0, 0), (reach, reach), (reach, reach)))
    sums: npt.NDArray[Any] = np.zeros((len(weight), height * width), dtype=values.dtype)
    for y in range(weight.shape[2]):
        for x in range(weight.shape[3]):
            seen = around[:, y : y + height, x : x + width].reshape(len(values), -1)
            sums += weight[:, :, y, x].astype(values.dtype) @ seen
    return sums.reshape(-1, height, width)


def shuffle(values: npt.NDArray[Any], s: int) -> npt.NDArray[Any]:
    """Channel s² c + s y + x of a position becomes channel c of its pixel in row y, column x."""
    channels, height, width = values.shape
    parts = values.reshape(channels // s**2, s, s, height, width)
    found: npt.NDArray[Any] = parts.transpose(0, 3, 1, 4, 2).reshape(-1, height * s, width * s)
    return found


def unshuffle(values: npt.NDArray[Any], s: int) -> npt.NDArray[Any]:
    channels, height, width = values.shape
    parts = values.reshape(channels, height // s, s, width // s, s)
    found: npt.NDArray[Any] = parts.transpose(0, 2, 4, 1, 3).reshape(-1, height // s, width // s)
    return found


def integer_layer(arrays: Arrays, name: str, values: Integers, bias: npt.NDArray[Any]) -> Integers:
    """A layer of the integer network of model 11, without rectifier or limit; bias (out,)."""
    a, b, limit = (int(n) for n in arrays.get(f"{name}.units", (10, 12, LIMIT)))
    inputs = np.clip(values if a == 10 else (values + (1 << 9 - a)) >> (10 - a), -limit, limit)
    sums = convolution(inputs, arrays[f"{name}.weight"])
    moved = sums >> (a + b - 10) if a + b >= 10 else sums << (10 - a - b)
    found: Integers = moved + bias.astype(np.int64)[:, None, None]
    return found


class Reader:
    """Floating-point arrays of a weights file."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def __call__(self, name: str) -> Reals:
        found: Reals = self._arrays[name].astype(np.float64)
        return found

    def layer(self, name: str, values: Reals) -> Reals:
        """A convolution of (in, h, w) plus its bias."""
        found: Reals = convolution(values, self(f"{name}.weight"))
        found += self(f"{name}.bias")[:, None, None]
        return found

    def linear(self, name: str, values: Reals) -> Reals:
        found: Reals = self(f"{name}.weight") @ values + self(f"{name}.bias")
        return found


def levels(values: Reals) -> npt.NDArray[np.uint8]:
    """Values (channels, h, w), 0 for black and 1 for white, to pixels (h, w, channels)."""
    found: npt.NDArray[np.uint8] = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(found.transpose(1, 2, 0))


def dplc_code(arrays: Arrays, r: int, bits: Reals, noise: Reals) -> Reals:
    """The code of a block from bits ±½ (rate, m, m) and noise (noise, m, m)."""
    read, name = Reader(arrays), f"maps.{r}"
    value = read.layer(f"{name}.mix", np.concatenate([bits, noise]))
    for number in range(2):
        first = read.layer(f"{name}.blocks.{number}.first", np.maximum(value, 0))
        value = value + read.layer(f"{name}.blocks.{number}.second", np.maximum(first, 0))
    return read.linear(f"{name}.last", np.maximum(value, 0).ravel())


def transposed(values: Reals, weight: Reals, bias: Reals) -> Reals:
    """Position (y, x) of (in, h, w) adds weight (in, out, 4, 4) at rows 2 y − 1 … 2 y + 2."""
    _, height, width = values.shape
    found = np.zeros((weight.shape[1], 2 * height + 2, 2 * width + 2))
    for i in range(4):
        for j in range(4):
            part = np.einsum("khw,kc->chw", values, weight[:, :, i, j])
            found[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += part
    return found[:, 1:-1, 1:-1] + bias[:, None, None]


def dplc_flow(arrays: Arrays, config: dict[str, Any], code: Reals) -> Reals:
    """The code after the flow of the generator."""
    read, steps, name = Reader(arrays), config["flow_steps"], "generator.flow.velocity"

    def normal(values: Reals) -> Reals:
        found: Reals = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
        return found

    def velocity(x: Reals, t: float) -> Reals:
        features = np.cos(np.pi * t * np.arange(16))
        h = read.linear(f"{name}.first", x)
        for number in range(config["flow_blocks"]):
            block = f"{name}.blocks.{number}"
            u = read.linear(f"{block}.first", normal(h))
            u = u + read(f"{block}.time.weight") @ features
            h = h + read.linear(f"{block}.second", u / (1 + np.exp(-u)))
        return read.linear(f"{name}.last", normal(h))

    x = code
    for number in range(steps):
        a = velocity(x, number / steps)
        b = velocity(x + a / steps, (number + 1) / steps)
        x = x + (a + b) / (2 * steps)
    return x * np.exp(read("generator.flow.log_scale")) + read("generator.flow.shift")


def dplc_block(arrays: Arrays, config: dict[str, Any], code: Reals) -> npt.NDArray[np.uint8]:
    """The pixels (B, B, channels) of a code."""
    read, hidden = Reader(arrays), config["hidden"]
    side = config["side"] >> len(hidden)
    value = read.linear("generator.layers.0", code).reshape(hidden[-1], side, side)
    for number in range(1, len(hidden) + 1):
        name = f"generator.layers.{number}"
        value = transposed(np.maximum(value, 0), read(f"{name}.weight"), read(f"{name}.bias"))
    return levels(1 / (1 + np.exp(-value)))


def vae_block(arrays: Arrays, code: Reals) -> npt.NDArray[np.uint8]:
    """The pixels (28, 28, 1) of a code."""
    read, value = Reader(arrays), code
    count = sum(f"decoder.layers.{n}.weight" in arrays for n in range(99))
    for number in range(count):
        value = read.linear(f"decoder.layers.{number}", value)
        value = np.tanh(value) if number < count - 1 else 1 / (1 + np.exp(-value))
    return levels(value.reshape(1, 28, 28))


def exact_mlp(arrays: Arrays, prefix: str, values: Integers) -> Integers:
    """The integer network of model 8: (n, inputs) to (n, outputs)."""
    count = sum(f"{prefix}.{n}.weight" in arrays for n in range(99))
    for number in range(count):
        name = f"{prefix}.{number}"
        b = int(arrays[f"{name}.weight_bits"])
        sums = values @ arrays[f"{name}.weight"].astype(np.int64).T
        values = (sums + (1 << b - 1) >> b) + arrays[f"{name}.bias"].astype(np.int64)
        values = limited(values, 0 if number < count - 1 else -LIMIT)
    return values


class Draw:
    """The integer network of the models 2 and 9 at a quality. Planes are (channels, h, w)."""

    def __init__(self, config: dict[str, Any], arrays: Arrays, q: int) -> None:
        self.config, self._q = config, q
        self.levels, self.s = len(config["hidden"]), config["stride"]
        self._stored: dict[str, Integers] = {
            name.removeprefix("exact."): array.astype(np.int64)
            for name, array in arrays.items()
            if name.startswith("exact.")
        }

    def stored(self, name: str) -> Integers:
        return self._stored[name]

    def step_size(self, level: int) -> Integers:
        return at_quality(self.stored(f"steps{level}"), self._q)[:, None, None]

    def layer(self, name: str, *inputs: Integers) -> Integers:
        b = int(self.stored(f"{name}.weight_bits"))
        # Sums are below 2⁵³, so float64, which is fast, holds them exactly.
        values = np.concatenate(inputs).astype(np.float64)
        sums = convolution(values, self.stored(f"{name}.weight")).astype(np.int64)
        bias = at_quality(self.stored(f"{name}.bias"), self._q)[:, None, None]
        return limited(((sums + (1 << b - 1)) >> b) + bias)

    def curve(self, name: str, values: Integers) -> Integers:
        places = np.clip(((values + 2) >> 2) + 8192, 0, 16384)
        found: Integers = self.stored(name)[places]
        return found

    def advance(self, gates: Integers, cell: Integers) -> tuple[Integers, Integers]:
        i, f, o, g = np.split(gates, 4)
        kept = times(self.curve("sigmoid", f), cell)
        cell = limited(kept + times(self.curve("sigmoid", i), self.curve("tanh", g)))
        return times(self.curve("sigmoid", o), self.curve("tanh", cell)), cell

    def above(self, h: list[Integers], level: int) -> list[Integers]:
        return [h[level + 1].repeat(2, 1).repeat(2, 2)] if level < self.levels - 1 else []

    def zeros(self, height: int, width: int) -> list[Integers]:
        return [
            np.zeros((H, height // self.s >> level, width // self.s >> level), dtype=np.int64)
            for level, H in enumerate(self.config["hidden"])
        ]


def times(left: Integers, right: Integers) -> Integers:
    found: Integers = (left * right + 2**11) >> 12
    return found
