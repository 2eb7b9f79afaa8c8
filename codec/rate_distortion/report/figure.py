"""Rate-distortion pictures: bits per pixel against PSNR, as SVG, PNG or PDF.

    lines_of_curves, lines_of_anchors ──► [Line, …] ──► draw(lines, path)

Each line carries its name at its right end, in its own colour, so that nobody has to match a
legend; colours are those of Okabe and Ito (2008), told apart by colour-blind readers, and markers
differ as well.  Published curves ("anchors") are dashed and without markers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import MissingExtraError, ResultFileError
from codec.rate_distortion.files.curve import OperationalCurve
from codec.rate_distortion.files.result_file import make_folder
from codec.system.write_file import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ANCHOR_COLOUR = "#777777"
SUFFIXES = (".svg", ".png", ".pdf")
MOST_ANCHORS = 8
"""More published curves than this on one picture can no longer be told apart."""

RATE_RANGE_BPP = (0.0, 2.0)
SMALLEST_LABEL_GAP = 0.036
"""Vertical distance between the names of two lines, as a share of the height of the plot."""


@dataclass(frozen=True)
class Line:
    """One line to draw: (bits per pixel, dB) by rising rate; `published` lines are dashed."""

    label: str
    bpp: tuple[float, ...]
    db: tuple[float, ...]
    published: bool = False


def plot_available() -> bool:
    """Whether matplotlib is installed (extra `plot`)."""
    return find_spec("matplotlib") is not None


def plot_missing() -> MissingExtraError:
    """The error that says how to install matplotlib."""
    return MissingExtraError("Drawing a curve", "matplotlib", "plot")


def _line(label: str, points: Iterable[tuple[float, float]], published: bool) -> Line:
    finite = sorted(
        (bpp, db) for bpp, db in points if math.isfinite(bpp) and math.isfinite(db) and bpp > 0
    )
    return Line(label, tuple(p[0] for p in finite), tuple(p[1] for p in finite), published)


def lines_of_curves(curves: Sequence[OperationalCurve]) -> list[Line]:
    """Mean curves (mean bpp, mean of dB); the set's name is added where there are several sets."""
    several = len({curve.data_set for curve in curves}) > 1
    return [
        _line(
            f"{curve.codec} · {curve.data_set}" if several else curve.codec,
            ((point.mean_bpp, point.mean_psnr_db) for point in curve.points),
            published=False,
        )
        for curve in curves
    ]


