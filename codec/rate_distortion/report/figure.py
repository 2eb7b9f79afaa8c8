"""Rate-distortion pictures: SVG, PNG and PDF by matplotlib, or an HTML page without it.

    picture_of_curves, picture_of_results ──► Picture ──► draw_picture(picture, path)

Each line has its name beside it in its own colour, so no legend is needed.  Colours are those of
Okabe and Ito (2008), which colour-blind readers can tell apart, and markers differ as well; once
the colours repeat, lines are dashed.  Lines of models have their names inside, where they separate
at low distortion.  Bands are 95 % intervals.  Points that are not certified are hollow, and the
line segments that join them are dotted; a key below the axes says so.  Published curves and
ceilings are dashed.  In smaller pictures, text and strokes are smaller, but less so than the size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import MissingExtraError
from codec.rate_distortion.files.result_file import write_text
from codec.rate_distortion.report.labels import (
    CEILING_SIZE,
    ceiling_heights,
    place_labels,
    shortened,
    wrapped,
)
from codec.rate_distortion.report.lines import COLOURS, SIZE_INCHES, Line, Picture
from codec.rate_distortion.report.page import page_of
from codec.system.write_file import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#777777"
SUFFIXES = (".svg", ".png", ".pdf", ".html")
FONT_POINTS, SMALLEST_POINTS = 11.0, 6.0
LONGEST_NAME = 0.35
"""Longest name at the right of the axes, as a share of the picture's width."""

WIDER = 1.05
"""Text may be drawn wider than its outlines are, by whole pixels for each character."""

MOST_MARKERS = 24


def plot_available() -> bool:
    """Whether matplotlib is installed (extra `plot`)."""
    return find_spec("matplotlib") is not None


def plot_missing() -> MissingExtraError:
    """The error that says how to install matplotlib."""
    return MissingExtraError("drawing a curve", "matplotlib", "plot")


