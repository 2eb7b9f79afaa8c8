"""The content of a drawing: lines on one pair of axes, in the same form for codecs and models.

    picture_of_curves([OperationalCurve, …])       rate against a metric          ─┐
    picture_of_results([ModelResult | Ladder, …])  distortion against rate        ─┴► Picture

A `Picture` has everything: figure.py draws it with matplotlib, page.py writes it as SVG.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import reading
from codec.rate_distortion.files.curve import (
    LONGEST_SIDE,
    OperatingPoint,
    OperationalCurve,
    is_number,
)
from codec.rate_distortion.files.result_file import read_json
from codec.rate_distortion.ladder.gap_table import GapTable
from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.model_file import AnyModelResult, ModelResult
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.metrics import METRICS, Metric
from codec.rate_distortion.model_curve import NATS_PER_BIT, NOT_ASKED, NOT_SIMULATED

LOG_SPAN = 8.0
"""The axis is logarithmic from this ratio of the largest to the smallest distortion."""

DASHES: tuple[tuple[float, ...], ...] = ((), (7, 2.5), (7, 2, 1.5, 2), (2.5, 2))
"""Strokes and gaps of lines, in points; each time the colours repeat, the next one is used."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MOST_LABELLED_CEILINGS = 4
MOST_ANCHORS = 8
"""More published curves than this on one picture cannot be told apart."""

RATE_RANGE_BPP = (0.0, 2.0)

SIZE_INCHES = (8.4, 5.4)
UNITS = ("bits", "nats", "bpp")
SMALLEST_NUMBER, LARGEST_NUMBER, SPAN = 1e-100, 1e100, 1e-9
"""Axes end between these numbers, and their ends differ by more than this share of the larger."""

LOG_DECADES = 4.0
"""Most decades of rate that a logarithmic axis shows, since rates fall to 0 at large distortion."""


@dataclass(frozen=True)
class Point:
    """One point: its place, its 95 % interval, and what else a reader wants to know.

    low, high   ends of the interval of y, equal to y if there is none
    certified   whether the point is reliable
    words       a description to read out
    cells       a row of the table
    failures    why it is not certified, if that is known
    """

    x: float
    y: float
    low: float
    high: float
    certified: bool
    words: str
    cells: tuple[str, ...]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """Points by rising x; the subject of the picture is bold, `published` lines are dashed."""

    label: str
    points: tuple[Point, ...]
    bold: bool = False
    published: bool = False

    @property
    def has_intervals(self) -> bool:
        """Whether any point has an interval."""
        return any(point.low < point.high for point in self.points)

    @property
    def stretches(self) -> list[tuple[int, int, bool]]:
        """First and last point of each run of segments with both ends certified, or of others."""
        found: list[tuple[int, int, bool]] = []
        for index in range(len(self.points) - 1):
            certified = self.points[index].certified and self.points[index + 1].certified
            if found and found[-1][2] == certified:
                found[-1] = (found[-1][0], index + 1, certified)
            else:
                found.append((index, index + 1, certified))
        return found


