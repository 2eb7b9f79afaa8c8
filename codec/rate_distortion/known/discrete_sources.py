"""The rate-distortion function of a finite source and of an empirical sample, with both bounds.

For reproductions with probabilities q, let  Z_i = Σ_j q_j e^{−β d_ij}  and
c_j = Σ_i p_i e^{−β d_ij} / Z_i.  Then for every q

    −Σ p_i log Z_i − log max_j c_j   ≤   L(β) = min_D R(D) + βD   ≤   −Σ p_i log Z_i

(the lower one by Csiszár's dual with u = Z), and q_j ← q_j c_j closes the gap (Blahut and Arimoto,
1972).  The gap log max_j c_j is the stopping criterion and part of every result.

The curve of an EMPIRICAL sample is that of the sample, not of the population: its rate cannot
exceed log n however rich the source is.  Results carry this ceiling and mark the points near it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import (
    finite_array,
    finite_number,
    positive_number,
    rising_betas,
    whole_number,
)

NATS_PER_BIT = math.log(2)
SMALLEST_PROBABILITY = 1e-250
"""q is kept above this so that no quotient overflows float64; both bounds hold for every q."""
BLOCK_ENTRIES = 2**20
"""Entries of a distortion block that is computed at a time, 8 MiB."""
KERNEL_ENTRIES = 2**25
"""With up to this many entries (256 MiB) e^{−βd} is kept between iterations; else recomputed."""
GROWTH_OF_STRIDE, LARGEST_STRIDE = 1.2, 200.0

SquaredError = Literal["sum", "mean"]


@dataclass(frozen=True, eq=False)
class BlahutArimotoPoint:
    """One point of the curve of a finite source.

    rate_nats, distortion    mutual information and distortion of the conditional distribution
                             that was reached: an achievable point, on or above R(D)
    lagrangian_nats          upper bound on L(β)
    lagrangian_low_nats      lower bound on L(β); `lagrangian_low_nats` − βD' is below R(D') at
                             every distortion D'
    gap_nats                 their difference, log max_j c_j
    converged                whether the gap fell below the tolerance
    reproduction_probabilities   q, float64 (m,)
    """

    beta: float
    rate_nats: float
    distortion: float
    lagrangian_nats: float
    lagrangian_low_nats: float
    gap_nats: float
    iterations: int
    converged: bool
    reproduction_probabilities: Float64Array = field(repr=False)

    @property
    def rate_bits(self) -> float:
        """`rate_nats` in bits."""
        return self.rate_nats / NATS_PER_BIT

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`, without the probabilities."""
        names = (item.name for item in fields(self) if item.name != "reproduction_probabilities")
        return {name: getattr(self, name) for name in names}


