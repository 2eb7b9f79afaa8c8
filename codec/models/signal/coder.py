"""Codes samples one step of all lanes at a time: predictors, a network, tables, an ANS stack.

::

    least squares ─ predictions ──────────────┬─► centre ── v = sample − centre
          └──── inputs ─► network ─► shift ───┘      └─ rounding error ────┐
                             └─────► scale ────────────────────────────────┴─► table

If the scale is wide, the low bits of v are practically random: they are coded with uniform tables,
and only the bits above them use the table of the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Array, Float64Array, Int32Array
from bitstream.errors import PayloadError, WeightsMismatchError
from bitstream.symbols import StackDecoder, StackEncoder
from bitstream.tables import TableSet
from codec.coding.exact_layers import ACTIVATION_BITS, nearest_tables
from codec.coding.exact_logarithm import UNITS_PER_OCTAVE
from codec.models.signal.lanes import MEAN_BITS, STEPS, Step, sweep
from codec.models.signal.network import DilatedNetwork, SignalConfig
from codec.models.weights_files import read_config

FIRST_OCTAVE = -4
SCALES_PER_OCTAVE = 4
SCALES = 76
"""Scales are a quarter of an octave apart in σ, starting at 1/16 step."""
FINE_SCALES = 36
"""Each scale below σ = 32 has its own tables; the others share those of the last octave of these,
and have low bits instead."""
PHASE_BITS: Int32Array = np.clip(
    3 - (np.arange(FINE_SCALES) // SCALES_PER_OCTAVE + FIRST_OCTAVE), 0, 4
).astype(np.int32)
"""int32 (36,): a scale has a table for each of 2^bits fractions of a step."""
MOST_LOW_BITS = (SCALES - FINE_SCALES) // SCALES_PER_OCTAVE
_COUNTS = 1 << PHASE_BITS
FIRST_TABLES: Int32Array = (np.cumsum(_COUNTS) - _COUNTS).astype(np.int32)
FIRST_LOW_TABLE = int(_COUNTS.sum())
TABLES = FIRST_LOW_TABLE + MOST_LOW_BITS
"""Number of tables for scales and fractions, and for 1 .. 10 low bits."""
_DROPS = 4 - PHASE_BITS
_SHIFT_LIMIT = 2**13
"""Largest magnitude of the shift and of the second predictor's share, 8 in real numbers."""
_NO_ENTRY = "the payload is damaged, or it was written with another model"


@dataclass(frozen=True)
class Expected:
    """Predicted distribution of the next sample of every lane, (lanes,) each.

    means    in sixteenths: integers in float64
    scales   unrounded scale numbers in units of 2⁻¹⁰: integers in float64
    """

    means: Float64Array
    scales: Float64Array


@dataclass(frozen=True)
class Choice:
    """How the next sample of every lane is coded: int32 (lanes,) each."""

    centres: Int32Array
    tables: Int32Array
    low_bits: Int32Array


CodeStep = Callable[[Choice, int], Int32Array]
"""From how samples are coded and the number of active lanes to the samples of all lanes."""
ExpectStep = Callable[[int, Expected], Int32Array]
"""From the number of a step and the predictions to the samples of all lanes."""


