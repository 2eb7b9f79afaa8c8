"""HTML pages with interactive curves, each a single file that needs no network.

    page_of(picture)    a picture of curves, and a table of its points
    report_page(…)      several codecs: curves, pictures before and after, all numbers

The drawing is SVG that is complete without scripts.  A short script shows the point nearest to the
pointer, hides a line when its name is clicked, moves the border between two versions of a picture,
and selects which two.  A page refers to nothing outside itself, and tells the browser so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from codec.rate_distortion.files.bd_rate import BdRate
from codec.rate_distortion.files.curve import OperationalCurve
from codec.rate_distortion.metrics import METRICS
from codec.rate_distortion.report.labels import (
    CHARACTER,
    Label,
    ceiling_heights,
    place_labels,
    shortened,
    wrapped,
)
from codec.rate_distortion.report.lines import (
    COLOURS,
    Line,
    Picture,
    lines_of_curves,
    picture_of_curves,
)
from codec.rate_distortion.report.pictures import ShownFile, ShownPicture

WIDTH, LEAST_HEIGHT = 900, 220
TOP, BOTTOM = 16, 56
NAMES_SIDE, NUMBERS_SIDE, BARE_SIDE = 170, 70, 20
"""Margins around the axes, in units of the drawing; long names and second lines need more."""

FONT, LINE = 13, 16
LONGEST_NAME = 300
"""Longest name at the right of the axes; it is wider in the labels' estimate than in most fonts."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page_of(picture: Picture) -> str:
    """The text of an HTML file with one picture of curves and a table of its points."""
    return _page(
        picture.title,
        [
            svg_of(picture),
            f'<p class="key">{escape(picture.key)}</p>' if picture.key else "",
            _READOUT,
            f"<p>{_explanation(picture)}Click a name to hide its line.</p>",
            *(f"<p>{escape(note)}</p>" for note in picture.notes),
            _point_table(picture.columns, picture.lines),
        ],
    )


def report_page(
    title: str,
    curves: Sequence[OperationalCurve],
    pictures: Sequence[ShownPicture],
    deltas: Iterable[BdRate],
    reference: str,
    metrics: Sequence[str] = ("psnr",),
    files: Sequence[ShownFile] = (),
) -> str:
    """The text of an HTML file about several codecs.

    deltas    BD-rates against the codec `reference`, if there are any
    metrics   names in `METRICS`: each gets a drawing and a column of BD-rates
    files     .calo files whose layers and realism can be selected
    """
    drawings = [picture_of_curves(curves, metric=metric, title=title) for metric in metrics]
    return _page(
        title,
        [
            *(svg_of(drawing) for drawing in drawings if drawing.lines),
            _READOUT,
            "<p>Means over the pictures; every rate is the size of real files, which were decoded "
            "again. Click a name to hide its line.</p>",
            _codec_table(curves, deltas, reference, metrics),
            "<h2>Pictures</h2>\n<p>Drag the border, or choose other versions. Only the middle of "
            "large pictures is shown, as a high-quality JPEG or a PNG, whichever is smaller; bytes "
            "and PSNR are those of the whole picture.</p>",
            *(_pair(number, one) for number, one in enumerate(pictures)),
            _FILES if files else "",
            *(_decodings(number, one) for number, one in enumerate(files)),
            _point_table(drawings[0].columns, lines_of_curves(curves)),
        ],
    )


def _page(title: str, body: Iterable[str]) -> str:
    text = escape(title)
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{text}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{text}</h1>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script>\n</body></html>\n"
    )


def _explanation(picture: Picture) -> str:
    """What a certified point of R_p is, and why others are not; empty without such points."""
    points = [point for line in picture.lines if line.bold for point in line.points]
    if not (picture.names_inside and points):
        return ""
    unchecked = picture.unchecked
    failures = {failure for point in points for failure in point.failures} - {unchecked}
    which = "; the table says which" if failures else ""
    if unchecked:
        reason = escape(unchecked.removeprefix("no certificate: "))
        also = f"Some points failed other checks as well{which}. " if failures else ""
        return f"{_UNCHECKED.format(reason=reason)} {also}"
    if all(point.certified for point in points):
        return f"{_CHECKS} "
    return f"{_CHECKS} Points that failed a check are not certified{which}. "