class _Distortions:
    """Rows of a distortion matrix (n, m), given or computed from samples block by block."""

    def __init__(
        self,
        matrix: Float64Array | None = None,
        samples: Float64Array | None = None,
        reproductions: Float64Array | None = None,
        scale: float = 1.0,
    ) -> None:
        self._matrix, self._samples, self._reproductions = matrix, samples, reproductions
        self._scale = scale
        if matrix is not None:
            self.shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1])
        elif samples is not None and reproductions is not None:
            self.shape = (len(samples), len(reproductions))

    def blocks(self) -> Iterator[tuple[slice, Float64Array]]:
        rows = max(1, BLOCK_ENTRIES // self.shape[1])
        for begin in range(0, self.shape[0], rows):
            part = slice(begin, min(begin + rows, self.shape[0]))
            yield part, self._block(part)

    def _block(self, part: slice) -> Float64Array:
        if self._matrix is not None:
            return self._matrix[part]
        assert self._samples is not None  # the constructor's other case
        assert self._reproductions is not None
        left, right = self._samples[part], self._reproductions
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
        # Rounding may make the expanded square negative if two points coincide.
        block: Float64Array = self._scale * np.maximum(0.0, squares - 2 * left @ right.T)
        return block


class _Kernel:
    """e^{−β(d_ij − min_j d_ij)} by blocks of rows, kept if it fits."""

    def __init__(self, distortions: _Distortions, beta: float) -> None:
        self._distortions, self._beta = distortions, beta
        self.smallest = np.empty(distortions.shape[0])
        self._kept: list[tuple[slice, Float64Array]] | None = None
        for part, block in distortions.blocks():
            self.smallest[part] = block.min(axis=1)
        if math.prod(distortions.shape) <= KERNEL_ENTRIES:
            self._kept = list(self._compute())

    def _compute(self) -> Iterator[tuple[slice, Float64Array]]:
        for part, block in self._distortions.blocks():
            yield part, np.exp(-self._beta * (block - self.smallest[part, None]))

    def __iter__(self) -> Iterator[tuple[slice, Float64Array]]:
        return iter(self._kept) if self._kept is not None else self._compute()


def _iterate(
    p: Float64Array,
    distortions: _Distortions,
    beta: float,
    q: Float64Array,
    tolerance_nats: float,
    max_iterations: int,
) -> BlahutArimotoPoint:
    kernel = _Kernel(distortions, beta)
    if beta == 0:
        # Every q has the same L(0) = 0; the best single reproduction has the lowest distortion.
        costs = sum((p[part] @ block for part, block in distortions.blocks()), np.zeros_like(q))
        q = (np.arange(len(q)) == costs.argmin()).astype(np.float64)
    partition = np.empty_like(p)
    iteration, stride, best = 0, 1.0, math.inf
    plain = q
    while True:
        q = np.maximum(q, SMALLEST_PROBABILITY)
        q = q / q.sum()
        growth = np.zeros_like(q)
        for part, block in kernel:
            partition[part] = block @ q
            growth += (p[part] / partition[part]) @ block
        upper = -float(p @ (np.log(partition) - beta * kernel.smallest))
        # Σ q c = 1, so the largest c is at least 1 except for rounding.
        gap = max(0.0, math.log(growth.max()))
        if gap <= tolerance_nats or iteration == max_iterations:
            break
        iteration += 1
        # Over-relaxed, q ← q c^stride, while that descends; the plain step always does
        # (Salakhutdinov and Roweis, "Adaptive overrelaxed bound optimization", 2003).
        if upper > best and stride > 1:
            q, stride = plain, 1.0
            continue
        best, plain = upper, q * growth
        q, stride = q * growth**stride, min(stride * GROWTH_OF_STRIDE, LARGEST_STRIDE)
    distortion = 0.0
    for (part, exponentials), (_, block) in zip(kernel, distortions.blocks(), strict=True):
        weights = (p[part] / partition[part])[:, None] * exponentials
        distortion += float(((weights * block) @ q).sum())
    moved = q * growth
    drift = float((moved[moved > 0] * np.log(growth[moved > 0])).sum())
    return BlahutArimotoPoint(
        beta=beta,
        rate_nats=max(0.0, upper - beta * distortion - drift),
        distortion=distortion,
        lagrangian_nats=upper,
        lagrangian_low_nats=upper - gap,
        gap_nats=gap,
        iterations=iteration,
        converged=gap <= tolerance_nats,
        reproduction_probabilities=q,
    )


def blahut_arimoto(
    probabilities: npt.ArrayLike,
    distortion_matrix: npt.ArrayLike,
    beta: float,
    *,
    tolerance_nats: float = 1e-8,
    max_iterations: int = 10_000,
) -> BlahutArimotoPoint:
    """The point of slope −β for a source of n letters with m reproductions.

    probabilities      p, (n,), at least 0, summing to 1
    distortion_matrix  d, (n, m), finite
    beta               at least 0, inverse units of d
    Stops when the two bounds on L(β) are within `tolerance_nats`, or after `max_iterations`; the
    result says which.  Raises `UsageError` for shapes or values that do not fit.
    """
    p = finite_array("probabilities", probabilities, 1)
    matrix = finite_array("distortion_matrix", distortion_matrix, 2)
    if matrix.shape[0] != len(p):
        raise UsageError(f"distortion_matrix has {matrix.shape[0]} rows, expected {len(p)}")
    if bool((p < 0).any()) or abs(float(p.sum()) - 1) > 1e-9:
        raise UsageError(f"probabilities sum to {p.sum():.12g}, expected 1 and none negative")
    columns = matrix.shape[1]
    return _iterate(
        p,
        _Distortions(matrix=matrix),
        finite_number("beta", beta, at_least=0),
        np.full(columns, 1 / columns),
        positive_number("tolerance_nats", tolerance_nats),
        whole_number("max_iterations", max_iterations, at_least=0),
    )


@dataclass(frozen=True, eq=False)
class EmpiricalCurve:
    """The curve of these n samples, NOT of the distribution from which they were drawn.

    points        one for each rising β
    samples       n; no rate can exceed `ceiling_nats` = log n
    margin_nats   a point whose rate is within this of the ceiling is marked in `near_ceiling`
    convention    the distortion in words
    """

    points: tuple[BlahutArimotoPoint, ...]
    samples: int
    reproductions: int
    margin_nats: float
    convention: str

    @property
    def ceiling_nats(self) -> float:
        """log min(n, m): with n samples and m reproductions no rate is larger."""
        return math.log(min(self.samples, self.reproductions))

    @property
    def ceiling_bits(self) -> float:
        """`ceiling_nats` in bits."""
        return self.ceiling_nats / NATS_PER_BIT

    @property
    def near_ceiling(self) -> tuple[bool, ...]:
        """For each point whether the sample's size rather than the source may limit its rate."""
        limit = self.ceiling_nats - self.margin_nats
        return tuple(point.rate_nats > limit for point in self.points)

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`."""
        rows = zip(self.points, self.near_ceiling, strict=True)
        return {
            "points": [{**point.to_json(), "near_ceiling": near} for point, near in rows],
            "samples": self.samples,
            "reproductions": self.reproductions,
            "ceiling_nats": self.ceiling_nats,
            "margin_nats": self.margin_nats,
            "convention": self.convention,
        }


def empirical_rate_distortion(
    samples: npt.ArrayLike,
    betas: Iterable[float],
    *,
    reproductions: npt.ArrayLike | None = None,
    squared_error: SquaredError = "sum",
    margin_nats: float = 1.0,
    tolerance_nats: float = 1e-4,
    max_iterations: int = 2000,
) -> EmpiricalCurve:
    """The rate-distortion curve of the empirical measure of `samples`, by Blahut-Arimoto.

    samples         (n, d); each has probability 1/n
    betas           at least 0 and rising, in inverse units of the distortion
    reproductions   (m, d); None takes the samples themselves
    squared_error   sum or mean of squared errors over the d dimensions
    Memory is bounded by `KERNEL_ENTRIES`; above it blocks are recomputed in each iteration.
    Raises `UsageError` for shapes or values that do not fit.
    """
    points = finite_array("samples", samples, 2)
    places = points if reproductions is None else finite_array("reproductions", reproductions, 2)
    if points.shape[1] != places.shape[1]:
        raise UsageError(
            f"samples of {points.shape[1]} and reproductions of {places.shape[1]} dims"
        )
    if squared_error not in get_args(SquaredError):
        raise UsageError(f"squared_error is {squared_error!r}, expected sum or mean")
    margin_nats = finite_number("margin_nats", margin_nats, at_least=0)
    tolerance_nats = positive_number("tolerance_nats", tolerance_nats)
    max_iterations = whole_number("max_iterations", max_iterations, at_least=0)
    # Centred, so that few digits cancel in the expanded square.
    centre = points.mean(axis=0)
    scale = 1.0 if squared_error == "sum" else 1 / points.shape[1]
    distortions = _Distortions(samples=points - centre, reproductions=places - centre, scale=scale)
    count, columns = distortions.shape
    p, uniform = np.full(count, 1 / count), np.full(columns, 1 / columns)
    q, found = uniform, []
    # From high β to low: the support only shrinks, and starting at the last q saves iterations.
    for beta in reversed(rising_betas(betas)):
        point = _iterate(
            p, distortions, beta, 0.99 * q + 0.01 * uniform, tolerance_nats, max_iterations
        )
        q = point.reproduction_probabilities
        found.append(point)
    return EmpiricalCurve(
        points=tuple(reversed(found)),
        samples=count,
        reproductions=columns,
        margin_nats=margin_nats,
        convention=f"{squared_error} of squared errors over {points.shape[1]} dimensions",
    )
