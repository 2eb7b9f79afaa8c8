"""A decoder of model 1, written from FORMAT.md alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tests.bitstream import format_networks as networks
from tests.bitstream.format_decoded import (
    Decoded,
    Get,
    Starts,
    Weights,
    reader_of,
)
from tests.bitstream.format_networks import Integers, Reals, limited
from tests.bitstream.format_reader import (
    File,
    Tables,
)


def decode_photo(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, found = file.header, Decoded()
    parts: dict[tuple[int, int], Reals] = {}
    for (top, left, height, width), coded in zip(header.tiles(16), file.coded, strict=True):
        found.messages.append([])
        coder, get = reader_of(coded, found.messages[-1])
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
