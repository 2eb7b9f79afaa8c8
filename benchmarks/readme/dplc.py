"""The README's tables on the distribution-preserving codec, from `benchmarks/results/dplc.json`.

What was not measured is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"

Content = dict[str, Any]


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def gaussian_rows(content: Content) -> list[str]:
    """How near the closed form the method comes, and real bytes."""
    rows = []
    for part in content.get("gaussian", {}).values():
        found = part["found"]
        linear, symbols = found["linear"], found["symbols"]
        if linear:
            worst = max(abs(row["ratio"] - 1) for row in linear)
            span = f"{linear[0]['rate_bits']:g} to {linear[-1]['rate_bits']:g} bits"
            rows.append(
                f"| Gaussian numbers, linear maps trained with the method's losses, {span} of "
                f"information: largest distance of D from 2σ²(1 − √(1 − 2^(−2R))) | "
                f"{100 * worst:.1f} % | ≤ 5 %: {_verdict(found['linear_met'] == len(linear))} |"
            )
        for decoder in sorted({row["decoder"] for row in symbols}):
            own = [row for row in symbols if row["decoder"] == decoder]
            ratios = [row["ratio"] - 1 for row in own]
            bits = [row["bits_above_closed_form"] for row in own]
            met = all(row["met"] for row in own)
            rows.append(
                f"| the same with real bytes, dithered scalar quantiser, decoder by {_BY[decoder]}:"
                f" D above it at equal rate; bits above it at equal D | "
                f"{100 * min(ratios):.0f} to {100 * max(ratios):.0f} %; {min(bits):.2f} to "
                f"{max(bits):.2f} bits | ≤ 5 %: {_verdict(met)} (a scalar quantiser alone costs "
                "up to 0.25 bit) |"
            )
    return rows


_BY = {"random": "sampling", "transport": "optimal transport"}


def claim_rows(content: Content) -> list[str]:
    """What is claimed of each model's rates."""
    rows = []
    for name, part in content.get("rates", {}).items():
        found = part["found"]["summary"]
        claims: list[tuple[str, str, str, bool | None]] = [
            (
                "pixel variance given the file, at the lowest rate",
                f"{found['variance_at_the_lowest_rate']:.1f} (levels²)",
                "above 0, and falling with the rate",
                found["variance_positive_and_falling"],
            ),
            (
                "Fréchet distance: largest deviation from its mean over the rates",
                f"{100 * found['frechet_largest_share_off_the_mean']:.0f} %",
                "≤ 20 %",
                found["frechet_flat"],
            ),
            (
                "Fréchet distance over that of the plain autoencoder (at no symbols: the mean "
                "image), by rate",
                " / ".join(_number(ratio) for ratio in found["frechet_over_plain"]),
                "≤ 0.5 at the two lowest",
                found["frechet_at_most_half_of_plain_at_the_two_lowest"],
            ),
            ("squared error falls with the rate", "", "at every rate", found["mse_falls"]),
            (
                "squared error over that of the plain autoencoder, at the highest rate",
                _number(found["mse_over_plain_at_the_highest"]),
                "≤ 1.15",
                found["mse_near_plain_at_the_highest"],
            ),
            (
                "coded bits over the fixed rate, by rate",
                " / ".join(_number(share) for share in found["payload_over_fixed_rate"]),
                "< 1 at every rate",
                found["payload_below_fixed_rate"],
            ),
        ]
        rows += [
            f"| `{name}`: {what} | {value} | {wanted}: {_verdict(met)} |"
            for what, value, wanted, met in claims
            if met is not None
        ]
    return rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def probe_rows(content: Content) -> list[str]:
    """How often the number of dots is another, at the lowest and the highest rate of each codec."""
    rows = []
    for name, part in content.get("probes", {}).items():
        points = sorted(part["found"], key=lambda row: row["dots"]["bits_per_pixel"])
        texts = [
            f"{100 * row['dots']['count_changed']:.0f} % at {row['dots']['bits_per_pixel']:.3f} bpp"
            for row in (points[0], points[-1])
        ]
        rows.append(
            f"| `{name}`: another number of dots than on the source, {part['images']:,} images | "
            f"{'; '.join(texts)} | |"
        )
    return rows


def rate_table(content: Content) -> str:
    """The rates of the first model beside the plain autoencoder and known codecs; "" if none."""
    parts = content.get("rates", {})
    if not parts:
        return ""
    name, part = next(iter(parts.items()))
    peers = list(part["found"]["rates"][0]["peers"])
    halves = part["frechet_between_halves_of_the_originals"]
    lines = [
        f"`{name}`, {part['images']:,} test images in sheets: PSNR in dB / Fréchet distance in own "
        f"classifier features (not FID; two halves of the test images: {halves:.2f}), and of the "
        "best file of at most as many bytes:",
        "",
        "| symbols per position | fixed bits per image | coded | variance over decodings | dplc | "
        "plain autoencoder | " + " | ".join(peers) + " |",
        "|---|---|---|---|---|---|" + "---|" * len(peers),
    ]
    for row in part["found"]["rates"]:
        cells = [_quality(row), _quality(row["plain"], "not measured")]
        cells += [_quality(row["peers"][peer]) for peer in peers]
        lines.append(
            f"| {row['symbols_per_position']} | {row['fixed_bits_per_image']} | "
            f"{row['payload_bits_per_image']:.1f} | {row['conditional']['variance']:.0f} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines)


def _quality(cell: Content | None, missing: str = "no file so small") -> str:
    if cell is None:
        return missing
    return f"{cell['psnr_db']:.2f} / {cell['frechet_distance']:.2f}"


def sample_table(content: Content) -> str:
    """Fréchet distances of generators; "" if none."""
    lines = []
    for part in content.get("samples", {}).values():
        for row in part["found"]:
            half = row["half_of_95_percent_interval"]
            text = f"{row['mean']:.2f}" + ("" if half is None else f" ± {half:.2f}")
            lines.append(f"| {row['name']} | {len(row['runs'])} | {text} |")
    if not lines:
        return ""
    head = ["| generator | runs | Fréchet distance of samples, 95 % over runs |", "|---|---|---|"]
    return "\n".join([*head, *lines])


def dplc_section(path: Path = RESULTS / "dplc.json") -> str:
    """All that is said of the codec; the empty text where nothing was measured."""
    if not path.exists():
        return ""
    content: Content = json.loads(path.read_text("utf-8"))
    rows = [*claim_rows(content), *gaussian_rows(content), *probe_rows(content)]
    table = ["| what | measured | wanted |", "|---|---|---|", *rows] if rows else []
    parts = ["\n".join(table), rate_table(content), sample_table(content)]
    return "\n\n".join(part for part in parts if part) + "\n"