def draw_picture(picture: Picture, path: Path) -> None:
    """Draw into `path`; the suffix (.svg, .png, .pdf, .html) selects the format.

    HTML is one file without references to others: an interactive picture and a table.  Raises
    `UsageError` for another suffix or a picture without lines, `MissingExtraError` without
    matplotlib (which HTML does not need), `OutputError` if the file cannot be written.
    """
    picture, suffix = _drawable(picture), path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: cannot draw this kind of file; use {', '.join(SUFFIXES)}")
    if not picture.lines:
        low, high = picture.x_limits
        raise UsageError(f"nothing to draw: no curve has a point within {low:g}–{high:g} bpp")
    if suffix == ".html":
        write_text(path, page_of(picture))
        return
    if not plot_available():
        raise plot_missing()
    import matplotlib
    from matplotlib.figure import Figure

    font = font_points(picture.size_inches)
    with matplotlib.rc_context(_settings(font)):
        figure = Figure(figsize=picture.size_inches, layout="constrained")
        axes = figure.add_subplot()
        _set_axes(axes, picture, font)
        colours = _colours(picture)
        for rank, (line, colour) in enumerate(zip(picture.lines, colours, strict=True)):
            # When the colours repeat, the markers change.
            marker = MARKERS[(rank + rank // len(COLOURS)) % len(MARKERS)]
            _draw_line(axes, line, colour, marker, picture.dashes(rank), font / FONT_POINTS)
        width, height = _lay_out(figure, axes, picture, font)
        _draw_ceilings(axes, picture, height, font)
        _draw_labels(axes, picture, colours, (width, height, font))
        file_format = suffix.removeprefix(".")
        metadata: Any = {"Date": None} if file_format == "svg" else {}
        write_atomically(
            path,
            lambda fo: figure.savefig(fo, format=file_format, dpi=150, metadata=metadata),
            force=True,
            make_folders=True,
        )


_UNDRAWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML lacks, and controls; all could come from a name in a result file."""


def _drawable(value: Any) -> Any:
    """The same with such characters written out in all texts: a text, tuple, record or other."""
    if isinstance(value, str):
        return _UNDRAWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), value)
    if isinstance(value, tuple):
        return tuple(map(_drawable, value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: _drawable(getattr(value, part.name)) for part in fields(value)}
        return replace(value, **parts)
    return value


def font_points(size_inches: tuple[float, float]) -> float:
    """The font size for a picture of that size: by the root of its scale, and at least 6 points."""
    scale = min(side / usual for side, usual in zip(size_inches, SIZE_INCHES, strict=True))
    return max(FONT_POINTS * math.sqrt(scale), SMALLEST_POINTS)


def _settings(font: float) -> Any:
    scale = font / FONT_POINTS
    scaled = {
        "axes.labelpad": 4.0, "axes.linewidth": 0.8,
        **{f"{axis}tick.{key}": value for axis in "xy" for key, value in (
            ("major.size", 3.5), ("minor.size", 2.0), ("major.width", 0.8), ("minor.width", 0.6),
            ("major.pad", 3.5),
        )},
    }  # fmt: skip
    return {
        # Text stays text in SVG, and ids do not depend on the time, so equal data gives equal
        # files.  A name with dollar signs is not a formula.
        "svg.fonttype": "none", "svg.hashsalt": "calotype", "text.parse_math": False,
        "font.size": font, **{key: scale * value for key, value in scaled.items()},
    }  # fmt: skip


def _small(font: float) -> float:
    return max(CEILING_SIZE * font, SMALLEST_POINTS)


def _measure(font: float, weight: str = "normal") -> Callable[[str], float]:
    """A function that gives the width of a text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    properties = FontProperties(size=font, weight=weight)

    @cache
    def width(text: str) -> float:
        # An empty path has no extent.
        if not text.strip():
            return 0.0
        return WIDER * float(TextPath((0, 0), text, prop=properties).get_extents().width)

    return width


def _lay_out(figure: Figure, axes: Axes, picture: Picture, font: float) -> tuple[float, float]:
    """Place the axes and the texts around them; returns the axes' width and height in points."""
    whole = 72 * picture.size_inches[0]
    title_font, bold = 1.2 * font, _measure(font, "bold")
    if not picture.names_inside:
        names = [shortened(one.label, LONGEST_NAME * whole, bold) for one in picture.lines]
        room = (max(map(bold, names)) + 1.1 * font) / whole
        engine: Any = figure.get_layout_engine()
        engine.set(rect=(0, 0, 1 - room, 1))
    if picture.title:
        lines = wrapped(picture.title, 0.97 * whole, _measure(title_font, "bold"))
        figure.suptitle("\n".join(lines), x=0.01, ha="left", weight="bold", size=title_font)
    if picture.key:
        small = _small(font)
        fits = _measure(small)(picture.key) <= 0.97 * whole
        parts = [picture.key] if fits else picture.key.split(" · ")
        lines = [line for part in parts for line in wrapped(part, 0.97 * whole, _measure(small))]
        figure.supxlabel("\n".join(lines), x=0.99, ha="right", size=small, color=GREY)
    measure = _measure(font)
    # A text that is too long would take all the room, so its place is kept by an empty line.
    x_label, y_label = [" "], [" "]
    for _ in range(3):  # further lines leave less room
        axes.set_xlabel("\n".join(x_label))
        axes.set_ylabel("\n".join(y_label))
        size = _size_of(figure, axes)
        counts = len(x_label), len(y_label)
        x_label = wrapped(picture.x_label, size[0], measure)
        y_label = wrapped(picture.y_label, size[1], measure)
        if (len(x_label), len(y_label)) == counts:
            break
    axes.set_xlabel("\n".join(x_label))
    axes.set_ylabel("\n".join(y_label))
    # Names have no influence on the place of the axes.
    figure.set_layout_engine("none")
    return size


def _size_of(figure: Figure, axes: Axes) -> tuple[float, float]:
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    return 72 * box.width / figure.dpi, 72 * box.height / figure.dpi


def _colours(picture: Picture) -> list[str]:
    return [
        GREY if line.published else COLOURS[rank % len(COLOURS)]
        for rank, line in enumerate(picture.lines)
    ]


def _set_axes(axes: Axes, picture: Picture, font: float) -> None:
    from matplotlib.ticker import MaxNLocator

    across, up = (72 * side / font for side in picture.size_inches)
    if picture.is_logarithmic:
        axes.set_xscale("log")
        # Over one or two decades, powers of ten alone would leave the axis almost bare.
        low, high = picture.x_limits
        fits = math.log10(high / low) * 3 * 3.5 < across - 8
        _set_logarithmic(axes.xaxis, (1.0, 2.0, 5.0) if high / low < 300 and fits else (1.0,))
    axes.set_xlim(*picture.x_limits)
    if picture.is_logarithmic_up:
        axes.set_yscale("log")
        low, high = picture.y_limits
        _set_logarithmic(axes.yaxis, (1.0, 2.0, 5.0) if high / low < 300 else (1.0,))
    else:
        bins = max(2, min(7, int((up - 6) / 2.2)))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=bins, steps=[1, 2, 5, 10]))
    axes.set_ylim(*picture.y_limits)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7 * font / FONT_POINTS)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _set_logarithmic(axis: Axis, factors: tuple[float, ...]) -> None:
    """Numbers at these multiples of powers of ten, written in full."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=factors, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_ceilings(axes: Axes, picture: Picture, height: float, font: float) -> None:
    scale = font / FONT_POINTS
    for ceiling, name_y in ceiling_heights(picture, height, font):
        axes.axhline(ceiling.y, color=GREY, linestyle=(0, (5, 3)), linewidth=1.1 * scale)
        axes.annotate(
            ceiling.name,
            xy=(1, name_y / height),
            xycoords=axes.transAxes,
            xytext=(-4 * scale, 0),
            textcoords="offset points",
            horizontalalignment="right",
            color=GREY,
            fontsize=_small(font),
        )


def _draw_line(
    axes: Axes, line: Line, colour: str, marker: str, dashes: tuple[float, ...], scale: float
) -> None:
    x, y = [p.x for p in line.points], [p.y for p in line.points]
    low, high = [p.low for p in line.points], [p.high for p in line.points]
    if line.published:
        axes.plot(x, y, color=colour, linestyle=(0, (5, 3)), linewidth=1.1 * scale)
        return
    if len(x) == 1:
        axes.plot(x * 2, [*low, *high], color=colour, linewidth=1.2 * scale)
    elif line.has_intervals:
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    for first, last, certified in line.stretches:
        axes.plot(
            x[first : last + 1],
            y[first : last + 1],
            color=colour,
            linewidth=scale * (2.4 if line.bold else 1.5),
            linestyle=(0, (1, 1.5)) if not certified else (0, dashes) if dashes else "solid",
            zorder=4 if line.bold else 3,
        )
    for certified in (True, False):
        chosen = [i for i in _marked(line) if line.points[i].certified == certified]
        axes.plot(
            [x[i] for i in chosen],
            [y[i] for i in chosen],
            color=colour,
            marker=marker,
            markersize=scale * (4.5 if certified else 5.5),
            markeredgewidth=scale,
            markerfacecolor=colour if certified else "white",
            linestyle="none",
            zorder=5,
        )


def _marked(line: Line) -> list[int]:
    """Points that get a marker: evenly chosen ones, both ends, and where certification changes."""
    count, points = len(line.points), line.points
    step = -(-count // MOST_MARKERS)
    chosen = {*range(0, count, step), count - 1}
    chosen |= {i for i in range(1, count) if points[i].certified != points[i - 1].certified}
    return sorted(chosen)


def _draw_labels(
    axes: Axes, picture: Picture, colours: list[str], size: tuple[float, float, float]
) -> None:
    width, height, font = size
    longest = None if picture.names_inside else LONGEST_NAME * 72 * picture.size_inches[0]
    labels = place_labels(picture, width, height, font, _measure(font, "bold"), longest)
    for line, label, colour in zip(picture.lines, labels, colours, strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 3}
        axes.annotate(
            label.name,
            xy=(label.start[0] / width, label.start[1] / height),
            xytext=(label.x / width, label.y / height),
            xycoords=axes.transAxes,
            textcoords=axes.transAxes,
            annotation_clip=False,
            color=colour,
            fontsize=_small(font) if line.published else font,
            fontweight="normal" if line.published else "bold",
            horizontalalignment=label.align,
            verticalalignment="center",
            arrowprops=leader if label.leader else None,
            # A box, not an outline, which would turn the text of an SVG into shapes.
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            zorder=6,
        )
