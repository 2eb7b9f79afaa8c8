"""A source whose optimal reproduction is known and lies on a manifold: a sphere in Gaussian noise.

X = Y + N(0, s² I) with Y uniform on a sphere of R^d.  Under ρ(x, y) = ½‖x − y‖² and the multiplier
λ = 1/s², the loss  E −log ∫ e^{−λρ(X, y)} ν(dy)  is the cross entropy of X under ν * N(0, s² I) up
to a constant, so it is minimal for ν = law of Y (Yang, Eckstein, Nutz and Mandt, "Estimating the
rate-distortion function by Wasserstein gradient descent", NeurIPS 2023):

    L(1/s²) = h(X) − (d/2) log(2π s²),      D = d s²/2,      R = I(X; Y) = L − d/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float64Array
from codec.rate_distortion.array_checks import finite_array, positive_number, whole_number
from codec.rate_distortion.known.linear_decoder import gauss_legendre, panel_rule

NODES = 256
"""Gauss-Legendre nodes for the angle; the integrand is cut where it is below e^-60 of its peak."""
PANEL_NODES = 24
REACH = 12.0
"""Standard deviations of the noise up to which the radius is integrated."""


def log_sphere_moment(dim: int, concentration: Float64Array) -> Float64Array:
    """log E exp(κ u₁) for u uniform on the unit sphere of R^dim, at each κ ≥ 0 of an array (m,).

    This is the normaliser of the von Mises-Fisher law, Γ(d/2) (2/κ)^{d/2−1} I_{d/2−1}(κ), as the
    integral over the angle of  e^{κ cos φ} sin^{d−2} φ.
    """
    kappa = finite_array("concentration", concentration, 1)
    cut = 60.0 + 3 * dim
    # e^{κ(cos φ − 1)} is negligible where κ(1 − cos φ) > cut.
    lowest_cosine = np.maximum(-1.0, 1 - cut / np.maximum(kappa, 1e-300))
    upper = np.arccos(lowest_cosine)[:, None]
    nodes, weights = gauss_legendre(NODES)
    angle = 0.5 * upper * (nodes + 1)
    # 1 − cos φ by the half-angle formula keeps its digits for small φ.
    terms = -2 * kappa[:, None] * np.sin(angle / 2) ** 2 + (dim - 2) * np.log(np.sin(angle))
    peak = terms.max(axis=1, keepdims=True)
    integral = (0.5 * upper * weights * np.exp(terms - peak)).sum(axis=1)
    log_whole = 0.5 * math.log(math.pi) + math.lgamma((dim - 1) / 2) - math.lgamma(dim / 2)
    moment: Float64Array = kappa + peak[:, 0] + np.log(integral) - log_whole
    return moment


@dataclass(frozen=True)
class DeconvolutionSource:
    """X = Y + N(0, s² I), Y uniform on a sphere in R^dim; ρ is HALF the squared error.

    dim             at least 2
    noise_variance  s², positive
    radius          radius of the sphere, positive
    Raises `UsageError` for other values.
    """

    dim: int = 2
    noise_variance: float = 0.1
    radius: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", whole_number("dim", self.dim, at_least=2))
        for name in ("noise_variance", "radius"):
            object.__setattr__(self, name, positive_number(name, getattr(self, name)))

    @property
    def beta(self) -> float:
        """λ = 1/s², the multiplier at which the optimum is known."""
        return 1 / self.noise_variance

    def _shifted_surprise(self, norms: Float64Array) -> Float64Array:
        """−log p(x) − (d/2) log(2π s²) at points with these norms, (m,) to (m,)."""
        variance = self.noise_variance
        return (norms**2 + self.radius**2) / (2 * variance) - log_sphere_moment(
            self.dim, self.radius * norms / variance
        )

    def radial_quadrature(self) -> tuple[Float64Array, Float64Array]:
        """Radii t and weights, (m,) each, whose weighted sum of g(t) is E g(‖X‖)."""
        noise = math.sqrt(self.noise_variance)
        low = max(0.0, self.radius - REACH * noise)
        high = self.radius + noise * (math.sqrt(self.dim) + REACH)
        panels = math.ceil((high - low) / noise)
        radii, weights = panel_rule(np.linspace(low, high, panels + 1), PANEL_NODES)
        log_area = (
            math.log(2) + 0.5 * self.dim * math.log(math.pi) - math.lgamma(self.dim / 2)
        ) + (self.dim - 1) * np.log(radii)
        log_scale = 0.5 * self.dim * math.log(2 * math.pi * self.noise_variance)
        log_density = -self._shifted_surprise(radii) - log_scale
        return radii, weights * np.exp(log_area + log_density)

    def optimal_loss(self) -> float:
        """L(1/s²) = h(X) − (d/2) log(2π s²), nats, by quadrature over the radius."""
        radii, weights = self.radial_quadrature()
        return math.fsum(weights * self._shifted_surprise(radii))

    def sample(self, count: int, seed: int) -> Float64Array:
        """Draw `count` points x, float64 (count, dim)."""
        count = whole_number("count", count, at_least=1)
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((count, self.dim))
        directions *= self.radius / np.linalg.norm(directions, axis=1, keepdims=True)
        noise = rng.standard_normal((count, self.dim))
        return directions + math.sqrt(self.noise_variance) * noise
