"""Rate-distortion pictures: SVG, PNG and PDF by matplotlib, or an HTML page without it.

    picture_of_curves, picture_of_results ──► Picture ──► draw_picture(picture, path)

Each line has its name beside it in its own colour, so no legend is needed.  Colours are those of
Okabe and Ito (2008), which colour-blind readers can tell apart, and markers differ as well; once
the colours repeat, lines are dashed.  Lines of models have their names inside, where they separate
at low distortion.  Bands are 95 % intervals.  Points that failed a gate are hollow, and the line
segments that join them are dotted.  Published curves and ceilings are dashed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import MissingExtraError
from codec.rate_distortion.files.result_file import write_text
from codec.rate_distortion.report.labels import place_labels
from codec.rate_distortion.report.lines import COLOURS, Line, Picture
from codec.rate_distortion.report.page import page_of
from codec.system.write_file import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#777777"
SUFFIXES = (".svg", ".png", ".pdf", ".html")
FONT_POINTS = 11
NAMES_POINTS, NUMBERS_POINTS, BELOW_POINTS = 155.0, 60.0, 59.0
"""Approximate room beside and below the axes; matplotlib decides in the end."""

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
    suffix = path.suffix.lower()
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

    # Text stays text in SVG, and ids do not depend on the time, so equal data gives equal files.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "calotype", "font.size": FONT_POINTS}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=picture.size_inches, layout="constrained")
        axes = figure.add_subplot()
        _set_axes(axes, picture)
        _draw_ceilings(axes, picture)
        colours = _colours(picture)
        for rank, (line, colour) in enumerate(zip(picture.lines, colours, strict=True)):
            # When the colours repeat, the markers change.
            marker = MARKERS[(rank + rank // len(COLOURS)) % len(MARKERS)]
            _draw_line(axes, line, colour, marker, picture.dashes(rank))
        _draw_labels(axes, picture, colours)
        if picture.title:
            figure.suptitle(picture.title, x=0.01, ha="left", fontweight="bold")
        file_format = suffix.removeprefix(".")
        metadata: Any = {"Date": None} if file_format == "svg" else {}
        write_atomically(
            path,
            lambda fo: figure.savefig(fo, format=file_format, dpi=150, metadata=metadata),
            force=True,
            make_folders=True,
        )


def _colours(picture: Picture) -> list[str]:
    return [
        GREY if line.published else COLOURS[rank % len(COLOURS)]
        for rank, line in enumerate(picture.lines)
    ]


def _set_axes(axes: Axes, picture: Picture) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if picture.is_logarithmic:
        low, high = picture.x_limits
        axes.set_xscale("log")
        # Over one or two decades, powers of ten alone would leave the axis almost bare.
        subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(*picture.x_limits)
    if picture.is_logarithmic_up:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.set_ylim(*picture.y_limits)
    axes.set_xlabel(picture.x_label)
    axes.set_ylabel(picture.y_label)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_ceilings(axes: Axes, picture: Picture) -> None:
    for ceiling in picture.ceilings:
        if not picture.y_limits[0] <= ceiling.y <= picture.y_limits[1]:
            continue
        axes.axhline(ceiling.y, color=GREY, linestyle=(0, (5, 3)), linewidth=1.1)
        axes.annotate(
            ceiling.name,
            xy=(1, ceiling.y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-4, 3),
            textcoords="offset points",
            horizontalalignment="right",
            color=GREY,
            fontsize=9,
        )


def _draw_line(axes: Axes, line: Line, colour: str, marker: str, dashes: tuple[float, ...]) -> None:
    x, y = [p.x for p in line.points], [p.y for p in line.points]
    low, high = [p.low for p in line.points], [p.high for p in line.points]
    if line.published:
        axes.plot(x, y, color=colour, linestyle=(0, (5, 3)), linewidth=1.1)
        return
    if len(x) == 1:
        axes.plot(x * 2, [*low, *high], color=colour, linewidth=1.2)
    elif line.has_intervals:
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    for first, last, certified in _stretches(line):
        axes.plot(
            x[first : last + 1],
            y[first : last + 1],
            color=colour,
            linewidth=2.4 if line.bold else 1.5,
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
            markersize=4.5 if certified else 5.5,
            markerfacecolor=colour if certified else "white",
            linestyle="none",
            zorder=5,
        )


def _stretches(line: Line) -> list[tuple[int, int, bool]]:
    """First and last point of each run of segments with both ends certified, or of the others."""
    found: list[tuple[int, int, bool]] = []
    for index in range(len(line.points) - 1):
        certified = line.points[index].certified and line.points[index + 1].certified
        if found and found[-1][2] == certified:
            found[-1] = (found[-1][0], index + 1, certified)
        else:
            found.append((index, index + 1, certified))
    return found


def _marked(line: Line) -> list[int]:
    """Points that get a marker: evenly chosen ones, both ends, and where certification changes."""
    count, points = len(line.points), line.points
    step = -(-count // MOST_MARKERS)
    chosen = {*range(0, count, step), count - 1}
    chosen |= {i for i in range(1, count) if points[i].certified != points[i - 1].certified}
    return sorted(chosen)


def _draw_labels(axes: Axes, picture: Picture, colours: list[str]) -> None:
    beside = NUMBERS_POINTS + (0 if picture.names_inside else NAMES_POINTS)
    width = 72 * picture.size_inches[0] - beside
    height = 72 * picture.size_inches[1] - BELOW_POINTS
    labels = place_labels(picture, width, height, FONT_POINTS)
    for line, label, colour in zip(picture.lines, labels, colours, strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 3}
        axes.annotate(
            line.label,
            xy=(label.start[0] / width, label.start[1] / height),
            xytext=(label.x / width, label.y / height),
            xycoords=axes.transAxes,
            textcoords=axes.transAxes,
            annotation_clip=False,
            color=colour,
            fontsize=9 if line.published else FONT_POINTS,
            fontweight="normal" if line.published else "bold",
            horizontalalignment=label.align,
            verticalalignment="center",
            arrowprops=leader if label.leader else None,
            # A box, not an outline, which would turn the text of an SVG into shapes.
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            zorder=6,
        )
