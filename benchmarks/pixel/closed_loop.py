"""The ideal code length of a simple closed-loop coder with the bound of nearly lossless files."""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Array, Int64Array, Uint8Array

GREEN_FIRST = (1, 0, 2)
_ACTIVITIES = 8
_BITS_PER_USED_SYMBOL = 8


def med_bits(pixels: Uint8Array, max_error: int) -> float:
    """Bits of a closed-loop coder with the median predictor of JPEG-LS and 24 contexts.

    Green is predicted from itself, red from its difference to green, and blue from its difference
    to red. A context is a plane and one of eight activities, |W − NW| + |N − NW| + |NE − N|. The
    result is the entropy of symbols in their contexts, plus 8 bits for every symbol that a context
    uses.
    """
    height, width = pixels.shape[:2]
    planes, step = pixels.transpose(2, 0, 1)[list(GREEN_FIRST)].astype(np.int64), 2 * max_error + 1
    before: Int64Array = np.zeros((height + 1, width + 2), np.int64)
    bits = 0.0
    for plane in planes:
        # With a row above the picture and a column on either side.
        kept = np.full((height + 1, width + 2), 0 if before.any() else 128, np.int64)
        symbols, activities = np.zeros((2, height, width), np.int64)
        for time in range(width + 2 * (height - 1)):
            first, end = max(0, -((width - 1 - time) // 2)), min(height, time // 2 + 1)
            y = np.arange(first, end)
            x = time - 2 * y
            left, above, corner = kept[y + 1, x], kept[y, x + 1], kept[y, x]
            right = np.where(x + 2 <= width, kept[y, x + 2], above)
            smooth = left + above - corner
            low, high = np.minimum(left, above), np.maximum(left, above)
            reference = before[y + 1, x + 1]
            predicted = np.clip(np.clip(smooth, low, high) + reference, 0, 255)
            symbol = (plane[y, x] - predicted + max_error) // step
            value = np.clip(predicted + step * symbol, 0, 255)
            kept[y + 1, x + 1] = value - reference
            kept[y[x == 0] + 1, 0] = kept[y[x == 0], 1]  # left of a row: the pixel above its first
            symbols[y, x] = symbol
            activities[y, x] = abs(left - corner) + abs(above - corner) + abs(right - above)
        levels = np.floor(np.log2(activities / step + 0.25) + 2).clip(0, _ACTIVITIES - 1)
        bits += _entropy_bits(symbols, levels)
        before = kept + before
    return bits


def _entropy_bits(symbols: Int64Array, contexts: Array) -> float:
    bits = 0.0
    for context in np.unique(contexts):
        _, counts = np.unique(symbols[contexts == context], return_counts=True)
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
        bits += _BITS_PER_USED_SYMBOL * len(counts)
    return bits
