"""A decoder of model 11, written from FORMAT.md alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bitstream.format_decoded import Decoded, Get, Starts, Weights, get_from
from tests.bitstream.format_networks import (
    Integers,
    at_quality,
    convolution,
    integer_layer,
    limited,
    shuffle,
    unshuffle,
)
from tests.bitstream.format_reader import File, StackReader, Tables, TableSource, read_varint

FAR = ("corners_4", "edges_4", "corners_2")
STAGES = ("stage_16", "stage_8", "stage_4")
IMAGE, RECTIFIED, STREAM = (5, -128, 127), (5, 0, 255), (4, -128, 127)
READS = {"in_8": IMAGE, "in_4": IMAGE, "texture": RECTIFIED, "project": RECTIFIED}


def decode_photo(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, found = file.header, Decoded()
    assert header.variant in (0, 1)
    photo = Photo(weights, header.q, header.variant)
    parts: dict[tuple[int, int], Integers] = {}
    tiles = header.tiles(16)
    assert header.layers in (1, 4)
    for number, (top, left, height, width) in enumerate(tiles):
        found.messages.append([])
        layers = file.coded[number :: len(tiles)]
        coded = b"".join(layers)
        n, at = read_varint(coded, 0)
        assert photo.groups[0].stop <= n <= 768
        stack = coded[at:]
        assert stack
        assert stack[0]
        reader = StackReader(stack[::-1] + bytes(-len(stack) % 4))
        pop, left_over = get_from(reader, found.messages[-1]), []

        def get(tables: Sequence[int], source: TableSource) -> list[int]:
            symbols = pop(tables, source)  # noqa: B023
            left_over.append(4 * reader.words_below)  # noqa: B023
            return symbols

        means, latents, phi = photo.tile(get, n, height, width)
        assert reader.number == 6209
        if len(layers) > 1:
            counts = list(accumulate(len(message.symbols) for message in found.messages[-1][1:]))
            last = counts.index(photo.groups[0].stop * height * width) + 1
            for layer in range(1, 4):
                end = left_over[min(last + layer - 1, len(left_over) - 1)]
                assert end == sum(map(len, layers[layer:]))
        if not found.numbers:
            found.numbers = {"channels": [n], "means": means.ravel().tolist()}
            found.numbers["latents"] = latents.ravel().tolist()
        parts[top, left] = np.concatenate([latents, phi])
    rows = sorted({top for top, _ in parts})
    whole = np.concatenate(
        [np.concatenate([parts[at] for at in sorted(parts) if at[0] == row], 2) for row in rows], 1
    )
    pixels = photo.pixels(whole[:768], whole[768:], header.depth)
    pixels = pixels[: header.height, : header.width]
    if header.channels == 1:
        pixels = (pixels.sum(2, keepdims=True) + 1) // 3
    if header.depth > 8:
        pixels = (pixels * (2**header.depth - 1) + 32767) // 65535
    found.pixels = pixels.astype(np.uint8) if header.depth == 8 else pixels.astype(np.uint16)
    return found


class Photo:
    """The integer networks at a quality and a tune."""

    def __init__(self, weights: Weights, q: int, t: int) -> None:
        self.arrays, self.config, self.t = weights.arrays, weights.config, t
        row = [int(entry) for entry in self.arrays["quality_map"][t]]
        k = min(q // 100, 99)
        self.position = row[k - 1] + (row[k] - row[k - 1]) * (q - 100 * k) // 100
        ends = [0, *accumulate(self.config["groups"]), 768]
        self.groups = [slice(*pair) for pair in pairwise(ends)]

    def knots(self, name: str) -> Integers:
        """A table of the tune, at the position."""
        return at_quality(self.arrays[name][self.t], self.position)

    def layer(self, name: str, values: Integers) -> Integers:
        """A layer of the hyper-synthesis or the context, without rectifier or limit."""
        return integer_layer(self.arrays, name, values, self.knots(f"{name}.bias"))

    def said(self, hyper: Integers, height: int, width: int) -> tuple[Integers, Integers, Integers]:
        """Features φ, means and indexes of all channels, before any correction."""
        values = np.clip(hyper, -4096, 4096) << 10
        for number in range(4):
            values = limited(self.layer(f"exact.{number}", values), 0)
            values = shuffle(values, int(self.arrays[f"exact.{number}.shuffle"]))
        phi = values[:, :height, :width]
        out = self.layer("exact.4", phi)
        means = np.zeros((768, height, width), dtype=np.int64)
        means[: len(out) - 768] = limited(out[:-768])
        return phi, means, out[-768:]

    def tile(
        self, get: Get, n: int, height: int, width: int
    ) -> tuple[Integers, Integers, Integers]:
        """Means before corrections, latents, and features φ: (channels, height, width)."""
        hyper_tables = Tables(self.arrays, "hyper_tables")
        latent_tables = Tables(self.arrays, "latent_tables")
        Z, rows, columns = self.config["hyper_channels"], -(-height // 4), -(-width // 4)
        sets = len(hyper_tables) // Z
        chosen = ((self.position - 100) * (sets - 1) + 4950) // 9900
        tables = np.repeat(np.arange(Z) + chosen * Z, rows * columns).tolist()
        hyper = np.array(get(tables, hyper_tables)).reshape(Z, rows, columns)
        phi, predicted, indexes = self.said(hyper, height, width)
        means, latents = predicted.copy(), np.zeros_like(predicted)
        known = np.zeros(predicted.shape, dtype=bool)

        def read(channels: slice, where: npt.NDArray[np.bool_]) -> None:
            place = np.zeros_like(known)
            place[channels] = where
            place[n:] = False
            if not place.any():
                return
            numbers = np.clip((limited(indexes) + 2**9) >> 10, 0, len(latent_tables) - 1)
            symbols = np.array(get(numbers[place].tolist(), latent_tables))
            latents[place] = np.clip((symbols << 10) + means[place], -(2**24), 2**24)
            known[place] = True

        def errors_and_values(channels: slice) -> tuple[Integers, Integers]:
            own = known[channels]
            values = np.where(own, limited(latents[channels]), 0)
            return np.where(own, limited(values - predicted[channels]), 0), values

        def correct(channels: slice, by: Integers, where: npt.NDArray[np.bool_]) -> None:
            count = channels.stop - channels.start
            if len(by) == 2 * count:
                to_means = np.where(where, by[:count], 0)
                means[channels] = limited(means[channels] + to_means)
            indexes[channels] += np.where(where, by[-count:], 0)

        first, second, third, fourth, fifth = self.groups
        i, j = np.arange(height)[:, None], np.arange(width)
        squares = {
            "corners_4": (i % 8 == 4) & (j % 8 == 4),
            "edges_4": (i % 4 == 0) & (j % 4 == 0) & ((i % 8 == 0) != (j % 8 == 0)),
            "corners_2": (i % 4 == 2) & (j % 4 == 2),
            "coarse": (i % 2 == 0) & (j % 2 == 0) & ((i + j) % 4 != 0),
            "diagonal": (i % 2 == 1) & (j % 2 == 1),
            "black": (i + j) % 2 == 1,
        }
        for missing in FAR[: len(FAR) - self.config.get("far_passes", 0)]:
            del squares[missing]
        read(first, ~np.logical_or.reduce(list(squares.values())))
        for step, where in squares.items():
            apart = 4 if step.endswith("_4") else 2 if step in ("corners_2", "coarse") else 1
            e, y = (part[:, ::apart, ::apart] for part in errors_and_values(first))
            some, _ = self.step(step, phi[:, ::apart, ::apart], e, y)
            by = np.zeros((len(some), height, width), dtype=np.int64)
            by[:, ::apart, ::apart] = some
            correct(first, by, where)
            read(first, where)
        everywhere = np.ones((height, width), dtype=bool)
        by, u = self.step("second", phi, *errors_and_values(first))
        correct(second, by, everywhere)
        read(second, everywhere)
        by, u = self.step("third", phi, *errors_and_values(slice(second.stop)))
        correct(third, by, everywhere)
        read(third, everywhere)
        by, u = self.step("fourth", np.concatenate([features(*errors_and_values(third)), phi, u]))
        correct(fourth, by, everywhere)
        read(fourth, everywhere)
        values = errors_and_values(fourth)[1]
        by, _ = self.step("fifth", np.concatenate([octaves(values), phi, u]))
        correct(fifth, by, everywhere)
        read(fifth, everywhere)
        return predicted, latents, phi

    def step(
        self, name: str, x: Integers, e: Integers | None = None, values: Integers | None = None
    ) -> tuple[Integers, Integers]:
        """Corrections of a step, and its u."""
        name = f"context.{name}"
        u = self.layer(f"{name}.here", x)
        if e is not None and values is not None:
            u = u + self.layer(f"{name}.near", features(e, values))
        u = limited(u, 0)
        out = self.layer(f"{name}.out", u)
        if e is not None:
            out[: len(out) // 2] += self.layer(f"{name}.linear", e)
        return out, u

    def image(self, latents: Integers) -> Integers:
        """Latents of the image to levels (16 h, 16 w, 3), in units of 2⁻⁶."""
        steps = self.knots("log_step")
        m = np.rint(2.0 ** (14 + steps % 1024 / 1024)).astype(np.int64)[:, None, None]
        coefficients = moved(latents * m, (steps >> 10)[:, None, None] - 18)
        coefficients = np.clip(coefficients, -(2**20), 2**20)
        order = sorted(
            ((i, j, c) for i in range(16) for j in range(16) for c in range(3)),
            key=lambda at: (
                at[0] + at[1] > 1,
                -(1, 0.08, 0.04)[at[2]] / (1 + at[0] ** 2 + at[1] ** 2) ** 1.3,
                at,
            ),
        )
        _, height, width = latents.shape
        placed = np.zeros((16, 48, height, width), dtype=np.int64)
        for channel, (i, j, c) in enumerate(order):
            placed[i, 3 * j + c] = coefficients[channel]
        place, frequency = np.arange(16), np.arange(16)[:, None]
        B = np.sqrt(2 / 16) * np.cos(np.pi * frequency * (place + 0.5) / 16)
        B[0] *= np.sqrt(0.5)
        colours = COLOURS[self.t]
        both = np.einsum("jx,ck->jcxk", B, colours).reshape(48, 48)
        rows, others = (np.rint(2**13 * a).astype(np.int64) for a in (B, both))
        sums = np.einsum("iy,ighw->yghw", rows, placed)
        sums = np.einsum("gx,yghw->hywx", others, sums)
        levels = np.clip(moved(sums, np.int64(-26)), -(2**14) + 1, 2**14 - 1)
        found: Integers = levels.reshape(16 * height, 16 * width, 3)
        return found

    def drawn(self, name: str, values: Integers) -> Integers:
        """A layer of the synthesis."""
        kind, name = name.rpartition(".")[2], f"synthesis.{name}"
        weight, exponent = self.arrays[f"{name}.weight"], self.arrays[f"{name}.exponent"]
        a, (b, low, high) = READS.get(kind, STREAM)[0], RECTIFIED if kind == "expand" else STREAM
        power = (exponent.astype(np.int64) - a + b)[:, None, None]
        if kind == "spatial":
            block = name.rpartition(".")[0]
            sums = np.concatenate(
                [convolution(values[c : c + 1], weight[c : c + 1]) for c in range(len(weight))]
            )
            sums = sums + self.knots(f"{block}.shift")[:, None, None]
            sums, power = sums * self.knots(f"{block}.gain")[:, None, None], power - 6
        else:
            sums = convolution(values, weight) + self.arrays[f"{name}.bias"][:, None, None]
        found: Integers = np.clip(moved(sums, power), low, high)
        return found

    def stage(self, name: str, v: Integers) -> Integers:
        for number in range(self.config[name.replace("stage", "blocks")]):
            hidden = v
            for part in ("spatial", "expand", "project"):
                hidden = self.drawn(f"{name}.blocks.{number}.{part}", hidden)
            v = np.clip(v + hidden, -128, 127)
        return v

    def pixels(self, latents: Integers, phi: Integers, depth: int) -> Integers:
        levels = self.image(latents)
        P = np.clip((levels + 2**5) >> 6, -128, 127).transpose(2, 0, 1)
        T = np.minimum((np.minimum(phi, 2**20) + 2**4) >> 5, 255)
        a = self.drawn("in_8", unshuffle(P, 8))
        v = self.drawn("down", unshuffle(a, 2)) + self.drawn("texture", T)
        v = self.stage("stage_16", np.clip(v, -128, 127))
        v = shuffle(self.drawn("up_16", v), 2) + a
        v = self.stage("stage_8", np.clip(v, -128, 127))
        v = shuffle(self.drawn("up_8", v), 2) + self.drawn("in_4", unshuffle(P, 4))
        v = self.stage("stage_4", np.clip(v, -128, 127))
        correction = shuffle(self.drawn("out", v), 4).transpose(1, 2, 0)
        total = levels + 2**5 * correction
        if depth == 8:
            found: Integers = np.clip((total + 2**5 + 255 * 2**5) >> 6, 0, 255)
        else:
            g = np.clip(total + 255 * 2**5, 0, 255 * 2**6)
            found = (65535 * g + 8160) // 16320
        return found


COLOURS: tuple[npt.NDArray[Any], ...] = (
    np.array(
        [[(1 / 3) ** 0.5] * 3, [0.5**0.5, 0, -(0.5**0.5)],
         [(1 / 6) ** 0.5, -2 * (1 / 6) ** 0.5, (1 / 6) ** 0.5]]
    ),
    np.array([[(1 / 3) ** 0.5] * 3, [0.841, -0.285, -0.570], [-0.138, 0.372, -1.410]]),
)  # fmt: skip


def moved(values: Integers, power: npt.NDArray[np.int64] | np.int64) -> Integers:
    """Integers times 2^power, rounded to the nearest, halves to even."""
    down = np.clip(-power, 0, 62)
    found = values >> down
    rest = 2 * (values - (found << down)) - (np.int64(1) << down)
    found = found + (((rest > 0) | ((rest == 0) & (found % 2 == 1))) & (down > 0))
    scaled: Integers = found << np.maximum(power, 0)
    return scaled


def octaves(values: Integers) -> Integers:
    """o(v)."""
    F, E = np.frexp(np.abs(values).astype(np.float64) + 1024)
    found: Integers = np.floor(1024 * (E - 12 + 2 * F)).astype(np.int64)
    return found


def features(errors: Integers, values: Integers) -> Integers:
    """f(e, ŷ)."""
    return np.concatenate([np.sign(errors) * octaves(errors), octaves(values)])
