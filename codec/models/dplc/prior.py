"""The learned prior of the bits of `codec.models.dplc.networks`, in integer arithmetic.

A fully visible sigmoid belief network (Neal 1992; Frey 1998): the n bits of a block are coded one
after another, each with a logistic regression on those before it::

    log-odds of bit i   oᵢ = bᵢ + Σ_{j<i} Wᵢⱼ (2 sⱼ − 1)
    its table           the nearest eighth of the log-odds, −16 .. 16: 257 tables

Weights, biases and oᵢ are integers in units of 2⁻¹⁰, and a shift gives the table, so no
floating-point number selects a table.

A payload has n messages: message i is bit i of all blocks, each with its own table. So a decoder
takes n sequential steps, however many blocks there are, and each step is one operation on all
blocks. The sums over earlier bits are matrix products, one panel of bits at a time; only within
a panel they are updated bit by bit. Products of integers held in float64 are exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from bitstream.arrays import Array, BoolArray, Float64Array, Int8Array, Int16Array, Int32Array
from bitstream.errors import PayloadError, UsageError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.coding.bits_back_tables import LOG_ODDS_REACH, bit_tables, log_odds_index
from codec.coding.exact_layers import ACTIVATION_BITS, ACTIVATION_LIMIT
from codec.coding.prior_tables import symbol_bits
from codec.models.weights_files import stored

MAX_BITS = 2**12
"""The most bits of a block. With |b| up to 2²² and |W| up to 2¹⁵ the sums stay below 2²⁸ and fit
int32."""
TABLE_COUNT = 2 * LOG_ODDS_REACH + 1
_PANEL = 64
_VALUES_AT_ONCE = 2**22  # float64 values per matrix product


@dataclass(frozen=True, eq=False)
class ExactBitPrior:
    """The prior of n bits, 1 .. 4096.

    weight  int16 (n (n − 1) / 2,), in units of 2⁻¹⁰: W below its diagonal, row by row
    bias    int32 (n,), in units of 2⁻¹⁰, within ±2²²
    tables  257 tables of two symbols, for the log-odds −16, −16 + 1/8, … 16; see
            `codec.coding.bits_back_tables.bit_tables`

    Raises `WeightsMismatchError` for anything else.
    """

    weight: Int16Array
    bias: Int32Array
    tables: TableSet

    def __post_init__(self) -> None:
        weight, bias = self.weight, self.bias
        if bias.dtype != np.int32 or bias.ndim != 1 or not 1 <= bias.size <= MAX_BITS:
            raise WeightsMismatchError(
                f"prior of bits: bias is {bias.dtype}{list(bias.shape)}, "
                f"expected int32[n], n of 1 .. {MAX_BITS}"
            )
        size = bias.size * (bias.size - 1) // 2
        if weight.dtype != np.int16 or weight.shape != (size,):
            raise WeightsMismatchError(
                f"prior of bits: weight is {weight.dtype}{list(weight.shape)}, "
                f"expected int16[{size}]"
            )
        largest = int(np.abs(bias.astype(np.int64)).max())
        if largest > ACTIVATION_LIMIT:
            raise WeightsMismatchError(
                f"prior of bits: a bias of {largest}, expected at most {ACTIVATION_LIMIT}"
            )
        tables = self.tables
        if len(tables) != TABLE_COUNT or (tables.sizes != 2).any() or tables.minimums.any():
            raise WeightsMismatchError(
                f"prior of bits: {len(tables)} tables, expected {TABLE_COUNT} of the symbols 0, 1"
            )

    @property
    def size(self) -> int:
        """Bits of a block, n."""
        return len(self.bias)

    @classmethod
    def to_fixed_point(cls, weight: Tensor, bias: Tensor) -> ExactBitPrior:
        """Round a trained prior: float weight (n, n), 0 on and above the diagonal; bias (n,).

        Both are log-odds in nats. Raises `WeightsMismatchError` for values that are not finite, or
        weights that do not fit int16, beyond ±31.99.
        """
        wide = weight.detach().cpu().double().numpy()
        offsets = bias.detach().cpu().double().numpy()
        if wide.shape != (len(offsets), len(offsets)) or np.triu(wide).any():
            raise UsageError(
                f"a prior's weight {list(wide.shape)} for a bias of {len(offsets)}: expected a "
                "square matrix that is 0 on and above its diagonal"
            )
        scaled = np.rint(wide[np.tril_indices(len(offsets), -1)] * 2**ACTIVATION_BITS)
        if not np.isfinite(offsets).all() or not (np.abs(scaled) < 2**15).all():
            raise WeightsMismatchError(
                "a prior of bits has values that are not finite, or weights that do not fit the "
                "fixed-point range of int16: train with a larger weight penalty"
            )
        limit = ACTIVATION_LIMIT
        steps = np.clip(np.rint(offsets * 2**ACTIVATION_BITS), -limit, limit)
        return cls(scaled.astype(np.int16), steps.astype(np.int32), bit_tables())

    def to_arrays(self, prefix: str) -> dict[str, Array]:
        """Arrays `<prefix>weight` and `<prefix>bias`; the tables are stored once for all rates."""
        return {f"{prefix}weight": self.weight, f"{prefix}bias": self.bias}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], prefix: str, tables: TableSet
    ) -> ExactBitPrior:
        """The inverse of `to_arrays`. Raises `WeightsMismatchError`."""
        weight, bias = (stored(arrays, prefix + name) for name in ("weight", "bias"))
        # The constructor checks dtypes and shapes.
        return cls(weight, bias, tables)

    def encode(self, bits: BoolArray, encoder: SymbolEncoder) -> None:
        """Encode the n messages of bits (blocks, n)."""
        symbols = bits.T.astype(np.int32)
        for bit, indexes in enumerate(self._indexes(bits)):
            encoder.put(symbols[bit], indexes, self.tables)

    def decode(self, count: int, decoder: SymbolDecoder) -> BoolArray:
        """Decode the bits of `count` blocks: (count, n). Raises `PayloadError`."""
        signs = np.zeros((self.size, count), dtype=np.int8)
        for panel in self._panels():
            log_odds = self._log_odds(panel, signs[: panel.start])
            for row, bit in enumerate(range(panel.start, panel.stop)):
                symbols = decoder.get(log_odds_index(log_odds[row]), self.tables)
                if ((symbols < 0) | (symbols > 1)).any():
                    raise PayloadError(
                        "a symbol that is neither 0 nor 1 was decoded: the payload is damaged"
                    )
                signs[bit] = 2 * symbols - 1
                later = self._dense[bit + 1 : panel.stop, bit, None].astype(np.int32)
                log_odds[row + 1 :] += later * signs[bit]
        return np.ascontiguousarray((signs > 0).T)

    def cost_bits(self, bits: BoolArray) -> Float64Array:
        """Ideal code length of each block of bits (blocks, n) in bits, float64 (blocks,)."""
        symbols, total = bits.T.astype(np.int32), np.zeros(len(bits))
        for bit, indexes in enumerate(self._indexes(bits)):
            total += symbol_bits(symbols[bit], indexes, self.tables)
        return total

    def _indexes(self, bits: BoolArray) -> Iterator[Int32Array]:
        """The table of each block's bit i, int32 (blocks,), for i = 0 .. n − 1."""
        if bits.ndim != 2 or bits.shape[1] != self.size:
            raise UsageError(f"bits {list(bits.shape)}: expected (blocks, {self.size})")
        signs = np.where(bits.T, np.int8(1), np.int8(-1))
        for panel in self._panels():
            # W is zero on and above its diagonal, so all bits of the panel may be passed.
            yield from log_odds_index(self._log_odds(panel, signs[: panel.stop]))

    def _panels(self) -> list[slice]:
        return [slice(at, min(at + _PANEL, self.size)) for at in range(0, self.size, _PANEL)]

    def _log_odds(self, rows: slice, signs: Int8Array) -> Int32Array:
        """b + W t for some bits, int32 (rows, blocks), from the first m bits as ±1, (m, blocks)."""
        weight = self._dense[rows, : len(signs)].astype(np.float64)
        found = np.empty((len(weight), signs.shape[1]), dtype=np.int32)
        width = max(1, _VALUES_AT_ONCE // max(1, len(signs)))
        for begin in range(0, signs.shape[1], width):
            part = slice(begin, begin + width)
            found[:, part] = weight @ signs[:, part].astype(np.float64)
        found += self.bias[rows, None]
        return found

    @cached_property
    def _dense(self) -> Int16Array:
        dense = np.zeros((self.size, self.size), dtype=np.int16)
        dense[np.tril_indices(self.size, -1)] = self.weight
        return dense
