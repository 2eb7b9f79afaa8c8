"""The README's rows on the photo codec that come of long runs: effort, ablations, realism.

What was not measured is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"

Content = dict[str, Any]


def _load(path: Path) -> Content:
    content: Content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content


def percent(value: float | None) -> str:
    """A BD-rate, or None where there is none."""
    return "not comparable" if value is None else f"{value:+.1f} %"


def verdict_on(missed: Sequence[str]) -> str:
    """Met, or on which sets it was missed."""
    return f"**missed on {' and '.join(missed)}**" if missed else "met"


def effort_rows(titles: dict[str, str], path: Path = RESULTS / "effort.json") -> list[str]:
    """BD-rates of the efforts on the pictures of each set that they were measured on.

    titles   of the sets, by name
    """
    parts = _load(path).get("effort", {})
    if any(name not in parts for name in titles):
        return []
    # An effort on all sets together: (one, two) of each.
    one, *others = zip(*(parts[name]["found"] for name in titles), strict=True)
    counts = " / ".join(str(len(parts[name]["pictures"])) for name in titles)
    where = f"{counts} pictures, {parts[next(iter(titles))]['part']}"
    highest = others[-1]
    missed = [title for title, row in zip(titles.values(), highest, strict=True) if not row["met"]]

    def cells(rows: Sequence[Content], key: str) -> str:
        return " | ".join(percent(row[key]) for row in rows)

    def saved(rows: Sequence[Content]) -> str:
        times = " / ".join(f"{row['encode_seconds_over_effort_1']:.0f}" for row in rows)
        return (
            f"| photo at effort 1: what effort {rows[0]['effort']} saves on them, in {times} times "
            f"the time | {cells(rows, 'bd_rate_percent')} | |"
        )

    against = "bd_rate_against_avif_percent"
    return [
        f"| AVIF, effort {highest[0]['effort']} ({where}) | {cells(highest, against)} | "
        f"≤ 0 %: {verdict_on(missed)} |",
        f"| AVIF, effort 1 on the same pictures | {cells(one, against)} | |",
        *map(saved, others),
    ]


ABLATIONS = {
    "photo-without-context": "no context of latents",
    "photo-adamw": "AdamW in place of SOAP",
    "certain-tables": "every residual coded, the ones too that are hardly ever other than 0",
    "one-hyper-set": "one set of hyper-latent tables for all qualities",
}


def ablation_table(path: Path = RESULTS / "ablations.json") -> str:
    """What files cost more without a part; empty where nothing was measured."""
    lines: list[str] = []
    for name, part in _load(path).get("comparisons", {}).items():
        for variant, title in ABLATIONS.items():
            if variant in part["rows"] and variant != part["baseline"]:
                row = part["rows"][variant]
                lines.append(f"| {title} | {percent(row['bd_rate_percent'])} | {name} |")
    if not lines:
        return ""
    head = "What parts of `photo` are worth: BD-rate on gb82 without them, real files at effort 1."
    return "\n".join([head, "", "| instead | BD-rate | of |", "|---|---|---|", *lines]) + "\n"


def realism_section(path: Path = RESULTS / "realism_kodak.json") -> str:
    """PSNR and Fréchet distance of the same files at each realism."""
    content = _load(path)
    if not content:
        return ""
    realisms = [row["realism"] for row in content["found"][0]["decoded"]]
    lines = [
        f"PSNR in dB / Fréchet distance of {content['patches']:,} patches of 32×32 in own "
        "classifier features (not FID; two halves of the originals: "
        f"{content['frechet_between_halves_of_the_originals']:.2f}), "
        f"{content['pictures']} pictures of {content['set'].capitalize()}, photo weights "
        f"`{content['photo_weights'][:8]}`, by `--realism`:",
        "",
        "| quality | bits per pixel | " + " | ".join(f"{r:g}" for r in realisms) + " |",
        "|---|---|" + "---|" * len(realisms),
    ]
    for found in content["found"]:
        cells = [
            f"{row['mean_psnr_db']:.2f} / {row['frechet_distance']:.2f}" for row in found["decoded"]
        ]
        lines.append(
            f"| {found['quality']:g} | {found['mean_bpp']:.3f} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"
