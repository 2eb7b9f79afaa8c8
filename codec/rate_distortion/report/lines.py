"""Curves of generative models as lines to draw: distortion against bits per image.

lines_of_results([ModelResult | Ladder, …]) ──► ModelPicture ──► draw_models, write_page
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bitstream.errors import UsageError
from codec.rate_distortion.ladder.gap_table import GapTable
from codec.rate_distortion.ladder.model_file import AnyModelResult, ModelResult
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import NATS_PER_BIT

LOG_SPAN = 8.0
"""From this ratio of the largest to the smallest distortion on, the axis is logarithmic."""

MOST_LABELLED_CEILINGS = 4


@dataclass(frozen=True)
class ModelPoint:
    """One point: distortion, rate and its 95 % interval in bits per image."""

    distortion: float
    rate_bits: float
    low_bits: float
    high_bits: float
    certified: bool


@dataclass(frozen=True)
class ModelLine:
    """Points of one curve or rung by rising distortion; `kind` as of `Rung`."""

    label: str
    kind: str
    points: tuple[ModelPoint, ...]

    @property
    def distortion(self) -> tuple[float, ...]:
        """Distortion of each point."""
        return tuple(point.distortion for point in self.points)

    @property
    def rate_bits(self) -> tuple[float, ...]:
        """Rate of each point in bits per image."""
        return tuple(point.rate_bits for point in self.points)

    @property
    def certified(self) -> tuple[bool, ...]:
        """Whether each point may be relied on."""
        return tuple(point.certified for point in self.points)


@dataclass(frozen=True)
class Ceiling:
    """The largest rate that some method can report, bits per image."""

    name: str
    rate_bits: float


@dataclass(frozen=True)
class ModelPicture:
    """Everything that is drawn on one pair of axes; distortions are all of one convention."""

    lines: tuple[ModelLine, ...]
    ceilings: tuple[Ceiling, ...]
    distortion_name: str
    convention: str
    title: str

    @property
    def distortion_label(self) -> str:
        """Text of the distortion axis: the name, then sum or mean, then the range."""
        return f"{self.distortion_name} ({self.convention})"

    def distortion_span(self) -> tuple[float, float]:
        """Smallest and largest distortion of all points."""
        values = [value for line in self.lines for value in line.distortion]
        return min(values), max(values)

    @property
    def is_logarithmic(self) -> bool:
        """Whether the distortions cover so wide a range that their axis is logarithmic."""
        low, high = self.distortion_span()
        return low > 0 and high / low >= LOG_SPAN

    def distortion_limits(self) -> tuple[float, float]:
        """Ends of the distortion axis, a little outside the points."""
        low, high = self.distortion_span()
        if self.is_logarithmic:
            margin = (high / low) ** 0.03
            return low / margin, high * margin
        margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        return low - margin, high + margin

    def position(self, distortion: float) -> float:
        """Where a distortion lies on its axis: 0 at the left end, 1 at the right."""
        low, high = self.distortion_limits()
        if self.is_logarithmic:
            return math.log(distortion / low) / math.log(high / low)
        return (distortion - low) / (high - low)

    def rate_limit(self) -> float:
        """Upper end of the rate axis in bits per image: above every point, and above intervals
        and ceilings that would not press the points flat."""
        highest = max(point.rate_bits for line in self.lines for point in line.points)
        tops = [point.high_bits for line in self.lines for point in line.points]
        tops = [min(top, 1.3 * highest) for top in tops]
        tops += [one.rate_bits for one in self.ceilings if one.rate_bits < 2 * highest]
        return 1.1 * max(tops) or 1.0


def lines_of_results(results: Sequence[AnyModelResult], *, title: str = "") -> ModelPicture:
    """What to draw for curves and ladders together.

    Names of models are added to those of rungs where there are several models; equal names get a
    number.  Raises `UsageError` for no curve, a gap table, or results of several conventions.
    """
    named: list[tuple[str, Rung]] = []
    several = len({result.model for result in results}) > 1
    for result in results:
        if isinstance(result, GapTable):
            raise UsageError("a gap table has no curve to draw; give curves and ladders")
        if isinstance(result, ModelResult):
            named.append((result.model, Rung.of_curve(result.curve)))
        else:
            prefix = f"{result.model}: " if several else ""
            named += [(prefix + rung.name, rung) for rung in result.rungs]
    if not named:
        raise UsageError("nothing to draw: no curve was given")
    conventions = {(rung.distortion_name, rung.convention) for _, rung in named}
    if len(conventions) > 1:
        listed = "; ".join(sorted(f"{name} ({rule})" for name, rule in conventions))
        raise UsageError(f"curves of several distortions cannot share an axis: {listed}")
    name, convention = conventions.pop()
    return ModelPicture(
        tuple(_distinct(_line(label, rung) for label, rung in named)),
        tuple(_ceilings(rung for _, rung in named)),
        name,
        convention,
        title or _title(results),
    )


def _line(label: str, rung: Rung) -> ModelLine:
    columns = zip(
        rung.distortion, rung.rate_nats, rung.rate_low_nats, rung.rate_high_nats, strict=True
    )
    points = [
        ModelPoint(
            distortion, rate / NATS_PER_BIT, low / NATS_PER_BIT, high / NATS_PER_BIT, certified
        )
        for (distortion, rate, low, high), certified in zip(columns, rung.certified, strict=True)
    ]
    return ModelLine(label, rung.kind, tuple(sorted(points, key=lambda p: p.distortion)))


def _distinct(lines: Iterable[ModelLine]) -> list[ModelLine]:
    seen: dict[str, int] = {}
    found = []
    for line in lines:
        seen[line.label] = seen.get(line.label, 0) + 1
        if seen[line.label] > 1:
            line = replace(line, label=f"{line.label} ({seen[line.label]})")
        found.append(line)
    return found


def _ceilings(rungs: Iterable[Rung]) -> list[Ceiling]:
    found: dict[tuple[str, float], Ceiling] = {}
    for rung in rungs:
        if rung.ceiling_nats is not None:
            bits = rung.ceiling_nats / NATS_PER_BIT
            name = rung.ceiling_name or f"ceiling of {rung.name}"
            found[name, round(bits, 6)] = Ceiling(name, bits)
    ordered = sorted(found.values(), key=lambda one: one.rate_bits)
    return [one for one in ordered if math.isfinite(one.rate_bits)][:MOST_LABELLED_CEILINGS]


def _title(results: Sequence[AnyModelResult]) -> str:
    sets = list(dict.fromkeys(result.data_set for result in results))
    models = list(dict.fromkeys(result.model for result in results))
    counts = {
        result.curve.images if isinstance(result, ModelResult) else result.images
        for result in results
    }
    images = f" ({counts.pop()} images)" if len(counts) == 1 else ""
    head = f"{models[0]} on " if len(models) == 1 else ""
    return f"{head}{', '.join(sets)}{images}"
