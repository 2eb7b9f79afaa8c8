"""The tables on measuring generative models; measurements that were not made are left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from operator import mul
from pathlib import Path

from benchmarks.readme.tables import (
    CLAIMS,
    Content,
    Row,
    claim,
    judged,
    load,
    section,
    table,
    verdict,
)
from codec.rate_distortion.annealing.summary import LARGEST_GAP_NATS
from codec.rate_distortion.ladder.gap_table import AGREEMENT_PERCENT

NAMES = {"vae": "VAE", "gan": "WGAN-GP", "wae": "WAE-MMD", "rae": "RAE + mixture"}


def accuracy_rows(linear: Content, sandwich: Content) -> Iterator[Row]:
    """How close the curve comes to closed forms, and at what cost."""
    for gap in linear["gap"]["found"]:
        if gap.get("method") == "ais":
            continue
        worst = gap["worst_gap_nats"]
        dimensions, temperatures = gap["code_dimensions"], gap["temperatures"]
        target = f"gap, {dimensions} dimensions, {temperatures} temperatures"
        if temperatures == 300 or dimensions > 10:
            target = "gap"
        yield (
            f"largest error of −log Z, {gap['instances']} linear decoders of {dimensions} "
            f"dimensions × 40 β, annealed from the prior with {temperatures:,} temperatures",
            f"{worst:.2f} nats",
            judged(target, worst),
        )
    for part in [f"bridge-{dim}" for dim in (10, 50, 100)]:
        for row in bridge_rows(linear, part):
            local, points = row["local_points_of_all"]
            yield claim(
                row,
                "largest error of −log Z, {instances} linear decoders of {code_dimensions} "
                f"dimensions, with the reference chosen at each β (local at {local} of {points}) / "
                "gradients per chain, including pilots on 20 images (a Jacobian product counts as "
                "half)",
                "{worst_gap_nats:.4f} nats / {gradients_and_products_per_chain:,}",
                judged("bridge", row["worst_gap_nats"]),
            )
    shares = dict(cost_shares(linear))
    if shares:
        yield (
            "gradients with the reference chosen at each β, relative to annealing from the prior "
            f"with 1,000 temperatures: {' / '.join(map(str, shares))} dimensions",
            f"{' / '.join(f'{share:.0f} %' for share in shares.values())}",
            judged("bridge cost", shares[100]) if 100 in shares else "",
        )
    coverage = linear["coverage"]["found"]
    yield claim(
        coverage,
        "95 % intervals that contain the exact rate, of {repetitions}: at the worst β / mean over "
        "β",
        "{covered_fewest} / {covered_mean:.1f}",
        judged("coverage", coverage["covered_fewest"]),
    )
    if "bridge-coverage" in linear:
        coverage = linear["bridge-coverage"]["found"]
        yield claim(
            coverage,
            "the same with local references, of {repetitions}: at the worst of {betas} β / mean",
            "{covered_fewest} / {covered_mean:.1f}",
            judged("coverage", coverage["covered_fewest"]),
        )
    for part, where, target in (
        ("speed", "linear decoders", "fewer gradients"),
        ("trained", "a trained VAE", ""),
    ):
        if part in linear:
            speed = linear[part]["found"]
            yield claim(
                speed,
                "factor by which decoder gradients are fewer than for AIS as published "
                f"({{reference_temperatures:,}} temperatures), at no larger error, {where}",
                "{speed_up_in_gradients:.0f}×",
                judged(target, speed["speed_up_in_gradients"]),
            )
    two = sandwich["gaussian_2d"]
    lower = two["lower_bound"]["intercept_nats"]
    upper = two["upper_bound_particles"]["intercept_nats"]
    low, high = two["goal_nats"]
    yield claim(
        two,
        "lower / upper bound for a 2-D Gaussian, whose exact value is {truth[intercept_nats]:.3f} "
        "nats",
        f"{lower:.3f} / {upper:.3f}",
        f"in [{low:.2f}, {high:.2f}]: {verdict(low <= lower and upper <= high)}",
    )


def bridge_rows(linear: Content, part: str) -> list[Content]:
    """All decoders of a part as one row; empty if none were measured."""
    rows = linear.get(part, {"found": []})["found"]
    if len(rows) < 2:
        return list(rows)
    counts = [row["instances"] for row in rows]
    costs = [row["gradients_and_products_per_chain"] for row in rows]
    return [
        {
            **rows[0],
            "instances": sum(counts),
            "worst_gap_nats": max(row["worst_gap_nats"] for row in rows),
            "local_points_of_all": [
                sum(values)
                for values in zip(*(row["local_points_of_all"] for row in rows), strict=True)
            ],
            "gradients_and_products_per_chain": round(sum(map(mul, counts, costs)) / sum(counts)),
        }
    ]


def cost_shares(linear: Content) -> Iterator[tuple[int, float]]:
    """Code dimensions, and gradients with references chosen at each β, in per cent of those from
    the prior with 1,000 temperatures, for the same decoders and images."""
    prior = {
        gap["code_dimensions"]: gap["gradients_per_chain"]
        for gap in linear["gap"]["found"]
        if gap["temperatures"] == 1000 and gap.get("method") != "ais"
    }
    for dim, gradients in prior.items():
        for row in bridge_rows(linear, f"bridge-{dim}"):
            yield dim, 100 * row["gradients_and_products_per_chain"] / gradients


def time_rows(found: Content) -> Iterator[Row]:
    """How long the example of README.md takes."""
    for name, option in (("quick", " --quick"), ("default", "")):
        if name in found:
            run = found[name]["found"]
            yield claim(
                run,
                f"`calotype bound{option}` on the example of README.md: seconds on one core / "
                "certified points",
                "{processor_seconds:.0f} s / {certified} of {points}",
            )


def references_table(found: Content) -> str:
    """Trained models: certificate and L with chosen references, and L annealed from the prior."""
    blocks = []
    for name, model in found.get("models", {}).items():
        beside = model.get("beside_prior")
        columns = ["β", "D", "gap", "gap of worst simulation", "reference", "certified"]
        if beside:
            columns += ["L", "L from the prior", "difference"]
        rows = []
        for i, beta in enumerate(model["beta"]):
            row = [
                f"{beta:g}",
                f"{model['distortion'][i]:.2f}",
                f"{model['gap_nats'][i]:.2f}",
                f"{model['gap_worst_simulation_nats'][i]:.2f}",
                model["reference"][i],
                "yes" if model["certified"][i] else "no",
            ]
            if beside:
                row += [
                    f"{beside['log_partition_nats'][i]:.2f}",
                    f"{beside['prior_log_partition_nats'][i]:.2f}",
                    f"{beside['prior_higher_nats'][i]:.2f} ± "
                    f"{1.96 * beside['standard_error_nats'][i]:.2f}",
                ]
            rows.append(row)
        share = 100 * model["points_within_gap"] / len(model["beta"])
        heading = (
            f"`{name}`, {model['images']} test images, {model['chains']} chains, "
            f"{model['simulations']} simulations at each β, {_modes(model)}"
            "in nats. The gap is at most half a nat at "
            f"{share:.0f} % of the points ({judged('reach', share)})."
        )
        if beside:
            heading += (
                f" L is the mean of −log Z over {beside['images']} of the images, beside the one "
                f"annealed from the prior with {beside['temperatures']:,} temperatures; both are "
                "upper bounds on average. Gradients per image (a Jacobian product counts as half): "
                f"{model['gradients_and_products_per_image']:,} with pilot and certificate, "
                f"{beside['prior_gradients_per_image']:,} from the prior without a certificate."
            )
        blocks.append(section(heading, table(columns, rows)))
    return section(*blocks)


def _modes(model: Content) -> str:
    """How many Gaussians a reference has; empty for older results, which do not say it."""
    if "modes" not in model:
        return ""
    return "one mode, " if model["modes"] == 1 else f"{model['modes']} modes, "


def rae_table(found: Content) -> str:
    """Files of the regularised autoencoder beside its curve."""
    if not found:
        return ""
    curve = found["curve"]
    rows = [
        [
            f"{row['quality']:g}",
            f"{row['distortion']:.1f}",
            f"{row['file_bits']:.1f}",
            f"{row['header_bits']:.1f}",
            "" if row["rate_bits"] is None else f"{row['rate_bits']:.1f}",
            "" if row["gap_bits"] is None else f"{row['gap_bits']:.1f}",
        ]
        for row in found["files"]
    ]
    heading = (
        f"`{found['model']}`, a regularised autoencoder of ten dimensions with a mixture of ten "
        f"Gaussians as its prior, in bits per image, for {curve['images']} test images; "
        f"{sum(curve['certified'])} of the {len(curve['beta'])} points of R_p are certified, and "
        f"the largest two-sided gap is {max(curve['bdmc_gap_nats']):.2f} nats:"
    )
    columns = ["quality", "squared error", "whole file", "its header", "R_p", "file − R_p"]
    picture = (
        "![Rate against distortion of a regularised autoencoder on MNIST: R_p and files]"
        "(results/rae_codec.svg)"
    )
    return section(heading, table(columns, rows), picture)


def bits_rows(found: Content) -> Iterator[Row]:
    """Sizes of real files that code samples of a posterior, relative to their bounds."""
    dither = [row for row in found["lossy"] if row["model"] == "vae-dither"]
    above = [row["bits_per_image"] / row["uniform_channel_bits_per_image"] - 1 for row in dither]
    claims = [check for check in found["checks"] if "vae-rec" in check["claim"]]
    most = max(100 * check["bits_per_image"] / check["at_most"] for check in claims)
    archive = found["archive"]
    over = 100 * (archive["bits_per_image"] / archive["negative_elbo_bits_per_image"] - 1)
    yield (
        f"`vae-dither`: size of files above the rate in the negative ELBO, {found['images']:,} "
        f"digits, worst of {len(dither)} qualities",
        f"{100 * max(above):.1f} %",
        judged("vae-dither", 100 * max(above)),
    )
    yield (
        "`vae-rec`: size of files relative to KL + log₂(KL + 1) + 5 bits per block, worst quality",
        f"{most:.0f} %",
        judged("vae-rec", most),
    )
    yield (
        f"`vae-bits-back`: size of the archive above the negative ELBO, {found['images']:,} binary "
        "digits, lossless",
        f"{over:.1f} %",
        judged("archive", over if archive["lossless"] else float("inf")),
    )


def ladder_table(found: Content, quality: int = 75) -> str:
    """Where the bits between real files and R_p go, with a column for each coding method."""
    tables = [t for t in found["gap_tables"] if t["model"].endswith(f" {quality}")]
    measured = tables[0]["measured"]
    rows = [
        (term, *(f"{t['terms_bits'][term]:.2f}" for t in tables))
        for term in tables[0]["terms_bits"]
    ]
    rows += [
        ("**file − R_p at its own distortion**", *(f"{t['total_bits']:.2f}" for t in tables)),
        ("whole file", *(f"{t['measured']['file_bits']:.2f}" for t in tables)),
    ]
    worst = max(abs(t["residual_percent"]) for t in found["gap_tables"])
    certified = found["curve"]["certified"]
    return section(
        f"Where the bits go, in bits per digit: {found['images']:,} MNIST digits at quality "
        f"{quality} (squared error {measured['file_distortion']:.1f} per digit, R_p = "
        f"{measured['rate_at_file_bits']:.1f} bits):",
        table(["", *(f"`{t['model'].partition(' ')[0]}`" for t in tables)], rows),
        "Some terms are measured in two ways, which agree within "
        f"{worst:.2f} % of the total in all {len(found['gap_tables'])} tables (target: "
        f"{AGREEMENT_PERCENT:g} %); {sum(certified)} of the {len(certified)} points of R_p are "
        "certified.",
    )


def models_table(found: Content, dimensions: int) -> str:
    """Distortion at equal rates of models whose codes have so many dimensions, and which
    differences are significant."""
    if not found:
        return ""
    rates, curves = found["comparison"]["rows"], found["curves"]
    models = rates[0]["order_by_distortion"]

    def name(model: str) -> str:
        family = model.removeprefix("mnist-").removesuffix(f"-{dimensions}")
        return NAMES.get(family, model)

    def cell(entry: Content) -> str:
        low, high = entry["interval_95"]
        return f"{entry['estimate']:.1f} ({low:.1f}–{high:.1f})"

    rows = [
        (
            f"{row['rate_nats']:g} nats ({row['rate_bits']:.1f} bits)",
            *(cell(row["distortion"][model]) for model in models),
        )
        for row in rates
    ]
    unsure = [
        f"{name(pair['lower'])} and {name(pair['higher'])} at {row['rate_nats']:g} nats"
        for row in rates
        for pair in row["differences"]
        if not pair["significant"]
    ]
    listed = f"Not significantly different: {'; '.join(unsure)}. All others are"
    judgement = listed if unsure else "All differences are significant"
    points = [sure for curve in curves for sure in curve["certified"]]
    partly = [
        f"{name(curve['model'])}: {sum(curve['certified'])} of {len(curve['certified'])}"
        for curve in curves
        if not all(curve["certified"])
    ]
    missing = f" ({', '.join(partly)})" if partly else ""
    worst = max(gap for curve in curves for gap in _gaps(curve))
    return section(
        f"Squared error per image (sum, pixels 0..1) of {dimensions}-dimensional models of MNIST "
        f"at equal rate R_p, {curves[0]['images']:,} test images, with 95 % intervals:",
        table(["rate", *map(name, models)], rows),
        f"{judgement} (paired bootstrap, Bonferroni over {found['comparison']['tests']} tests). "
        f"{sum(points)} of the curves' {len(points)} points are certified{missing}. The largest "
        f"two-sided gap is {worst:.2f} nats: a curve may be too high by that much, beyond its "
        "intervals.",
    )


def sizes_table(found: Content) -> str:
    """A summary for models with codes of several sizes, and for other networks."""
    if not found:
        return ""
    rates = found["comparison"]["rows"]

    def family_and_size(curve: Content) -> tuple[str, int]:
        family, _, size = curve["model"].removeprefix("mnist-").partition("-")
        return family, int(size) if size.isdigit() else 0

    curves = sorted(found["curves"], key=family_and_size)
    rows = [
        (
            curve["model"].removeprefix("mnist-"),
            *(f"{row['distortion'][curve['model']]['estimate']:.1f}" for row in rates),
            f"{sum(curve['certified'])} of {len(curve['certified'])}",
            f"{max(_gaps(curve)):.2f} nats",
        )
        for curve in curves
    ]
    largest = max(family_and_size(curve)[1] for curve in curves)
    wide = [gap for curve in curves if family_and_size(curve)[1] == largest for gap in _gaps(curve)]
    share = 100 * sum(gap <= LARGEST_GAP_NATS for gap in wide) / len(wide)
    columns = [f"D at {row['rate_nats']:g} nats" for row in rates]
    return section(
        "Codes of several sizes (a name ends with the number of dimensions), "
        f"{curves[0]['images']} test images; a curve may be too high by as much as its largest "
        "two-sided gap. With codes of "
        f"{largest} dimensions, {share:.0f} % of the points have a gap of at most half a nat "
        f"({judged('reach', share)}).",
        table(["model", *columns, "certified", "largest gap"], rows),
    )


def _gaps(curve: Content) -> list[float]:
    return [gap for gap in curve["bdmc_gap_nats"] if gap is not None]


def autoregressive_rows(content: Content) -> Iterator[Row]:
    """Nats of the autoregressive models of binary digits, and their files."""
    for name, part in content.get("models", {}).items():
        found = part["found"]
        file, nats = found["file"], found["nats"]
        yield (
            f"`{name}`: −ln p, {found['images']:,} binary test digits; published for another "
            f"binarisation: {found['published_nats']:.1f} ({found['published_source']})",
            f"{nats:.2f} ± {found['nats_standard_error']:.2f} nats",
            judged(name, nats),
        )
        above = file["above_likelihood_percent"]
        yield (
            f"`{name}`: size of a file of {file['images']:,} of them above −log₂ p, lossless",
            f"{above:.2f} %",
            judged("above likelihood", above if file["lossless"] else float("inf")),
        )


def class_rows(found: Content) -> Iterator[Row]:
    """Errors of classifiers that were trained with few labels."""
    for name, part in found.get("m2", {}).items():
        errors, published = part["found"], part["found"]["published_percent"]
        low, high = errors["interval_95"]
        yield (
            f"`{name}`: classification error on {errors['images']:,} test digits with 100 labels, "
            f"mean of {len(errors['error_percent'])} runs (95 % interval); published: "
            + ", ".join(f"{value} % ({method})" for method, value in published.items()),
            f"{errors['mean_percent']:.1f} % ({low:.1f}–{high:.1f})",
            judged(name, errors["mean_percent"]),
        )


def class_table(found: Content) -> str:
    """What a label is worth, in R_p and in files."""
    if not (found.get("rate") and found.get("files")):
        return ""
    rate, (files, *others) = found["rate"]["run 0"], found["files"].values()
    rates = {row["distortion"]: row for row in _in_bits(rate["found"]["rows_nats"])}
    rows = [
        (
            f"{row['distortion']:g}",
            *_label_cells(rates.get(row["distortion"]), "true labels"),
            *_label_cells(row, "true labels", "chosen labels"),
        )
        for row in files["found"]["rows"]
    ]
    columns = [
        "squared error", "R_p, no label", "R_p, true label", "file, no label", "file, true label",
        "file, label of least cost",
    ]  # fmt: skip
    certified = [sure for curve in rate["found"]["curves"].values() for sure in curve["certified"]]
    heading = (
        "What a label is worth: `digits-class-vae` beside `digits-vae`, the same networks after "
        "equally many steps, in bits per image at equal squared error. Figures with a label "
        f"include its log₂ 10 = 3.32 bits. R_p is for {rate['settings']['images']} test images, "
        f"with {sum(certified)} of its {len(certified)} points certified; files are of "
        f"{files['settings']['images']:,} images. The brackets have the difference from no label, "
        "with its 95 % interval, paired over the images:"
    )
    worth = {
        "R_p with the true label": _signs(rates.values(), "true labels"),
        "files with the true label": _signs(files["found"]["rows"], "true labels"),
        "files whose label the encoder chooses": _signs(files["found"]["rows"], "chosen labels"),
    }
    said = "; ".join(f"{name}, {signs}" for name, signs in worth.items())
    further = [
        f"For another pair of runs, files with the true label differ from those with no label by "
        f"{_differences(other['found']['rows'], 'true labels')}."
        for other in others
    ] + [
        f"If any label is allowed, R_p of {part['settings']['images']} images differs from R_p "
        f"with no label by {_differences(_in_bits(part['found']['rows_nats']), 'any label')}, "
        "and from R_p with the true label by "
        f"{_gains(_in_bits(part['found']['rows_nats']))} (not certified)."
        for part in found.get("any_label", {}).values()
    ]
    return section(
        heading,
        table(columns, rows),
        " ".join(
            [
                f"A label significantly changes the bits at these squared errors: {said}.",
                *further,
            ]
        ),
    )


def _in_bits(rows: list[Content]) -> list[Content]:
    """Rows whose rates are in nats, in bits."""
    scale = 1 / math.log(2)
    return [
        {
            "distortion": row["distortion"],
            "rates": {name: rate * scale for name, rate in row["rates"].items()},
            "above_first": {
                name: {
                    "estimate": scale * one["estimate"],
                    "interval_95": [scale * end for end in one["interval_95"]],
                }
                for name, one in row["above_first"].items()
            },
        }
        for row in rows
    ]


def _label_cells(row: Content | None, *names: str) -> tuple[str, ...]:
    """The rate without labels, and the rates with a label and their differences from it."""
    if row is None:
        return ("",) * (1 + len(names))
    cells = [f"{row['rates']['without labels']:.1f}"]
    for name in names:
        difference = row["above_first"][name]
        low, high = difference["interval_95"]
        cells.append(
            f"{row['rates'][name]:.1f} ({difference['estimate']:+.1f}, {low:+.1f} to {high:+.1f})"
        )
    return tuple(cells)


def _differences(rows: list[Content], name: str) -> str:
    """The difference of a curve from the one without labels, at the first and last distortion."""

    def words(row: Content) -> str:
        difference = row["above_first"][name]
        low, high = difference["interval_95"]
        bits = f"{difference['estimate']:+.1f} ({low:+.1f} to {high:+.1f}) bits"
        return f"{bits} at squared error {row['distortion']:g}"

    return f"{words(rows[0])} and {words(rows[-1])}"


def _gains(rows: list[Content]) -> str:
    """The difference of the curve of any label from that of the true one, at the same two."""
    gains = [row["rates"]["any label"] - row["rates"]["true labels"] for row in rows]
    ends = [f"{gains[i]:+.2f} bits at {rows[i]['distortion']:g}" for i in (0, -1)]
    return " and ".join(ends)


def _signs(rows: Iterable[Content], name: str) -> str:
    """At which distortions the interval of a difference excludes zero."""
    found: dict[str, list[str]] = {"fewer": [], "more": []}
    for row in rows:
        low, high = row["above_first"][name]["interval_95"]
        if high < 0 or low > 0:
            found["fewer" if high < 0 else "more"].append(f"{row['distortion']:g}")
    return ", ".join(f"{sign} at {', '.join(at)}" for sign, at in found.items() if at) or "nowhere"


def signal_rows(content: Content) -> Iterator[Row]:
    """Bytes of signals relative to FLAC, above −log₂ p, and by the number of lanes."""
    for name, part in content.get("sets", {}).items():
        found = part["found"]
        few = found["few"]
        more, above = found["more_than_flac_percent"], few["above_likelihood_percent"]
        whole = found["signals"] == part["test_signals"]
        chosen = "all" if whole else f"{found['signals']} of {part['test_signals']}"
        yield claim(
            found,
            f"`signal`, {name}: bytes relative to `flac -8`, {chosen} test signals of one channel "
            "({samples:,} samples, FLAC: {flac_bits_per_sample:.3f} bits each)",
            f"{more:+.1f} %; {{signals_smaller_than_flac}} of {{signals}} smaller",
            judged("flac", more if not found["came_back_different"] else float("inf")),
        )
        yield (
            f"`signal`, {name}: size above −log₂ p, {len(few['signals'])} of them",
            f"{above:.2f} %",
            judged("above likelihood", above),
        )
        yield claim(
            {**found, **few},
            f"`signal`, {name}: per cent more bytes of these than with one lane, for the default "
            "number of lanes / four times as many; CPU seconds per second of sound to encode / "
            "decode",
            "{lanes_cost_percent:.2f} / {four_times_as_many_cost_percent:.2f}; "
            "{encode_cpu_seconds_per_second:.2f} / {decode_cpu_seconds_per_second:.2f}",
        )


def measurement_section(folder: Path) -> str:
    linear, sandwich, ladder, mnist, wide, sizes, references = (
        load(folder, f"rate_distortion_{name}")
        for name in (
            "linear", "sandwich", "ladder", "mnist", "mnist_100", "mnist_sizes", "references"
        )
    )  # fmt: skip
    rows = [
        *accuracy_rows(linear, sandwich),
        *time_rows(load(folder, "bound_time")),
        *bits_rows(load(folder, "samples_to_bits")),
        *autoregressive_rows(load(folder, "autoregressive")),
        *class_rows(load(folder, "class_channel")),
        *signal_rows(load(folder, "signals")),
    ]
    return section(
        table(CLAIMS, rows),
        references_table(references),
        ladder_table(ladder),
        rae_table(load(folder, "rae_codec")),
        class_table(load(folder, "class_channel")),
        models_table(mnist, 10),
        models_table(wide, 100),
        sizes_table(sizes),
    )
