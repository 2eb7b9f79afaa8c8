"""Bjøntegaard delta rate: how many percent more or fewer bits for the same PSNR or SSIMULACRA2.

      log R                           log rate of both curves as a function of dB, interpolated;
        │      reference ╱            the mean gap over the shared interval of dB, turned back
        │             ╱  ╱ test       into a ratio, is the BD-rate:
        │          ╱▒▒╱
        │       ╱▒▒╱                      100 · (10^mean(log₁₀ R_test − log₁₀ R_reference) − 1)
        └──────┴───┴────── dB

G. Bjøntegaard, VCEG-M33 (2001); interpolation by Akima splines after C. Herglotz et al. (2022),
through their library `bjontegaard`.

Convention.  The headline is computed on the mean curve (mean of the pictures' bpp, mean of their
dB).  Beside it stands the mean of the pictures' own BD-rates, over those pictures whose curves
overlap enough.  With `rate_range_bpp` each curve is first cut to that range of its own rate (where
it was measured there), and the integral covers the dB that both cut curves reach.

The two can differ a lot between a codec that is controlled by quality and one that is controlled by
rate: easy pictures raise the mean dB over pictures of equal rate.  Compare like with like.

All of this applies to other metrics as well, with their scores in place of dB.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import MissingExtraError, OverlapError
from codec.rate_distortion.files.curve import OperationalCurve
from codec.rate_distortion.metrics import METRICS

METHODS = ("akima", "pchip")
FEWEST_POINTS = 4
SMALLEST_OVERLAP = 0.3
"""The smallest share of the shorter curve's dB interval that both curves must cover."""

RatePoints = Sequence[tuple[float, float | None]]
"""Operating points as (bits per pixel, dB or score); None if the picture has no score."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class BdInterval:
    """BD-rate of two sets of points, and the interval [low, high] of dB that it was averaged over.

    `overlap` is that interval's share (0..1) of the shorter curve.
    """

    bd_rate_percent: float
    low: float
    high: float
    overlap: float


@dataclass(frozen=True)
class BdRate:
    """BD-rate of `test` against `reference` in percent; negative means fewer bits.

    `bd_rate_percent` belongs to the mean curves, over the interval [low, high] of the metric.
    `per_image_mean_percent` is the mean over the `per_image_count` pictures of `image_count` whose
    own curves overlap enough (None if none do).
    """

    reference: str
    test: str
    data_set: str
    method: str
    rate_range_bpp: tuple[float, float] | None
    bd_rate_percent: float
    low: float
    high: float
    overlap: float
    per_image_mean_percent: float | None
    per_image_count: int
    image_count: int
    metric: str = "psnr"

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`, numbers to 3 digits; without "metric" it is for PSNR."""
        mean = self.per_image_mean_percent
        other = {} if self.metric == "psnr" else {"metric": self.metric}
        unit = "" if other else "_db"
        return {
            **other,
            "reference": self.reference,
            "test": self.test,
            "data_set": self.data_set,
            "method": self.method,
            "rate_range_bpp": None if self.rate_range_bpp is None else list(self.rate_range_bpp),
            "bd_rate_percent": round(self.bd_rate_percent, 3),
            f"low{unit}": round(self.low, 3),
            f"high{unit}": round(self.high, 3),
            "overlap": round(self.overlap, 3),
            "per_image_mean_percent": None if mean is None else round(mean, 3),
            "per_image_count": self.per_image_count,
            "image_count": self.image_count,
        }


def bd_rate_available() -> bool:
    """Whether the library for the interpolation is installed (extra `bench`)."""
    return find_spec("bjontegaard") is not None


def bd_rate_missing() -> MissingExtraError:
    """The error that says how to install this library."""
    return MissingExtraError("the BD-rate", "bjontegaard", "bench")


def efficient_points(points: RatePoints) -> Points:
    """The finite points that no other point beats in both rate and dB, by rising rate.

    A codec's lowest setting is sometimes worse than the next one, but interpolation needs a rising
    curve.
    """
    finite = sorted(
        (rate, -db)
        for rate, db in points
        if db is not None and rate > 0 and math.isfinite(db) and math.isfinite(rate)
    )
    kept: Points = []
    for rate, negative_db in finite:
        if not kept or -negative_db > kept[-1][1]:
            kept.append((rate, -negative_db))
    return kept


def _db_at_rate(log_rate: Callable[[float], Any], points: Points, rate_bpp: float) -> float:
    """Invert the interpolated log₁₀ rate on the curve's own dB interval, clamped to its ends."""
    if rate_bpp <= points[0][0]:
        return points[0][1]
    if rate_bpp >= points[-1][0]:
        return points[-1][1]
    target = math.log10(rate_bpp)
    low_db, high_db = points[0][1], points[-1][1]
    # Forty halvings of any dB interval are finer than the last digit that is ever printed.
    for _ in range(40):
        middle_db = (low_db + high_db) / 2
        if float(log_rate(middle_db)) < target:
            low_db = middle_db
        else:
            high_db = middle_db
    return (low_db + high_db) / 2


