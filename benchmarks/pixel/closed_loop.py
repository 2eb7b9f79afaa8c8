"""Ideal code lengths of simpler coders with the bound of nearly lossless files, to compare with.

Both count the entropy of symbols under static contexts that are fitted to the picture, and 8 bits
for every symbol that a context uses; no file is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitstream.arrays import Array, Float64Array, Int64Array, Uint8Array

GREEN_FIRST = (1, 0, 2)
_ACTIVITIES = 8
_BITS_PER_USED_SYMBOL = 8
_BLOCK, _MARGIN, _RIDGE = 24, 8, 10.0

PLACES = {
    "C": (0, 0), "W": (0, -1), "N": (-1, 0), "NW": (-1, -1), "NE": (-1, 1), "WW": (0, -2),
    "NN": (-2, 0), "NNE": (-2, 1), "NWW": (-1, -2), "E": (0, 1), "S": (1, 0),
}  # fmt: skip
WEIGHED: Sequence[Sequence[tuple[int, str]]] = (
    ((0, "W"), (0, "N"), (0, "NE"), (0, "WW"), (0, "NN"), (0, "NNE"), (0, "NWW")),
    ((1, "W"), (1, "N"), (1, "NE"), (0, "C"), (0, "W"), (0, "N"), (0, "NE")),
    ((2, "W"), (2, "N"), (0, "C"), (0, "N"), (1, "C"), (1, "W"), (1, "N")),
)
"""What the model `pixel` weighs."""


def med_bits(pixels: Uint8Array, max_error: int) -> float:
    """Bits of a closed loop with the median predictor of JPEG-LS, and 24 contexts.

    Green is predicted from itself, red from its difference to green, blue from that to red. A
    context is a plane and one of eight activities, |W − NW| + |N − NW| + |NE − N|.
    """
    height, width = pixels.shape[:2]
    planes, step = pixels.transpose(2, 0, 1)[list(GREEN_FIRST)].astype(np.int64), 2 * max_error + 1
    before: Int64Array = np.zeros((height + 1, width + 2), np.int64)
    bits = 0.0
    for plane in planes:
        # A row above the picture, and a column on either side.
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
            kept[y[x == 0] + 1, 0] = kept[y[x == 0], 1]  # to the left of a row: what lies above
            symbols[y, x] = symbol
            activities[y, x] = abs(left - corner) + abs(above - corner) + abs(right - above)
        levels = np.floor(np.log2(activities / step + 0.25) + 2).clip(0, _ACTIVITIES - 1)
        bits += _entropy_bits(symbols, levels)
        before = kept + before
    return bits


def least_squares_bits(
    pixels: Uint8Array, max_error: int, photo: Uint8Array | None = None
) -> float:
    """Bits of least squares over blocks of 24 pixels, with a decoded photograph or without.

    Without, a pixel is predicted from the seven decoded ones that `pixel` weighs. With it, from
    these and from the photograph: at the pixel, left and right of it, above and below it; and the
    same of the planes before. Weights are those that fit a block and its surroundings best, which
    a decoder does not know; so are they with the photograph, of which they are five more.
    Contexts are the symbols around, the activity, of what was decoded or of the photograph, and the
    symbol of the plane before.
    """
    planes = _planes(pixels)
    base = None if photo is None else _planes(photo)
    step = 2 * max_error + 1
    decoded, bits = planes, 0.0
    # First from the pixels themselves, to know about what a decoder will have, then from that.
    for _ in range(3 if max_error else 1):
        found, bits = [], 0.0
        before: Int64Array = np.zeros(planes.shape[1:], np.int64)
        for number, plane in enumerate(planes):
            features, start = _features(decoded, base, number)
            predicted = np.rint(start + _fitted(features, plane - start)).clip(0, 255)
            symbols = np.rint((plane - predicted) / step).astype(np.int64)
            found.append((predicted + step * symbols).clip(0, 255))
            activity = _gradients(decoded[number])
            if base is not None:
                photo_plane = base[number]
                activity = 2 * np.abs(photo_plane - predicted)
                for place in ("W", "N", "E", "S"):
                    activity += np.abs(_at(photo_plane, place) - photo_plane)
            contexts = 8 * _around(np.abs(symbols)) + _levels(activity / step, 8, 0.25)
            bits += _entropy_bits(symbols, 3 * contexts + np.minimum(before, 2))
            before = np.abs(symbols)
        decoded = np.stack(found)
    return bits


def _planes(pixels: Uint8Array) -> Float64Array:
    planes: Float64Array = pixels.transpose(2, 0, 1)[list(GREEN_FIRST)].astype(np.float64)
    return planes


def _at(plane: Float64Array, place: str) -> Float64Array:
    """What every pixel has at a place beside it; edges are repeated."""
    down, right = PLACES[place]
    height, width = plane.shape
    padded = np.pad(plane, 2, mode="edge")
    found: Float64Array = padded[2 + down : 2 + down + height, 2 + right : 2 + right + width]
    return found


def _features(
    decoded: Float64Array, base: Float64Array | None, plane: int
) -> tuple[list[Float64Array], Float64Array]:
    smooth = [(3 * _at(p, "W") + 3 * _at(p, "N") - 2 * _at(p, "NW")) / 4 for p in decoded]
    features = [_at(decoded[p], place) - smooth[p] for p, place in WEIGHED[plane]]
    start = smooth[plane]
    before = range(plane)
    if plane:
        start = start + np.mean([decoded[p] - smooth[p] for p in before], axis=0)
    if base is not None:
        pairs = [[(_at(p, a) + _at(p, b)) / 2 for a, b in ("CC", "WE", "NS")] for p in base]
        features += [part - smooth[plane] for part in pairs[plane]]
        if plane:
            at, cross = np.mean(
                [(pairs[p][0] - smooth[p], (pairs[p][1] + pairs[p][2]) / 2 - smooth[p])
                 for p in before],
                axis=0,
            )  # fmt: skip
            features += [at, cross]
    return features, start


def _fitted(features: Sequence[Float64Array], target: Float64Array) -> Float64Array:
    """The target by least squares, block by block."""
    whole = np.stack(features, axis=-1)
    predicted = np.zeros_like(target)
    height, width = target.shape
    for top in range(0, height, _BLOCK):
        for left in range(0, width, _BLOCK):
            around = np.s_[
                max(0, top - _MARGIN) : top + _BLOCK, max(0, left - _MARGIN) : left + _BLOCK
            ]
            block = np.s_[top : top + _BLOCK, left : left + _BLOCK]
            a, b = whole[around].reshape(-1, whole.shape[-1]), target[around].ravel()
            weights = np.linalg.solve(a.T @ a + _RIDGE * np.eye(a.shape[1]), a.T @ b)
            predicted[block] = whole[block] @ weights
    return predicted


def _gradients(plane: Float64Array) -> Float64Array:
    left, above, right, corner = (_at(plane, place) for place in ("W", "N", "NE", "NW"))
    return np.abs(left - corner) + np.abs(above - corner) + np.abs(right - above)


def _around(magnitudes: Int64Array) -> Int64Array:
    """Levels of the symbols that were decoded around."""
    shares = {"W": 2, "N": 2, "NE": 1, "NW": 1, "WW": 1, "NN": 1}
    bounded = np.minimum(magnitudes, 8).astype(np.float64)
    mean = np.zeros(magnitudes.shape)
    for place, share in shares.items():
        mean += share / 8 * _at(bounded, place)
    return _levels(mean, 7, 0.1)


def _levels(values: Float64Array, count: int, least: float) -> Int64Array:
    """Half octaves from `least` on, 0 .. count − 1."""
    octaves = np.log2(values / least + 1)
    levels: Int64Array = np.floor(2 * octaves).clip(0, count - 1).astype(np.int64)
    return levels


def _entropy_bits(symbols: Int64Array, contexts: Array) -> float:
    bits = 0.0
    for context in np.unique(contexts):
        _, counts = np.unique(symbols[contexts == context], return_counts=True)
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
        bits += _BITS_PER_USED_SYMBOL * len(counts)
    return bits