def line_colour(line: Line, rank: int) -> str:
    """The colour of the line with that rank, as CSS."""
    colour = COLOURS[rank % len(COLOURS)]
    # Black would vanish on a dark page, so it becomes the colour of the text.
    return "var(--soft)" if line.published else "var(--ink)" if colour == "#000000" else colour


def round_numbers(low: float, high: float) -> list[float]:
    """About six round numbers within an interval."""
    raw = (high - low) / 6
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
    first = math.ceil(low / step)
    return [step * n for n in range(first, math.floor(high / step) + 1)]


def _width(text: str) -> float:
    """About the width of a name."""
    return CHARACTER * FONT * len(text)


def _axis_width(text: str) -> float:
    """About the width of the text at an axis, which is not bold."""
    return 0.88 * _width(text)


class _Axes:
    """Positions of a picture's axes and points in the drawing, and the lines of the axes' names."""

    def __init__(self, picture: Picture) -> None:
        across, up = picture.size_inches
        self.picture = picture
        self.height = max(LEAST_HEIGHT, round(WIDTH * up / across))
        self.y_label = wrapped(picture.y_label, self.height - TOP, _axis_width)
        self.left = NUMBERS_SIDE + LINE * (len(self.y_label) - 1)
        side = BARE_SIDE
        if not picture.names_inside:
            names = (_width(shortened(one.label, LONGEST_NAME, _width)) for one in picture.lines)
            side = max(NAMES_SIDE, round(max(names) + FONT))
        self.right = WIDTH - side
        self.x_label = wrapped(picture.x_label, self.right - self.left, _axis_width)
        self.top, self.bottom = TOP, self.height - BOTTOM - LINE * (len(self.x_label) - 1)

    def x(self, x: float) -> float:
        return self.left + self.picture.across(x) * (self.right - self.left)

    def y(self, y: float) -> float:
        return self.bottom - self.picture.up(y) * (self.bottom - self.top)

    def x_ticks(self) -> list[float]:
        return self._ticks(self.picture.x_limits, self.picture.is_logarithmic)

    def y_ticks(self) -> list[float]:
        return self._ticks(self.picture.y_limits, self.picture.is_logarithmic_up)

    @staticmethod
    def _ticks(limits: tuple[float, float], is_logarithmic: bool) -> list[float]:
        low, high = limits
        if not is_logarithmic:
            return round_numbers(low, high)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        factors = (1,) if high / low >= 300 else (1, 2, 5)
        values = [factor * 10.0**n for n in decades for factor in factors]
        return [value for value in values if low <= value <= high]


def svg_of(picture: Picture) -> str:
    """The picture as an SVG element for an HTML page."""
    axes = _Axes(picture)
    left, right, top, bottom = axes.left, axes.right, axes.top, axes.bottom
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {axes.height}" role="img" aria-label="'
        f'{escape(f"{picture.title}: {picture.y_label} against {picture.x_label}")}">'
    ]
    for value in axes.x_ticks():
        x = axes.x(value)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            + _text("tick", x, bottom + 18, f"{value:g}", "middle")
        )
    for value in axes.y_ticks():
        y = axes.y(value)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            + _text("tick", left - 6, y + 4, f"{value:g}", "end")
        )
    middle = (left + right) / 2
    for index, words in enumerate(reversed(axes.x_label)):
        parts.append(_text("axis", middle, axes.height - 12 - LINE * index, words, "middle"))
    for index, words in enumerate(axes.y_label):
        parts.append(
            f'<text class="axis" transform="translate({14 + LINE * index} {(top + bottom) / 2}) '
            f'rotate(-90)" text-anchor="middle">{escape(words)}</text>'
        )
    for ceiling, name_up in ceiling_heights(picture, bottom - top, FONT):
        y = axes.y(ceiling.y)
        parts.append(
            f'<line class="ceiling" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            + _text("tick small", right - 4, bottom - name_up, ceiling.name, "end")
        )
    longest = None if picture.names_inside else LONGEST_NAME
    labels = place_labels(picture, right - left, bottom - top, FONT, longest=longest)
    for rank, (line, label) in enumerate(zip(picture.lines, labels, strict=True)):
        dashes = " ".join(f"{length:g}" for length in picture.dashes(rank))
        parts.append(_svg_line(line, line_colour(line, rank), dashes, axes, label))
    return "\n".join([*parts, "</svg>"])


