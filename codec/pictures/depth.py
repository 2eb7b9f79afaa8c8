"""Scaling samples from one bit depth to another: 0 stays 0, and white stays white."""

from __future__ import annotations

import numpy as np

from bitstream.arrays import SampleArray, Uint8Array, Uint16Array
from bitstream.limits import BIT_DEPTHS

_AT_ONCE = 2**20  # samples: a 32-bit copy of a whole large picture might not fit in memory


def peak_of(bit_depth: int) -> int:
    """The value of white: 2^bit_depth − 1."""
    return (1 << bit_depth) - 1


def carried_depth(bits: int) -> int:
    """The smallest bit depth of the format, 8, 10, 12 or 16, that holds `bits`, 1 .. 16."""
    return min(depth for depth in BIT_DEPTHS if depth >= bits)


def rescale(samples: SampleArray, bits: int, new_bits: int) -> Uint16Array:
    """Scale samples from `bits` to `new_bits`, 1 .. 16 each: uint16 of the same shape.

    samples   uint8 or uint16, 0 .. 2^bits − 1, which is white

    The result is v · (2^new_bits − 1) / (2^bits − 1), rounded exactly to the nearest integer; ties
    cannot occur. Scaling to more bits and back changes nothing.
    """
    peak, new_peak = peak_of(bits), peak_of(new_bits)
    if bits == new_bits:
        return samples.astype(np.uint16, copy=False)
    if samples.size > _AT_ONCE and len(samples) > 1:
        whole = np.empty(samples.shape, np.uint16)
        rows = max(1, _AT_ONCE // samples[0].size)
        for top in range(0, len(samples), rows):
            whole[top : top + rows] = rescale(samples[top : top + rows], bits, new_bits)
        return whole
    # At most 65535² + 65535 / 2, which fits 32 bits.
    scaled = samples.astype(np.uint32)
    scaled *= np.uint32(new_peak)
    scaled += np.uint32(peak // 2)
    scaled //= np.uint32(peak)
    return scaled.astype(np.uint16)


def to_eight_bits(samples: SampleArray, bits: int) -> Uint8Array:
    """Samples of 8 .. 16 bits, rounded to the nearest of 256 levels: uint8."""
    if bits > 8:
        samples = rescale(samples, bits, 8)
    return samples.astype(np.uint8, copy=False)
