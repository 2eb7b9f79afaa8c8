"""The tables on the distribution-preserving codec, from `dplc.json`.

Measurements that were not made are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

from benchmarks.harness.targets import (
    DPLC_CLOSED_FORM_SHARE,
    DPLC_FRECHET_OVER_PLAIN,
    DPLC_FRECHET_SPREAD,
    DPLC_MSE_OVER_PLAIN,
)
from benchmarks.readme.tables import CLAIMS, Content, Row, load, quality, section, table, verdict

PATTERN_ENTROPY = "pattern_entropy_bits"
DECODERS = {"random": "sampling", "transport": "optimal transport"}


def _shares(values: list[float | None]) -> str:
    return " / ".join("–" if value is None else f"{value:.2f}" for value in values)


RATE_CLAIMS: list[tuple[str, Callable[[Content], str], str, str]] = [
    (
        "pixel variance over decodings of a file, at the lowest rate",
        lambda found: f"{found['variance_at_the_lowest_rate']:.1f} (levels²)",
        "above 0, and falling with the rate",
        "variance_positive_and_falling",
    ),
    (
        "Fréchet distance: largest deviation from its mean over the rates",
        lambda found: f"{100 * found['frechet_largest_share_off_the_mean']:.0f} %",
        f"≤ {100 * DPLC_FRECHET_SPREAD:g} %",
        "frechet_flat",
    ),
    (
        "Fréchet distance relative to the plain autoencoder (at the lowest rate: to the mean "
        "image), by rate",
        lambda found: _shares(found["frechet_over_plain"]),
        f"≤ {DPLC_FRECHET_OVER_PLAIN:g} at the two lowest rates",
        "frechet_at_most_half_of_plain_at_the_two_lowest",
    ),
    ("squared error falls with the rate", lambda found: "", "at every rate", "mse_falls"),
    (
        "squared error relative to the plain autoencoder, at the highest rate",
        lambda found: _shares([found["mse_over_plain_at_the_highest"]]),
        f"≤ {DPLC_MSE_OVER_PLAIN:g}",
        "mse_near_plain_at_the_highest",
    ),
    (
        "entropy-coded bits relative to one bit per symbol, by rate",
        lambda found: _shares(found["payload_over_fixed_rate"]),
        "< 1 at every rate",
        "payload_below_fixed_rate",
    ),
]
"""Claims on the rates: what, its value, the target, and the key that says whether it is met."""


def claim_rows(content: Content) -> Iterator[Row]:
    for name, part in content.get("rates", {}).items():
        found = part["found"]["summary"]
        for what, value, wanted, key in RATE_CLAIMS:
            if found[key] is not None:
                yield f"`{name}`: {what}", value(found), f"{wanted}: {verdict(found[key])}"


def gaussian_rows(content: Content) -> Iterator[Row]:
    """How close the method comes to the closed form, without and with real bytes."""
    near = f"≤ {100 * DPLC_CLOSED_FORM_SHARE:g} %"
    for part in content.get("gaussian", {}).values():
        linear, symbols = part["found"]["linear"], part["found"]["symbols"]
        if linear:
            worst = max(abs(row["ratio"] - 1) for row in linear)
            span = f"{linear[0]['rate_bits']:g} to {linear[-1]['rate_bits']:g} bits"
            yield (
                f"Gaussian numbers, linear maps trained with the method's losses, {span} of "
                "information: largest deviation of D from the closed form 2σ²(1 − √(1 − 2^(−2R)))",
                f"{100 * worst:.1f} %",
                f"{near}: {verdict(part['found']['linear_met'] == len(linear))}",
            )
        for decoder in sorted({row["decoder"] for row in symbols}):
            own = [row for row in symbols if row["decoder"] == decoder]
            ratios = [100 * (row["ratio"] - 1) for row in own]
            bits = [row["bits_above_closed_form"] for row in own]
            yield (
                "Gaussian numbers, real bytes, dithered scalar quantiser, decoder by "
                f"{DECODERS[decoder]}: D above the closed form at equal rate; bits above it at "
                "equal D",
                f"{min(ratios):.0f} to {max(ratios):.0f} %; {min(bits):.2f} to {max(bits):.2f} "
                "bits",
                f"{near}: {verdict(all(row['met'] for row in own))} (a scalar quantiser alone "
                "costs up to 0.25 bit)",
            )


def trellis_rows(content: Content) -> Iterator[Row]:
    """How close vector quantisation with real bytes comes to the closed form."""
    for part in content.get("trellis", {}).values():
        rows = part["found"]["rows"]
        span = f"{rows[0]['wanted_bits']:g} to {rows[-1]['wanted_bits']:g} bits"
        ratios = [100 * (row["ratio"] - 1) for row in rows]
        bits = [row["bits_above_closed_form"] for row in rows]
        yield (
            f"Gaussian numbers, real bytes, trellis codes, random rotations, {span}: D above the "
            "closed form at equal rate; bits above it at equal D",
            f"{min(ratios):.1f} to {max(ratios):.1f} %; {min(bits):.3f} to {max(bits):.3f} bits",
            f"≤ {100 * DPLC_CLOSED_FORM_SHARE:g} %: {verdict(all(row['met'] for row in rows))}",
        )


def trellis_table(content: Content) -> str:
    """Each rate of the Gaussian numbers in real bytes, with trellis codes and scalar quantiser."""
    for name, part in content.get("trellis", {}).items():
        scalar = content.get("gaussian", {}).get(name, {"found": {"symbols": []}})["found"]
        above = {
            round(row["entropy_bits"], 3): f"{100 * (row['ratio'] - 1):+.1f} %"
            for row in scalar["symbols"]
            if row["decoder"] == "transport"
        }
        rows = (
            [
                f"{row['rate_bits']:.4f}",
                above.get(row["wanted_bits"], "–"),
                f"{100 * (row['ratio'] - 1):+.1f} %",
                f"{row['bits_above_closed_form']:.4f}",
                f"{100 * row['share_of_rate_above']:.1f} %",
            ]
            for row in part["found"]["rows"]
        )
        return section(
            "Gaussian numbers in real bytes, decoded with the distribution of the source: how far "
            "the squared error D is above the closed form 2σ²(1 − √(1 − 2^(−2R))) at equal rate, "
            "and the bits above it at equal error. With the trellis codes, vectors are rotated by "
            "random orthogonal matrices that both sides draw; decoded vectors are scaled to the "
            "length of random normal vectors and rotated back, so they are exactly N(0, σ²).",
            table(
                ["bits per number", "D: scalar quantiser, optimal transport", "D: trellis codes",
                 "bits: trellis codes", "bits as a share of the rate"], rows,
            ),
        )  # fmt: skip
    return ""


def probe_rows(content: Content) -> Iterator[Row]:
    """How often the number of dots changes, at the lowest and the highest rate of each codec."""
    for name, part in content.get("probes", {}).items():
        dots = sorted((row["dots"] for row in part["found"]), key=lambda row: row["bits_per_pixel"])
        texts = [
            f"{100 * row['count_changed']:.0f} % at {row['bits_per_pixel']:.3f} bpp"
            for row in (dots[0], dots[-1])
        ]
        what = f"`{name}`: images whose number of dots changes, of {part['images']:,}"
        yield what, "; ".join(texts), ""


def rate_table(content: Content) -> str:
    """The rates of the first model beside the plain autoencoder and known codecs."""
    for name, part in content.get("rates", {}).items():
        rates = part["found"]["rates"]
        peers = list(rates[0]["peers"])
        halves = part["frechet_between_halves_of_the_originals"]
        columns = ["symbols per position", "symbols per image", "coded bits per image",
                   "variance over decodings", "dplc", "plain autoencoder", *peers]  # fmt: skip
        rows = (
            [
                f"{row['symbols_per_position']}",
                f"{row['fixed_bits_per_image']}",
                f"{row['payload_bits_per_image']:.1f}",
                f"{row['conditional']['variance']:.0f}",
                quality(row),
                quality(row["plain"], "not measured"),
                *(quality(row["peers"][peer]) for peer in peers),
            ]
            for row in rates
        )
        return section(
            f"`{name}`, {part['images']:,} test images in sheets, beside the best file of other "
            "codecs of at most as many bytes: PSNR in dB / Fréchet distance (in features of a "
            "classifier that was trained here, so it is not FID; between two halves of the test "
            f"images: {halves:.2f}):",
            table(columns, rows),
        )
    return ""


def sample_table(content: Content) -> str:
    """Samples of generators; with the entropy of critics' activation patterns, where measured."""
    parts = content.get("samples", {}).values()
    groups = [group for part in parts for group in part["found"]]
    measured = any(PATTERN_ENTROPY in run for group in groups for run in group["runs"])
    columns = ["generator", "runs", "Fréchet distance of samples, with 95 % interval over runs"]
    columns += ["entropy of the signs of the critic's units, bits"] * measured
    rows = []
    for group in groups:
        half = group["half_of_95_percent_interval"]
        text = f"{group['mean']:.2f}" + ("" if half is None else f" ± {half:.2f}")
        entropies = [run[PATTERN_ENTROPY] for run in group["runs"] if PATTERN_ENTROPY in run]
        entropy = f"{mean(entropies):.2f}" if entropies else "–"
        rows.append([group["name"], str(len(group["runs"])), text, *[entropy] * measured])
    return table(columns, rows)


CLAIM_ROWS = claim_rows, gaussian_rows, trellis_rows, probe_rows


def dplc_section(folder: Path) -> str:
    content = load(folder, "dplc")
    rows = [row for rows in CLAIM_ROWS for row in rows(content)]
    return section(
        table(CLAIMS, rows),
        trellis_table(content),
        rate_table(content),
        sample_table(content),
    )
