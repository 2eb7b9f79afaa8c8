"""The tables that `calotype bound` prints; they never cut a number or a name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.rate_distortion.ladder.model_file import ModelResult

ROWS = 12
"""Rows of a printed curve; the files have all points."""


def print_curve(result: ModelResult, written: Sequence[Path]) -> None:
    """Print points of a curve, evenly chosen, and the names of the files."""
    from rich.console import Console

    from codec.rate_distortion.model_curve import NATS_PER_BIT

    curve = result.curve
    count = len(curve.beta)
    chosen = min(count, ROWS)
    caption = f"{curve.distortion_name} ({curve.convention})"
    if chosen < count:
        caption += f"; {chosen} of {count} points, all are in bound.csv"
    rows = []
    for row in range(chosen):
        index = round(row * (count - 1) / max(1, chosen - 1))
        low, high = (
            bound_nats[index] / NATS_PER_BIT
            for bound_nats in (curve.rate_low_nats, curve.rate_high_nats)
        )
        gap = curve.bdmc_gap_nats[index]
        rows.append(
            (
                f"{curve.beta[index]:.3g}",
                f"{curve.distortion[index]:.4g}",
                f"{curve.rate_bits[index]:.2f}",
                f"{low:.2f}–{high:.2f}" if math.isfinite(low + high) else "—",
                f"{curve.rate_nats[index]:.2f}",
                # So that -0.001 is not printed as -0.00.
                f"{round(gap, 2) + 0.0:.2f}" if math.isfinite(gap) else "—",
                "yes" if curve.certified[index] else "no",
            )
        )
    headings = (
        "β", "distortion", "bits per image", "95 % interval at this slope", "nats", "gap in nats",
        "certified",
    )  # fmt: skip
    title = f"{result.model} on {result.data_set} ({result.selection}): R_p(D)"
    _print_table(title, caption, headings, rows)
    Console().print(
        "written: " + ", ".join(map(str, written)), highlight=False, markup=False, soft_wrap=True
    )


def print_gaps(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the differences of `gap_rows`, if there are any."""
    if not rows:
        return
    cells = []
    for row in rows:
        bits = [row[f"{name}_bits"] for name in ("file", "header", "payload", "rate", "gap")]
        cells.append(
            (
                row["model"],
                f"{row['quality']:g}",
                f"{row['distortion']:.4g}",
                *("—" if value is None else f"{value:.2f}" for value in bits),
            )
        )
    title = "Files compared with R_p at their distortion, bits per image"
    headings = (
        "model", "quality", "D", "file", "header", "payload", "R_p", "file − R_p",
    )  # fmt: skip
    _print_table(title, "", headings, cells)


def _print_table(
    title: str, caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Names may look like Rich's markup, which plain Text is not taken for.
    table = Table(title=Text(title), caption=Text(caption) if caption else None)
    for column, heading in enumerate(headings):
        # Headings wrap, cells do not.
        widest = max(len(row[column]) for row in rows)
        justify: Any = "left" if heading == "model" else "right"
        table.add_column(heading, justify=justify, min_width=widest)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
