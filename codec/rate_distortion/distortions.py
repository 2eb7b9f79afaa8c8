"""Distortions d(x, x̂) between images, one value for each image, differentiable in x̂.

A distortion has up to four parts:

    targets = prepare(images)             once: what is compared (pixels, or their features)
    d       = distortion(targets, x̂)      (n,) values
    targets = simulate(x̂, β, generator)   draw from p(target | x̂) ∝ exp(−β d), if that is a density
    r       = residual(targets, x̂)        (n, m) with d = ‖r‖² + constant, if d is such a sum

A certificate needs `simulate`, and a local reference, which is fitted by Gauss-Newton steps, needs
`residual`.  All squared errors have both, MS-SSIM has neither.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from bitstream.errors import UsageError
from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.rate_distortion.distortions"):
    import torch
    import torch.nn.functional as F
    from torch import nn


BLOCK_VALUES = 2**22
"""Values in a block of decoded images, or of pairs of images and codes."""


@runtime_checkable
class Distortion(Protocol):
    """What `rd_curve` requires of a distortion; the other parts are optional."""

    name: str
    convention: str

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """d ≥ 0 (or a negative log-likelihood): (n, …) and (n, …) to (n,)."""


class SumSquaredError:
    """Σ (x − x̂)² over all samples of an image, the distortion of Huang et al. (2020)."""

    name = "sum of squared errors"
    convention = "sum over all samples of an image, pixels 0..1"

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """(n, …) and (n, …) to (n,)."""
        return (targets - reconstructions).square().flatten(1).sum(1)

    def simulate(
        self, reconstructions: torch.Tensor, beta: float, generator: torch.Generator
    ) -> torch.Tensor:
        """x̂ + N(0, I / 2β), whose density is proportional to exp(−β d)."""
        return reconstructions + _noise_like(reconstructions, generator) / math.sqrt(2 * beta)

    def residual(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """x̂ − x, (n, m): d is the square of its length."""
        return (reconstructions - targets).flatten(1)


class MeanSquaredError:
    """Mean of (x − x̂)² over the samples of an image; β multiplies the mean, not the sum."""

    name = "mean squared error"
    convention = "mean over all samples of an image, pixels 0..1"

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """(n, …) and (n, …) to (n,)."""
        return (targets - reconstructions).square().flatten(1).mean(1)

    def simulate(
        self, reconstructions: torch.Tensor, beta: float, generator: torch.Generator
    ) -> torch.Tensor:
        """x̂ + N(0, n I / 2β) for images of n samples."""
        samples = reconstructions[0].numel()
        noise = _noise_like(reconstructions, generator)
        return reconstructions + noise * math.sqrt(samples / (2 * beta))

    def residual(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """(x̂ − x) / √m, (n, m)."""
        difference = (reconstructions - targets).flatten(1)
        return difference / math.sqrt(difference.shape[1])


class GaussianNLL:
    """−log N(x; x̂, variance·I) in nats: at β = 1 the curve's tangent is −log p(x).

    variance   scalar decoder variance, in squared pixel units 0..1
    """

    name = "Gaussian negative log-likelihood"

    def __init__(self, variance: float) -> None:
        if not (variance > 0 and math.isfinite(variance)):
            raise UsageError(f"a decoder variance of {variance}: expected a positive number")
        self.variance = variance
        self.convention = f"nats per image, variance {variance:g}, pixels 0..1"

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """(n, …) and (n, …) to (n,)."""
        squared = (targets - reconstructions).square().flatten(1)
        constant = 0.5 * squared.shape[1] * math.log(2 * math.pi * self.variance)
        return squared.sum(1) / (2 * self.variance) + constant

    def simulate(
        self, reconstructions: torch.Tensor, beta: float, generator: torch.Generator
    ) -> torch.Tensor:
        """x̂ + N(0, variance / β · I)."""
        noise = _noise_like(reconstructions, generator)
        return reconstructions + noise * math.sqrt(self.variance / beta)

    def residual(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """(x̂ − x) / √(2 variance), (n, m)."""
        return (reconstructions - targets).flatten(1) / math.sqrt(2 * self.variance)


class DeepFeatureDistance:
    """Squared distance ‖φ(x) − φ(x̂)‖² between the features of a frozen network.

    features   any torch module or function, images (n, …) to features (n, …); a module is copied
               and put in evaluation mode
    label      name of the network, for the result file
    """

    name = "squared distance of deep features"

    def __init__(self, features: nn.Module, label: str) -> None:
        if isinstance(features, nn.Module):
            features = copy.deepcopy(features).eval().requires_grad_(requires_grad=False)
        self.features = features
        self.convention = f"sum over all features of {label}, pixels 0..1"

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """φ(x), computed once."""
        with torch.no_grad():
            features: torch.Tensor = self.features(images)
        return features.detach()

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """Features (n, …) and images (n, …) to (n,)."""
        features: torch.Tensor = self.features(reconstructions)
        return (targets - features).square().flatten(1).sum(1)

    def simulate(
        self, reconstructions: torch.Tensor, beta: float, generator: torch.Generator
    ) -> torch.Tensor:
        """φ(x̂) + N(0, I / 2β): exact in the space of the features."""
        features = self.prepare(reconstructions)
        return features + _noise_like(features, generator) / math.sqrt(2 * beta)

    def residual(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """φ(x̂) − φ(x), (n, m)."""
        features: torch.Tensor = self.features(reconstructions)
        return (features - targets).flatten(1)


class OneMinusMsSsim:
    """1 − MS-SSIM (Wang, Simoncelli and Bovik 2003), pixels 0..1, images (n, c, h, w).

    As in the paper: Gaussian window of 11 pixels with σ = 1.5, five scales; the mean over channels.
    So that small images have a value too, images whose shorter side is below 176 pixels get fewer
    scales, with weights rescaled to sum to one, and those below 11 pixels a smaller window.
    Negative contrast terms count as zero.  The density ∝ exp(−β d) over images has no closed form,
    so there is no certificate.
    """

    name = "1 − MS-SSIM"
    convention = "dimensionless, 0..1, pixels 0..1"
    _weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) twice to (n,)."""
        if targets.ndim != 4:
            raise UsageError(f"MS-SSIM of {tuple(targets.shape)}: expected images (n, c, h, w)")
        side = min(targets.shape[-2:])
        window = _gaussian_window(min(11, side - (side + 1) % 2), targets)
        scales = 1
        while scales < 5 and side >> scales >= len(window):
            scales += 1
        total = sum(self._weights[:scales])
        similarity = torch.ones(targets.shape[:2], device=targets.device)
        for scale in range(scales):
            luminance, contrast = _ssim_terms(targets, reconstructions, window)
            last = scale == scales - 1
            term = (luminance * contrast if last else contrast).flatten(2).mean(2)
            # The derivative of the power is infinite at zero.
            similarity = similarity * term.clamp(min=1e-6) ** (self._weights[scale] / total)
            if not last:
                targets = F.avg_pool2d(targets, 2)
                reconstructions = F.avg_pool2d(reconstructions, 2)
        return 1 - similarity.mean(1)


