"""The linear path: a complete 16×16×3 cosine transform of blocks of pixels.

The transform is the separable DCT-II over rows and columns, times a colour transform that depends
on the tune (`COLOURS`) and whose first axis is grey. Its 768 coefficients are ordered as the
groups of the context need them: the means and slopes of a block first, then the others by their
variance in photographs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bitstream.arrays import Float64Array, Int64Array
from codec.models.photo.config import COEFFICIENTS, LATENT_STRIDE, TUNES


def cosine_basis(size: int) -> Float64Array:
    """The orthonormal DCT-II, (frequency, place)."""
    places = (np.arange(size) + 0.5) / size
    basis = np.cos(np.pi * np.arange(size)[:, None] * places) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


def _colours(tune: str) -> Float64Array:
    if tune == "psnr":
        return cosine_basis(3)
    # Eyes are most sensitive to errors in green, least in blue; with axes that are orthogonal for
    # squared error, coarsely quantised axes would leave errors in green. These axes bring the bits
    # closest to the bound (½ log₂ of the product of variances and weights) on 103 photographs of
    # CID22, with the weights that the visual error gives small errors in each colour direction.
    # Grey pictures have the same coefficients as with the other tune, and no colour.
    grey = np.full(3, 1 / np.sqrt(3))
    return np.stack([grey, [0.841, -0.285, -0.570], [-0.138, 0.372, -1.410]])


COLOURS = tuple(_colours(tune) for tune in TUNES)
"""What one unit of each of the three coefficients adds to (red, green, blue), by tune."""


@lru_cache(maxsize=1)
def channel_order() -> Int64Array:
    """Flat index (row frequency, column frequency, colour) of each latent channel: (768,).

    The nine coefficients with row + column frequency ≤ 1 come first: hardly any others gain from
    context in neighbouring blocks. The rest are ordered by an isotropic model of photographs:
    variance falls with frequency, and is an order of magnitude smaller on the two axes of
    colour difference.
    """
    u, v, colour = np.meshgrid(*(np.arange(n) for n in (16, 16, 3)), indexing="ij")
    variance = np.array([1.0, 0.08, 0.04])[colour] / (1.0 + u**2 + v**2) ** 1.3
    return np.lexsort((-variance.ravel(), (u + v > 1).ravel()))


@lru_cache(maxsize=1)
def filters() -> Float64Array:
    """The transform with orthonormal colours, (768 channels, 768 places (row, column, colour))."""
    space, colour = cosine_basis(LATENT_STRIDE), cosine_basis(3)
    matrix = np.einsum("ui,vj,wc->uvwijc", space, space, colour).reshape(COEFFICIENTS, -1)
    return np.ascontiguousarray(matrix[channel_order()])
