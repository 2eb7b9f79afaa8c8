"""Coordinates of a DRAW network as bins of their prior, which draw-bits-back pops and pushes.

The posterior of a coordinate u is relative to its prior N(0, 1), and bins have equal mass under
that prior, so the number of a bin takes b bits, whatever the coordinate. b is stored for each step,
channel and position, because most coordinates of a network carry next to no information, and
every bit that the posterior pops must already be on the stack. With one bin, u is 0 and nothing is
coded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitstream.ans_coder import AnsCoder
from bitstream.arrays import Array, Int32Array, Int64Array, Uint8Array
from bitstream.errors import WeightsMismatchError
from codec.coding.bits_back_tables import EDGE_BITS, interpolated
from codec.coding.prior_tables import normal_distribution, normal_quantile
from codec.models.draw.exact import ExactDraw, image_units
from codec.models.draw.recursion import DrawConfig, Prior
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
    rounded,
)
from codec.models.weights_files import stored

LOG_VARIANCES = (-11, 2)  # range of the posterior's log-variance, enforced in training
LARGEST_BITS = 10
MAX_BITS = 12  # the most that a weights file may have
MAX_MAPS = 32
MAX_SIDE = 256
_REACH = 8  # the stored normal distribution function covers −8 .. 8


@dataclass(frozen=True)
class NestedBins:
    """Frequencies of 2ᵇ equal bins of the prior N(0, 1) under N(m, e^l), b = 0 .. B.

    quantiles     int32 (2ᴮ⁺¹ − 1,), Φ⁻¹(i / 2ᴮ⁺¹) in units of 2⁻¹⁶, ascending: all bounds of
                  bins, and all medians, which are the decoder's input
    reciprocals   int32 (levels,), e^(−l/2) of each level of l in units of 2⁻¹²
    distribution  int32 (2 · 8 · 2¹⁰ + 1,), Φ on a grid of 2⁻¹⁰, from 0 to 2²⁴ − 2ᴮ

    A bin has the frequency F(right) − F(left) + 1, and the last one the remainder of 2²⁴; there is
    no escape. Raises `WeightsMismatchError` for arrays that break these rules.
    """

    quantiles: Int32Array
    reciprocals: Int32Array
    distribution: Int32Array

    def __post_init__(self) -> None:
        # The size is limited before the array is used.
        size = self.quantiles.size + 1
        if self.quantiles.ndim != 1 or size & (size - 1) or not 4 <= size <= 2 << MAX_BITS:
            raise WeightsMismatchError(
                f"weights file: {size - 1} quantiles, expected 2ᵇ − 1, b = 2 .. {MAX_BITS + 1}"
            )
        check_array("posterior.quantiles", self.quantiles, size - 1)
        check_array("posterior.reciprocals", self.reciprocals, level_count(LOG_VARIANCES), least=1)
        check_distribution("posterior", self.distribution, _REACH, size // 2)
        if (np.diff(self.quantiles) < 0).any():
            raise WeightsMismatchError("weights file: posterior.quantiles do not ascend")

    @property
    def largest_bits(self) -> int:
        return self.quantiles.size.bit_length() - 1

    def centres(self, bins: Int32Array, bits: int) -> Int64Array:
        """Medians of bins 0 .. 2ᵇ − 1, in units of 2⁻¹²."""
        medians = self.quantiles[(1 << (self.largest_bits - bits)) - 1 :: self._stride(bits)]
        return (medians[bins].astype(np.int64) + (1 << (EDGE_SHIFT - 1))) >> (EDGE_SHIFT)

    def pop(self, stack: AnsCoder, mean: Int64Array, level: Int64Array, bits: int) -> Int32Array:
        """Pop one of 2ᵇ bins for each mean and level of l, (m,): int32 (m,)."""
        edges = self._edges(bits)
        found = [
            stack.pop_rows(frequencies(self._below(edges, mean[part], level[part])))
            for part in parts(len(mean), 1 << bits)
        ]
        return np.concatenate(found) if found else np.zeros(0, np.int32)

    def push(
        self, stack: AnsCoder, mean: Int64Array, level: Int64Array, bits: int, bins: Int32Array
    ) -> None:
        """The inverse of `pop`."""
        edges = self._edges(bits)
        if bits < 2:
            for part in reversed(parts(len(mean), 1 << bits)):
                rows = frequencies(self._below(edges, mean[part], level[part]))
                stack.push_rows(bins[part], rows)
            return

        for part in reversed(parts(len(mean), 3)):
            own = bins[part].astype(np.int64)
            sides = np.stack(
                [edges[np.maximum(own - 1, 0)], edges[np.minimum(own, len(edges) - 1)]]
            )
            below = self._below(sides.T, mean[part], level[part])
            push_known(stack, own, below, 1 << bits)

    def _stride(self, bits: int) -> int:
        return 2 << (self.largest_bits - bits)

    def _edges(self, bits: int) -> Int64Array:
        stride = self._stride(bits)
        return self.quantiles[stride - 1 :: stride].astype(np.int64)

    def _below(self, edges: Int64Array, mean: Int64Array, level: Int64Array) -> Int64Array:
        """F at edges (m, n) or (n,) in units of 2⁻¹⁶, for m means and levels."""
        distance = edges - (mean << EDGE_SHIFT)[:, None]
        reciprocals = self.reciprocals[level].astype(np.int64)
        return interpolated(self.distribution, distance, reciprocals[:, None])


@dataclass(frozen=True)
class Run:
    """The coordinates with 2ᵇ bins, b > 0, of a step and level: indexes into (codes, h, w)."""

    bits: int
    places: Int64Array


@dataclass(frozen=True)
class BinMap:
    """The bins of all coordinates: runs with ascending bits for each step and level, as coded.

    Steps come one after another, and in a step levels from coarse to fine.
    """

    runs: tuple[tuple[Run, ...], ...]

    @property
    def bits(self) -> int:
        """Bits of the bins of one block under the prior."""
        return sum(run.bits * len(run.places) for runs in self.runs for run in runs)

    def prior(self, blocks: int) -> Int32Array:
        """Bits of every bin of `blocks` blocks, in coding order: int32 (n,)."""
        runs = [run for runs in self.runs for run in runs]
        lengths = [blocks * len(run.places) for run in runs]
        return np.repeat(np.array([run.bits for run in runs], dtype=np.int32), lengths)

    def split(self, bins: Int32Array, blocks: int) -> list[list[Int32Array]]:
        """Split bins int32 (n,), in coding order, by step and level, and then by run."""
        found: list[list[Int32Array]] = []
        at = 0
        for runs in self.runs:
            found.append([])
            for run in runs:
                size = blocks * len(run.places)
                found[-1].append(bins[at : at + size])
                at += size
        return found


@dataclass(frozen=True)
class Posterior:
    """Outputs of the network for a step and level: m and l in units of 2⁻¹², (n, codes, h, w)."""

    mean: Int64Array
    log_variance: Int64Array

    def of(self, run: Run) -> tuple[Int64Array, Int64Array]:
        """m and the level of l for the coordinates of a run, block by block: (n · places,)."""
        mean, log_variance = (
            values.reshape(len(values), -1)[:, run.places].ravel()
            for values in (self.mean, self.log_variance)
        )
        return mean, log_levels(log_variance, LOG_VARIANCES)


Choose = Callable[[int, Posterior], list[Int32Array]]


class BinnedDraw:
    """A DRAW network with gaussian posteriors whose coordinates are bins.

    Blocks are uint8 (n, channels, side, side); a canvas is (n, canvas channels, side, side).
    """

    def __init__(
        self, network: ExactDraw, side: int, bins: NestedBins, maps: Sequence[Uint8Array]
    ) -> None:
        """maps   for each level of codes, uint8 (maps, steps, codes, h, w); h = w = 1 if the bits
        are the same at every position
        """
        config = network.config
        if config.posterior != "gaussian":
            raise WeightsMismatchError(
                f"weights file: a DRAW network with {config.posterior} posteriors, expected "
                "gaussian ones"
            )
        if not 1 <= side <= MAX_SIDE or side % config.stride:
            raise WeightsMismatchError(
                f"weights file: blocks of {side} pixels, expected a multiple of {config.stride} "
                f"up to {MAX_SIDE}"
            )
        self.network, self.config, self.side, self.bins = network, config, side, bins
        counts = {array.shape[0] if array.ndim == 5 else 0 for array in maps}
        if len(counts) != 1 or not 1 <= max(counts) <= MAX_MAPS:
            raise WeightsMismatchError(
                f"weights file: {sorted(counts)} maps of bins, expected 1 .. {MAX_MAPS}"
            )
        self.maps = [self._map([array[k] for array in maps]) for k in range(max(counts))]
        if self.maps[0].bits:
            raise WeightsMismatchError("weights file: the first map of bins is not without any")

    @property
    def depth(self) -> int:
        """Number of steps times number of levels."""
        return self.config.steps * self.config.levels

    def pop(
        self, stack: AnsCoder, blocks: Uint8Array, map_: BinMap, least: int
    ) -> tuple[Tensor, Int32Array]:
        """Pop the bins of blocks by their posteriors; return the canvas, and all bins as coded.

        Raises `StackRanOutError` if fewer than `least` bits are left.
        """
        chosen: list[Int32Array] = []

        def choose(number: int, posterior: Posterior) -> list[Int32Array]:
            runs = map_.runs[number]
            found = [self.bins.pop(stack, *posterior.of(run), run.bits) for run in runs]
            if stack.bits < least:
                raise StackRanOutError
            chosen.extend(found)
            return found

        canvas = self._look(blocks, map_, choose)
        return canvas, np.concatenate([*chosen, np.zeros(0, np.int32)])

    def push(self, stack: AnsCoder, blocks: Uint8Array, map_: BinMap, bins: Int32Array) -> None:
        """The inverse of `pop`."""
        chosen = map_.split(bins, len(blocks))
        posteriors: list[tuple[int, Posterior]] = []

        def note(number: int, posterior: Posterior) -> list[Int32Array]:
            posteriors.append((number, posterior))
            return chosen[number]

        self._look(blocks, map_, note)
        for number, posterior in reversed(posteriors):
            runs = map_.runs[number]
            for run, own in zip(reversed(runs), reversed(chosen[number]), strict=True):
                self.bins.push(stack, *posterior.of(run), run.bits, own)

    def draw(self, blocks: int, map_: BinMap, bins: Int32Array) -> Tensor:
        """The canvas of `blocks` blocks after all steps with these bins, in coding order."""
        recursion, chosen = self.network.recursion, map_.split(bins, blocks)
        state = recursion.begin(blocks, self.side, self.side)
        numbers = iter(range(self.depth))

        def coordinate(level: int, prior: Prior) -> Tensor:
            number = next(numbers)
            return self._coordinates(map_.runs[number], chosen[number], prior.mean)

        for _ in range(self.config.steps):
            recursion.step(state, coordinate)
        return state.canvas

    def _look(self, blocks: Uint8Array, map_: BinMap, choose: Choose) -> Tensor:
        """The canvas after all steps on blocks; `choose` returns the bins of a step and level."""
        recursion = self.network.recursion
        image = image_units(torch.from_numpy(np.ascontiguousarray(blocks)), self.config)
        state = recursion.begin(len(blocks), self.side, self.side)
        part = recursion.image_part(image)
        numbers = iter(range(self.depth))

        def coordinate(level: int, prior: Prior) -> Tensor:
            number = next(numbers)
            if not map_.runs[number]:
                return torch.zeros_like(prior.mean)
            mean, log_variance = recursion.posterior(state, level).chunk(2, 1)
            posterior = Posterior(integers(mean), integers(log_variance))
            return self._coordinates(map_.runs[number], choose(number, posterior), prior.mean)

        for _ in range(self.config.steps):
            recursion.look(state, image, part)
            recursion.step(state, coordinate)
        return state.canvas

    def _coordinates(
        self, runs: Sequence[Run], chosen: Sequence[Int32Array], like: Tensor
    ) -> Tensor:
        """u in units of 2⁻¹² from the bins of a step and level: float64 (n, codes, h, w)."""
        found = np.zeros((len(like), like[0].numel()))
        for run, own in zip(runs, chosen, strict=True):
            found[:, run.places] = self.bins.centres(own, run.bits).reshape(len(like), -1)
        return torch.from_numpy(found).reshape(like.shape)

    def _map(self, levels: Sequence[Uint8Array]) -> BinMap:
        config, largest = self.config, self.bins.largest_bits
        for level, array in enumerate(levels):
            side = config.positions(self.side, level)
            shape = (config.steps, config.codes[level], side, side)
            if array.dtype != np.uint8 or array.shape not in (shape, (*shape[:2], 1, 1)):
                raise WeightsMismatchError(
                    f"weights file: a map of bins is {array.dtype}{list(array.shape)}, "
                    f"expected uint8{list(shape)}"
                )
            if array.max() > largest:
                raise WeightsMismatchError(
                    f"weights file: bins of {array.max()} bits, expected at most {largest}"
                )
        runs = []
        for step in range(config.steps):
            for level in reversed(range(config.levels)):
                side = config.positions(self.side, level)
                of_step = levels[level][step]
                flat = np.broadcast_to(of_step, (len(of_step), side, side)).ravel()
                present = [int(b) for b in np.unique(flat) if b]
                runs.append(tuple(Run(b, np.flatnonzero(flat == b)) for b in present))
        return BinMap(tuple(runs))


class StackRanOutError(Exception):
    """An encoder's stack holds too few bits for the bins of a group."""


