"""One HTML file with an interactive rate-distortion picture and a table, without any network.

The picture is SVG that is complete without scripts; a few lines of script show the nearest point
under the pointer and hide a line when its name is clicked.  The file refers to nothing outside it.
"""

from __future__ import annotations

import math
from html import escape

from codec.rate_distortion.model_curve import NATS_PER_BIT
from codec.rate_distortion.report.labels import Label, place_labels
from codec.rate_distortion.report.lines import ModelLine, ModelPicture
from codec.rate_distortion.report.page_parts import (
    CURVE_SCRIPT,
    PAGE_STYLE,
    line_colour,
    round_numbers,
)

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 170, 70, 20, 60
"""Margins around the axes, in units of the drawing; the names of the lines stand at the left."""

FONT = 13
LONGEST_LABEL = 24


class _Scale:
    """Positions in the drawing of distortions and rates."""

    def __init__(self, picture: ModelPicture) -> None:
        self.low, self.high = picture.distortion_limits()
        self.position = picture.position
        self.top = picture.rate_limit()
        self.is_logarithmic = picture.is_logarithmic

    def x(self, distortion: float) -> float:
        return LEFT + self.position(distortion) * (WIDTH - LEFT - RIGHT)

    def y(self, rate_bits: float) -> float:
        share = min(max(rate_bits / self.top, 0.0), 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def distortion_ticks(self) -> list[float]:
        if not self.is_logarithmic:
            return round_numbers(self.low, self.high)
        wide = self.high / self.low >= 300
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [factor * 10.0**n for n in decades for factor in ((1,) if wide else (1, 2, 5))]
        return [value for value in values if self.low <= value <= self.high]


def page_of(picture: ModelPicture) -> str:
    """The text of the HTML file for a picture."""
    title = escape(picture.title)
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{PAGE_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f'{_svg(picture)}\n<p id="readout" role="status">&nbsp;</p>\n'
        "<p>Bands are 95 % intervals over the images. Hollow points failed a gate and are not "
        "certified. Click a name to hide its line.</p>\n"
        f"{_table(picture)}\n<script>{CURVE_SCRIPT}</script>\n</body></html>\n"
    )


def _svg(picture: ModelPicture) -> str:
    scale = _Scale(picture)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(picture.title)}: rate against distortion">'
    ]
    for value in scale.distortion_ticks():
        x = scale.x(value)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{value:g}</text>"
        )
    for value in round_numbers(0, scale.top):
        y = scale.y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{right + 6}" y="{y + 4:.1f}">{value:g}</text>'
        )
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="axis" x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">'
        f"{escape(picture.distortion_label)}</text>"
        f'<text class="axis" transform="translate({WIDTH - 12} {middle}) rotate(-90)" '
        f'text-anchor="middle">rate in bits per image</text>'
    )
    for ceiling in picture.ceilings:
        if ceiling.rate_bits <= scale.top:
            y = scale.y(ceiling.rate_bits)
            parts.append(
                f'<line class="ceiling" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" x="{right - 4}" y="{y - 4:.1f}" text-anchor="end">'
                f"{escape(ceiling.name)}: {ceiling.rate_bits:.1f} bits</text>"
            )
    labels = place_labels(picture, right - LEFT, bottom - TOP, FONT)
    for rank, (line, label) in enumerate(zip(picture.lines, labels, strict=True)):
        parts.append(_svg_line(line, rank, scale, label))
    parts.append("</svg>")
    return "\n".join(parts)


def _svg_line(line: ModelLine, rank: int, scale: _Scale, label: Label) -> str:
    colour = line_colour(rank)
    places = [(scale.x(p.distortion), scale.y(p.rate_bits)) for p in line.points]
    edge = [f"{scale.x(p.distortion):.1f},{scale.y(p.high_bits):.1f}" for p in line.points]
    edge += [
        f"{scale.x(p.distortion):.1f},{scale.y(p.low_bits):.1f}" for p in reversed(line.points)
    ]
    name = line.label if len(line.label) <= LONGEST_LABEL else line.label[:23] + "…"
    width = 2.6 if line.kind == "model" else 1.7
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [
        f'<g class="line" style="color:{colour}">',
        f'<g class="drawn"><polygon class="band" points="{" ".join(edge)}"/>',
        f'<polyline points="{path}" stroke-width="{width}"/>',
    ]
    if len(line.points) == 1:
        # A band has no width here: show the interval as a stroke.
        x, (high, low) = places[0][0], (edge[0].split(",")[1], edge[1].split(",")[1])
        parts.append(f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{high}" y2="{low}"/>')
    for (x, y), point in zip(places, line.points, strict=True):
        words = (
            f"{line.label}: distortion {point.distortion:.4g}, {point.rate_bits:.2f} bits per "
            f"image (95 %: {point.low_bits:.2f} to {point.high_bits:.2f})"
            f"{'' if point.certified else ', not certified'}"
        )
        parts.append(
            f'<circle class="{"sure" if point.certified else "unsure"}" cx="{x:.1f}" '
            f'cy="{y:.1f}" r="3.2"><title>{escape(words)}</title></circle>'
        )
    x, y = places[0]
    name_x, name_y = LEFT + label.x, HEIGHT - BOTTOM - label.y
    if label.outside:
        parts.append(
            f'<line class="leader" x1="{name_x + 3:.1f}" y1="{name_y:.1f}" x2="{x - 4:.1f}" '
            f'y2="{y:.1f}"/>'
        )
    anchor = "end" if label.align == "right" else "start"
    parts.append(
        f'</g><text class="name" tabindex="0" x="{name_x:.1f}" y="{name_y + 4:.1f}" '
        f'text-anchor="{anchor}">{escape(name)}</text></g>'
    )
    return "\n".join(parts)


def _table(picture: ModelPicture) -> str:
    rows = [
        f'<tr style="--line:{line_colour(rank)}"><td class="name">{escape(line.label)}'
        f"</td><td>{point.distortion:.5g}</td><td>{point.rate_bits:.3f}</td>"
        f"<td>{point.low_bits:.3f} to {point.high_bits:.3f}</td>"
        f"<td>{point.rate_bits * NATS_PER_BIT:.3f}</td>"
        f"<td>{'yes' if point.certified else 'no'}</td></tr>"
        for rank, line in enumerate(picture.lines)
        for point in line.points
    ]
    return (
        "<details><summary>All points</summary><table><thead><tr><th>curve</th>"
        f"<th>{escape(picture.distortion_label)}</th><th>bits per image</th><th>95 % interval</th>"
        "<th>nats per image</th><th>certified</th></tr></thead><tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></details>"
    )
