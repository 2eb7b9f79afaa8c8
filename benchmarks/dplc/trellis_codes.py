"""Trellis-coded quantisation of normal numbers: vector quantisers with an exact search.

A binary convolutional code has 2^ν states, with two branches from and into each::

    s′ = (s >> 1) ⊕ (s & 1 ? feedback : 0) ⊕ (bit ? forward : 0)

A stream of numbers is quantised to a path through the states, and the Viterbi algorithm finds the
best of all paths. There are two codes:

`LatticeCode`, entropy-coded (Marcellin and Fischer 1990; Fischer and Wang 1992). Levels a step Δ
apart belong to four sets in turn, D₀ D₁ D₂ D₃ D₀ …; an even state has D₀ ∪ D₂, an odd state
D₁ ∪ D₃, and the bit selects one of the two sets::

    even    -4Δ      -2Δ       0       2Δ       4Δ             symbol −2  −1   0   1   2
    odd          -3Δ      -Δ       Δ       3Δ       5Δ         symbol −2  −1   0   1   2

The lowest bit of the symbol is that of the path. Each of the two unions has a table of
probabilities, and symbols minimise squared error + λ · bits. Levels and tables are fitted to a
sample, alternating with the choice of symbols (Chou, Lookabaugh and Gray 1989).

`RandomCode`, for low rates: each branch has a word of m random numbers, so 1/m bits are sent for
each number, without entropy coding (Jelinek 1969).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bitstream import SymbolDecoder, SymbolEncoder, TableSet
from bitstream.arrays import Float64Array, Int32Array, Int64Array
from bitstream.tables import tables_from_pmfs
from codec.coding.channel_simulation import open_unit, raw_numbers
from codec.coding.prior_tables import cell_bounds, normal_quantile, uniform_tables

REACH = 5.5
"""Levels reach this many standard deviations; numbers further out get the last level."""
GRANULAR_GAIN = 1.36
"""Gain of good trellises as a factor: (2Δ)²/12, the error with one union, over the actual error."""
ROUNDS = 10
WORD_SEED = 0xCA20
_COSTS_AT_ONCE = 2**19
_STEPS_UNSCALED = 64
_UNREACHABLE = np.float32(1e9)


@dataclass(frozen=True)
class Trellis:
    """2^memory states; feedback and forward are masks of `memory` bits, see above."""

    memory: int
    feedback: int
    forward: int

    @cached_property
    def after(self) -> Int64Array:
        """int64 (2·states,): the state to which branch 2·s + bit leads."""
        branch = np.arange(2 << self.memory)
        state, bit = branch >> 1, branch & 1
        return (state >> 1) ^ (state & 1) * self.feedback ^ bit * self.forward

    @cached_property
    def incoming(self) -> Int64Array:
        """int64 (2, states): the two branches that lead to each state."""
        return np.ascontiguousarray(np.argsort(self.after, kind="stable").reshape(-1, 2).T)

    def best_path(
        self, costs: Callable[[int], npt.NDArray[np.float32]], steps: int, streams: int
    ) -> Int32Array:
        """The bits of the cheapest path from state 0 for each stream: int32 (steps, streams).

        costs   gives the costs of a step, float32 (2, states, streams), in the order of `incoming`
        """
        total = np.full((1 << self.memory, streams), _UNREACHABLE)
        total[0] = 0
        source, chosen = self.incoming >> 1, []
        for step in range(steps):
            both = costs(step)
            both += total.take(source, axis=0)
            chosen.append(np.packbits((both[1] < both[0]).ravel()))
            np.minimum(both[0], both[1], out=total)
            if step % _STEPS_UNSCALED == 0:  # keeps costs small, to save digits of float32
                total -= total.min(axis=0)
        state, stream = total.argmin(axis=0), np.arange(streams)
        bits = np.empty((steps, streams), dtype=np.int32)
        for step in reversed(range(steps)):
            place = state * streams + stream
            which = chosen[step][place >> 3] >> (7 - (place & 7)) & 1
            branch = self.incoming[which, state]
            bits[step], state = branch & 1, branch >> 1
        return bits


class TrellisCode(ABC):
    """Streams of normal numbers (streams, n) to symbols (steps, streams), to bytes, and back.

    numbers   how many numbers a symbol stands for; n is a multiple of it
    tables    tables of symbols, selected by the state; a symbol's lowest bit is that of the path
    """

    trellis: Trellis
    numbers: int
    tables: TableSet

    def quantize(self, values: Float64Array) -> Int32Array:
        batch = max(1, _COSTS_AT_ONCE >> self.trellis.memory)
        parts = [self._choose(values[i : i + batch]) for i in range(0, len(values), batch)]
        return np.concatenate(parts, axis=1)

    def encode(self, symbols: Int32Array) -> bytes:
        encoder, states = SymbolEncoder(), self._states(symbols)
        for message, state in zip(symbols, states, strict=True):
            encoder.put(message, self._table(state), self.tables)
        return encoder.finish()

    def decode(self, data: bytes, steps: int, streams: int) -> Int32Array:
        """Raises `PayloadError`."""
        decoder, state = SymbolDecoder(data), np.zeros(streams, dtype=np.int64)
        symbols = np.empty((steps, streams), dtype=np.int32)
        for step in range(steps):
            symbols[step] = decoder.get(self._table(state), self.tables)
            state = self.trellis.after[2 * state + (symbols[step] & 1)]
        decoder.finish()
        return symbols

    def dequantize(self, symbols: Int32Array) -> Float64Array:
        """float64 (streams, steps · numbers)."""
        return self._words(self._states(symbols), symbols).reshape(symbols.shape[1], -1)

    def _states(self, symbols: Int32Array) -> Int64Array:
        """int64 (steps, streams): the states in which the symbols are sent."""
        states = np.zeros(symbols.shape, dtype=np.int64)
        for step in range(1, len(symbols)):
            states[step] = self.trellis.after[2 * states[step - 1] + (symbols[step - 1] & 1)]
        return states

    @abstractmethod
    def _choose(self, values: Float64Array) -> Int32Array:
        """The best symbols of streams."""

    @abstractmethod
    def _table(self, states: Int64Array) -> Int32Array:
        """The table of each state."""

    @abstractmethod
    def _words(self, states: Int64Array, symbols: Int32Array) -> Float64Array:
        """float64 (streams, steps, numbers): the numbers that symbols stand for."""


@dataclass(frozen=True)
class LatticeCode(TrellisCode):
    """Levels and their probabilities, float64 (2, n): for even and for odd states.

    minimum   symbol of the first level
    price     λ, squared error per bit
    """

    trellis: Trellis
    minimum: int
    levels: Float64Array
    masses: Float64Array
    price: float
    numbers = 1

    @classmethod
    def designed(cls, trellis: Trellis, rate_bits: float, sample: Float64Array) -> LatticeCode:
        """A code for about `rate_bits` bits per number; the sample is N(0, 1), (streams, n)."""
        error = 2 ** (-2 * rate_bits)
        step = np.sqrt(12 * GRANULAR_GAIN * error) / 2
        most = int(REACH / (2 * step)) + 1
        symbols = np.arange(-most, most + 1)
        levels = step * np.stack([2.0 * symbols, 2.0 * symbols + 1])
        masses = _shares(np.exp(-(levels**2) / 2))
        # dD/dR is −2 ln 2 · D, and λ is −dD/dR.
        code = cls(trellis, -most, levels, masses, 2 * np.log(2) * error)
        for _ in range(ROUNDS):
            code = code._of_sample(sample, rate_bits)
        return code

    @cached_property
    def tables(self) -> TableSet:  # type: ignore[override]
        return tables_from_pmfs([(self.minimum, masses) for masses in self.masses])

    def _of_sample(self, sample: Float64Array, rate_bits: float) -> LatticeCode:
        """A code with the levels' means and shares in a sample; rare ones change little."""
        chosen = self.quantize(sample)
        place = self._places(self._states(chosen), chosen)
        size = self.levels.size
        count = np.bincount(place.ravel(), minlength=size).reshape(self.levels.shape)
        total = np.bincount(place.ravel(), sample.T.ravel(), size).reshape(self.levels.shape)
        levels = np.maximum.accumulate((total + 10 * self.levels) / (count + 10), axis=1)
        levels += 1e-9 * np.arange(levels.shape[1])  # so that no two are equal
        bits = -np.log2(self.masses.ravel()[place]).mean()
        price = self.price * 2 ** (2 * (bits - rate_bits))
        masses = _shares(count + _shares(np.exp(-(levels**2) / 2)))
        return LatticeCode(self.trellis, self.minimum, levels, masses, price)

    def _places(self, states: Int64Array, symbols: Int32Array) -> Int64Array:
        places: Int64Array = (states & 1) * self.levels.shape[1] + symbols - self.minimum
        return places

    def _choose(self, values: Float64Array) -> Int32Array:
        values = values.T
        branch = np.arange(2 << self.trellis.memory)
        of_set = ((branch >> 1 & 1) * 2 + (branch & 1))[self.trellis.incoming]
        costs = np.empty((len(values), 4, values.shape[1]), dtype=np.float32)
        best = np.empty(costs.shape, dtype=np.int32)
        price = -self.price * np.log2(self.masses)
        for number in range(4):
            union, bit = divmod(number, 2)
            first = (bit - self.minimum) % 2
            own, paid = self.levels[union, first::2], price[union, first::2]
            bounds = cell_bounds(own, paid, 0.5)[1:-1]
            nearest = np.searchsorted(bounds, values, side="right")
            best[:, number] = self.minimum + first + 2 * nearest
            costs[:, number] = (values - own[nearest]) ** 2 + paid[nearest]
        bits = self.trellis.best_path(lambda step: costs[step].take(of_set, axis=0), *values.shape)
        states = self._states(bits)
        place = (states & 1) * 2 + bits
        return np.take_along_axis(best, place[:, None], axis=1)[:, 0]

    def _table(self, states: Int64Array) -> Int32Array:
        return (states & 1).astype(np.int32)

    def _words(self, states: Int64Array, symbols: Int32Array) -> Float64Array:
        found: Float64Array = self.levels.ravel()[self._places(states, symbols)].T[..., None]
        return found