class SignalCoder:
    """The model, loaded.

    arrays   those of the weights file: layers of the network (`codec.models.signal.network`), with
             three outputs: the scale number relative to that of recent errors, a shift in units of
             these errors, and the share of the second predictor; `tables.*`, those for all scales
             and fractions of a step, and for 1 .. 10 low bits

    Raises `WeightsMismatchError` and `TableError` for arrays that do not fit together.
    """

    def __init__(
        self, arrays: Mapping[str, Array], config: SignalConfig, weights_hash: bytes
    ) -> None:
        self.weights_hash = weights_hash
        self.network = DilatedNetwork(config, arrays)
        self.tables = TableSet.from_arrays(arrays, "tables.")
        if len(self.tables) != TABLES:
            raise WeightsMismatchError(
                f"weights file: {len(self.tables)} tables, expected {TABLES}"
            )

    def encode(self, samples: Int32Array, lanes: int, limits: tuple[int, int]) -> bytes:
        """Code samples int32 (n,), within `limits`, in 1 .. n lanes."""
        encoder = StackEncoder()
        rows = iter(lanes_of(samples, lanes))

        def code(choice: Choice, count: int) -> Int32Array:
            found: Int32Array = next(rows)
            encoder.put(*split(found[:count], choice, count), self.tables)
            return found

        self._sweep(len(samples), lanes, limits, code)
        return b"".join(encoder.finish())

    def decode(self, data: bytes, count: int, lanes: int, limits: tuple[int, int]) -> Int32Array:
        """Decode `count` samples, int32 (count,). Raises `PayloadError`."""
        decoder = StackDecoder(data)
        rows: list[Int32Array] = []

        def code(choice: Choice, active: int) -> Int32Array:
            indexes = table_indexes(choice, active)
            symbols = decoder.get(indexes, self.tables)
            found = np.zeros(lanes, np.int32)
            found[:active] = joined(symbols, choice, active, limits)
            rows.append(found)
            return found

        self._sweep(count, lanes, limits, code)
        decoder.finish()
        return samples_of(rows, count, lanes)

    def _sweep(self, count: int, lanes: int, limits: tuple[int, int], code: CodeStep) -> None:
        def at(number: int, expected: Expected) -> Int32Array:
            active = lanes if (number + 1) * lanes <= count else count - number * lanes
            return code(choose(expected), active)

        self.expect(count, lanes, limits, at)

    def expect(self, count: int, lanes: int, limits: tuple[int, int], code: ExpectStep) -> None:
        """Call `code` at every step with its number and the predictions; see `lanes.sweep`."""
        state = self.network.start(lanes)

        def at(step: Step) -> Int32Array:
            outputs = state.advance(step.inputs).astype(np.float64)
            return code(state.step - 1, _expected(step, outputs, limits))

        sweep(lanes, -(-count // lanes), at)


def _expected(step: Step, outputs: Float64Array, limits: tuple[int, int]) -> Expected:
    scales, shifts, shares = outputs
    octaves = step.octaves - (MEAN_BITS + FIRST_OCTAVE) * UNITS_PER_OCTAVE
    first, second = step.predictions
    np.clip(outputs[1:], -_SHIFT_LIMIT, _SHIFT_LIMIT, out=outputs[1:])
    change = shifts * step.scales * (STEPS * 2.0**-MEAN_BITS) + shares * (second - first)
    means = first + np.floor(change * 2.0**-ACTIVATION_BITS + 0.5)
    low, high = limits
    np.clip(means, STEPS * low, STEPS * high, out=means)
    return Expected(
        means, scales + octaves * (SCALES_PER_OCTAVE * 2**ACTIVATION_BITS // UNITS_PER_OCTAVE)
    )


def choose(expected: Expected) -> Choice:
    """The centre, the table and the number of low bits."""
    sixteenths = expected.means.astype(np.int32) + STEPS // 2
    numbers = nearest_tables(expected.scales[None], SCALES)[0]
    low_bits = np.maximum(numbers - FINE_SCALES + SCALES_PER_OCTAVE, 0) // SCALES_PER_OCTAVE
    numbers -= low_bits * SCALES_PER_OCTAVE
    tables = FIRST_TABLES[numbers] + ((sixteenths & 15) >> _DROPS[numbers])
    return Choice(sixteenths >> 4, tables, low_bits.astype(np.int32))


def table_indexes(choice: Choice, count: int) -> Int32Array:
    """The tables of a message: those of the first lanes, then those of low bits where present."""
    low_bits = choice.low_bits[:count]
    return np.concatenate(
        [choice.tables[:count], FIRST_LOW_TABLE - 1 + low_bits[low_bits > 0]], dtype=np.int32
    )


def split(samples: Int32Array, choice: Choice, count: int) -> tuple[Int32Array, Int32Array]:
    """The symbols of a message, and their tables."""
    low_bits = choice.low_bits[:count]
    values = samples - choice.centres[:count] + ((1 << low_bits) >> 1)
    low = (values & ((1 << low_bits) - 1))[low_bits > 0]
    symbols = np.concatenate([values >> low_bits, low], dtype=np.int32)
    return symbols, table_indexes(choice, count)


def joined(symbols: Int32Array, choice: Choice, count: int, limits: tuple[int, int]) -> Int32Array:
    """The samples from a message's symbols; the inverse of `split`. Raises `PayloadError`."""
    low_bits = choice.low_bits[:count]
    values = symbols[:count].astype(np.int64) << low_bits
    low = symbols[count:]
    if (low < 0).any() or (low >= 1 << low_bits[low_bits > 0]).any():
        raise PayloadError(f"low bits outside their range were decoded: {_NO_ENTRY}")
    values[low_bits > 0] += low
    values += choice.centres[:count] - ((1 << low_bits) >> 1)
    if values.min() < limits[0] or values.max() > limits[1]:
        raise PayloadError(f"a sample outside {limits[0]} .. {limits[1]} was decoded: {_NO_ENTRY}")
    return values.astype(np.int32)


def lanes_of(samples: Int32Array, lanes: int) -> Int32Array:
    """Samples (n,) as steps of lanes (steps, lanes), with zeros where a lane has ended.

    Lanes are consecutive parts of the signal. If they cannot be equal, the first ones have one
    sample more.
    """
    steps, longer = -(-len(samples) // lanes), len(samples) % lanes or lanes
    rows = np.zeros((steps, lanes), np.int32)
    rows[:, :longer] = samples[: longer * steps].reshape(longer, steps).T
    rows[: steps - 1, longer:] = samples[longer * steps :].reshape(lanes - longer, steps - 1).T
    return rows


def samples_of(rows: list[Int32Array], count: int, lanes: int) -> Int32Array:
    """The inverse of `lanes_of`."""
    if not rows:
        return np.zeros(0, np.int32)
    together = np.stack(rows, 1)
    longer = count % lanes or lanes
    return np.concatenate([together[:longer].ravel(), together[longer:, :-1].ravel()])


def load_signal(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: str,
) -> SignalCoder:
    """Build the coder from the contents of a weights file; it computes with NumPy on any `device`.

    Raises `WeightsMismatchError`, `TableError`.
    """
    return SignalCoder(arrays, read_config(metadata, SignalConfig), weights_hash)
