"""The README's table on DRAW, from `benchmarks/results/draw.json`; what is missing is left out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
ALLOWED_ARCHIVE_PERCENT = 2
ALLOWED_BOUNDS = {"draw-digits": 88.0, "draw-colour": 4.8}
"""On −log p(x), in nats and in bits per dimension."""

Content = dict[str, Any]


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def likelihood_rows(content: Content) -> list[str]:
    """Bounds on −log p(x) of the test images."""
    rows = []
    for name, part in content.get("likelihood", {}).items():
        found = part["found"]
        unit = "bits_per_dimension" if part["binarisation"].startswith("none") else "nats"
        value, error = found[f"nelbo_{unit}"], found[f"nelbo_standard_error_{unit}"]
        digits, words = (3, "bits per dimension") if unit != "nats" else (2, "nats")
        allowed = ALLOWED_BOUNDS.get(name)
        wanted = "" if allowed is None else f"≤ {allowed:g}: {_verdict(value <= allowed)}"
        text = f"{value:.{digits}f} ± {error:.{digits}f} {words}"
        rows.append(
            f"| `{name}`: negative ELBO, {found['images']:,} test images | {text} | {wanted} |"
        )
        weighted = found.get("importance_weighted")
        if weighted:
            bound, error = (weighted[f"bound_{w}{unit}"] for w in ("", "standard_error_"))
            wanted = "" if allowed is None else f"≤ {allowed:g}: {_verdict(bound <= allowed)}"
            rows.append(
                f"| `{name}`: importance-weighted bound, {weighted['samples']} samples, the first "
                f"{weighted['images']:,} of them | {bound:.{digits}f} ± {error:.{digits}f} {words}"
                f" | {wanted} |"
            )
    return rows


def file_rows(content: Content) -> list[str]:
    """Bytes against the bound, and archives."""
    rows = []
    for name, part in content.get("files", {}).items():
        worst = max(part["found"], key=lambda row: row["sheet"]["payload_above_bound_percent"])
        kept = sum(row[kind]["within_claim"] for row in part["found"] for kind in _KINDS)
        tried = sum(row[kind]["pictures"] for row in part["found"] for kind in _KINDS)
        rows.append(
            f"| `{name}`: payload above the ideal code length, {worst['sheet']['pixels_of_each']:,}"
            f" pixels, at the worst of {len(part['found'])} qualities | "
            f"{worst['sheet']['payload_above_bound_percent']:.2f} %; {kept:,} of {tried:,} files "
            f"within the claim | ≤ 1 % + 16 bytes: {_verdict(kept == tried)} |"
        )
    for name, part in content.get("archive", {}).items():
        found = part["found"]
        met = found["lossless"] and found["above_bound_percent"] <= ALLOWED_ARCHIVE_PERCENT
        rows.append(
            f"| `{name}`: bits-back archive above the negative ELBO, {part['images']:,} images, "
            f"lossless | {found['above_bound_percent']:.1f} % | "
            f"≤ {ALLOWED_ARCHIVE_PERCENT} %: {_verdict(met)} |"
        )
    return rows


_KINDS = ("images", "sheet")


def prefix_rows(content: Content) -> list[str]:
    """What the claims on cut files came to."""
    rows = []
    for name, part in content.get("prefix", {}).items():
        for found in part["found"]:
            what = f"`{name}` at quality {found['quality']:g}"
            errors = [row["mean"]["mse"] for row in found["prefixes"]]
            falls = found["summary"]["mse_falls_in_every_layer"]
            telling = 1 + sum(a > b for a, b in pairwise(errors))
            used = "" if falls else f" (in {telling} of {len(errors)}: the others say nothing)"
            rows.append(
                f"| {what}: squared error after the first layer / the last | "
                f"{errors[0]:.1f} / {errors[-1]:.1f} | "
                f"falls in every layer: {_verdict(falls)}{used} |"
            )
            tenth = found["summary"].get("near_a_tenth_of_the_bytes")
            if tenth and tenth["frechet_jpeg2000"] is not None:
                share = f"{100 * tenth['share_of_the_file']:.0f} % of its bytes"
                rows.append(_realism_row(what, share, tenth))
        tenth = part.get("tenth_of_the_finest_file")
        if len(part["found"]) > 1 and tenth and tenth["frechet_jpeg2000"] is not None:
            what = f"`{name}` at quality {tenth['quality']:g}, cut after layer {tenth['layers']}"
            share = f"{100 * tenth['share_of_the_finest_file']:.0f} % of the finest file's bytes"
            rows.append(_realism_row(what, share, tenth))
    return rows


def _realism_row(what: str, share: str, tenth: Content) -> str:
    return (
        f"| {what}: Fréchet distance at {share}, rest sampled / JPEG 2000 of equal bytes | "
        f"{tenth['frechet_sampled']:.2f} / {tenth['frechet_jpeg2000']:.2f} | "
        f"lower: {_verdict(tenth['sampled_below_jpeg2000'])} |"
    )


def exactness_rows(content: Content) -> list[str]:
    """Whether files were the same everywhere."""
    return [
        f"| `{name}`: {part['pictures']} files coded again on two threads, with sums in "
        f"another order and in integers | {'the same' if part['all_same'] else 'not the same'} | "
        f"the same: {_verdict(part['all_same'])} |"
        for name, part in content.get("exactness", {}).items()
    ]


def prefix_table(content: Content) -> str:
    """Each number of layers beside its peers, of the first weights and quality; "" if none."""
    parts = content.get("prefix", {})
    if not parts:
        return ""
    name, part = next(iter(parts.items()))
    found = part["found"][0]
    peers = list(found["prefixes"][0]["peers"])
    lines = [
        f"`{name}` at quality {found['quality']:g}, {part['images']:,} images in sheets, cut after "
        "each layer: PSNR in dB / Fréchet distance in own classifier features (not FID), and of "
        "the best file of at most as many bytes:",
        "",
        "| layers | bits per pixel | rest: mean | rest: sampled | " + " | ".join(peers) + " |",
        "|---|---|---|---|" + "---|" * len(peers),
    ]
    for row in found["prefixes"]:
        cells = [row["mean"], row["sampled"], *(row["peers"][peer] for peer in peers)]
        lines.append(
            f"| {row['layers']} | {row['bits_per_pixel']:.3f} | "
            + " | ".join(_quality(cell) for cell in cells)
            + " |"
        )
    return "\n".join(lines)


def _quality(cell: Content | None) -> str:
    if cell is None:
        return "no file so small"
    distance = cell.get("frechet_distance")
    return f"{cell['psnr_db']:.2f}" + ("" if distance is None else f" / {distance:.2f}")


def draw_section(path: Path = RESULTS / "draw.json") -> str:
    """All that is said of DRAW; the empty text where nothing was measured."""
    if not path.exists():
        return ""
    content: Content = json.loads(path.read_text("utf-8"))
    rows = [
        *likelihood_rows(content),
        *file_rows(content),
        *prefix_rows(content),
        *exactness_rows(content),
    ]
    table = ["| what | measured | wanted |", "|---|---|---|", *rows] if rows else []
    parts = ["\n".join(table), prefix_table(content)]
    return "\n\n".join(part for part in parts if part) + "\n"