def binned_from_arrays(network: ExactDraw, side: int, arrays: Mapping[str, Array]) -> BinnedDraw:
    """Read `posterior.*` of a weights file. Raises `WeightsMismatchError`."""
    names = ("quantiles", "reciprocals", "distribution")
    bins = NestedBins(*(stored(arrays, f"posterior.{name}") for name in names))
    levels = range(network.config.levels)
    maps = [stored(arrays, f"posterior.bits{level}") for level in levels]
    return BinnedDraw(network, side, bins, maps)


def bin_arrays(config: DrawConfig) -> dict[str, Array]:
    """What `binned_from_arrays` reads, for any network; computed in floating point.

    Each map gives all coordinates the same number of bins, 2⁰ .. 2⁸, which makes archives of few
    images long. `training.draw.archive_bins` fits maps to a network.
    """
    count = 2 << LARGEST_BITS
    arrays: dict[str, Array] = {
        "posterior.quantiles": rounded(normal_quantile(np.arange(1, count) / count), EDGE_BITS),
        "posterior.reciprocals": reciprocals(LOG_VARIANCES, 0.5),
        "posterior.distribution": rising(normal_distribution(grid(_REACH)), count // 2),
    }
    bits = np.arange(9, dtype=np.uint8)[:, None, None, None, None]
    for level, codes in enumerate(config.codes):
        arrays[f"posterior.bits{level}"] = np.tile(bits, (1, config.steps, codes, 1, 1))
    return arrays
