"""Rate-distortion pictures of generative models: distortion against bits per image.

    lines_of_results ──► ModelPicture ──► draw_models(picture, path)      .svg, .png, .pdf, .html

Each line has its 95 % band, and its name at its left end in its own colour: curves of models part
at low distortion and meet at rate zero.  For the same reason the rate axis stands at the right.
Points that failed a gate are hollow, and the line is dotted where it joins them.  A ceiling, the
largest rate that a method can report, is a dashed horizontal line with its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitstream.errors import UsageError
from codec.rate_distortion.files.result_file import make_folder, write_text
from codec.rate_distortion.model_curve import NATS_PER_BIT
from codec.rate_distortion.report.figure import (
    COLOURS,
    MARKERS,
    SUFFIXES,
    plot_available,
    plot_missing,
)
from codec.rate_distortion.report.labels import place_labels
from codec.rate_distortion.report.lines import ModelLine, ModelPicture
from codec.rate_distortion.report.model_page import page_of
from codec.system.write_file import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODEL_SUFFIXES = (*SUFFIXES, ".html")
CEILING_COLOUR = "#777777"
FONT_POINTS = 11
AXES_POINTS = (450.0, 330.0)
"""Size of the axes, roughly: what the names leave of the figure decides in the end."""

MOST_MARKERS = 24


def draw_models(picture: ModelPicture, path: Path) -> None:
    """Draw into `path`; the suffix (.svg, .png, .pdf, .html) chooses the format.

    HTML is one file without references to others: an interactive picture and a table.  Raises
    `UsageError` for another suffix, `MissingExtraError` without matplotlib (HTML needs none),
    `OutputError` when the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in MODEL_SUFFIXES:
        raise UsageError(f"{path}: cannot draw this kind of file; use {', '.join(MODEL_SUFFIXES)}")
    if suffix == ".html":
        write_text(path, page_of(picture))
        return
    if not plot_available():
        raise plot_missing()
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text in SVG, and ids do not depend on the moment: equal data gives equal files.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "calotype", "font.size": FONT_POINTS}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(8.4, 5.4), layout="constrained")
        axes = figure.add_subplot()
        _set_axes(axes, picture)
        _draw_ceilings(axes, picture)
        for rank, line in enumerate(picture.lines):
            # Where the colours begin again, the markers are other ones.
            marker = MARKERS[(rank + rank // len(COLOURS)) % len(MARKERS)]
            _draw_line(axes, line, COLOURS[rank % len(COLOURS)], marker)
        _draw_labels(axes, picture)
        figure.suptitle(picture.title, x=0.01, ha="left", fontweight="bold")
        file_format = suffix.removeprefix(".")
        metadata: Any = {"Date": None} if file_format == "svg" else {}
        make_folder(path.parent)
        write_atomically(
            path,
            lambda fo: figure.savefig(fo, format=file_format, dpi=150, metadata=metadata),
            force=True,
        )


def _set_axes(axes: Axes, picture: ModelPicture) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if picture.is_logarithmic:
        low, high = picture.distortion_limits()
        axes.set_xscale("log")
        # Over one decade or two, powers of ten alone would leave the axis almost bare.
        subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(*picture.distortion_limits())
    axes.set_ylim(0, picture.rate_limit())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.set_xlabel(picture.distortion_label)
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(f"rate in bits per image (1 bit = {NATS_PER_BIT:.3f} nats)")
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "left"):
        axes.spines[side].set_visible(False)


def _draw_ceilings(axes: Axes, picture: ModelPicture) -> None:
    for ceiling in picture.ceilings:
        if ceiling.rate_bits > picture.rate_limit():
            continue
        axes.axhline(ceiling.rate_bits, color=CEILING_COLOUR, linestyle=(0, (5, 3)), linewidth=1.1)
        axes.annotate(
            f"{ceiling.name}: {ceiling.rate_bits:.1f} bits",
            xy=(1, ceiling.rate_bits),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-4, 3),
            textcoords="offset points",
            horizontalalignment="right",
            color=CEILING_COLOUR,
            fontsize=9,
        )


def _draw_line(axes: Axes, line: ModelLine, colour: str, marker: str) -> None:
    bold = line.kind == "model"
    points = line.points
    if len(points) > 1:
        low, high = [p.low_bits for p in points], [p.high_bits for p in points]
        axes.fill_between(line.distortion, low, high, color=colour, alpha=0.18, linewidth=0)
    else:
        (point,) = points
        axes.plot(
            [point.distortion] * 2, [point.low_bits, point.high_bits], color=colour, linewidth=1.2
        )
    for first, last, certified in _stretches(line):
        axes.plot(
            line.distortion[first : last + 1],
            line.rate_bits[first : last + 1],
            color=colour,
            linewidth=2.2 if bold else 1.5,
            linestyle="solid" if certified else (0, (1, 1.5)),
            zorder=4 if bold else 3,
        )
    for certified in (True, False):
        chosen = [i for i in _marked(line) if line.certified[i] == certified]
        axes.plot(
            [line.distortion[i] for i in chosen],
            [line.rate_bits[i] for i in chosen],
            color=colour,
            marker=marker,
            markersize=4.5 if certified else 5.5,
            markerfacecolor=colour if certified else "white",
            linestyle="none",
            zorder=5,
        )


def _stretches(line: ModelLine) -> list[tuple[int, int, bool]]:
    """First and last point of each stretch whose segments are alike: both ends certified or not."""
    found: list[tuple[int, int, bool]] = []
    for index in range(len(line.points) - 1):
        certified = line.certified[index] and line.certified[index + 1]
        if found and found[-1][2] == certified:
            found[-1] = (found[-1][0], index + 1, certified)
        else:
            found.append((index, index + 1, certified))
    return found


def _marked(line: ModelLine) -> list[int]:
    """Points that get a marker: not too many, both ends, and one at least of each short gap."""
    count = len(line.points)
    step = -(-count // MOST_MARKERS)
    chosen = {*range(0, count, step), count - 1}
    chosen |= {i for i in range(1, count) if line.certified[i] != line.certified[i - 1]}
    return sorted(chosen)


def _draw_labels(axes: Axes, picture: ModelPicture) -> None:
    width, height = AXES_POINTS
    labels = place_labels(picture, width, height, FONT_POINTS)
    for rank, (line, label) in enumerate(zip(picture.lines, labels, strict=True)):
        colour = COLOURS[rank % len(COLOURS)]
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 3}
        axes.annotate(
            line.label,
            xy=(line.points[0].distortion, line.points[0].rate_bits),
            xytext=(label.x / width, label.y / height),
            textcoords=axes.transAxes,
            annotation_clip=False,
            color=colour,
            fontweight="bold",
            horizontalalignment=label.align,
            verticalalignment="center",
            arrowprops=leader if label.outside else None,
            # Not an outline, which would turn the text of an SVG into shapes.
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            zorder=6,
        )