def _text(kind: str, x: float, y: float, words: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(words)}</text>'


def _svg_line(line: Line, colour: str, dashes: str, axes: _Axes, label: Label) -> str:
    places = [(axes.x(p.x), axes.y(p.y)) for p in line.points]
    kind = "line published" if line.published else "line"
    parts = [f'<g class="{kind}" style="color:{colour}"><g class="drawn">']
    if line.has_intervals:
        edge = [f"{axes.x(p.x):.1f},{axes.y(p.high):.1f}" for p in line.points]
        edge += [f"{axes.x(p.x):.1f},{axes.y(p.low):.1f}" for p in reversed(line.points)]
        # The band of a single point has no width, so its outline shows the interval.
        alone = " alone" if len(line.points) == 1 else ""
        parts.append(f'<polygon class="band{alone}" points="{" ".join(edge)}"/>')
    width = 2.6 if line.bold else 1.7
    for first, last, certified in line.stretches:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places[first : last + 1])
        strokes = dashes if certified else f"{width} {1.5 * width:g}"
        dashed = f' stroke-dasharray="{strokes}"' if strokes else ""
        parts.append(f'<polyline points="{path}" stroke-width="{width}"{dashed}/>')
    for (x, y), point in zip(places, line.points, strict=True):
        parts.append(
            f'<circle class="{"sure" if point.certified else "unsure"}" cx="{x:.1f}" '
            f'cy="{y:.1f}" r="3.2"><title>{escape(f"{line.label}: {point.words}")}</title></circle>'
        )
    name_x, name_y = axes.left + label.x, axes.bottom - label.y
    if label.leader:
        x, y = axes.left + label.start[0], axes.bottom - label.start[1]
        side = 1 if name_x > x else -1
        parts.append(
            f'<line class="leader" x1="{x + 4 * side:.1f}" y1="{y:.1f}" '
            f'x2="{name_x - 3 * side:.1f}" y2="{name_y:.1f}"/>'
        )
    anchor = "end" if label.align == "right" else "start"
    parts.append(
        f'</g><text class="name" tabindex="0" x="{name_x:.1f}" y="{name_y + 4:.1f}" '
        f'text-anchor="{anchor}">{escape(label.name)}</text></g>'
    )
    return "\n".join(parts)


