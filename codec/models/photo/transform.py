"""The linear path: a complete 16×16×3 cosine transform of blocks of pixels.

The transform is the separable DCT-II over rows and columns, times a transform of the colours that
the tune chooses (`COLOURS`), whose first axis is the grey one. Its 768 coefficients are ordered as
the groups of the context need them: the means and slopes of a block first, then the others by the
variance that photographs give them.
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
    # What eyes see of an error is mostly that of green, least that of blue: axes that are
    # orthogonal for squared error leave errors of the coarse ones in green. These bring the bits
    # nearest to the bound (½ log₂ of the product of variances and weights) on 103 photographs of
    # CID22, with the weights that the visual error gives small errors in all directions of colour.
    # Grey pictures have the same coefficients as in the other tune, and no colour.
    grey = np.full(3, 1 / np.sqrt(3))
    return np.stack([grey, [0.841, -0.285, -0.570], [-0.138, 0.372, -1.410]])


COLOURS = tuple(_colours(tune) for tune in TUNES)
"""What a unit of each of the three coefficients adds to (red, green, blue), by the tune."""


@lru_cache(maxsize=1)
def channel_order() -> Int64Array:
    """Flat index (row frequency, column frequency, colour) of each latent channel: (768,).

    The nine coefficients of row + column frequency ≤ 1 come first: they are nearly all that gains
    from the blocks around. Otherwise the order is that of an isotropic model of photographs:
    variance falls with the frequency, and is an order of magnitude smaller on the two axes of
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
