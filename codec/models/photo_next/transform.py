"""The linear path: a complete 16×16×3 cosine transform of blocks of pixels.

The transform is the separable DCT-II over rows and columns and a 3-point one over the colours, so
that the first axis of colour is the grey one. Its 768 coefficients are ordered by the variance that
photographs give them, low frequencies first, as the context and the groups of channels need them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bitstream.arrays import Float64Array, Int64Array
from codec.models.photo_next.config import COEFFICIENTS, LATENT_STRIDE


def cosine_basis(size: int) -> Float64Array:
    """The orthonormal DCT-II, (frequency, place)."""
    places = (np.arange(size) + 0.5) / size
    basis = np.cos(np.pi * np.arange(size)[:, None] * places) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


@lru_cache(maxsize=1)
def channel_order() -> Int64Array:
    """Flat index (row frequency, column frequency, colour) of each latent channel: (768,).

    By an isotropic model of photographs: variance falls with the frequency, and is an order of
    magnitude smaller on the two axes of colour difference.
    """
    u, v, colour = np.meshgrid(*(np.arange(n) for n in (16, 16, 3)), indexing="ij")
    variance = np.array([1.0, 0.08, 0.04])[colour] / (1.0 + u**2 + v**2) ** 1.3
    return np.argsort(-variance.ravel(), kind="stable")


@lru_cache(maxsize=1)
def filters() -> Float64Array:
    """The whole transform as a matrix, (768 channels, 768 places (row, column, colour))."""
    space, colour = cosine_basis(LATENT_STRIDE), cosine_basis(3)
    matrix = np.einsum("ui,vj,wc->uvwijc", space, space, colour).reshape(COEFFICIENTS, -1)
    return np.ascontiguousarray(matrix[channel_order()])