def _table(columns: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    """A table; each row is the colour of its line and its cells, of which the first is the name."""
    lines = []
    for colour, cells in rows:
        name, *others = map(escape, cells)
        lines.append(
            f'<tr style="--line:{colour}"><td class="name">{name}</td>'
            + "".join(f"<td>{cell}</td>" for cell in others)
            + "</tr>"
        )
    headings = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return (
        f"<table><thead><tr>{headings}</tr></thead><tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table>"
    )


def _point_table(columns: Iterable[str], lines: Iterable[Line]) -> str:
    rows = [
        (line_colour(line, rank), (line.label, *point.cells))
        for rank, line in enumerate(lines)
        for point in line.points
        if point.cells
    ]
    return f"<details><summary>All points</summary>{_table(columns, rows)}</details>"


def _codec_table(
    curves: Sequence[OperationalCurve],
    deltas: Iterable[BdRate],
    reference: str,
    metrics: Sequence[str],
) -> str:
    percent = {(one.test, one.metric): f"{one.bd_rate_percent:+.1f} %" for one in deltas}
    rows = [
        (
            line_colour(line, rank),
            (
                curve.codec,
                curve.encoder,
                str(len(curve.images)),
                *(percent.get((curve.codec, metric), "") for metric in metrics),
            ),
        )
        for rank, (curve, line) in enumerate(zip(curves, lines_of_curves(curves), strict=True))
    ]
    titles = [METRICS[metric].title for metric in metrics]
    headings = (f"BD-rate against {reference} at equal {title}" for title in titles)
    return _table(("codec", "encoder", "pictures", *headings), rows)


def _pair(number: int, picture: ShownPicture) -> str:
    """Two versions on top of each other: the original at the left, the first codec at the right."""
    name = escape(picture.name)
    images, choices = [], {"left": 0, "right": min(1, len(picture.versions) - 1)}
    for index, version in enumerate(picture.versions):
        sides = " ".join(side for side, chosen in choices.items() if chosen == index)
        images.append(
            f'<img class="{sides}" alt="{name}: {escape(version.caption)}" src="{version.uri}">'
        )
    selects = []
    for side, chosen in choices.items():
        options = "".join(
            f'<option value="{index}"{" selected" if index == chosen else ""}>'
            f"{escape(version.caption)}</option>"
            for index, version in enumerate(picture.versions)
        )
        selects.append(
            f'<label>{side} <select data-side="{side}" autocomplete="off">{options}</select>'
            "</label>"
        )
    ratio = f"aspect-ratio:{picture.width}/{picture.height};width:{picture.width}px"
    return (
        f'<figure class="pair" id="picture-{number}"><figcaption>{name}</figcaption>'
        f'<div class="frame" style="--cut:50%;{ratio}">\n'
        + "\n".join(images)
        + f'\n<input type="range" min="0" max="100" step="0.1" value="50" autocomplete="off" '
        f'aria-label="border between left and right in {name}, in per cent"></div>\n'
        + "\n".join(selects)
        + "</figure>"
    )


def _decodings(number: int, file: ShownFile) -> str:
    """All decodings of a file on top of each other; two sliders select one."""
    words = [
        f"layers {layers}, realism {realism:g}"
        for layers in file.layers
        for realism in file.realisms
    ]
    last = (len(file.layers) - 1) * len(file.realisms)
    images = [
        f'<img class="{"chosen" if place == last else ""}" alt="{escape(text)}" src="{uri}">'
        for place, (text, uri) in enumerate(
            zip(words, (uri for row in file.uris for uri in row), strict=True)
        )
    ]
    width, height = file.size
    sliders = [
        f'<label>{title} <input type="range" min="0" max="{count - 1}" step="1" value="{value}" '
        f'data-step="{step}" autocomplete="off"></label>'
        for title, count, value, step in (
            ("layers", len(file.layers), len(file.layers) - 1, len(file.realisms)),
            ("realism", len(file.realisms), 0, 1),
        )
        if count > 1
    ]
    return (
        f'<figure class="file" id="file-{number}"><figcaption>{escape(file.name)}</figcaption>'
        f'<div class="stack" style="aspect-ratio:{width}/{height};width:{width}px">\n'
        + "\n".join(images)
        + "</div>\n"
        + "\n".join(sliders)
        + f'<p role="status">{escape(words[last])}</p></figure>'
    )


_FILES = (
    "<h2>One file, decoded in several ways</h2>\n<p>With fewer layers only the first bytes of the "
    "file are decoded, and missing symbols are replaced by their means. Realism goes from the "
    "least error to the most natural look; it needs a realistic decoder.</p>"
)
_CHECKS = (
    "A point of R_p is certified if it passed every check: the gap is at most half a nat; enough "
    "chains are effective, and enough moves are accepted; the slope agrees with the rates. The gap "
    "is the distance between an upper and a lower bound on images that the model itself generates; "
    "the curve may be too high by as much."
)
_UNCHECKED = (
    "No accuracy check was made: {reason}. So no point of R_p is certified, and it is unknown by "
    "how much the curve may be too high."
)
_READOUT = '<p id="readout" role="status">&nbsp;</p>'

_STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#777;--grid:#ddd;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--soft:#999;--grid:#3a3a3a;--paper:#181818}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:960px;margin:2em auto;padding:0 1em}
h1{font-size:1.25em}h2{font-size:1.1em}svg{width:100%;height:auto;font-size:13px}
.grid{stroke:var(--grid)}.tick{fill:var(--soft)}.axis{fill:var(--ink)}
.small{font-size:.82em}.key{color:var(--soft);font-size:.85em;text-align:right;margin:0}
.ceiling{stroke:var(--soft);stroke-dasharray:6 4}
.line polyline{fill:none;stroke:currentColor}.band{fill:currentColor;opacity:.18;stroke:none}
.band.alone{stroke:currentColor;stroke-width:1.5;opacity:1}
.published polyline{stroke-dasharray:5 3}.published circle{opacity:.4}
.line .sure{fill:currentColor}.line .unsure{fill:var(--paper);stroke:currentColor;stroke-width:1.5}
.leader{stroke:currentColor;opacity:.4}svg .name{fill:currentColor;font-weight:600;cursor:pointer}
.line.off{opacity:.35}.line.off .drawn{display:none}circle.near{r:6}
#readout{min-height:1.5em;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid var(--grid)}
td.name,th:first-child{text-align:left}td.name{border-left:4px solid var(--line)}
figure{margin:1.5em 0}figcaption{font-weight:600}
.frame{position:relative;max-width:100%;overflow:hidden;margin:.4em 0}
.stack{position:relative;max-width:100%;margin:.4em 0}
.frame img,.stack img{position:absolute;inset:0;width:100%;height:100%;visibility:hidden}
.frame .right,.stack .chosen{visibility:visible}
.frame .left{visibility:visible;clip-path:inset(0 calc(100% - var(--cut)) 0 0);z-index:1}
.frame .left.right{clip-path:none}
.frame::after{content:"";position:absolute;top:0;bottom:0;left:var(--cut);width:2px;
margin-left:-1px;background:#fff;box-shadow:0 0 2px #000;z-index:2;pointer-events:none}
.frame input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;z-index:3;
cursor:ew-resize;-webkit-appearance:none;appearance:none;touch-action:pan-y}
.frame input::-webkit-slider-thumb{-webkit-appearance:none;width:1px;height:100%}
.frame input::-moz-range-thumb{width:1px;height:100%;border:0}
.frame:focus-within{outline:2px solid currentColor}
.pair label,.file label{display:block}.pair select{max-width:100%;font:inherit}
"""

_SCRIPT = """
const readout=document.getElementById("readout");
let near=null;
for(const svg of document.querySelectorAll("svg"))svg.addEventListener("pointermove",event=>{
  const at=new DOMPoint(event.clientX,event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  let best=null,least=900;
  for(const one of svg.querySelectorAll(".line:not(.off) circle")){
    const far=(one.cx.baseVal.value-at.x)**2+(one.cy.baseVal.value-at.y)**2;
    if(far<least){least=far;best=one}
  }
  if(near)near.classList.remove("near");
  near=best;
  if(near)near.classList.add("near");
  readout.textContent=near?near.querySelector("title").textContent:"\\u00a0";
});
for(const name of document.querySelectorAll("svg .name")){
  const toggle=()=>name.parentNode.classList.toggle("off");
  name.addEventListener("click",toggle);
  name.addEventListener("keydown",event=>{if(event.key==="Enter")toggle()});
}
for(const pair of document.querySelectorAll(".pair")){
  const frame=pair.querySelector(".frame"),images=[...frame.querySelectorAll("img")];
  const slider=frame.querySelector("input");
  slider.addEventListener("input",()=>frame.style.setProperty("--cut",slider.value+"%"));
  for(const choice of pair.querySelectorAll("select")){
    choice.addEventListener("change",()=>images.forEach((image,index)=>
      image.classList.toggle(choice.dataset.side,index===Number(choice.value))));
  }
}
for(const file of document.querySelectorAll(".file")){
  const images=[...file.querySelectorAll("img")],sliders=[...file.querySelectorAll("input")];
  const choose=()=>{
    const place=sliders.reduce((sum,one)=>sum+one.value*one.dataset.step,0);
    images.forEach((image,index)=>image.classList.toggle("chosen",index===place));
    file.querySelector("p").textContent=images[place].alt;
  };
  for(const slider of sliders)slider.addEventListener("input",choose);
}
"""
