"""The README's tables on the measurement of generative models, from `benchmarks/results`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
NAMES = {
    "mnist-vae-10": "VAE",
    "mnist-gan-10": "WGAN-GP",
    "mnist-wae-10": "WAE-MMD",
    "mnist-rae-10": "RAE + mixture",
}


def _load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return content


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def accuracy_rows() -> list[str]:
    """How near the curve comes to closed forms, and at what cost."""
    linear = _load("rate_distortion_linear")
    rows = []
    for gap in linear["gap"]["found"]:
        if gap.get("method") == "ais":
            continue
        worst = gap["worst_gap_nats"]
        dimensions, temperatures = gap["code_dimensions"], gap["temperatures"]
        wanted = ""
        if (dimensions, temperatures) == (10, 1000):
            wanted = f"≤ 0.20: {_verdict(worst <= 0.20)}"
        elif temperatures == 300 or dimensions > 10:
            wanted = f"≤ 0.5 aimed at: {_verdict(worst <= 0.5)}"
        rows.append(
            f"| largest error of −log Z, {gap['instances']} linear decoders of {dimensions} "
            f"dimensions × 40 β, {temperatures} temperatures | {worst:.2f} nats | {wanted} |"
        )
    coverage = linear["coverage"]["found"]
    rows.append(
        f"| 95 % intervals that hold the exact rate, of {coverage['repetitions']}: at the worst β "
        f"/ mean over β | {coverage['covered_fewest']} / {coverage['covered_mean']:.1f} | "
        f"≥ 90: {_verdict(coverage['covered_fewest'] >= 90)} |"
    )
    for part, where in (("speed", "linear decoders"), ("trained", "a trained VAE")):
        if part not in linear:
            continue
        speed = linear[part]["found"]
        text = f"{speed['speed_up_in_gradients']:.0f}×"
        wanted = f"≥ 8×: {_verdict(speed['speed_up_in_gradients'] >= 8)}" if part == "speed" else ""
        rows.append(
            f"| fewer decoder gradients than AIS as published "
            f"({speed['reference_temperatures']:,} temperatures) at no larger error, {where} | "
            f"{text} | {wanted} |"
        )
    sandwich = _load("rate_distortion_sandwich")["gaussian_2d"]
    lower = sandwich["lower_bound"]["intercept_nats"]
    upper = sandwich["upper_bound_particles"]["intercept_nats"]
    low, high = sandwich["goal_nats"]
    rows.append(
        f"| bounds from below / above on a 2-D Gaussian, exact "
        f"{sandwich['truth']['intercept_nats']:.3f} nats | {lower:.3f} / {upper:.3f} | "
        f"in [{low:.2f}, {high:.2f}]: {_verdict(low <= lower and upper <= high)} |"
    )
    return rows


def bits_rows() -> list[str]:
    """What samples cost as real files."""
    found = _load("samples_to_bits")
    dither = [row for row in found["lossy"] if row["model"] == "vae-dither"]
    worst = max(
        100 * (row["bits_per_image"] / row["uniform_channel_bits_per_image"] - 1) for row in dither
    )
    claims = [check for check in found["checks"] if "vae-rec" in check["claim"]]
    most = max(100 * check["bits_per_image"] / check["at_most"] for check in claims)
    archive = found["archive"]
    above = 100 * (archive["bits_per_image"] / archive["negative_elbo_bits_per_image"] - 1)
    return [
        f"| `vae-dither`: file above the negative ELBO's rate, {found['images']:,} digits, at the "
        f"worst of {len(dither)} qualities | {worst:.1f} % | ≤ 3 %: {_verdict(worst <= 3)} |",
        f"| `vae-rec`: file against KL + log₂(KL + 1) + 5 bits per block, at the worst quality | "
        f"{most:.0f} % | ≤ 100 %: {_verdict(most <= 100)} |",
        f"| `vae-bits-back`: archive above the negative ELBO, {found['images']:,} binary digits, "
        f"lossless | {above:.1f} % | ≤ 2 %: {_verdict(above <= 2 and archive['lossless'])} |",
    ]


def models_table() -> str:
    """Distortion of the measured models at equal rates, and what of the order is significant."""
    found = _load("rate_distortion_mnist")
    rows = found["comparison"]["rows"]
    models = rows[0]["order_by_distortion"]
    images = found["curves"][0]["images"]
    lines = [
        f"Squared error per image (sum, pixels 0..1) of 10-dimensional models of MNIST at equal "
        f"rate R_p, {images:,} test images, with 95 % intervals:",
        "",
        "| rate | " + " | ".join(NAMES.get(name, name) for name in models) + " |",
        "|---|" + "---|" * len(models),
    ]
    for row in rows:
        cells = []
        for name in models:
            entry = row["distortion"][name]
            low, high = entry["interval_95"]
            cells.append(f"{entry['estimate']:.1f} ({low:.1f}–{high:.1f})")
        lines.append(
            f"| {row['rate_nats']:g} nats ({row['rate_bits']:.1f} bits) | "
            + " | ".join(cells)
            + " |"
        )
    unsure = [
        f"{NAMES.get(d['lower'], d['lower'])} and {NAMES.get(d['higher'], d['higher'])} at "
        f"{row['rate_nats']:g} nats"
        for row in rows
        for d in row["differences"]
        if not d["significant"]
    ]
    judged = (
        "All differences are significant"
        if not unsure
        else "Not significantly different: " + "; ".join(unsure) + ". All others are"
    )
    certified = [sum(c["certified"]) for c in found["curves"]]
    points = sum(len(c["beta"]) for c in found["curves"])
    worst = max(g for c in found["curves"] for g in c["bdmc_gap_nats"] if g is not None)
    lines += [
        "",
        f"{judged} (paired bootstrap, Bonferroni over {found['comparison']['tests']} tests). "
        f"{sum(certified)} of the curves' {points} points are certified; the largest two-sided "
        f"gap is {worst:.2f} nats, by which a curve may be too high beyond its intervals.",
    ]
    return "\n".join(lines)


def sizes_table() -> str:
    """Distortion of models with other sizes of code, and of the convolutional GANs, in short."""
    found = _load("rate_distortion_mnist_sizes")
    rows = found["comparison"]["rows"]
    curves = {curve["model"]: curve for curve in found["curves"]}
    lines = [
        f"Other sizes of code and other networks, {found['curves'][0]['images']} test images; a "
        "large two-sided gap says that the curve may be that much too high:",
        "",
        "| model | "
        + " | ".join(f"D at {row['rate_nats']:g} nats" for row in rows)
        + " | certified | largest gap |",
        "|---|" + "---|" * (len(rows) + 2),
    ]
    for name in sorted(curves, key=_family_and_size):
        estimates = [f"{row['distortion'][name]['estimate']:.1f}" for row in rows]
        certified, gaps = curves[name]["certified"], curves[name]["bdmc_gap_nats"]
        worst = max(gap for gap in gaps if gap is not None)
        lines.append(
            f"| {name.removeprefix('mnist-')} | "
            + " | ".join(estimates)
            + f" | {sum(certified)} of {len(certified)} | {worst:.2f} nats |"
        )
    return "\n".join(lines)


def _family_and_size(name: str) -> tuple[str, int]:
    family, _, size = name.removeprefix("mnist-").partition("-")
    return family, int(size) if size.isdigit() else 0


def ladder_table(quality: int = 75) -> str:
    """Where the bits between real files and R_p go, one column for each way to code."""
    found = _load("rate_distortion_ladder")
    tables = [t for t in found["gap_tables"] if t["model"].endswith(f" {quality}")]
    terms = list(tables[0]["terms_bits"])
    rate = tables[0]["measured"]["rate_at_file_bits"]
    distortion = tables[0]["measured"]["file_distortion"]
    lines = [
        f"Where the bits go, {found['images']:,} MNIST digits at quality {quality} (squared error "
        f"{distortion:.1f} a digit, R_p = {rate:.1f} bits), bits per digit:",
        "",
        "| | " + " | ".join(f"`{t['model'].partition(' ')[0]}`" for t in tables) + " |",
        "|---|" + "---|" * len(tables),
    ]
    for term in terms:
        cells = " | ".join(f"{t['terms_bits'][term]:.2f}" for t in tables)
        lines.append(f"| {term} | {cells} |")
    totals = " | ".join(f"{t['total_bits']:.2f}" for t in tables)
    sizes = " | ".join(f"{t['measured']['file_bits']:.2f}" for t in tables)
    worst = max(abs(t["residual_percent"]) for t in found["gap_tables"])
    certified = found["curve"]["certified"]
    lines += [
        f"| **file − R_p at its own distortion** | {totals} |",
        f"| whole file | {sizes} |",
        "",
        f"The measurements behind the terms agree within {worst:.2f} % in all "
        f"{len(found['gap_tables'])} tables (wanted: 1 %); {sum(certified)} of the "
        f"{len(certified)} points of R_p are certified.",
    ]
    return "\n".join(lines)


def measurement_section() -> str:
    """All tables of this module; what has not been measured is left out."""
    table = ["| what | measured | wanted |", "|---|---|---|", *accuracy_rows(), *bits_rows()]
    parts = ["\n".join(table), ladder_table()]
    if (RESULTS / "rate_distortion_mnist.json").exists():
        parts.append(models_table())
    if (RESULTS / "rate_distortion_mnist_sizes.json").exists():
        parts.append(sizes_table())
    return "\n\n".join(parts) + "\n"