def pairwise_distortions(
    distortion: Distortion, targets: torch.Tensor, reconstructions: torch.Tensor
) -> torch.Tensor:
    """d of every target with every reconstruction: (n, …) and (m, …) to float64 (n, m).

    Squared errors use a matrix product in float64; any other distortion is computed for the pairs
    in blocks.
    """
    if type(distortion) in (SumSquaredError, MeanSquaredError):
        left, right = targets.flatten(1).double(), reconstructions.flatten(1).double()
        centre = left.mean(dim=0)
        left, right = left - centre, right - centre
        squares = left.square().sum(1)[:, None] + right.square().sum(1) - 2 * left @ right.T
        scale = 1.0 if type(distortion) is SumSquaredError else 1 / left.shape[1]
        return scale * squares.clamp_min(0)
    rows = max(1, BLOCK_VALUES // max(1, reconstructions.numel()))
    blocks = []
    for part in torch.split(targets, rows):
        made = reconstructions.repeat(len(part), *([1] * (reconstructions.ndim - 1)))
        pairs = distortion(part.repeat_interleave(len(reconstructions), dim=0), made)
        blocks.append(pairs.double().reshape(len(part), -1))
    return torch.cat(blocks)


def _gaussian_window(size: int, like: torch.Tensor) -> torch.Tensor:
    offsets = torch.arange(size, device=like.device, dtype=like.dtype) - size // 2
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    return window / window.sum()


def _ssim_terms(
    x: torch.Tensor, y: torch.Tensor, window: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Luminance and contrast-structure of SSIM at every window inside the image."""
    channels = x.shape[1]
    rows = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)

    def mean(values: torch.Tensor) -> torch.Tensor:
        blurred = F.conv2d(values, rows, groups=channels)
        return F.conv2d(blurred, rows.transpose(2, 3), groups=channels)

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_x + variance_y + c2)


def _noise_like(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)


def find_distortion(distortion: str | Distortion) -> Distortion:
    """The distortion of a name ("sse", "mse", "ms-ssim"), or the object itself.

    `GaussianNLL` and `DeepFeatureDistance` have parameters and are given as objects.  Raises
    `UsageError` for an unknown name or an object that is no distortion.
    """
    simple: dict[str, Callable[[], Distortion]] = {
        "sse": SumSquaredError,
        "mse": MeanSquaredError,
        "ms-ssim": OneMinusMsSsim,
    }
    if isinstance(distortion, str):
        if distortion not in simple:
            raise UsageError(
                f"distortion {distortion!r} is unknown; expected {', '.join(simple)}, "
                "or an object such as GaussianNLL(variance)"
            )
        return simple[distortion]()
    if not isinstance(distortion, Distortion):
        raise UsageError(
            f"a distortion of type {type(distortion).__name__} was given: expected a callable with "
            "name and convention"
        )
    return distortion
