"""Adaptive coding of binary decisions ("answers").

The probability of an answer, 0 or 1, comes from the counts of earlier answers in the same context
since the start of the tile, so no weights are needed. Everything is integer arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from bitstream.arrays import Int32Array
from bitstream.errors import PayloadError
from bitstream.tables import TOTAL, TableSet
from codec.coding.exact_logarithm import logarithm

ODDS_PER_OCTAVE = 4
_OCTAVES = 10
_ROOTS = (65536, 77936, 92682, 110218)
"""2^(i/4) in units of 2⁻¹⁶."""
EVEN = ODDS_PER_OCTAVE * _OCTAVES
"""The table of equally likely answers."""
COUNT_LIMIT = 1000
"""When a context has counted more answers than this, both of its counts are halved."""

Answer = Callable[[Int32Array, Int32Array | None], Int32Array]
"""From the tables of bits, and the bits if known (encoder), to the bits: int32 (n,) each."""


@functools.cache
def answer_tables() -> TableSet:
    """Tables of answers 0 and 1 with the odds 2^(i/4), i = −40 .. 40."""
    frequencies = []
    for number in range(-EVEN, EVEN + 1):
        octave, root = divmod(number, ODDS_PER_OCTAVE)
        odds = _ROOTS[root] << (octave + _OCTAVES)
        one = TOTAL * odds // (odds + (1 << (16 + _OCTAVES)))
        frequencies += [TOTAL - 1 - one, one, 1]
    count = len(frequencies) // 3
    return TableSet(
        frequencies=np.array(frequencies, np.int32),
        starts=np.arange(0, 3 * count + 1, 3, dtype=np.int32),
        minimums=np.zeros(count, np.int32),
    )


class Answers:
    """Adaptive probabilities of answers in a number of contexts.

    answer   codes bits; an encoder passes them, a decoder passes None
    """

    def __init__(self, answer: Answer, contexts: int) -> None:
        self._answer = answer
        self._counts = np.zeros((2, contexts), np.int32)

    def ask(self, contexts: Int32Array, bits: Int32Array | None) -> Int32Array:
        """Code one bit for each context given, and count the answers. Raises `PayloadError`.

        Without contexts nothing is coded.
        """
        if not contexts.size:
            return np.zeros(0, np.int32)
        ones, zeros = logarithm(2 * self._counts[::-1, contexts].astype(np.float64))
        odds = (ones - zeros).astype(np.int32) >> 5
        found = self.code(np.clip(odds, -EVEN, EVEN) + EVEN, bits)
        np.add.at(self._counts, (found, contexts), 1)
        full = contexts[self._counts[:, contexts].sum(axis=0) > COUNT_LIMIT]
        self._counts[:, full] = self._counts[:, full] >> 1
        return found

    def code(self, tables: Int32Array, bits: Int32Array | None) -> Int32Array:
        """Code one bit for each table given. Raises `PayloadError`."""
        found = self._answer(tables, bits)
        if found.min() < 0 or found.max() > 1:
            raise PayloadError(
                "an answer that is neither 0 nor 1 was decoded: the payload is damaged, or it was "
                "written with another model"
            )
        return found
