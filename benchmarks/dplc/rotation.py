"""Decoded vectors that are distributed as N(0, I) exactly, for any quantiser.

Both sides draw an orthogonal matrix Q, uniformly among all (Haar), for each vector X ~ N(0, I)::

    X ─ Qᵀ ─► W ─ quantiser ─► f(W) ─ made ‖·‖ ~ χₙ ─ Q ─► X̂

W is N(0, I) whatever Q is, and so independent of Q. Therefore Q turns f(W) to a uniformly random
direction, and a vector with such a direction and an independent length ~ χₙ is N(0, I). With
E[W | f] = f and a mean squared error d, the error is 2(1 − √(1 − d)) per number, apart from the
effect of the lengths: the closed form of the best codec has d = 2^(−2R) here.
"""

from __future__ import annotations

import numpy as np

from bitstream.arrays import Float64Array

TURN_SEED, LENGTH_SEED = 0xCA21, 0xCA22


def turn(vectors: Float64Array, seed: int) -> Float64Array:
    """Q x for vectors float64 (…, count, n), with a different Q for each of the count.

    Q is a product of reflections: the k-th takes a normal vector of n − k numbers to the first axis
    (Stewart 1980). Random signs replace those that the reflections would give.
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

    independent   whether the vectors are independent and identically distributed. Then the longest
                  vector gets the longest of the drawn lengths, and so on; the lengths stay
                  independent, because the ranks of such vectors are a uniformly random permutation.
                  Otherwise the lengths do not depend on the vectors, which adds about 1/n in error
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
