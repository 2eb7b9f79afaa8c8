"""A logarithm in integer arithmetic, alike on every machine."""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Float64Array

UNITS_PER_OCTAVE = 128
"""Of `logarithm`."""


def logarithm(values: Float64Array) -> Float64Array:
    """About 128 log₂(1 + v) of integers v ≥ 0: straight between the powers of two, rounded down."""
    mantissas, exponents = np.frexp(values + 1)
    mantissas *= 2
    mantissas += exponents
    mantissas -= 2
    mantissas *= UNITS_PER_OCTAVE
    return np.floor(mantissas, out=mantissas)
