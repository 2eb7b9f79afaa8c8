"""Tables of Markdown from the JSON of `benchmarks/results`, and the targets of the figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Content = dict[str, Any]
Row = Sequence[str]

CLAIMS = ("what", "measured", "wanted")
"""The columns of most tables."""

TARGETS: dict[str, tuple[str, float]] = {
    "coded size": ("≤ 0.1 % + 8 bytes", 0),  # bytes above that
    "encode symbol": ("≤ 15", 15),
    "decode symbol": ("≤ 40", 40),
    "peak memory": ("≤ 2 GiB", 2048),
    "draw-digits": ("≤ 88", 88.0),
    "draw-colour": ("≤ 4.8", 4.8),
    "archive": ("≤ 2 %", 2),
    "gap, 10 dimensions, 1000 temperatures": ("≤ 0.20", 0.20),
    "gap": ("≤ 0.5 aimed at", 0.5),
    "coverage": ("≥ 90", 90),
    "fewer gradients": ("≥ 8×", 8),
    "vae-dither": ("≤ 3 %", 3),
    "vae-rec": ("≤ 100 %", 100),
}
"""Targets of figures whose result files do not state one: the text and the limit."""


def load(folder: Path, name: str) -> Content:
    """The result file of a name; empty where nothing was measured."""
    path = folder / f"{name}.json"
    content: Content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content


def verdict(*met: bool) -> str:
    """Whether each of some targets is met."""
    return " / ".join("met" if one else "**missed**" for one in met)


def judged(name: str, *values: float) -> str:
    """The target of that name, and whether the values meet it; nothing where there is none."""
    if name not in TARGETS:
        return ""
    text, limit = TARGETS[name]
    signed = [value - limit if text[0] == "≤" else limit - value for value in values]
    return f"{text}: {verdict(*(one <= 0 for one in signed))}"


def claim(content: Content, what: str, measured: str, wanted: str = "") -> Row:
    """A row of `CLAIMS`; the texts have the fields of the content in them, as `str.format` does."""
    return what.format(**content), measured.format(**content), wanted


def percent(value: float | None) -> str:
    """A BD-rate, or None where there is none."""
    return "not comparable" if value is None else f"{value:+.1f} %"


def quality(cell: Content | None, missing: str = "no file so small") -> str:
    """PSNR and, where it was measured, Fréchet distance."""
    if cell is None:
        return missing
    psnr = cell["mean_psnr_db"] if "mean_psnr_db" in cell else cell["psnr_db"]
    distance = cell.get("frechet_distance")
    return f"{psnr:.2f}" + ("" if distance is None else f" / {distance:.2f}")


def table(columns: Row, rows: Iterable[Row]) -> str:
    """A table of Markdown; nothing where there are no rows."""
    lines = [columns, ["---"] * len(columns), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return text if len(lines) > 2 else ""


def section(*blocks: str) -> str:
    """Blocks of text that are not empty, one below the other."""
    return "\n\n".join(block for block in blocks if block)
