"""The Fréchet distance of two sets of features: how alike two sets of images are as a whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitstream.errors import UsageError

Float64Array = npt.NDArray[np.float64]


def frechet_distance(first: Float64Array, second: Float64Array) -> float:
    """Squared 2-Wasserstein distance of Gaussians fitted to features (n, k) and (m, k).

        |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)

    after Dowson and Landau (1982). Few samples make it too large: the covariances are estimates.
    Raises `UsageError` for other shapes or fewer than two samples.
    """
    for values in (first, second):
        if values.ndim != 2 or len(values) < 2 or values.shape[1] != first.shape[1]:
            raise UsageError(
                f"features of shapes {first.shape} and {second.shape}, "
                "expected (n, k) and (m, k) with two samples at least"
            )
    covariance, other = (np.atleast_2d(np.cov(v, rowvar=False)) for v in (first, second))
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # Symmetric, so that rounding makes no eigenvalue complex.
    joint = np.linalg.eigvalsh(root @ other @ root)
    shift = first.mean(0) - second.mean(0)
    traces = np.trace(covariance) + np.trace(other) - 2 * np.sqrt(np.maximum(joint, 0)).sum()
    return float(shift @ shift + traces)