def lines_of_anchors(path: Path, names: Sequence[str] | None = None) -> list[Line]:
    """Published curves from JSON {name: {"bpp": […], "psnr": […]}}, all of them or those named.

    A name may be followed by `=` and a label to show; else the part after the last `/` is shown.
    Raises `ResultFileError` for another kind of file, `UsageError` for an unknown name, or when
    none were named and the file has more than 8.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path}: published curves cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ResultFileError(f"{path}: expected a JSON object of published curves by name")
    usable = {
        name: curve
        for name, curve in content.items()
        if isinstance(curve, dict) and "bpp" in curve and "psnr" in curve
    }
    if not names and len(usable) > MOST_ANCHORS:
        raise UsageError(
            f"{path}: has {len(usable)} published curves, too many for one picture; "
            f"choose up to {MOST_ANCHORS} by name, such as {next(iter(usable))!r}"
        )
    labels = {name: name.rpartition("/")[2] for name in usable}
    if names:
        chosen = [name.partition("=")[::2] for name in names]
        labels = {name: label or name.rpartition("/")[2] for name, label in chosen}
    unknown = [name for name in labels if name not in usable]
    if unknown:
        raise UsageError(f"{path}: has no published curve named {', '.join(unknown)}")
    try:
        return [
            _line(
                label, zip(usable[name]["bpp"], usable[name]["psnr"], strict=True), published=True
            )
            for name, label in labels.items()
        ]
    except (TypeError, ValueError) as error:
        raise ResultFileError(f"{path}: a published curve is malformed: {error}") from error


def _db_at(line: Line, bpp: float) -> float:
    """Linear interpolation of the line at a rate within its own."""
    for index in range(1, len(line.bpp)):
        low, high = line.bpp[index - 1], line.bpp[index]
        if low <= bpp <= high:
            share = (bpp - low) / (high - low) if high > low else 0.0
            return line.db[index - 1] + share * (line.db[index] - line.db[index - 1])
    return line.db[-1]


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move positions apart until neighbours are `gap` away from each other, keeping their order.

    Groups that would collide are centred on their common mean, so names stay near their lines.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    groups: list[tuple[float, list[int]]] = []
    for index in order:
        centre, members = positions[index], [index]
        while groups and (
            groups[-1][0] + gap * (len(groups[-1][1]) - 1) / 2 + gap
            > centre - gap * (len(members) - 1) / 2
        ):
            previous_centre, previous = groups.pop()
            total = len(previous) + len(members)
            centre = (previous_centre * len(previous) + centre * len(members)) / total
            members = previous + members
        groups.append((centre, members))
    placed = [0.0] * len(positions)
    for centre, members in groups:
        for rank, index in enumerate(members):
            placed[index] = centre + gap * (rank - (len(members) - 1) / 2)
    return placed


def draw(
    lines: Sequence[Line],
    path: Path,
    *,
    title: str = "",
    rate_range_bpp: tuple[float, float] = RATE_RANGE_BPP,
) -> None:
    """Draw the lines into `path`; the suffix (.svg, .png, .pdf) chooses the format.

    Only the part within `rate_range_bpp` is shown.  Raises `MissingExtraError` without matplotlib,
    `UsageError` when nothing lies within the range or the suffix is another one, `OutputError` when
    the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: cannot draw this kind of file; use {', '.join(SUFFIXES)}")
    if not plot_available():
        raise plot_missing()
    low_bpp, high_bpp = rate_range_bpp
    shown = [line for line in lines if sum(low_bpp <= bpp <= high_bpp for bpp in line.bpp) > 1]
    if not shown:
        raise UsageError(
            f"nothing to draw: no curve has two points within {low_bpp:g}–{high_bpp:g} bpp"
        )
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text in SVG, and ids do not depend on the moment: equal data gives equal files.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "calotype", "font.size": 11}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(8.4, 5.4), layout="constrained")
        axes = figure.add_subplot()
        _draw_lines(axes, shown, rate_range_bpp)
        axes.set_xlabel("rate in bits per pixel (whole files)")
        axes.set_ylabel("PSNR in dB (RGB, mean of the pictures' dB)")
        if title:
            axes.set_title(title, loc="left", fontweight="bold")
        file_format = path.suffix.lower().removeprefix(".")
        metadata: Any = {"Date": None} if file_format == "svg" else {}
        make_folder(path.parent)
        write_atomically(
            path,
            lambda fo: figure.savefig(fo, format=file_format, dpi=150, metadata=metadata),
            force=True,
        )


def _draw_lines(axes: Axes, lines: Sequence[Line], rate_range_bpp: tuple[float, float]) -> None:
    low_bpp, high_bpp = rate_range_bpp
    measured = [line for line in lines if not line.published]
    colours: dict[int, str] = {}
    for rank, line in enumerate(measured):
        colours[id(line)] = COLOURS[rank % len(COLOURS)]
        axes.plot(
            line.bpp,
            line.db,
            color=colours[id(line)],
            marker=MARKERS[rank % len(MARKERS)],
            markersize=5,
            linewidth=2.6 if rank == 0 else 1.6,
            zorder=4 if rank == 0 else 3,
        )
    for line in lines:
        if line.published:
            axes.plot(line.bpp, line.db, color=ANCHOR_COLOUR, linestyle=(0, (5, 3)), linewidth=1.1)
    ends = [(min(line.bpp[-1], high_bpp), line) for line in lines]
    end_db = [_db_at(line, bpp) for bpp, line in ends]
    start_db = [_db_at(line, max(line.bpp[0], low_bpp)) for line in lines]
    low_db, high_db = math.floor(min(start_db)) - 0.5, max(end_db) + 0.7
    axes.set_xlim(low_bpp, high_bpp)
    axes.set_ylim(low_db, high_db)
    gap_db = SMALLEST_LABEL_GAP * (high_db - low_db)
    for (bpp, line), db, label_db in zip(ends, end_db, spread(end_db, gap_db), strict=True):
        colour = colours.get(id(line), ANCHOR_COLOUR)
        axes.annotate(
            line.label,
            xy=(bpp, db),
            xytext=(high_bpp + 0.02 * (high_bpp - low_bpp), label_db),
            annotation_clip=False,
            color=colour,
            fontsize=9 if line.published else 11,
            fontweight="normal" if line.published else "bold",
            verticalalignment="center",
            # A short line ends inside the plot: lead the eye from its end to its name.
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 3,
            },
        )  # fmt: skip
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
