"""Composite Gauss-Legendre quadrature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from codec.rate_distortion.array_checks import FloatArray

gauss_legendre: Callable[[int], tuple[FloatArray, FloatArray]] = np.polynomial.legendre.leggauss
"""Nodes and weights on [−1, 1], float64 (count,) each."""


def panel_rule(edges: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of `count` nodes on each panel between rising `edges` (panels + 1,)."""
    nodes, weights = gauss_legendre(count)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (nodes + 1)).ravel(), (half * weights).ravel()
