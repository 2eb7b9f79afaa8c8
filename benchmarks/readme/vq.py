"""The tables on vector quantisation, from `vq.json`.

Measurements that were not made are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.readme.tables import CLAIMS, Content, Row, judged, load, section, table, verdict


def claim_rows(content: Content) -> Iterator[Row]:
    """How far files are above −log₂ p, and at how many qualities other codecs have larger errors.

    Squared errors are compared at equal bytes; a difference counts if it is outside its interval.
    """
    for name, part in content.get("curve", {}).items():
        if "above_likelihood_percent" in part["found"]["qualities"][0]:
            yield from _likelihood_rows(name, part)
        for peer, found in part["found"]["summary"].items():
            count, better = found["qualities"], found["vq_is_better"]
            yield (
                f"`{name}`: qualities at which `{peer}` has a significantly (95 %) larger / "
                f"smaller squared error at equal bytes, of {count} with files that small",
                f"{better} / {found['vq_is_worse']}",
                f"all larger: {verdict(better == count)}" if peer == "dplc" else "",
            )


def _likelihood_rows(name: str, part: Content) -> Iterator[Row]:
    rows = part["found"]["qualities"]
    for what, key in (("files", "above"), ("payloads (without headers)", "payload_above")):
        above = [row[f"{key}_likelihood_percent"] for row in rows]
        yield (
            f"`{name}`: size of {what} above −log₂ p of their codes, at quality "
            f"{rows[0]['quality']:g} … {rows[-1]['quality']:g} (sheets: {part['sheets']})",
            f"{above[0]:.2f} % … {above[-1]:.2f} %",
            judged("above likelihood", max(above)),
        )


def curve_table(name: str, part: Content) -> str:
    """The qualities of one weights file beside known codecs."""
    rows, peers = part["found"]["qualities"], list(part["found"]["qualities"][0]["peers"])
    return section(
        f"`{name}`, {part['images']:,} test images in sheets: mean squared error (levels 0 to 255) "
        "with its 95 % interval, beside the best file of other codecs of at most as many bytes:",
        table(
            ["quality", "bits per pixel", "bytes of a file with one image", "vq", *peers],
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
