"""What the HTML pages with curves share: their style, their script, round numbers, colours."""

from __future__ import annotations

import math

from codec.rate_distortion.report.figure import COLOURS


def round_numbers(low: float, high: float) -> list[float]:
    """About six round numbers within an interval."""
    raw = (high - low) / 6
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
    first = math.ceil(low / step)
    return [step * n for n in range(first, math.floor(high / step) + 1)]


def line_colour(rank: int) -> str:
    """The colour of the line of that rank, as CSS."""
    colour = COLOURS[rank % len(COLOURS)]
    # Black would vanish on a dark page: take the colour of the text.
    return "var(--ink)" if colour == "#000000" else colour


PAGE_STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#777;--grid:#ddd;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--soft:#999;--grid:#3a3a3a;--paper:#181818}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:960px;margin:2em auto;padding:0 1em}
h1{font-size:1.25em}svg{width:100%;height:auto;font-size:13px}
.grid{stroke:var(--grid)}.tick{fill:var(--soft)}.axis{fill:var(--ink)}
.ceiling{stroke:var(--soft);stroke-dasharray:6 4}
.line polyline{fill:none;stroke:currentColor}.band{fill:currentColor;opacity:.18;stroke:none}
.line .sure{fill:currentColor}.line .unsure{fill:var(--paper);stroke:currentColor;stroke-width:1.5}
.interval{stroke:currentColor;stroke-width:1.5}
.leader{stroke:currentColor;opacity:.4}svg .name{fill:currentColor;font-weight:600;cursor:pointer}
.line.off{opacity:.35}.line.off .drawn{display:none}circle.near{r:6}
#readout{min-height:1.5em;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid var(--grid)}
td.name,th:first-child{text-align:left}td.name{border-left:4px solid var(--line)}
"""

CURVE_SCRIPT = """
const svg=document.querySelector("svg"),readout=document.getElementById("readout");
let near=null;
svg.addEventListener("pointermove",event=>{
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
for(const name of svg.querySelectorAll(".name")){
  const toggle=()=>name.parentNode.classList.toggle("off");
  name.addEventListener("click",toggle);
  name.addEventListener("keydown",event=>{if(event.key==="Enter")toggle()});
}
"""
"""Shows the nearest point under the pointer; hides a line when its name is clicked.

Points are circles with a title in groups of the class "line", within the page's first picture.
"""