@dataclass(frozen=True)
class RandomCode(TrellisCode):
    """A word of normal numbers of variance 1 − 2^(−2R) on each branch; R = 1 / numbers."""

    trellis: Trellis
    numbers: int
    tables = uniform_tables(1)

    @classmethod
    def of_memory(cls, memory: int, numbers: int) -> RandomCode:
        """A code whose state is the last `memory` bits."""
        return cls(Trellis(memory, 0, 1 << (memory - 1)), numbers)

    @cached_property
    def words(self) -> Float64Array:
        """float64 (branches, numbers), the same on every machine except perhaps for a last bit."""
        count = 2 << self.trellis.memory
        raw = raw_numbers(WORD_SEED, 0, count * self.numbers)
        deviation = np.sqrt(1 - 2 ** (-2 / self.numbers))
        values: Float64Array = deviation * normal_quantile(open_unit(raw))
        return values.reshape(count, self.numbers)

    def _choose(self, values: Float64Array) -> Int32Array:
        # ‖x − w‖²/2 without ‖x‖²/2, which all words share: ‖w‖²/2 · 1 − w · x.
        words = self.words[self.trellis.incoming]
        halves = (words**2).sum(axis=2, keepdims=True) / 2
        factors = np.concatenate([halves, -words], axis=2).astype(np.float32)
        streams = len(values)
        cut = values.reshape(streams, -1, self.numbers).transpose(1, 2, 0)
        cut = np.insert(cut, 0, 1, axis=1).astype(np.float32)  # (steps, 1 + numbers, streams)
        return self.trellis.best_path(lambda step: factors @ cut[step], len(cut), streams)

    def _table(self, states: Int64Array) -> Int32Array:
        return np.ones(states.shape, dtype=np.int32)

    def _words(self, states: Int64Array, symbols: Int32Array) -> Float64Array:
        found: Float64Array = self.words[2 * states + symbols].swapaxes(0, 1)
        return found


def _shares(weights: Float64Array) -> Float64Array:
    shares: Float64Array = weights / weights.sum(axis=1, keepdims=True)
    return shares
