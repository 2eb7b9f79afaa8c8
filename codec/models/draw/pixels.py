"""Coding of the pixels of blocks given the canvas, for draw-bits-back: a class per likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bitstream.ans_coder import AnsCoder
from bitstream.arrays import Array, Int32Array, Int64Array, Uint8Array
from bitstream.errors import PayloadError, WeightsMismatchError
from bitstream.tables import TableSet
from codec.coding.bits_back_tables import LOG_ODDS_REACH, interpolated
from codec.coding.exact_layers import ACTIVATION_LIMIT
from codec.coding.prior_tables import bernoulli_tables
from codec.models.draw.exact import UNIT_BITS, ExactDraw, image_units
from codec.models.draw.recursion import DrawConfig
from codec.models.draw.tables import (
    EDGE_SHIFT,
    check_array,
    check_distribution,
    frequencies,
    grid,
    integers,
    level_count,
    log_levels,
    parts,
    push_known,
    reciprocals,
    rising,
)
from codec.models.weights_files import stored

LOG_SCALES = (-7, 2)  # range of log-scales of the logistic likelihood
LEVELS = 256
_REACH = 16  # the stored logistic function covers −16 .. 16
_LOG_ODDS_BITS = 9  # black-and-white tables are 2⁹ units apart, an eighth, in log-odds


class Pixels(Protocol):
    """Codes the pixels of blocks, given the canvas (n, canvas channels, side, side)."""

    def push(self, stack: AnsCoder, canvas: Tensor, blocks: Uint8Array) -> None:
        """Push blocks uint8 (n, C, side, side)."""

    def pop(self, stack: AnsCoder, canvas: Tensor) -> Uint8Array:
        """The inverse of `push`. Raises `PayloadError`."""


class BernoulliPixels:
    """Codes black and white, 0 and 255, with a table for every eighth of log-odds."""

    def __init__(self, tables: TableSet) -> None:
        if len(tables) != 2 * LOG_ODDS_REACH + 1:
            raise WeightsMismatchError(
                f"weights file: {len(tables)} tables of pixels, expected {2 * LOG_ODDS_REACH + 1}"
            )
        self.tables = tables

    def push(self, stack: AnsCoder, canvas: Tensor, blocks: Uint8Array) -> None:
        stack.push((blocks > 0).astype(np.int32).ravel(), self._indexes(canvas), self.tables)

    def pop(self, stack: AnsCoder, canvas: Tensor) -> Uint8Array:
        symbols = stack.pop(self._indexes(canvas), self.tables)
        if ((symbols < 0) | (symbols > 1)).any():
            raise PayloadError("a pixel that is neither 0 nor 1: the payload is damaged")
        blocks: Uint8Array = (symbols.astype(np.uint8) * np.uint8(255)).reshape(canvas.shape)
        return blocks

    def _indexes(self, canvas: Tensor) -> Int32Array:
        level = (integers(canvas) + (1 << (_LOG_ODDS_BITS - 1))) >> _LOG_ODDS_BITS
        level = np.clip(level, -LOG_ODDS_REACH, LOG_ODDS_REACH) + LOG_ODDS_REACH
        indexes: Int32Array = level.ravel().astype(np.int32)
        return indexes


@dataclass(frozen=True)
class LogisticPixels:
    """Codes 8-bit levels under discretised logistics: see `draw.network.logistic_nats`.

    network       provides the product and tanh that relate the channels of a pixel
    reciprocals   int32 (levels,), 1/s of each level of ln s in units of 2⁻¹²
    distribution  int32 (2 · 16 · 2¹⁰ + 1,), the logistic function on a grid of 2⁻¹⁰, from 0 to
                  2²⁴ − 256
    """

    network: ExactDraw
    reciprocals: Int32Array
    distribution: Int32Array

    def __post_init__(self) -> None:
        check_array("pixels.reciprocals", self.reciprocals, level_count(LOG_SCALES), least=1)
        check_distribution("pixels", self.distribution, _REACH, LEVELS)

    def push(self, stack: AnsCoder, canvas: Tensor, blocks: Uint8Array) -> None:
        """See `Pixels`. The last channel is pushed first, because it depends on the others."""
        units = image_units(torch.from_numpy(blocks), self.network.config)
        for channel in reversed(range(blocks.shape[1])):
            mean, level = self._channel(canvas, units, channel)
            values = blocks[:, channel].ravel()
            for part in reversed(parts(len(mean), 3)):
                own = values[part].astype(np.int64)
                below = self._below(np.stack([own - 1, own], axis=1), mean[part], level[part])
                push_known(stack, own, below, LEVELS)

    def pop(self, stack: AnsCoder, canvas: Tensor) -> Uint8Array:
        channels = self.network.config.channels
        blocks = np.zeros((len(canvas), channels, *canvas.shape[2:]), dtype=np.uint8)
        edges = np.arange(LEVELS - 1)
        for channel in range(channels):
            units = image_units(torch.from_numpy(blocks), self.network.config)
            mean, level = self._channel(canvas, units, channel)
            found = [
                stack.pop_rows(frequencies(self._below(edges, mean[part], level[part])))
                for part in parts(len(mean), LEVELS)
            ]
            blocks[:, channel] = np.concatenate(found).reshape(blocks[:, channel].shape)
        return blocks

    def _channel(
        self, canvas: Tensor, units: Tensor, channel: int
    ) -> tuple[Int64Array, Int64Array]:
        """Means and levels of ln s of a channel, given the channels before it: (n · h · w,)."""
        channels = units.shape[1]
        mean = canvas[:, channel]
        for other in range(channel):
            # Coefficients: red for green, red for blue, green for blue.
            coefficient = self.network.tanh(canvas[:, 2 * channels + channel - 1 + other])
            off = (units[:, other] - canvas[:, other]).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
            mean = mean + self.network.product(coefficient, off)
        level = log_levels(integers(canvas[:, channels + channel]), LOG_SCALES)
        return integers(mean).ravel(), level.ravel()

    def _below(self, values: Int64Array, mean: Int64Array, level: Int64Array) -> Int64Array:
        """F between each value 0 .. 254, (m, n) or (n,), and the next one."""
        edges = (2 * values + 2 - LEVELS) << (UNIT_BITS - 8)
        distance = (edges - mean[:, None]) << EDGE_SHIFT
        reciprocals = self.reciprocals[level].astype(np.int64)
        return interpolated(self.distribution, distance, reciprocals[:, None])


def pixels_from_arrays(network: ExactDraw, arrays: Mapping[str, Array]) -> Pixels:
    """The `Pixels` for a network's likelihood. Raises `WeightsMismatchError`."""
    config = network.config
    if (config.likelihood, config.channels) == ("bernoulli", 1):
        return BernoulliPixels(TableSet.from_arrays(arrays, "pixel_tables."))
    if config.likelihood == "logistic":
        names = ("reciprocals", "distribution")
        return LogisticPixels(network, *(stored(arrays, f"pixels.{name}") for name in names))
    raise WeightsMismatchError(
        f"weights file: a DRAW network with the likelihood {config.likelihood!r} of "
        f"{config.channels} channels, which is none for archives"
    )


def pixel_arrays(config: DrawConfig) -> dict[str, Array]:
    """What `pixels_from_arrays` reads, computed in floating point."""
    if config.likelihood == "bernoulli":
        steps = np.arange(-LOG_ODDS_REACH, LOG_ODDS_REACH + 1, dtype=np.float64)
        tables = bernoulli_tables(steps * 2.0 ** (_LOG_ODDS_BITS - UNIT_BITS))
        return {f"pixel_tables.{name}": array for name, array in tables.to_arrays().items()}
    logistic = torch.from_numpy(grid(_REACH)).sigmoid().numpy()
    return {
        "pixels.reciprocals": reciprocals(LOG_SCALES, 1.0),
        "pixels.distribution": rising(logistic, LEVELS),
    }