def bd_rate_of_points(
    reference: RatePoints,
    test: RatePoints,
    *,
    method: str = "akima",
    rate_range_bpp: tuple[float, float] | None = None,
    smallest_overlap: float = SMALLEST_OVERLAP,
    names: tuple[str, str] = ("reference", "test"),
    unit: str = " dB",
) -> BdInterval:
    """BD-rate between two lists of (bits per pixel, dB or score), in percent.

    names, unit   names of the curves and unit of the second number, for messages

    Raises `MissingExtraError` without the library, `OverlapError` if a curve has fewer than four
    efficient points, lies outside `rate_range_bpp`, or shares less than `smallest_overlap` of the
    shorter dB interval with the other; `UsageError` for an unknown method or an empty range.
    """
    if method not in METHODS:
        raise UsageError(f"unknown interpolation {method!r}; known are {', '.join(METHODS)}")
    if not bd_rate_available():
        raise bd_rate_missing()
    if rate_range_bpp is not None and not 0 < rate_range_bpp[0] < rate_range_bpp[1]:
        raise UsageError(f"rate range {rate_range_bpp} bpp: expected 0 < low < high")
    import bjontegaard

    curves = [efficient_points(reference), efficient_points(test)]
    for name, points in zip(names, curves, strict=True):
        if len(points) < FEWEST_POINTS:
            raise OverlapError(
                f"{name}: {len(points)} usable points, need {FEWEST_POINTS}: measure more settings"
            )
    rates = [[rate for rate, _ in points] for points in curves]
    dbs = [[db for _, db in points] for points in curves]
    with warnings.catch_warnings():
        # The overlap is checked below, by its share of the shorter curve.
        warnings.simplefilter("ignore")
        _, *log_rates = bjontegaard.bd_rate(
            rates[0], dbs[0], rates[1], dbs[1], method,
            require_matching_points=False, interpolators=True, min_overlap=0,
        )  # fmt: skip
    spans = [(points[0][1], points[-1][1]) for points in curves]
    if rate_range_bpp is not None:
        for index, points in enumerate(curves):
            if points[-1][0] <= rate_range_bpp[0] or points[0][0] >= rate_range_bpp[1]:
                raise OverlapError(
                    f"{names[index]}: measured at {points[0][0]:.3f}–{points[-1][0]:.3f} bpp, "
                    f"outside {rate_range_bpp[0]:g}–{rate_range_bpp[1]:g} bpp: "
                    "add settings in that range"
                )
        spans = [
            (
                _db_at_rate(log_rate, points, rate_range_bpp[0]),
                _db_at_rate(log_rate, points, rate_range_bpp[1]),
            )
            for log_rate, points in zip(log_rates, curves, strict=True)
        ]
    low_db = max(span[0] for span in spans)
    high_db = min(span[1] for span in spans)
    overlap = max(0.0, high_db - low_db) / min(high - low for low, high in spans)
    if overlap <= 0 or overlap < smallest_overlap:
        lower, upper = sorted((0, 1), key=lambda index: spans[index])
        raise OverlapError(
            f"{names[0]} covers {spans[0][0]:.2f}–{spans[0][1]:.2f}{unit} and {names[1]} "
            f"{spans[1][0]:.2f}–{spans[1][1]:.2f}{unit}: {overlap:.0%} of the shorter in common, "
            f"need {smallest_overlap:.0%}. Add settings of {names[lower]} at higher rates "
            f"or of {names[upper]} at lower rates"
            + (", or widen the rate range" if rate_range_bpp else "")
        )
    mean_gap = (
        float(log_rates[1].integrate(low_db, high_db))
        - float(log_rates[0].integrate(low_db, high_db))
    ) / (high_db - low_db)
    return BdInterval(100 * (10**mean_gap - 1), low_db, high_db, overlap)


def bd_rate(
    reference: OperationalCurve,
    test: OperationalCurve,
    *,
    metric: str = "psnr",
    method: str = "akima",
    rate_range_bpp: tuple[float, float] | None = None,
    smallest_overlap: float = SMALLEST_OVERLAP,
) -> BdRate:
    """BD-rate of `test` against `reference` by real bytes; −20 means 20 % fewer bits.

    `metric` is what is held equal: "psnr", or "ssimulacra2" or "ms-ssim" if both curves were
    measured with it.  `method` is "akima" or "pchip"; `rate_range_bpp` restricts both curves to a
    range of rates.  Raises `UsageError` unless both were measured on the same pictures (name and
    size), `OverlapError`, with advice on what to add, if the mean curves overlap too little, and
    `MissingExtraError` without the library `bjontegaard`.
    """
    if metric not in METRICS:
        raise UsageError(f"metric {metric!r} is unknown; known are {', '.join(METRICS)}")
    if reference.images != test.images:
        raise UsageError(
            f"{reference.codec} was measured on {len(reference.images)} pictures of "
            f"{reference.data_set}, {test.codec} on {len(test.images)} of {test.data_set}: "
            "measure both on the same pictures"
        )
    curves = (reference, test)
    for curve in curves:
        if all(point.mean_score(metric) is None for point in curve.points):
            raise UsageError(f"{curve.codec} was not measured with {metric}: measure it again")
    unit = METRICS[metric].unit
    compare = partial(
        bd_rate_of_points,
        method=method,
        rate_range_bpp=rate_range_bpp,
        smallest_overlap=smallest_overlap,
        names=(reference.codec, test.codec),
        unit=f" {unit}" if unit else "",
    )
    mean = compare(
        *([(point.mean_bpp, point.mean_score(metric)) for point in one.points] for one in curves)
    )
    per_image: list[float] = []
    for index in range(len(reference.images)):
        own_points = [
            [(point.bpp[index], point.scores(metric)[index]) for point in one.points]
            for one in curves
        ]
        try:
            per_image.append(compare(*own_points).bd_rate_percent)
        except OverlapError:
            continue
    return BdRate(
        reference=reference.codec,
        test=test.codec,
        data_set=reference.data_set,
        method=method,
        rate_range_bpp=rate_range_bpp,
        bd_rate_percent=mean.bd_rate_percent,
        low=mean.low,
        high=mean.high,
        overlap=mean.overlap,
        per_image_mean_percent=math.fsum(per_image) / len(per_image) if per_image else None,
        per_image_count=len(per_image),
        image_count=len(reference.images),
        metric=metric,
    )
