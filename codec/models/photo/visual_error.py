"""The visual error: a differentiable version of SSIMULACRA2.

SSIMULACRA2 (J. Sneyers, Cloudinary; published with libjxl) compares two pictures in a perceptual
colour space at six scales. At each scale and in each channel it computes three maps: structural
dissimilarity, edges that were added ("artifacts") and edges that were lost; and the mean and
4-norm of each map. Their weighted sum E is 0 for equal pictures and grows with the visible error;
the published score is 100 − 10·p(E)^0.6276 with a cubic p. Training minimises E itself.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from codec.system.missing_extra import extra_needed_by

SCALES = 6
SMALLEST_SIDE = 8  # pixels; scales below this are skipped, as they say nothing about a crop

VISUAL_SCALE = 8.0
"""Brings E to the scale of 255²·MSE, so that λ keeps its meaning: for JPEG files of qualities 20 to
85, the latter is 6.7 to 10.7 times as large as E."""

_OPSIN = ((0.30, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342269, 0.20476744, 0.55180987))
_OPSIN_BIAS = 0.0037930732552754493
_C2 = 0.0009
_BLUR_SIGMA, _BLUR_RADIUS = 1.5, 5


def visual_error(original: Tensor, decoded: Tensor, *, frugal: bool = False) -> Tensor:
    """E of each picture: (n,), at least 0.

    original, decoded   sRGB (n, 3, h, w) in [0, 1]; values outside are clipped.
                        Only `decoded` gets a gradient
    frugal              recompute the maps of a channel in the backward pass instead of keeping
                        all of them: less memory, but more time

    Raises `MissingExtraError` without the library ssimulacra2, which has the published weights.
    """
    weights = _weights().to(original.device)
    a, b = _linear(original.float().detach()), _linear(decoded.float())
    total = torch.zeros(len(a), device=a.device)
    for scale in range(SCALES):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        if min(a.shape[2:]) < SMALLEST_SIDE:
            break
        seen_a, seen_b = _xyb(a), _xyb(b)
        if not frugal:
            total = total + _scale_error(seen_a, seen_b, weights[:, scale])
            continue
        for channel in (slice(c, c + 1) for c in range(3)):
            parts = seen_a[:, channel], seen_b[:, channel], weights[channel, scale]
            total = total + checkpoint(_scale_error, *parts, use_reentrant=False)
    return total


def _scale_error(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """The contribution to E of channels (n, c, h, w) at one scale: (n,).

    weights   (c, map, norm)
    """
    total = torch.zeros(len(a), device=a.device)
    for map_, weight in zip(_maps(a, b), weights.unbind(1), strict=True):
        mean = map_.mean((2, 3))
        # The constant avoids an infinite slope of the root where nothing differs; a larger one
        # would change the score by points.
        norm = (map_.square().square().mean((2, 3)) + 1e-16) ** 0.25
        total = total + mean @ weight[:, 0] + norm @ weight[:, 1]
    return total


def score(error: Tensor) -> Tensor:
    """The SSIMULACRA2 score of errors E: 100 for equal pictures, 90 visually lossless."""
    e = 0.9562382616834844 * error
    p = 2.326765642916932 * e - 0.020884521182843837 * e**2 + 6.248496625763138e-05 * e**3
    return 100 - 10 * p.clamp(min=0) ** 0.6276336467831387


@lru_cache(maxsize=1)
def _weights() -> Tensor:
    """The published weights as (channel, scale, map, norm); the library has norm before map."""
    with extra_needed_by("the error that eyes see"):
        from ssimulacra2.ssimulacra2 import weights
    return torch.tensor(weights, dtype=torch.float32).view(3, SCALES, 2, 3).transpose(2, 3)


def _linear(srgb: Tensor) -> Tensor:
    srgb = srgb.clamp(0, 1)
    # `where` differentiates both branches, so the power is kept within its own range.
    curved = ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb <= 0.04045, srgb / 12.92, curved)


def _xyb(linear: Tensor) -> Tensor:
    """The opponent colours of JPEG XL, shifted so that all are positive."""
    mix = torch.tensor(_OPSIN, device=linear.device)
    cones = torch.einsum("ij,njhw->nihw", mix, linear) + _OPSIN_BIAS
    long, medium, short = (cones ** (1 / 3) - _OPSIN_BIAS ** (1 / 3)).unbind(1)
    x, y = (long - medium) / 2, (long + medium) / 2
    return torch.stack([14 * x + 0.42, y + 0.01, short - y + 0.55], 1)


def _maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Structural dissimilarity, added edges and lost edges, each (n, 3, h, w), at least 0."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a = _blurred(a * a) - mean_a * mean_a
    var_b = _blurred(b * b) - mean_b * mean_b
    covariance = _blurred(a * b) - mean_a * mean_b
    shift = mean_a - mean_b
    structure = (1 - shift * shift) * (2 * covariance + _C2) / (var_a + var_b + _C2)
    edges = (1 + (b - mean_b).abs()) / (1 + (a - mean_a).abs()) - 1
    return (1 - structure).clamp(min=0), edges.clamp(min=0), (-edges).clamp(min=0)


def _blurred(x: Tensor) -> Tensor:
    """Gaussian blur by two products with band matrices: faster on a CPU than convolutions."""
    height, width = x.shape[2:]
    return _blur_matrix(height).to(x.device) @ (x @ _blur_matrix(width).to(x.device).T)


@lru_cache(maxsize=32)
def _blur_matrix(size: int) -> Tensor:
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    kernel = torch.exp(-0.5 * (offsets / _BLUR_SIGMA) ** 2)
    rows = F.pad(torch.eye(size)[:, None], (_BLUR_RADIUS, _BLUR_RADIUS), mode="reflect")
    return F.conv1d(rows, (kernel / kernel.sum()).view(1, 1, -1))[:, 0].T.contiguous()
