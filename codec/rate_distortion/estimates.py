"""Points of a bound with their intervals, and what else the bounds share.

L(β) ≤ R + βD for every achievable (D, R): each bound reports its rate, its distortion and
their Lagrangian, with 95 % intervals from resampling the images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.errors import MeasurementError

REPLICATES = 1000
LOW_PERCENT, HIGH_PERCENT = 2.5, 97.5
_DRAWS_AT_A_TIME = 2**22


@dataclass(frozen=True)
class BoundPoint:
    """An upper bound at one β: means over images with 95 % bootstrap intervals.

    rate_nats        nats per image
    distortion       in the units of the given distortion
    lagrangian_nats  rate_nats + beta · distortion, nats per image
    The intervals resample images only; with a single image they are NaN (null in JSON).
    """

    beta: float
    rate_nats: float
    rate_low_nats: float
    rate_high_nats: float
    distortion: float
    distortion_low: float
    distortion_high: float
    lagrangian_nats: float
    lagrangian_low_nats: float
    lagrangian_high_nats: float

    @property
    def rate_bits(self) -> float:
        """`rate_nats` in bits per image."""
        return self.rate_nats / math.log(2)


def bootstrap_intervals(
    columns: Float64Array, *, seed: int, replicates: int = REPLICATES
) -> Float64Array:
    """95 % percentile intervals of the column means of (n, c), by resampling rows: (2, c).

    All columns share the resampled rows.  NaN for a single row, which shows no spread.
    """
    count, width = columns.shape
    if count < 2:
        return np.full((2, width), math.nan)
    rng = np.random.default_rng(seed)
    means = np.empty((replicates, width))
    step = max(1, _DRAWS_AT_A_TIME // count)
    for begin in range(0, replicates, step):
        rows = min(step, replicates - begin)
        counts = rng.multinomial(count, np.full(count, 1 / count), size=rows)
        means[begin : begin + rows] = counts @ columns / count
    return np.percentile(means, [LOW_PERCENT, HIGH_PERCENT], axis=0)


def bound_point(
    beta: float, rates_nats: Float64Array, distortions: Float64Array, *, seed: int
) -> BoundPoint:
    """The point for per-image rates and distortions, (n,) each.

    Raises `MeasurementError` if a value is NaN or infinite: a mean over the others would hide the
    images that failed.
    """
    columns = np.stack([rates_nats, distortions, rates_nats + beta * distortions], axis=1)
    odd = int(np.count_nonzero(~np.isfinite(columns).all(axis=1)))
    if odd:
        raise MeasurementError(
            f"at beta {beta:g} the rate or distortion of {odd} of {len(columns)} images is not "
            "finite: check what the decoder returns there, or lower beta"
        )
    # Mean, low and high of the rate, the distortion and the Lagrangian.
    figures = np.stack([columns.mean(axis=0), *bootstrap_intervals(columns, seed=seed)], axis=1)
    return BoundPoint(beta, *figures.ravel().tolist())


def student_quantile_975(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: exact to 1e-6 for 1 to 3 degrees, then by Cornish and
    Fisher's expansion, within 0.3 %.  Raises `UsageError` for less than one degree.
    """
    if degrees < 1:
        raise UsageError(f"an interval from {degrees + 1} values: expected at least 2")
    if degrees < 4:
        return (12.706205, 4.302653, 3.182446)[degrees - 1]
    z = 1.959963984540054
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / float(degrees) ** power for power, term in enumerate(terms))


class PlainResult:
    """A dataclass that is written to JSON field by field."""

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`."""
        content: dict[str, Any] = plain_json(self)
        return content


def plain_json(value: Any) -> Any:
    """Dataclasses, sequences and numbers as JSON types; NaN and ∞ become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
