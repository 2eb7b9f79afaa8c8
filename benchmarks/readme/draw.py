"""The tables on DRAW, from `draw.json`; measurements that were not made are left out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.harness.targets import DRAW_FILE_BYTES, DRAW_FILE_PERCENT
from benchmarks.readme.tables import (
    CLAIMS,
    Content,
    Row,
    judged,
    load,
    quality,
    section,
    table,
    verdict,
)
from codec.rate_distortion.annealing.rd_curve import LARGEST_LOCAL_DIM
from codec.rate_distortion.annealing.summary import LARGEST_GAP_NATS


def likelihood_rows(content: Content) -> Iterator[Row]:
    for name, part in content.get("likelihood", {}).items():
        found = part["found"]
        is_lossless = part["binarisation"].startswith("none")
        unit, digits, words = (
            ("bits_per_dimension", 3, "bits per dimension") if is_lossless else ("nats", 2, "nats")
        )
        bounds = [("nelbo", found, f"negative ELBO, {found['images']:,} test images")]
        weighted = found.get("importance_weighted")
        if weighted:
            what = (
                f"importance-weighted bound, {weighted['samples']} samples, the first "
                f"{weighted['images']:,} of them"
            )
            bounds.append(("bound", weighted, what))
        for key, one, what in bounds:
            value, error = one[f"{key}_{unit}"], one[f"{key}_standard_error_{unit}"]
            text = f"{value:.{digits}f} ± {error:.{digits}f} {words}"
            yield f"`{name}`: {what}", text, judged(name, value)


def file_rows(content: Content) -> Iterator[Row]:
    for name, part in content.get("files", {}).items():
        worst = max(part["found"], key=lambda row: row["sheet"]["payload_above_bound_percent"])
        sets = [row[kind] for row in part["found"] for kind in ("images", "sheet")]
        kept, tried = (sum(one[key] for one in sets) for key in ("within_claim", "pictures"))
        yield (
            f"`{name}`: payload size above the ideal code length, sheets of "
            f"{worst['sheet']['pixels_of_each']:,} pixels, worst of {len(part['found'])} qualities",
            f"{worst['sheet']['payload_above_bound_percent']:.2f} %; {kept:,} of {tried:,} files "
            "within the target",
            f"≤ {DRAW_FILE_PERCENT:g} % + {DRAW_FILE_BYTES:g} bytes: {verdict(kept == tried)}",
        )
    for name, part in content.get("archive", {}).items():
        above = part["found"]["above_bound_percent"]
        yield (
            f"`{name}`: size of a bits-back archive above the negative ELBO, {part['images']:,} "
            "images, lossless",
            f"{above:.1f} %",
            judged("archive", above if part["found"]["lossless"] else float("inf")),
        )


def prefix_rows(content: Content) -> Iterator[Row]:
    for name, part in content.get("prefix", {}).items():
        for found in part["found"]:
            what = f"`{name}` at quality {found['quality']:g}"
            errors = [row["mean"]["mse"] for row in found["prefixes"]]
            falls = found["summary"]["mse_falls_in_every_layer"]
            telling = 1 + sum(a > b for a, b in pairwise(errors))
            used = (
                "" if falls else f" (with {telling} of {len(errors)}; the others do not lower it)"
            )
            yield (
                f"{what}: squared error after the first / last layer",
                f"{errors[0]:.1f} / {errors[-1]:.1f}",
                f"falls with every layer: {verdict(falls)}{used}",
            )
            tenth = found["summary"].get("near_a_tenth_of_the_bytes")
            if tenth and tenth["frechet_jpeg2000"] is not None:
                yield _realism_row(what, tenth["share_of_the_file"], "its", tenth)
        tenth = part.get("tenth_of_the_finest_file")
        if len(part["found"]) > 1 and tenth and tenth["frechet_jpeg2000"] is not None:
            what = f"`{name}` at quality {tenth['quality']:g}, cut after layer {tenth['layers']}"
            share = tenth["share_of_the_finest_file"]
            yield _realism_row(what, share, "the finest file's", tenth)


def _realism_row(what: str, share: float, whose: str, tenth: Content) -> Row:
    return (
        f"{what}: Fréchet distance at {100 * share:.0f} % of {whose} bytes with the rest sampled / "
        "of JPEG 2000 at equal bytes",
        f"{tenth['frechet_sampled']:.2f} / {tenth['frechet_jpeg2000']:.2f}",
        f"lower: {verdict(tenth['sampled_below_jpeg2000'])}",
    )


def exactness_rows(content: Content) -> Iterator[Row]:
    for name, part in content.get("exactness", {}).items():
        yield (
            f"`{name}`: {part['pictures']} files coded again on two threads, with another order of "
            "summation, and in integers",
            "identical" if part["all_same"] else "not identical",
            f"identical: {verdict(part['all_same'])}",
        )


def prefix_table(content: Content) -> str:
    """Each number of layers beside its peers, for the first weights and quality."""
    for name, part in content.get("prefix", {}).items():
        found = part["found"][0]
        peers = list(found["prefixes"][0]["peers"])
        return section(
            f"`{name}` at quality {found['quality']:g}, {part['images']:,} images in sheets, cut "
            "after each layer, with the rest as the mean of the prior or a sample, beside the best "
            "file of other codecs of at most as many bytes: PSNR in dB / Fréchet distance (in "
            "features of a classifier that was trained here, so it is not FID):",
            table(
                ["layers", "bits per pixel", "rest: mean", "rest: sampled", *peers],
                (
                    [
                        str(row["layers"]),
                        f"{row['bits_per_pixel']:.3f}",
                        *(quality(row[rest]) for rest in ("mean", "sampled")),
                        *(quality(row["peers"][peer]) for peer in peers),
                    ]
                    for row in found["prefixes"]
                ),
            ),
        )
    return ""


def collapse_table(content: Content) -> str:
    """Remedies against posterior collapse, in the order of their training."""
    found = content.get("collapse", {})
    if not found:
        return ""
    first = next(iter(found.values()))
    rows = []
    for name, part in found.items():
        one = part["found"]
        nats = [f"{value:.1f}" for value in one["kl_nats_of_each_step"]]
        rows.append([
            name,
            f"{one['nelbo_nats']:.2f} ± {one['nelbo_standard_error_nats']:.2f}",
            f"{one['active_units']:,} of {one['units']:,}",
            " / ".join(nats),
        ])  # fmt: skip
    return section(
        "Remedies against posterior collapse: networks like `draw-digits` with half of its steps, "
        f"after {first['training_steps']:,} training steps each, on {first['images']:,} test "
        "images. A unit is active if the mean of its posterior has a variance of more than 0.01 "
        "over the images (Burda et al. 2016):",
        table(["remedy", "negative ELBO, nats", "active units", "KL of each step, nats"], rows),
    )


def reference_table(content: Content) -> str:
    """References of R_p(D), by the steps that a bridge from each would need."""
    parts = []
    for name, part in content.get("reference", {}).items():
        betas = sorted({row["beta"] for row in part["found"]})
        steps: dict[str, list[str]] = {}
        for row in part["found"]:
            steps.setdefault(row["reference"], []).append(f"{row['steps']:,.0f}")
        parts.append(
            section(
                f"References for R_p(D) of `{name}`, whose codes have {part['code_dimensions']:,} "
                "numbers: how many steps from each Gaussian to the posterior would leave a gap of "
                f"{LARGEST_GAP_NATS:g} nats if the sampler were perfect, for {part['images']} test "
                "images. The posterior is taken as a Gaussian, by linearising the decoder at its "
                "mode, so these are lower limits. Only the prior can be used so far, since local "
                f"references have full matrices, of at most {LARGEST_LOCAL_DIM:,} numbers:",
                table(
                    ["reference", *(f"β = {beta:g}" for beta in betas)],
                    ([reference, *counts] for reference, counts in steps.items()),
                ),
            )
        )
    return section(*parts)


def draw_section(folder: Path) -> str:
    content = load(folder, "draw")
    rows = [
        row
        for rows in (likelihood_rows, file_rows, prefix_rows, exactness_rows)
        for row in rows(content)
    ]
    return section(
        table(CLAIMS, rows),
        reference_table(content),
        prefix_table(content),
        collapse_table(content),
    )
