"""Decoded vectors that have the law N(0, I) exactly, whatever quantiser is between.

Both sides draw an orthogonal matrix Q, uniformly among all (Haar), for each vector X ~ N(0, I)::

    X ─ Qᵀ ─► W ─ quantiser ─► f(W) ─ made ‖·‖ ~ χₙ ─ Q ─► X̂

W is N(0, I) whatever Q is, and so independent of it. Then Q turns f(W) to every direction with
equal chance, and a vector of such a direction and of a length ~ χₙ that is independent of it is
N(0, I). With E[W | f] = f and a mean squared error d, the error is 2(1 − √(1 − d)) a number, but
for the lengths: the closed form of the best codec has d = 2^(−2R) there.
"""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Float64Array

TURN_SEED, LENGTH_SEED = 0xCA21, 0xCA22


def turn(vectors: Float64Array, seed: int) -> Float64Array:
    """Q x of each of some vectors, float64 (…, count, n), with a Q for each of the count.

    Products of reflections: the k-th takes a normal vector of n − k numbers to the first axis
    (Stewart 1980). Random signs stand for those that would come of the reflections.
    """
    turned: Float64Array = vectors * _signs(vectors, seed)
    for k in reversed(range(vectors.shape[-1] - 1)):
        _reflect(turned[..., k:], seed, k)
    return turned


def turn_back(vectors: Float64Array, seed: int) -> Float64Array:
    """Qᵀ x, see `turn`."""
    turned: Float64Array = vectors.copy()
    for k in range(vectors.shape[-1] - 1):
        _reflect(turned[..., k:], seed, k)
    turned *= _signs(vectors, seed)
    return turned


def _signs(vectors: Float64Array, seed: int) -> Float64Array:
    count, size = vectors.shape[-2:]
    rng = np.random.default_rng([TURN_SEED, seed, size])
    return rng.choice(np.array([1.0, -1.0]), (count, size))


def _reflect(part: Float64Array, seed: int, number: int) -> None:
    rng = np.random.default_rng([TURN_SEED, seed, number])
    axis = rng.standard_normal(part.shape[-2:], dtype=np.float32).astype(np.float64)
    axis[:, 0] += np.copysign(np.linalg.norm(axis, axis=1), axis[:, 0])
    axis *= np.sqrt(2 / np.einsum("ij,ij->i", axis, axis))[:, None]
    part -= np.einsum("...ij,ij->...i", part, axis)[..., None] * axis


def with_normal_lengths(vectors: Float64Array, seed: int, *, independent: bool) -> Float64Array:
    """The vectors (count, n) with lengths drawn from χₙ; their directions stay.

    independent   of one another are the vectors, and have one law. Then the longest gets the
                  longest of the drawn lengths, and so on, which leaves the lengths independent:
                  ranks of independent vectors are a permutation without preference. Elsewhere
                  lengths have nothing to do with the vectors, at the price of about 1/n in error.
    """
    rng = np.random.default_rng([LENGTH_SEED, seed])
    count, size = vectors.shape
    drawn, norms = np.sqrt(rng.chisquare(size, count)), np.linalg.norm(vectors, axis=1)
    if independent:
        lengths = np.empty(count)
        lengths[np.lexsort((rng.random(count), norms))] = np.sort(drawn)
    else:
        lengths = drawn
    scaled: Float64Array = vectors * (lengths / norms)[:, None]
    return scaled
