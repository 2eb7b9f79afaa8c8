"""One bound on the rate of a model on a data set: a rung of the ladder.

A rung has rates in nats per image at one or several distortions, each with its 95 % interval.  Its
`kind` says what it bounds, and its `convention` what the distortion's numbers mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitstream.errors import UsageError
from codec.rate_distortion.model_curve import NATS_PER_BIT, RDCurve

if TYPE_CHECKING:
    from codec.rate_distortion.estimates import BoundPoint

KINDS: Mapping[str, str] = {
    "lower_bound": "lower bound on R(D) of the data",
    "generator": "upper bound on R(D) with a generator or particles of its own",
    "model": "R_p(D): the least rate with this decoder and this prior",
    "plug_in": "R_p(D) by averaging over codes drawn from the prior",
    "amortised": "rate of an encoder's posterior, E KL(q(z|x) ‖ p(z))",
    "code_length": "ideal length of the quantised code",
    "bytes": "files on disk",
}

_ROWS = ("distortion", "rate_nats", "rate_low_nats", "rate_high_nats", "certified")
_NUMBERS = ("beta", "distortion_high")
_OF_ANNEALING = ("gap_nats", "reference", "failures")


@dataclass(frozen=True)
class Rung:
    """One bound; tuples have one entry for each point.

    name             for labels, such as "R_p by annealing"
    kind             one of `KINDS`
    distortion       mean over the images, in the convention's unit
    rate_nats        mean over the images
    rate_low_nats, rate_high_nats   95 % interval over the images
    certified        whether each point is reliable
    distortion_name, convention     what the distortion compares, sum or mean, range
    beta             −dR/dD at each point, if the method gives it (nats per unit of distortion)
    distortion_high  upper end of the distortion's 95 % interval, if it is known
    ceiling_nats     largest rate that the method can report, such as log n for n images
    ceiling_name     its name, such as "log₂ n, n = 1000"
    gap_nats, reference, failures   of a point of R_p by annealing, as in `RDCurve`: its gap (None
                     if it was not measured), "prior" or "local", and why it is not certified; None
                     for other rungs and those of older files

    Raises `UsageError` for an unknown kind, no points, columns of unequal length, numbers that
    are not finite, or an interval that does not hold its rate.
    """

    name: str
    kind: str
    distortion: tuple[float, ...]
    rate_nats: tuple[float, ...]
    rate_low_nats: tuple[float, ...]
    rate_high_nats: tuple[float, ...]
    certified: tuple[bool, ...]
    distortion_name: str
    convention: str
    beta: tuple[float, ...] | None = None
    ceiling_nats: float | None = None
    ceiling_name: str = ""
    distortion_high: tuple[float, ...] | None = None
    gap_nats: tuple[float | None, ...] | None = None
    reference: tuple[str, ...] | None = None
    failures: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"rung kind {self.kind!r} is unknown; expected {', '.join(KINDS)}")
        numbers = [self._column(name) for name in (*_ROWS, *_NUMBERS)]
        columns = [*numbers, *map(self._column, _OF_ANNEALING)]
        count = len(self.distortion)
        if not count or any(column is not None and len(column) != count for column in columns):
            raise UsageError(f"rung {self.name!r}: needs points, and columns of equal length")
        gaps = [gap for gap in self.gap_nats or () if gap is not None]
        if not all(math.isfinite(value) for column in (*numbers, gaps) for value in column or ()):
            raise UsageError(f"rung {self.name!r}: a number is not finite")
        for low, rate, high in zip(
            self.rate_low_nats, self.rate_nats, self.rate_high_nats, strict=True
        ):
            # Rounding in a file may make them differ in the last digit.
            slack = 1e-9 * max(1.0, abs(rate))
            if not low - slack <= rate <= high + slack:
                raise UsageError(f"rung {self.name!r}: rate {rate} outside its {low} to {high}")

    def _column(self, name: str) -> tuple[Any, ...] | None:
        column: tuple[Any, ...] | None = getattr(self, name)
        return column

    @property
    def coder(self) -> str:
        """The coder of a code length or of files, from a name "CODER: WHAT"; else empty."""
        before, colon, _ = self.name.partition(": ")
        return before if colon and self.kind in ("code_length", "bytes") else ""

    @property
    def rate_bits(self) -> tuple[float, ...]:
        """`rate_nats` in bits per image."""
        return tuple(rate / NATS_PER_BIT for rate in self.rate_nats)

    @classmethod
    def of_curve(cls, curve: RDCurve, *, name: str = "R_p by annealing") -> Rung:
        """The rung of a measured R_p(D); rows without a finite rate are left out.

        If there is no interval, both its ends are the rate.
        """
        kept = [
            index
            for index in range(len(curve.beta))
            if math.isfinite(curve.distortion[index]) and math.isfinite(curve.rate_nats[index])
        ]

        def column(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[index] for index in kept)

        rates = column(curve.rate_nats)
        # A bootstrap interval need not contain the estimate itself.
        lows, highs = (
            tuple(
                further(end, rate) if math.isfinite(end) else rate
                for end, rate in zip(column(ends), rates, strict=True)
            )
            for further, ends in ((min, curve.rate_low_nats), (max, curve.rate_high_nats))
        )
        return cls(
            name, "model", column(curve.distortion), rates, lows, highs, column(curve.certified),
            curve.distortion_name, curve.convention, beta=column(curve.beta),
            gap_nats=tuple(
                gap if math.isfinite(gap) else None for gap in column(curve.bdmc_gap_nats)
            ),
            reference=column(curve.reference), failures=column(curve.failures),
        )  # fmt: skip

    @classmethod
    def of_points(
        cls,
        points: Sequence[BoundPoint],
        *,
        name: str,
        kind: str,
        distortion_name: str,
        convention: str,
        ceiling_nats: float | None = None,
        ceiling_name: str = "",
        certified: Sequence[bool] | None = None,
    ) -> Rung:
        """The rung of upper bounds with intervals; all are certified by default.

        It has no slopes, because points of a bound that is not tight lie on no tangent.
        """
        return cls(
            name=name,
            kind=kind,
            distortion=tuple(p.distortion for p in points),
            rate_nats=tuple(p.rate_nats for p in points),
            # A bootstrap interval need not contain the mean.
            rate_low_nats=tuple(min(p.rate_low_nats, p.rate_nats) for p in points),
            rate_high_nats=tuple(max(p.rate_high_nats, p.rate_nats) for p in points),
            certified=(True,) * len(points) if certified is None else tuple(certified),
            distortion_name=distortion_name,
            convention=convention,
            ceiling_nats=ceiling_nats,
            ceiling_name=ceiling_name,
            distortion_high=tuple(p.distortion_high for p in points),
        )

    @classmethod
    def of_lines(
        cls,
        lines: Sequence[tuple[float, float, float, float]],
        distortion: Sequence[float],
        *,
        name: str,
        distortion_name: str,
        convention: str,
    ) -> Rung:
        """The rung of lower bounds R(D) ≥ a − β D: at each chosen distortion the highest line.

        lines   (β, a, lower end of a's 95 % interval, upper end), nats per image
        """
        rows = []
        for value in distortion:
            beta, at, low, high = max(lines, key=lambda line: line[1] - line[0] * value)
            fall = beta * value
            rate = max(0.0, at - fall)
            # If a line is cut off at zero, its slope is no longer valid.
            slope = beta if low > fall else 0.0
            rows.append((slope, rate, min(rate, max(0.0, low - fall)), max(rate, high - fall)))
        columns = list(zip(*rows, strict=True)) or [()] * 4
        return cls(
            name, "lower_bound", tuple(distortion), columns[1], columns[2], columns[3],
            (True,) * len(rows), distortion_name, convention, beta=columns[0],
        )  # fmt: skip

    @classmethod
    def of_images(
        cls,
        rate_nats: npt.ArrayLike,
        distortion: npt.ArrayLike,
        *,
        name: str,
        kind: str,
        distortion_name: str,
        convention: str,
    ) -> Rung:
        """A rung of one point from the measurements of each image: two arrays (n,), n ≥ 2.

        The intervals are mean ± 1.96 standard errors.  Raises `UsageError` for other shapes.
        """
        rates, distortions = (np.asarray(v, np.float64) for v in (rate_nats, distortion))
        if rates.ndim != 1 or rates.shape != distortions.shape or len(rates) < 2:
            raise UsageError(
                f"rung {name!r}: rates {rates.shape} and distortions {distortions.shape}, "
                "expected (n,) twice with n at least 2"
            )
        margins = [1.96 * v.std(ddof=1) / math.sqrt(len(v)) for v in (rates, distortions)]
        rate, mean = float(rates.mean()), float(distortions.mean())
        return cls(
            name, kind, (mean,), (rate,), (float(rate - margins[0]),), (float(rate + margins[0]),),
            (True,), distortion_name, convention, distortion_high=(float(mean + margins[1]),),
        )  # fmt: skip

    def floor_nats(self, distortion: float) -> float | None:
        """A rate that a convex curve through the certified points' lower ends cannot fall below.

        With `beta` it is the highest supporting line, valid at any distortion.  Without, it comes
        from extending the chords on either side of the two points around; None if there are none.
        """
        points = [
            (self.distortion[i], self.rate_low_nats[i], i)
            for i in range(len(self.distortion))
            if self.certified[i]
        ]
        if self.beta is not None:
            return max(
                (low - self.beta[i] * (distortion - d) for d, low, i in points), default=None
            )
        points.sort()
        for d, low, _ in points:
            if math.isclose(d, distortion, rel_tol=1e-9):
                return low
        right = next((i for i, (d, _, _) in enumerate(points) if d > distortion), 0)
        if right == 0:
            return None
        lines = []
        for first, second in ((right - 2, right - 1), (right, right + 1)):
            if first >= 0 and second < len(points):
                (d1, r1, _), (d2, r2, _) = points[first], points[second]
                lines.append(r1 + (r2 - r1) / (d2 - d1) * (distortion - d1) if d2 > d1 else r1)
        return max(lines, default=None)


def rung_to_json(rung: Rung) -> dict[str, Any]:
    """Plain dict for `json.dumps`, without the convention, which a ladder has only once."""
    shared = ("distortion_name", "convention")
    content: dict[str, Any] = {}
    for item in fields(rung):
        if item.name not in shared:
            content[item.name] = _plain(getattr(rung, item.name))
    return content


def rung_from_json(content: Mapping[str, Any], distortion_name: str, convention: str) -> Rung:
    """Rebuild a rung; raises `TypeError` or `UsageError` for anything else."""
    names = {item.name for item in fields(Rung)}
    values: dict[str, Any] = {
        name: _frozen(value) for name, value in content.items() if name in names
    }
    return Rung(**{**values, "distortion_name": distortion_name, "convention": convention})


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
