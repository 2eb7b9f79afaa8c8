"""A logarithm in integer arithmetic, the same on every machine."""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Float64Array

UNITS_PER_OCTAVE = 128
"""Units of the results of `logarithm`."""


def logarithm(values: Float64Array) -> Float64Array:
    """About 128 log₂(1 + v) for integers v ≥ 0: linear between powers of two, rounded down."""
    mantissas, exponents = np.frexp(values + 1)
    mantissas *= 2
    mantissas += exponents
    mantissas -= 2
    mantissas *= UNITS_PER_OCTAVE
    return np.floor(mantissas, out=mantissas)