@dataclass(frozen=True)
class Ceiling:
    """The largest y that some method can report; its name says how large it is."""

    name: str
    y: float


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn on one pair of axes.

    Raises `UsageError` for limits of an axis between which no numbers can be told apart.

    names_inside    whether the lines separate at their first points, and have their names there,
                    inside the axes; otherwise the names are at the right, beside the last points
    columns         headings of the table, for `Point.cells`
    size_inches     size of the whole drawing
    notes           sentences about what was measured, for a page
    interval_words  what the intervals are, for the key
    """

    lines: tuple[Line, ...]
    title: str
    x_label: str
    y_label: str
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    columns: tuple[str, ...]
    ceilings: tuple[Ceiling, ...] = ()
    is_logarithmic: bool = False
    is_logarithmic_up: bool = False
    names_inside: bool = False
    size_inches: tuple[float, float] = SIZE_INCHES
    notes: tuple[str, ...] = ()
    interval_words: str = "95 % intervals"

    def __post_init__(self) -> None:
        for (low, high), is_logarithmic in (
            (self.x_limits, self.is_logarithmic),
            (self.y_limits, self.is_logarithmic_up),
        ):
            largest = max(abs(low), abs(high))
            smallest = low if is_logarithmic else largest
            # NaN fails every comparison.
            if not (
                smallest > SMALLEST_NUMBER
                and largest < LARGEST_NUMBER
                and high - low > SPAN * largest
            ):
                raise UsageError(f"numbers from {low:g} to {high:g} cannot be drawn on an axis")

    @property
    def unchecked(self) -> str:
        """Why the accuracy of no point of R_p was checked; empty if some were."""
        points = [point for line in self.lines if line.bold for point in line.points]
        for reason in (NOT_ASKED, NOT_SIMULATED):
            if points and all(reason in point.failures for point in points):
                return reason
        return ""

    @property
    def key(self) -> str:
        """What hollow points, dotted lines, bands and bars mean; empty if there are none."""
        signs = {
            "hollow points": any(not p.certified for line in self.lines for p in line.points),
            "dotted lines": any(not one[2] for line in self.lines for one in line.stretches),
        }
        spans = {
            "bands": any(line.has_intervals and len(line.points) > 1 for line in self.lines),
            "bars": any(line.has_intervals and len(line.points) == 1 for line in self.lines),
        }
        meanings = (
            (signs, "accuracy not checked" if self.unchecked else "not certified"),
            (spans, self.interval_words),
        )
        return " · ".join(
            f"{', '.join(sign for sign, is_there in drawn.items() if is_there)}: {meaning}"
            for drawn, meaning in meanings
            if any(drawn.values())
        )

    def dashes(self, rank: int) -> tuple[float, ...]:
        """Strokes and gaps of the line with that rank."""
        return DASHES[rank // len(COLOURS) % len(DASHES)]

    def across(self, x: float) -> float:
        """Where a point lies along the x axis: 0 at the left end, 1 at the right."""
        low, high = self.x_limits
        if self.is_logarithmic:
            return math.log(x / low) / math.log(high / low)
        return (x - low) / (high - low)

    def up(self, y: float) -> float:
        """Where a point lies along the y axis: 0 at the lower end, 1 at the upper, not beyond."""
        low, high = self.y_limits
        if self.is_logarithmic_up:
            y, low, high = math.log(max(y, low)), math.log(low), math.log(high)
        return min(max((y - low) / (high - low), 0.0), 1.0)


def picture_of_curves(
    curves: Sequence[OperationalCurve],
    *,
    metric: str = "psnr",
    anchors: Sequence[Line] = (),
    labels: Sequence[str] = (),
    title: str = "",
    rate_range_bpp: tuple[float, float] = RATE_RANGE_BPP,
    size_inches: tuple[float, float] = SIZE_INCHES,
) -> Picture:
    """Mean curves of codecs, and published curves, within a range of rates.

    metric    one of `METRICS`; points that were not measured with it are left out
    anchors   published curves, see `lines_of_anchors`
    labels    names of all curves, in their order; by default those of the codecs

    Raises `UsageError` for another number of labels than curves.
    """
    low, high = rate_range_bpp
    shown = [
        replace(line, points=tuple(p for p in line.points if low <= p.x <= high and p.y < math.inf))
        for line in _labelled([*lines_of_curves(curves, metric), *anchors], labels)
    ]
    shown = [line for line in shown if line.points]
    levels = [point.y for line in shown for point in line.points] or [0.0]
    chosen = METRICS[metric]
    return Picture(
        lines=tuple(shown),
        title=title,
        x_label="rate in bits per pixel (whole files)",
        y_label=f"{chosen.label} (RGB, mean of the pictures' {chosen.unit or 'scores'})",
        x_limits=rate_range_bpp,
        y_limits=(math.floor(min(levels)) - 0.5, max(levels) + 0.7),
        columns=(
            "codec", "setting", "bits per pixel", *(one.label for one in _measured_with(curves)),
        ),
        size_inches=size_inches,
    )  # fmt: skip


def lines_of_curves(curves: Sequence[OperationalCurve], metric: str = "psnr") -> list[Line]:
    """All points of mean curves: mean bpp against the mean of the pictures' dB or scores.

    y is NaN for points that were not measured with the metric, and infinite for the PSNR of
    unchanged pictures.  If there are several sets, the set's name is added to the codec's; equal
    names get a number.
    """
    several = len({curve.data_set for curve in curves}) > 1
    columns = _measured_with(curves)
    lines: list[Line] = []
    for curve in curves:
        points = [_codec_point(curve, point, METRICS[metric], columns) for point in curve.points]
        label = f"{curve.codec} · {curve.data_set}" if several else curve.codec
        lines.append(Line(label, tuple(sorted(points, key=lambda p: p.x)), bold=not lines))
    return _distinct(lines)


def _measured_with(curves: Sequence[OperationalCurve]) -> list[Metric]:
    points = [point for curve in curves for point in curve.points]
    return [
        metric
        for metric in METRICS.values()
        if any(point.mean_score(metric.name) is not None for point in points)
    ]


def _codec_point(
    curve: OperationalCurve, point: OperatingPoint, metric: Metric, measured: Sequence[Metric]
) -> Point:
    scores = [point.mean_score(one.name) for one in measured]
    cells = (
        "" if score is None else f"{score:.{one.digits}f}"
        for one, score in zip(measured, scores, strict=True)
    )
    setting = f"{curve.setting_name} {point.setting:g}"
    shown = _measured_point(point.mean_bpp, point.mean_score(metric.name), metric)
    return replace(shown, cells=(setting, f"{point.mean_bpp:.4f}", *cells))


def _measured_point(bpp: float, score: float | None, metric: Metric) -> Point:
    y = math.nan if score is None else score
    words = f"{bpp:.3f} bpp, {y:.{metric.digits - 1}f} {metric.unit or metric.title}"
    return Point(bpp, y, y, y, True, words, ())


def _number(value: Any) -> float:
    if not is_number(value):
        raise ValueError("an entry is not a number")
    return float(value)


def lines_of_anchors(
    path: Path, names: Sequence[str] | None = None, *, metric: str = "psnr"
) -> list[Line]:
    """Published curves from JSON {name: {"bpp": […], "psnr": […]}}, all of them or those named.

    A name may be followed by `=` and the label to show; otherwise the label is the part after the
    last `/`.  Raises `ResultFileError` for another kind of file, `UsageError` for an unknown name,
    or if no names are given and the file has more than 8 curves.
    """
    content = read_json(path)
    chosen_metric = METRICS[metric]
    key = chosen_metric.key
    usable = {
        name: curve
        for name, curve in content.items()
        if isinstance(curve, dict) and "bpp" in curve and key in curve
    }
    if not names and len(usable) > MOST_ANCHORS:
        raise UsageError(
            f"{path}: has {len(usable)} published curves, too many for one picture; "
            f"choose up to {MOST_ANCHORS} by name, such as {next(iter(usable))!r}"
        )
    chosen = [name.partition("=")[::2] for name in names or usable]
    unknown = [name for name, _ in chosen if name not in usable]
    if unknown:
        raise UsageError(f"{path}: has no published curve named {', '.join(unknown)}")
    with reading(f"{path}: a published curve"):
        return [
            Line(
                label or name.rpartition("/")[2],
                tuple(
                    _measured_point(_number(bpp), _number(score), chosen_metric)
                    for bpp, score in zip(usable[name]["bpp"], usable[name][key], strict=True)
                ),
                published=True,
            )
            for name, label in chosen
        ]


def picture_of_results(
    results: Sequence[AnyModelResult],
    *,
    labels: Sequence[str] = (),
    title: str = "",
    unit: str = "bits",
    log_x: bool | None = None,
    log_y: bool = False,
    size_inches: tuple[float, float] = SIZE_INCHES,
) -> Picture:
    """The picture of curves and ladders of generative models together.

    labels        names of all curves, in their order; by default those of the models and rungs
    unit          unit of rates: "bits" or "nats" per image, or "bpp", bits per pixel
    log_x, log_y  logarithmic axes; None takes one if distortions have a large range

    If there are several models, their names are added to those of rungs; equal names get a number.
    Raises `UsageError` for no curve, a gap table, results of several conventions, an unknown unit,
    a logarithmic axis with distortions of 0, bits per pixel if no file gives the size of the
    images, and another number of labels than curves.
    """
    if unit not in UNITS:
        raise UsageError(f"unit {unit!r} is unknown; expected {', '.join(UNITS)}")
    named: list[tuple[str, Rung]] = []
    several = len({result.model for result in results}) > 1
    sets: dict[str, set[str]] = {}
    for result in results:
        sets.setdefault(result.model, set()).add(result.data_set)
    for result in results:
        if isinstance(result, GapTable):
            raise UsageError("a gap table has no curve to draw; give curves and ladders")
        if isinstance(result, ModelResult):
            alone = len(sets[result.model]) == 1
            label = result.model if alone else f"{result.model} · {result.data_set}"
            if not any(map(math.isfinite, result.curve.rate_nats)):
                raise UsageError(f"{label}: no point of the curve has a rate")
            named.append((label, Rung.of_curve(result.curve)))
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
    nats = 1.0 if unit == "nats" else NATS_PER_BIT
    if unit == "bpp":
        nats *= _pixels(results)
    words = {"bits": "bits per image", "nats": "nats per image", "bpp": "bits per pixel"}[unit]
    lines = _labelled([_model_line(label, rung, nats, words) for label, rung in named], labels)
    lines, kept = _without_empty_columns(lines)
    points = [point for line in lines for point in line.points]
    ceilings = _ceilings((rung for _, rung in named), nats, unit)
    low, high = min(point.x for point in points), max(point.x for point in points)
    if log_x and low <= 0:
        raise UsageError("a distortion of 0 has no place on a logarithmic axis")
    is_logarithmic = low > 0 and high / low >= LOG_SPAN if log_x is None else log_x
    if is_logarithmic:
        margin = (high / low) ** 0.03
        x_limits = (low / margin, high * margin)
    else:
        # Numbers that differ only by rounding count as one.
        margin = 0.04 * (high - low) if high - low > SPAN * abs(high) else 0.05 * abs(high) or 1.0
        x_limits = (low - margin, high + margin)
    # Above every point, and above those intervals and ceilings that would not flatten the points.
    highest = max(point.y for point in points)
    if highest < 0:
        raise UsageError("all rates are negative: nothing to draw")
    tops = [highest, *(min(point.high, 1.3 * highest) for point in points)]
    tops += [one.y for one in ceilings if one.y < 2 * highest]
    y_limits = (0.0, 1.1 * max(tops) or 1.0)
    if log_y:
        smallest = min((point.y for point in points if point.y > 0), default=1.0)
        lowest = max(smallest, highest / 10**LOG_DECADES)
        y_limits = (lowest / 1.2, 1.2 * max(*tops, lowest))
    return Picture(
        lines=tuple(lines),
        title=title or _title(results),
        x_label=f"{name} ({convention})",
        y_label=f"rate in {words}{'' if unit == 'bpp' else f' (1 bit = {NATS_PER_BIT:.3f} nats)'}",
        x_limits=x_limits,
        y_limits=y_limits,
        columns=("curve", f"{name} ({convention})", *(_COLUMNS[index] for index in kept)),
        ceilings=tuple(ceilings),
        is_logarithmic=is_logarithmic,
        is_logarithmic_up=log_y,
        names_inside=True,
        size_inches=size_inches,
        notes=_notes(results),
        interval_words="95 % intervals at a slope",
    )  # fmt: skip


def _notes(results: Sequence[AnyModelResult]) -> tuple[str, ...]:
    """What `calotype bound` noticed about each model."""
    notes = []
    for result in results:
        notices = result.extra.get("notices") if isinstance(result, ModelResult) else None
        for notice in notices if isinstance(notices, list) else []:
            notes.append(f"{result.model}: {notice}")
    return tuple(notes)


def _pixels(results: Sequence[AnyModelResult]) -> int:
    """Height × width of the images; raises `UsageError` unless all files agree on it."""
    sizes = set()
    for result in results:
        shape: Any = None
        if isinstance(result, ModelResult):
            shape = result.extra.get("image_shape")
        elif isinstance(result, Ladder):
            shape = result.image_shape
        sides = shape[-2:] if isinstance(shape, (list, tuple)) else ()
        is_size = len(sides) == 2 and all(
            type(side) is int and 0 < side < LONGEST_SIDE for side in sides
        )
        sizes.add(math.prod(sides) if is_size else 0)
    if len(sizes) != 1 or 0 in sizes:
        raise UsageError(
            "bits per pixel need one size of images in all files (image_shape, such as [1, 28, 28])"
        )
    return sizes.pop()


_COLUMNS = (
    "bits per image", "95 % interval at this slope", "nats per image", "β", "gap, nats",
    "reference", "certified", "why not certified",
)  # fmt: skip


def _model_line(label: str, rung: Rung, nats: float, unit: str) -> Line:
    """The line of a rung; one `unit` of rate is `nats` nats."""
    points = []
    columns = (rung.rate_nats, rung.rate_low_nats, rung.rate_high_nats)
    for index, x in enumerate(rung.distortion):
        y, low, high = (column[index] / nats for column in columns)
        certified = rung.certified[index]
        words = (
            f"distortion {x:.4g}, {y:.4g} {unit} (95 %: {low:.4g} to {high:.4g})"
            f"{'' if certified else ', not certified'}"
        )
        bits, low_bits, high_bits = (column[index] / NATS_PER_BIT for column in columns)
        failures = rung.failures[index] if rung.failures else ()
        gap = rung.gap_nats[index] if rung.gap_nats else None
        cells = (
            f"{x:.5g}", f"{bits:.3f}", f"{low_bits:.3f} to {high_bits:.3f}",
            f"{bits * NATS_PER_BIT:.3f}",
            f"{rung.beta[index]:.4g}" if rung.beta else "",
            "" if gap is None else f"{gap:.3f}",
            rung.reference[index] if rung.reference else "",
            "yes" if certified else "no", "; ".join(failures),
        )  # fmt: skip
        points.append(Point(x, y, low, high, certified, words, cells, failures))
    return Line(label, tuple(sorted(points, key=lambda p: p.x)), bold=rung.kind == "model")


def _without_empty_columns(lines: Sequence[Line]) -> tuple[list[Line], list[int]]:
    """The lines without cells, after the first, that all points leave empty, and which stay."""
    rows = [point.cells[1:] for line in lines for point in line.points]
    kept = [index for index in range(len(_COLUMNS)) if any(row[index] for row in rows)]

    def shown(point: Point) -> Point:
        cells = (point.cells[0], *(point.cells[1 + index] for index in kept))
        return replace(point, cells=cells)

    return [replace(line, points=tuple(map(shown, line.points))) for line in lines], kept


def _labelled(lines: Sequence[Line], labels: Sequence[str]) -> list[Line]:
    if labels and len(labels) != len(lines):
        names = ", ".join(line.label for line in lines)
        raise UsageError(
            f"labels for {len(labels)} of {len(lines)} curves: give one for each, in the order of "
            f"{names}"
        )
    named = zip(lines, labels or [line.label for line in lines], strict=True)
    return _distinct(replace(line, label=label) for line, label in named)


def _distinct(lines: Iterable[Line]) -> list[Line]:
    found: dict[str, Line] = {}
    for line in lines:
        label, count = line.label, 1
        while label in found:
            count += 1
            label = f"{line.label} ({count})"
        found[label] = replace(line, label=label)
    return list(found.values())


def _ceilings(rungs: Iterable[Rung], nats: float, unit: str) -> list[Ceiling]:
    found: dict[tuple[str, float], Ceiling] = {}
    digits = ".3g" if unit == "bpp" else ".1f"
    for rung in rungs:
        if rung.ceiling_nats is not None:
            height = rung.ceiling_nats / nats
            name = rung.ceiling_name or f"ceiling of {rung.name}"
            found[name, round(height, 6)] = Ceiling(f"{name}: {height:{digits}} {unit}", height)
    ordered = sorted(found.values(), key=lambda one: one.y)
    return [one for one in ordered if math.isfinite(one.y)][:MOST_LABELLED_CEILINGS]


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
