"""Markdown tables from the JSON files of `benchmarks/results`.

The targets are in `benchmarks/harness/targets.py`, or in the result files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.targets import TARGETS, target_text

Content = dict[str, Any]
Row = Sequence[str]

CLAIMS = ("what", "measured", "target")
"""The columns of most tables."""


def load(folder: Path, name: str) -> Content:
    """The result file of a name; empty if nothing was measured."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def verdict(*met: bool) -> str:
    """Whether each of some targets is met."""
    return " / ".join("met" if one else "**missed**" for one in met)


def judged(name: str, *values: float) -> str:
    """The target of that name, and whether the values meet it; empty if there is none."""
    if name not in TARGETS:
        return ""
    text, limit = target_text(name), TARGETS[name][1]
    signed = [value - limit if text[0] == "≤" else limit - value for value in values]
    return f"{text}: {verdict(*(one <= 0 for one in signed))}"


def claim(content: Content, what: str, measured: str, wanted: str = "") -> Row:
    """A row of `CLAIMS`; `str.format` puts the fields of the content into the texts."""
    return what.format(**content), measured.format(**content), wanted


def percent(value: float | None) -> str:
    """A BD-rate in per cent, or that there is none."""
    return "not comparable" if value is None else f"{value:+.1f} %"


def quality(cell: Content | None, missing: str = "no file so small") -> str:
    """PSNR and, if it was measured, Fréchet distance."""
    if cell is None:
        return missing
    psnr = cell["mean_psnr_db"] if "mean_psnr_db" in cell else cell["psnr_db"]
    distance = cell.get("frechet_distance")
    return f"{psnr:.2f}" + ("" if distance is None else f" / {distance:.2f}")


def table(columns: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; empty if there are no rows."""
    lines = [columns, ["---"] * len(columns), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return text if len(lines) > 2 else ""


def section(*blocks: str) -> str:
    """The blocks that are not empty, with a blank line between them."""
    return "\n\n".join(block for block in blocks if block)
