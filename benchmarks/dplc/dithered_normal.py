"""Entropy-coded dithered quantisation of a standard normal variable, and its decoders.

    K = round(X / Δ + U),  U ~ U(−½, ½) known to both sides,  centre Y = Δ (K − U)

Y is distributed as X + Δ·U′ with independent U′ ~ U(−½, ½), and H(K | U) = I(X; Y) (Ziv 1985).
Given Y, X lies within Δ/2 of it.  Three decoders::

    mean        X̃ = E[X | Y]               least squared error, but its distribution is too narrow
    random      X̂ ~ law of X given Y       has the distribution of X; twice the least error (Blau
                                           and Michaeli 2018, theorem 2)
    transport   X̂ = Φ⁻¹(F_Y(Y))            has the distribution of X, by a monotone map of X̃, which
                                           is optimal: its error is the least plus W₂²(X̃, X)
                                           (Freirich, Michaeli and Meir 2021, theorem 1)

All integrals over Y are sums over an even grid, exact to many digits for smooth integrands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.coding.prior_tables import normal_distribution, normal_quantile
from codec.rate_distortion.array_checks import positive_number

REACH = 9.0
"""Standard deviations beyond which a normal variable is ignored: 10⁻¹⁸ of its mass."""
GRID = 20_001
LARGEST_STEP = 64.0
SMALLEST_STEP = 2.0**-10


@dataclass(frozen=True)
class DitheredNormal:
    """X ~ N(0, 1) quantised with a step Δ, 2⁻¹⁰ .. 64. Raises `UsageError` for another one."""

    step: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", positive_number("step", self.step))
        if not SMALLEST_STEP <= self.step <= LARGEST_STEP:
            raise UsageError(f"step {self.step:g}: expected {SMALLEST_STEP:g} .. {LARGEST_STEP:g}")

    @classmethod
    def of_rate(cls, rate_bits: float) -> DitheredNormal:
        """The quantiser with this rate, by bisection. Raises `UsageError` if there is none."""
        low, high = math.log(SMALLEST_STEP), math.log(LARGEST_STEP)
        most, least = cls(SMALLEST_STEP).rate_bits, cls(LARGEST_STEP).rate_bits
        if not least <= rate_bits <= most:
            raise UsageError(f"rate {rate_bits:g}: expected {least:.2g} .. {most:.3g} bits")
        for _ in range(50):
            middle = (low + high) / 2
            if cls(math.exp(middle)).rate_bits > rate_bits:
                low = middle
            else:
                high = middle
        return cls(math.exp((low + high) / 2))

    @property
    def rate_bits(self) -> float:
        """H(K | U) = I(X; Y) in bits."""
        _, mass, weight = self._grid()
        return float(-(weight * np.log2(mass)).sum())

    @property
    def least_distortion(self) -> float:
        """E Var(X | Y): the squared error of the decoder `mean`."""
        centre, _, weight = self._grid()
        return 1 - float((weight * self.mean(centre) ** 2).sum())

    @property
    def random_distortion(self) -> float:
        return 2 * self.least_distortion

    @property
    def transport_distortion(self) -> float:
        centre, _, weight = self._grid()
        moved = (self.mean(centre) - self.transport(centre)) ** 2
        return self.least_distortion + float((weight * moved).sum())

    def mean(self, centre: Float64Array) -> Float64Array:
        """E[X | Y] at centres of any shape."""
        # On the negative side, where differences of distribution functions keep their digits.
        side = -np.abs(centre)
        low, high = side - self.step / 2, side + self.step / 2
        found: Float64Array = (_density(low) - _density(high)) / self._mass(centre)
        return np.where(centre > 0, -found, found)

    def random(self, centre: Float64Array, uniform: Float64Array) -> Float64Array:
        """A sample of X given Y; uniform are numbers in (0, 1) in the shape of the centres."""
        side = -np.abs(centre)
        low = normal_distribution(side - self.step / 2)
        found = normal_quantile(low + uniform * self._mass(centre))
        return np.where(centre > 0, -found, found)

    def transport(self, centre: Float64Array) -> Float64Array:
        """Φ⁻¹(F_Y(Y)) at centres of any shape."""
        # F_Y is Φ averaged over the cell; the integral of Φ is tΦ(t) + φ(t).
        side = -np.abs(centre)
        low, high = side - self.step / 2, side + self.step / 2
        inside = np.maximum((_integral(high) - _integral(low)) / self.step, np.finfo(float).tiny)
        found = normal_quantile(inside)
        return np.where(centre > 0, -found, found)

    def _mass(self, centre: Float64Array) -> Float64Array:
        """P(X within Δ/2 of the centre)."""
        side = -np.abs(centre)
        found = normal_distribution(side + self.step / 2) - normal_distribution(
            side - self.step / 2
        )
        return np.maximum(found, np.finfo(float).tiny)

    def _grid(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Centres, masses of their cells, and P(Y near the centre), which add up to 1."""
        reach = REACH + self.step / 2
        centre = np.linspace(-reach, reach, GRID)
        mass = self._mass(centre)
        return centre, mass, mass * (centre[1] - centre[0]) / self.step


def _density(values: Float64Array) -> Float64Array:
    return np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)


def _integral(values: Float64Array) -> Float64Array:
    return values * normal_distribution(values) + _density(values)
