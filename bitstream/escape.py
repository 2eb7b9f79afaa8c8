"""The code for values outside the support of their table: sign and distance by Exp-Golomb.

A table covers ``minimum .. maximum``.  A value outside is folded to a number u >= 0 by its
distance from the nearer end, so that no value has two codes:

    above:  u = 2 (value - maximum - 1)          below:  u = 2 (minimum - 1 - value) + 1

With v = u + 1 the code is the class k = floor(log2 v), 0 .. 33, and then the k bits of v below its
leading one.  The class costs about k + 1 bits, as the unary prefix of an Exp-Golomb code does.
"""

import numpy as np

from bitstream.arrays import Int32Array, Int64Array
from bitstream.errors import PayloadError

CLASSES = 34  # two int32 are at most 2**32 - 1 apart, so v <= 2**33

_INT32 = np.iinfo(np.int32)


def fold(values: Int64Array, minimums: Int64Array, maximums: Int64Array) -> Int64Array:
    """Return v = u + 1 >= 1 for each value; every value must lie outside its support."""
    above = values > maximums
    distance = np.where(above, values - maximums - 1, minimums - 1 - values)
    return 2 * distance + np.where(above, 1, 2)


def unfold(folded: Int64Array, minimums: Int64Array, maximums: Int64Array) -> Int32Array:
    """Invert ``fold``.  Raises PayloadError for a value outside int32."""
    distance, below = np.divmod(folded - 1, 2)
    values = np.where(below == 1, minimums - 1 - distance, maximums + 1 + distance)
    if values.size and (values.min() < _INT32.min or values.max() > _INT32.max):
        raise PayloadError("an escaped value lies outside int32: the payload is damaged")
    return values.astype(np.int32)


def classes(folded: Int64Array) -> Int32Array:
    """Return floor(log2 v) for v >= 1, exactly."""
    # frexp is exact below 2**53: v = m * 2**e with 1/2 <= m < 1.
    exponents: Int32Array = np.frexp(folded.astype(np.float64))[1].astype(np.int32)
    return exponents - 1


def class_frequencies() -> Int32Array:
    """Return int32[34] with sum 2**24: 2**23 - 9, 2**22, 2**21, ..., 2, and eleven times 1."""
    frequencies = [1 << max(23 - k, 0) for k in range(CLASSES)]
    frequencies[0] -= sum(frequencies) - 2**24
    return np.array(frequencies, dtype=np.int32)
