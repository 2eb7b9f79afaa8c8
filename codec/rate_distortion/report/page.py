"""One HTML file about several codecs: curves, pictures before and after, and all numbers.

    report_pictures ──► [ShownPicture, …] ─┐
    curves ────────────────────────────────┴► report_page ──► text of the file

The file refers to nothing outside it, and says so to the browser.  It is complete without scripts;
scripts move the border between two versions of a picture, and choose which two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from codec.rate_distortion.files.bd_rate import BdRate
from codec.rate_distortion.files.curve import OperationalCurve
from codec.rate_distortion.report.figure import RATE_RANGE_BPP, Line, lines_of_curves, spread
from codec.rate_distortion.report.page_parts import (
    CURVE_SCRIPT,
    PAGE_STYLE,
    line_colour,
    round_numbers,
)
from codec.rate_distortion.report.pictures import ShownPicture

WIDTH, HEIGHT = 900, 480
LEFT, RIGHT, TOP, BOTTOM = 60, 130, 16, 56
"""Margins around the axes, in units of the drawing; the names of the lines stand at the right."""

_LABEL_GAP = 17.0
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def report_page(
    title: str,
    curves: Sequence[OperationalCurve],
    pictures: Sequence[ShownPicture],
    deltas: Mapping[str, BdRate],
    reference: str,
) -> str:
    """The text of the HTML file.

    deltas   BD-rates against the codec `reference`, by codec, where there are any
    """
    text = escape(title)
    figures = "\n".join(_figure(number, one) for number, one in enumerate(pictures))
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{text}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{PAGE_STYLE}{_STYLE}</style></head>\n<body>\n<h1>{text}</h1>\n"
        f'{_svg(title, lines_of_curves(curves))}\n<p id="readout" role="status">&nbsp;</p>\n'
        "<p>Means over the pictures; every rate is that of real files, which were decoded again. "
        "Click a name to hide its line.</p>\n"
        f"{_codec_table(curves, deltas, reference)}\n"
        "<h2>Pictures</h2>\n<p>Drag the border, or choose other versions. Shown is the middle of "
        "large pictures, as JPEG of high quality or PNG, whichever is smaller; bytes and PSNR are "
        f"those of the whole picture.</p>\n{figures}\n{_point_table(curves)}\n"
        f"<script>{CURVE_SCRIPT}{_SLIDER_SCRIPT}</script>\n</body></html>\n"
    )


def _svg(title: str, lines: Sequence[Line]) -> str:
    low_bpp, high_bpp = RATE_RANGE_BPP
    shown = [_within(line, low_bpp, high_bpp) for line in lines]
    levels = [db for line in shown for db in line.db] or [0.0]
    low_db, high_db = min(levels) - 0.5, max(levels) + 0.5
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(bpp: float, db: float) -> tuple[float, float]:
        x = LEFT + (bpp - low_bpp) / (high_bpp - low_bpp) * (right - LEFT)
        return x, bottom - (db - low_db) / (high_db - low_db) * (bottom - TOP)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}: PSNR against rate">'
    ]
    for value in round_numbers(low_bpp, high_bpp):
        x, _ = place(value, low_db)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}'
            "</text>"
        )
    for value in round_numbers(low_db, high_db):
        _, y = place(low_bpp, value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">'
        "rate in bits per pixel (whole files)</text>"
        f'<text class="axis" transform="translate(14 {(TOP + bottom) / 2}) rotate(-90)" '
        'text-anchor="middle">PSNR in dB (RGB, mean of the pictures\' dB)</text>'
    )
    ends = [place(line.bpp[-1], line.db[-1])[1] if line.bpp else bottom for line in shown]
    names = spread(ends, _LABEL_GAP)
    for rank, (line, name_y) in enumerate(zip(shown, names, strict=True)):
        places = [place(bpp, db) for bpp, db in zip(line.bpp, line.db, strict=True)]
        parts.append(_svg_line(line, rank, places, (right + 10.0, name_y)))
    parts.append("</svg>")
    return "\n".join(parts)


def _svg_line(
    line: Line, rank: int, places: Sequence[tuple[float, float]], name: tuple[float, float]
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [
        f'<g class="line" style="color:{line_colour(rank)}"><g class="drawn">'
        f'<polyline points="{path}" stroke-width="{2.6 if rank == 0 else 1.7}"/>'
    ]
    for (x, y), bpp, db in zip(places, line.bpp, line.db, strict=True):
        words = escape(f"{line.label}: {bpp:.3f} bpp, {db:.2f} dB")
        parts.append(
            f'<circle class="sure" cx="{x:.1f}" cy="{y:.1f}" r="3.2"><title>{words}</title>'
            "</circle>"
        )
    if places:
        x, y = places[-1]
        parts.append(
            f'<line class="leader" x1="{x + 4:.1f}" y1="{y:.1f}" x2="{name[0] - 3:.1f}" '
            f'y2="{name[1]:.1f}"/>'
        )
    parts.append(
        f'</g><text class="name" tabindex="0" x="{name[0]:.1f}" y="{name[1] + 4:.1f}">'
        f"{escape(line.label)}</text></g>"
    )
    return "\n".join(parts)


def _within(line: Line, low_bpp: float, high_bpp: float) -> Line:
    kept = [
        (bpp, db) for bpp, db in zip(line.bpp, line.db, strict=True) if low_bpp <= bpp <= high_bpp
    ]
    return Line(line.label, tuple(bpp for bpp, _ in kept), tuple(db for _, db in kept))


def _figure(number: int, picture: ShownPicture) -> str:
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


def _codec_table(
    curves: Sequence[OperationalCurve], deltas: Mapping[str, BdRate], reference: str
) -> str:
    rows = []
    for rank, curve in enumerate(curves):
        delta = deltas.get(curve.codec)
        rows.append(
            f'<tr style="--line:{line_colour(rank)}"><td class="name">{escape(curve.codec)}</td>'
            f"<td>{escape(curve.encoder)}</td><td>{len(curve.images)}</td>"
            f"<td>{'' if delta is None else f'{delta.bd_rate_percent:+.1f} %'}</td></tr>"
        )
    return (
        "<table><thead><tr><th>codec</th><th>encoder</th><th>pictures</th>"
        f"<th>BD-rate against {escape(reference)}</th></tr></thead><tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table>"
    )


def _point_table(curves: Sequence[OperationalCurve]) -> str:
    rows = [
        f'<tr style="--line:{line_colour(rank)}"><td class="name">{escape(curve.codec)}</td>'
        f"<td>{escape(curve.setting_name)} {point.setting:g}</td><td>{point.mean_bpp:.4f}</td>"
        f"<td>{point.mean_psnr_db:.3f}</td>"
        f"<td>{'' if point.mean_ms_ssim is None else f'{point.mean_ms_ssim:.5f}'}</td></tr>"
        for rank, curve in enumerate(curves)
        for point in curve.points
    ]
    return (
        "<details><summary>All points</summary><table><thead><tr><th>codec</th><th>setting</th>"
        "<th>bits per pixel</th><th>PSNR in dB</th><th>MS-SSIM</th></tr></thead><tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></details>"
    )


_STYLE = """
h2{font-size:1.1em}figure{margin:1.5em 0}figcaption{font-weight:600}
.frame{position:relative;max-width:100%;overflow:hidden;margin:.4em 0}
.frame img{position:absolute;inset:0;width:100%;height:100%;visibility:hidden}
.frame .right{visibility:visible}
.frame .left{visibility:visible;clip-path:inset(0 calc(100% - var(--cut)) 0 0);z-index:1}
.frame .left.right{clip-path:none}
.frame::after{content:"";position:absolute;top:0;bottom:0;left:var(--cut);width:2px;
margin-left:-1px;background:#fff;box-shadow:0 0 2px #000;z-index:2;pointer-events:none}
.frame input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;z-index:3;
cursor:ew-resize;-webkit-appearance:none;appearance:none;touch-action:pan-y}
.frame input::-webkit-slider-thumb{-webkit-appearance:none;width:1px;height:100%}
.frame input::-moz-range-thumb{width:1px;height:100%;border:0}
.frame:focus-within{outline:2px solid currentColor}
.pair label{display:block}.pair select{max-width:100%;font:inherit}
"""

_SLIDER_SCRIPT = """
for(const pair of document.querySelectorAll(".pair")){
  const frame=pair.querySelector(".frame"),images=[...frame.querySelectorAll("img")];
  const slider=frame.querySelector("input");
  slider.addEventListener("input",()=>frame.style.setProperty("--cut",slider.value+"%"));
  for(const choice of pair.querySelectorAll("select")){
    choice.addEventListener("change",()=>images.forEach((image,index)=>
      image.classList.toggle(choice.dataset.side,index===Number(choice.value))));
  }
}
"""
