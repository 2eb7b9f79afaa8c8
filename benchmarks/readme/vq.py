"""The tables on vector quantisation, from `vq.json`.

What was not measured is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.readme.tables import CLAIMS, Content, Row, load, section, table, verdict


def claim_rows(content: Content) -> Iterator[Row]:
    """Beside which codecs the squared error is lower at equal bytes, outside of the intervals."""
    for name, part in content.get("curve", {}).items():
        for peer, found in part["found"]["summary"].items():
            count, better = found["qualities"], found["vq_is_better"]
            yield (
                f"`{name}`: qualities at which `{peer}` of as many bytes has a larger squared "
                f"error / a smaller one, outside of 95 %, of {count} that it has files for",
                f"{better} / {found['vq_is_worse']}",
                f"all larger: {verdict(better == count)}" if peer == "dplc" else "",
            )


def curve_table(name: str, part: Content) -> str:
    """The qualities of one weights file beside known codecs."""
    rows, peers = part["found"]["qualities"], list(part["found"]["qualities"][0]["peers"])
    return section(
        f"`{name}`, {part['images']:,} test images in sheets: mean squared error of levels 0 to "
        "255 with its 95 % interval, and of the best file of at most as many bytes:",
        table(
            ["quality", "bits per pixel", "bytes of a single image", "vq", *peers],
            (
                [
                    f"{row['quality']:g}",
                    f"{row['rate_bpp']:.3f}",
                    f"{row['bytes_of_a_single_image']:.0f}",
                    _error(row),
                    *(_error(row["peers"][peer]) for peer in peers),
                ]
                for row in rows
            ),
        ),
    )


def _error(cell: Content | None) -> str:
    if cell is None:
        return "no file so small"
    mse = cell["mse"]
    return f"{mse['mean']:.0f} ± {mse['half_of_95_percent_interval']:.0f}"


def vq_section(folder: Path) -> str:
    content = load(folder, "vq")
    parts = content.get("curve", {}).items()
    return section(
        table(CLAIMS, claim_rows(content)), *(curve_table(name, part) for name, part in parts)
    )
