"""Distances between two 8-bit RGB images, and between two sets of images as a whole.

Two images are compared as a viewer sees them: pixels rounded to 8 bits, all three colour channels
with equal weight, values 0..255.  Squared errors are summed in integers, so a stored sum gives the
same PSNR on every machine.  Sets are compared by the features of their images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array, Uint8Array
from bitstream.errors import UsageError
from codec.pictures import similarity
from codec.pictures.similarity import PEAK, SSIMULACRA2_SMALLEST_SIDE
from codec.rate_distortion.array_checks import finite_array
from codec.system.missing_extra import MissingExtraError, missing

MS_SSIM_SMALLEST_SIDE = 161
"""Five scales with an 11-sample window need (11 − 1) · 2⁴ + 1 samples on the shorter side."""


def _check_pair(original: Uint8Array, decoded: Uint8Array) -> None:
    for name, pixels in (("original", original), ("decoded", decoded)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise UsageError(
                f"{name} image: expected uint8 pixels of shape (height, width, 3), "
                f"got {pixels.dtype} {pixels.shape}"
            )
    if original.shape != decoded.shape:
        raise UsageError(
            f"the images differ in size: original {original.shape}, decoded {decoded.shape}"
        )


def squared_error(original: Uint8Array, decoded: Uint8Array) -> int:
    """Sum of squared differences over all samples of two uint8 (h, w, 3) images: an exact integer.

    Raises `UsageError` for another shape or dtype.
    """
    _check_pair(original, decoded)
    return similarity.squared_error(original, decoded)


def mse(original: Uint8Array, decoded: Uint8Array) -> float:
    """Mean squared error over all samples, in squared 8-bit steps (0..255²)."""
    return squared_error(original, decoded) / original.size


def psnr_from_mse_db(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio 10 · log10(255² / MSE) in dB; infinite for equal images."""
    if mean_squared_error == 0:
        return math.inf
    return 10 * math.log10(PEAK * PEAK / mean_squared_error)


def psnr_db(original: Uint8Array, decoded: Uint8Array) -> float:
    """PSNR in dB of two uint8 (h, w, 3) images, over R, G and B together.

    Raises `UsageError` for another shape or dtype.
    """
    return psnr_from_mse_db(mse(original, decoded))


def ms_ssim(original: Uint8Array, decoded: Uint8Array) -> float | None:
    """Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003), mean over R, G, B: 0..1.

    Computed by `pytorch-msssim` on uint8 (h, w, 3) images with its default five scales.  Returns
    None for an image whose shorter side is under 161 pixels, where five scales do not exist.
    Raises `UsageError` for other shapes, `MissingExtraError` without the library.
    """
    _check_pair(original, decoded)
    METRICS["ms-ssim"].require()
    if min(original.shape[:2]) < MS_SSIM_SMALLEST_SIDE:
        return None
    import pytorch_msssim
    import torch

    first, second = (
        torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float()
        for pixels in (original, decoded)
    )
    with torch.inference_mode():
        return float(pytorch_msssim.ms_ssim(first, second, data_range=PEAK))


def ssimulacra2(original: Uint8Array, decoded: Uint8Array) -> float | None:
    """SSIMULACRA2 of uint8 sRGB (h, w, 3) images: 100 for equal ones, 70 and more is high quality.

    Computed by the library of that name, which follows libjxl's tool (Sneyers 2022) except for the
    blur at the borders, so scores of different programs may differ a little.  Not symmetric.  Takes
    several seconds per million pixels.  Returns None for an image with a side under 8 pixels.
    Raises `UsageError` for other shapes, `MissingExtraError` without the library.
    """
    _check_pair(original, decoded)
    METRICS["ssimulacra2"].require()
    if min(original.shape[:2]) < SSIMULACRA2_SMALLEST_SIDE:
        return None
    return similarity.ssimulacra2(original, decoded)


@dataclass(frozen=True)
class Metric:
    """A measure of two 8-bit RGB images that is larger the more alike they are.

    name       name of the measure, such as "ms-ssim"
    title      name in tables and on axes, such as "MS-SSIM"
    unit       such as "dB", or empty
    digits     digits after the decimal point in tables
    measure    function of the original and decoded pixels, uint8 (h, w, 3), that returns a number,
               or None if the images are too small
    modules    the modules of `EXTRAS` that it imports
    """

    name: str
    title: str
    unit: str
    digits: int
    measure: Callable[[Uint8Array, Uint8Array], float | None]
    modules: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name in result files and CSV columns, such as "ms_ssim"."""
        return self.name.replace("-", "_")

    @property
    def label(self) -> str:
        """Title and unit, such as "PSNR in dB"."""
        return f"{self.title} in {self.unit}" if self.unit else self.title

    def missing(self) -> MissingExtraError | None:
        """The error that names the first library that is not installed; None if all are."""
        for module in self.modules:
            error = missing(self.title, module)
            if error is not None:
                return error
        return None

    def require(self) -> None:
        """Raise `MissingExtraError` if a library is not installed."""
        error = self.missing()
        if error is not None:
            raise error


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", "dB", 3, psnr_db),
        Metric("ms-ssim", "MS-SSIM", "", 5, ms_ssim, ("pytorch_msssim", "torch")),
        Metric("ssimulacra2", "SSIMULACRA2", "", 3, ssimulacra2, ("ssimulacra2",)),
    )
}


def find_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of these names, ready to use: PSNR first, then the others in the given order.

    Raises `UsageError` for an unknown name, `MissingExtraError` if a library is missing.
    """
    chosen = dict.fromkeys(("psnr", *names))
    unknown = [name for name in chosen if name not in METRICS]
    if unknown:
        raise UsageError(f"metric {unknown[0]!r} is unknown; known are {', '.join(METRICS)}")
    for name in chosen:
        METRICS[name].require()
    return tuple(METRICS[name] for name in chosen)


def gaussian_wasserstein(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Squared 2-Wasserstein distance of N(0, first) and N(0, second), covariances (k, k).

        tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)

    after Dowson and Landau (1982).  Raises `UsageError` unless both are symmetric and of one shape.
    """
    own, other = (finite_array("covariance", values, 2) for values in (first, second))
    for matrix in (own, other):
        if matrix.shape != (len(own), len(own)) or not np.allclose(matrix, matrix.T):
            raise UsageError(
                f"covariances of shapes {own.shape} and {other.shape}, "
                "expected two symmetric matrices of one shape"
            )
    # The last trace is the sum of the singular values of Σ₁^½ Σ₂^½.
    shared = np.linalg.svd(_square_root(own) @ _square_root(other), compute_uv=False).sum()
    return max(0.0, float(np.trace(own) + np.trace(other) - 2 * shared))


def _square_root(covariance: Float64Array) -> Float64Array:
    values, vectors = np.linalg.eigh(covariance)
    root: Float64Array = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def frechet_distance(first: Float64Array, second: Float64Array) -> float:
    """Squared 2-Wasserstein distance of Gaussians fitted to features (n, k) and (m, k).

    With few samples it is too large, because the covariances are estimates.  Raises `UsageError`
    for other shapes or fewer than two samples.
    """
    for values in (first, second):
        if values.ndim != 2 or len(values) < 2 or values.shape[1] != first.shape[1]:
            raise UsageError(
                f"features of shapes {first.shape} and {second.shape}, "
                "expected (n, k) and (m, k) with two samples at least"
            )
    shift = first.mean(0) - second.mean(0)
    covariances = (np.atleast_2d(np.cov(values, rowvar=False)) for values in (first, second))
    return float(shift @ shift) + gaussian_wasserstein(*covariances)
