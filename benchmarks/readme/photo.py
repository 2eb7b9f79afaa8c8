"""The tables on the photo codec; measurements that were not made are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.targets import CODED_SIZE_BYTES, CODED_SIZE_PERCENT
from benchmarks.readme.tables import (
    CLAIMS,
    Content,
    Row,
    claim,
    judged,
    load,
    percent,
    section,
    table,
    verdict,
)

SETS = {"gb82": "gb82", "kodak": "Kodak"}
ABOUT_SETS = {"gb82": "used for tuning", "Kodak": "for reporting only"}
PEERS = {
    "jpeg": "JPEG (optimised, 4:2:0)",
    "webp": "WebP (method 6)",
    "jpeg2000": "JPEG 2000 (9/7, YCbCr)",
    "jxl": "JPEG XL (effort 7)",
    "avif": "AVIF (4:4:4, speed 4, tuned for PSNR)",
}
VISUAL_PEERS = PEERS | {"avif": "AVIF (4:4:4, speed 6, default tuning)"}
SPEEDS = {
    "decode_times_avif": "decoding time relative to AVIF's decoder",
    "encode_times_avif": "encoding time at effort 1 relative to AVIF at speed 6",
    "times_faster_than_mbt2018_mean": "encoding + decoding: times faster than CompressAI's "
    "mbt2018-mean",
    "times_faster_than_cheng2020_anchor": "encoding + decoding: times faster than CompressAI's "
    "cheng2020-anchor",
}
ABLATIONS = {
    "certain-tables": "symbols that are nearly always 0 are coded as well",
    "one-hyper-set": "one set of hyper-latent tables for all qualities",
    "far-passes": "no passes over means and slopes of blocks that are 2 and 4 blocks apart",
    "passes": "means and slopes of blocks in one pass",
    "context": "no context: no latent is predicted from decoded ones",
    "analysis": "the encoder without its network: the transform alone",
    "synthesis": "the decoder without its network: the inverse transform alone",
    "integers": "a synthesis network in floating point (estimated rates)",
    "visual-tune": "`--tune psnr`, at equal SSIMULACRA2",
}


def judged_on_sets(text: str, met: Mapping[str, bool]) -> str:
    """A target, and whether it is met on all sets, or on which it is missed."""
    missed = [name for name, one in met.items() if not one]
    return f"{text}: " + (f"**missed on {' and '.join(missed)}**" if missed else "met")


def bd_rate_percent(result: Content, peer: str) -> float | None:
    """BD-rate of photo against a peer at equal PSNR, or None if there is none."""
    for row in result.get("bd_rates", ()):
        if (row["reference"], row["test"]) == (peer, "photo"):
            value: float | None = row.get("bd_rate_percent")
            return value
    return None


def image_count(result: Content) -> int:
    """How many pictures of a set the BD-rates were measured on."""
    return int(result["bd_rates"][0]["image_count"])


def bd_rate_rows(results: Mapping[str, Content]) -> Iterator[Row]:
    """BD-rates of photo against each peer; `results` maps the titles of sets to their results."""
    for peer, title in PEERS.items():
        targets = {
            name: row
            for name, result in results.items()
            for row in result["targets"]
            if row["reference"] == peer and row["met"] is not None
        }
        wanted = ""
        if targets:
            limit = next(iter(targets.values()))["target_percent"]
            met = {name: row["met"] for name, row in targets.items()}
            wanted = judged_on_sets(f"≤ {limit:+.0f} %", met)
        yield title, *(percent(bd_rate_percent(one, peer)) for one in results.values()), wanted


def effort_rows(effort: Content, sets: Mapping[str, str] = SETS) -> Iterator[Row]:
    """BD-rates of the efforts with the tune psnr, on the pictures that were measured."""
    parts = [effort.get("effort", {}).get(f"{name}-psnr") for name in sets]
    if not all(parts):
        return
    # For each effort, its results on all sets.
    one, *others = zip(*(part["found"] for part in parts), strict=True)
    counts = " / ".join(str(len(part["pictures"])) for part in parts)
    highest, against = others[-1], "bd_rate_against_avif_percent"
    met = {title: row["met"] for title, row in zip(sets.values(), highest, strict=True)}

    def cells(rows: Sequence[Content], key: str) -> list[str]:
        return [percent(row[key]) for row in rows]

    what = f"photo at effort {highest[0]['effort']} against AVIF"
    yield (
        f"{what} ({counts} pictures, {parts[0]['part']})",
        *cells(highest, against),
        judged_on_sets(f"≤ {highest[0]['target_percent']:.0f} %", met),
    )
    yield "photo at effort 1 against AVIF (the same pictures)", *cells(one, against), ""
    for rows in others:
        times = " / ".join(f"{row['encode_seconds_over_effort_1']:.0f}" for row in rows)
        what = f"photo at effort {rows[0]['effort']} against effort 1 (the same pictures, {times}"
        yield f"{what} times the encoding time)", *cells(rows, "bd_rate_percent"), ""


def visual_columns(visual: Content) -> list[tuple[str, str, Content]]:
    """Title, metric and measurements of each comparison of photo at equal scores."""
    sets = sorted(visual.get("sets", {}).values(), key=lambda part: part["shift"] > 0)
    columns = []
    for metric, title in VISUAL_METRICS.items():
        for part in sets:
            if metric == "ssimulacra2" or not part["shift"]:
                where = f"{SETS.get(part['set'], part['set'])}, {len(part['pictures'])} pictures"
                shifted = ", shifted" if part["shift"] else ""
                columns.append((f"equal {title}, {where}{shifted}", f"{metric}_percent", part))
    return columns


def cells_against(peer: str, key: str, part: Content) -> list[str]:
    """The cell of a peer, or none if it was not measured."""
    return [percent(row[key]) for row in part["found"] if row["against"] == peer]


SHIFTED_PICTURES = (
    "SSIMULACRA2 halves a picture repeatedly on a fixed grid, and a network that was trained "
    "towards it can hide errors from that grid. Shifted pictures are therefore coded with three "
    "extra rows and columns, which are cut off before the score is measured."
)
VISUAL_METRICS = {"ssimulacra2": "SSIMULACRA2", "psnr": "PSNR"}


def visual_table(visual: Content) -> str:
    """BD-rates of photo on each set at equal SSIMULACRA2, and at equal PSNR."""
    columns = visual_columns(visual)
    rows = []
    for peer, title in VISUAL_PEERS.items():
        cells = [cell for _, key, part in columns for cell in cells_against(peer, key, part)]
        if cells:
            rows.append((title, *cells))
    titles = [title for title, _, _ in columns]
    return section(
        "BD-rate of `photo` with the default tune at equal scores. " + SHIFTED_PICTURES
        if rows
        else "",
        table(["BD-rate against", *titles], rows),
    )


def speed_rows(speed: Content) -> Iterator[Row]:
    """Time of the codec with everything loaded, relative to others in the same run."""
    pictures = speed.get("pictures", [])
    sizes = " / ".join(f"{p['width']}×{p['height']}" for p in pictures)
    where = f" ({sizes}, {speed.get('threads')} cores, loading excluded)"
    for name, title in SPEEDS.items():
        rows = [picture["ratios"][name] for picture in pictures if name in picture["ratios"]]
        if rows:
            values = " / ".join(f"{row['measured']:.2g}×" for row in rows)
            sign = "≤" if "at_most" in rows[0] else "≥"
            limit = rows[0].get("at_most", rows[0].get("at_least"))
            verdicts = verdict(*(row["met"] for row in rows))
            yield f"{title}{where}", values, f"{sign} {limit:g}×: {verdicts}"
            where = ""


def coding_rows(coding: Content) -> Iterator[Row]:
    if not coding:
        return
    ours, *peers = coding["results"]
    encode, decode = ours["encode_ns_per_symbol"], ours["decode_ns_per_symbol"]
    allowed = coding["ideal_bits"] / 8 * CODED_SIZE_PERCENT / 100 + CODED_SIZE_BYTES
    others = "; ".join(
        "{coder} {encode_ns_per_symbol:.0f} / {decode_ns_per_symbol:.0f}".format(**peer)
        for peer in peers
    )
    yield claim(
        coding,
        "entropy coder: size above the ideal code length, {symbols:,} symbols",
        "{results[0][overhead_percent]:.4f} % ({results[0][overhead_bytes]:.0f} bytes)",
        f"≤ {CODED_SIZE_PERCENT:g} % + {CODED_SIZE_BYTES:g} bytes: "
        f"{verdict(ours['overhead_bytes'] <= allowed)}",
    )
    yield (
        f"entropy coder: ns per symbol to encode / decode ({others})",
        f"{encode:.1f} / {decode:.1f}",
        f"{judged('encode symbol', encode)} / {judged('decode symbol', decode)}",
    )


def start_up_rows(start: Content) -> Iterator[Row]:
    if not start:
        return
    wanted, met = start["target_seconds"], start["met"]
    yield claim(
        start,
        "`calotype --help` / `calotype inspect`, time from start to end",
        "{median_seconds[--help]:.2f} s / {median_seconds[inspect]:.2f} s",
        f"≤ {wanted['inspect']} s: {verdict(met['--help'] and met['inspect'])}",
    )
    yield claim(
        start,
        "`calotype decompress` of 768×512 pixels, time from start to end",
        "{median_seconds[decompress]:.2f} s",
        f"≤ {wanted['decompress']:g} s: {verdict(met['decompress'])}",
    )


def install_rows(install: Content) -> Iterator[Row]:
    """Time and disk space of the demonstration in a new environment, if it was measured."""
    if install:
        met = install["met"]
        yield (
            "a new environment, the base installation and `calotype demo`, including downloads: "
            "time / disk space",
            f"{install['total_seconds']:.0f} s / {install['environment_bytes'] / 1e6:.0f} MB",
            f"≤ {install['target_seconds']} s / ≤ {install['target_bytes'] / 1e6:.0f} MB: "
            f"{verdict(met['seconds'], met['bytes'])}",
        )


def equal_bytes_rows(found: Content) -> Iterator[Row]:
    """At equal bytes, how many metrics are better for photo."""
    for name, part in found.get("sets", {}).items():
        won = part["photo_is_better_than"]
        better = {peer: len(measures) for peer, measures in won.items()}
        trained = tuple(part["photo_was_trained_towards"])
        others = [len([m for m in of if not m.startswith(trained)]) for of in won.values()]
        yield (
            f"{SETS.get(name, name)}, {len(part['pictures'])} pictures: wins over AVIF / JPEG XL "
            "at equal bytes, of 9: Butteraugli, MS-SSIM, LPIPS at 0.25, 0.5 and 1 bits per pixel",
            f"{better['avif']} / {better['jxl']}",
            judged("better than AVIF", better["avif"]),
        )
        what = "the same without LPIPS, towards which `photo` was trained, of 6"
        yield f"{SETS.get(name, name)}: {what}", "{} / {}".format(*others), ""
        for measure, pictures in (
            ("ssimulacra2", "whole pictures"),
            ("ssimulacra2_shifted", "pictures without their first rows and columns"),
        ):
            scores = [
                " / ".join(
                    f"{row[measure]:.1f}"
                    for codec in ("photo", "avif")
                    for row in rows
                    if row["codec"] == codec
                )
                for rows in part["rates"].values()
            ]
            yield (
                f"{SETS.get(name, name)}: SSIMULACRA2 of photo / AVIF at these rates, {pictures}",
                ", ".join(scores),
                "",
            )


def pattern_rows(found: Content) -> Iterator[Row]:
    """The error that all blocks have in common, of each codec at each rate."""
    for name, title in SETS.items():
        if name in found:
            part = found[name]
            levels = [
                " / ".join(f"{of_rate[codec]:.2f}" for codec in ("photo", "avif", "jxl"))
                for of_rate in part["rates"].values()
            ]
            yield (
                f"{title}, {part['pictures']} pictures: error that all blocks of 16×16 pixels have "
                f"in common, photo / AVIF / JPEG XL at {', '.join(part['rates'])} bits per pixel, "
                "levels of 0..255 (RMS)",
                ", ".join(levels),
                "",
            )


def training_time_table(found: Content) -> str:
    """Bits that weights with less training take; empty if none were measured."""
    if not found:
        return ""
    (part,) = found["sets"].values()
    rows = [
        (
            f"{row['core_hours']:g}",
            percent(row["psnr_percent"]),
            percent(row["ssimulacra2_percent"]),
        )
        for row in part["found"]
    ]
    return section(
        f"Bits of `photo` after some core-hours of training, relative to the last row, "
        f"{len(part['pictures'])} pictures of gb82:",
        table(
            ["core-hours", "equal PSNR, tune `psnr`", "equal SSIMULACRA2, shifted, tune `visual`"],
            rows,
        ),
    )


def large_image_rows(large: Content) -> Iterator[Row]:
    """Memory for a large picture, its seams, and the bytes that are read for a part of it."""
    if not large:
        return
    picture, region = large["pictures"][-1], large["region"]
    peak_mib = max(picture["compress_peak_mib"], picture["decompress_peak_mib"])
    yield claim(
        picture,
        "{megapixels:.0f} megapixels: peak memory of `compress` / `decompress`",
        "{compress_peak_mib:.0f} / {decompress_peak_mib:.0f} MiB",
        judged("peak memory", peak_mib),
    )
    yield claim(
        large,
        "the same file: jump of the error across tile borders, relative to other block borders",
        "{error_jump_ratio_at_tiles:.2f}×",
    )
    yield claim(
        region | {"percent": 100 * region["share_of_bytes"]},
        "the same file: bytes / tiles read for a region of {region[2]}×{region[3]} pixels",
        "{percent:.1f} % / {tiles_read} of {tiles}",
    )


def exactness_rows(exact: Content) -> Iterator[Row]:
    """Whether files decode alike with other threads, versions and arithmetic."""
    rows = exact.get("found", ())
    if not rows:
        return

    def each(values: set[Any]) -> list[str]:
        return [str(value) for value in sorted(values)]

    numpy, torch, runtime = (
        " and ".join(each({row["libraries"][name] for row in rows}))
        for name in ("numpy", "torch", "onnxruntime")
    )
    alike = sum(
        row["files"]
        == row["files_of_here_that_parse_alike_there"]
        == row["files_of_there_that_parse_alike_here"]
        and row["largest_difference_of_pixels"] == 0
        for row in rows
    )
    yield (
        "configurations in which all files decode to the same pixels: "
        f"{' and '.join(each({r['threads'] for r in rows}))} threads, NumPy {numpy}, "
        f"torch {torch}, ONNX Runtime {runtime}, integers of the synthesis in "
        f"{', '.join(each({row['arithmetic'] for row in rows}))}",
        f"{alike} of {len(rows)}",
        f"all: {verdict(exact['all_alike'])}",
    )
    for row in exact.get("other_processors", ()):
        yield (
            f"tiles whose symbols decode to the same pixels on {row['machine']} (emulated), NumPy "
            f"{row['libraries']['numpy']}; the entropy coder has no package for it",
            f"{row['tiles_alike']} of {row['tiles']}",
            f"all: {verdict(row['tiles_alike'] == row['tiles'])}",
        )


def ablation_table(ablations: Content) -> str:
    rows = [
        (title, percent(part["rows"][variant]["bd_rate_percent"]), name)
        for name, part in ablations.get("comparisons", {}).items()
        for variant, title in ABLATIONS.items()
        if variant in part["rows"] and variant != part["baseline"]
    ]
    if not rows:
        return ""
    return section(
        "Ablations of `photo`: BD-rate on gb82 without one of its parts, whole files at effort 1, "
        "at equal PSNR unless another score is named. The weights are those that ship, which were "
        "not retrained without the part; retraining would have made up for some of the loss.",
        table(["change", "BD-rate", "weights"], rows),
    )


def realism_section(folder: Path) -> str:
    """PSNR, LPIPS and Fréchet distance of the same files at each realism."""
    rates = load(folder, "realism_kodak").get("rates")
    if not rates:
        return ""
    found = [rates[rate] for rate in sorted(rates, key=float)]
    content = found[0]
    columns = [f"R = {row['realism']:g}" for row in content["decoded"]]
    columns += [VISUAL_PEERS[name] for name in content["peers"]]

    def cell(row: Content, rate: float) -> str:
        names = ("mean_psnr_db", "mean_lpips", "frechet_distance")
        digits = {"mean_psnr_db": 2, "mean_lpips": 3, "frechet_distance": 2}
        scores = " / ".join(f"{row[name]:.{digits[name]}f}" for name in names if name in row)
        own = row.get("mean_bpp", rate)
        return scores if abs(own / rate - 1) < 0.02 else f"{scores} (at {own:.3f})"

    rows = (
        [
            f"{one['mean_bpp']:.3f}",
            *(cell(row, one["mean_bpp"]) for row in (*one["decoded"], *one["peers"].values())),
            verdict(*(met for name, met in one["targets"].items() if name.endswith("_is_met"))),
        ]
        for one in found
    )
    aim = content["aimed_at"]
    spreads = [f"{one['seeds']['root_mean_variance_of_a_value']:.2f}" for one in found]
    measures = "PSNR in dB / " + ("LPIPS / " if "mean_lpips" in content["decoded"][0] else "")
    return section(
        "### More realistic decoding",
        f"`decompress --realism R` decodes the same files in another way. The cells are {measures}"
        f"Fréchet distance of {content['patches']:,} patches of 32×32 pixels, for "
        f"{content['pictures']} pictures of {content['set'].capitalize()} and the photo weights "
        f"`{content['photo_weights'][:8]}`. The Fréchet distance is in features of a classifier "
        "that was trained here, so it is not FID; between two halves of the originals it is "
        f"{content['frechet_between_halves_of_the_originals']:.2f}. The targets, set for "
        f"{aim['rate_bpp']:g} bits per pixel, are a Fréchet distance at R = 1 of at most "
        f"{aim['frechet_of_1_over_0']:g} times that at R = 0, a mean squared error of at most "
        f"{aim['mse_of_1_over_0']:g} times that at R = 0, which suffices for perfect realism, and "
        "an LPIPS below AVIF's. These are statistics within pictures, and prove nothing about the "
        "distribution of whole pictures. At R = 1 another seed changes a value by "
        f"{' / '.join(spreads)} of 255 levels, from the lowest rate to the highest (root of the "
        f"mean variance over {len(content['seeds']['decoded'])} seeds). Rates of other codecs are "
        "in brackets if they differ; the first row has the lowest rates at which they have a file "
        "for every picture.",
        table(["bits per pixel", *columns, "targets"], rows),
    )


def layers_section(folder: Path) -> str:
    """Quality of files after each layer, beside progressive files cut at equal bytes."""
    sets = {name: part for name, part in load(folder, "layers").items() if name in SETS}
    if not sets:
        return ""

    def cell(row: Content, name: str) -> str:
        distance = row.get(f"{name}_frechet")
        return f"{row[f'{name}_ssimulacra2']:.0f} / {row[f'{name}_psnr_db']:.1f}" + (
            "" if distance is None else f" / {distance:.1f}"
        )

    columns = {
        "photo": "rest: mean",
        "sample": "rest: sampled",
        "jxl": "JPEG XL, progressive",
        "jpeg": "JPEG, progressive",
    }
    rows = (
        [
            f"{SETS[name]}, {quality_of}",
            f"{100 * row['share']:.0f} %, {row['bpp']:.3f} bpp",
            *(cell(row, column) for column in columns),
        ]
        for name, part in sets.items()
        for quality_of, found in part.items()
        for row in found["layers"]
    )
    pictures = " and ".join(
        f"{len(next(iter(part.values()))['pictures'])} pictures of {SETS[name]}"
        for name, part in sets.items()
    )
    claims = [row for name, part in sets.items() for row in layer_rows(SETS[name], part)]
    previews = load(folder, "previews")
    claims += [r for name, title in SETS.items() for r in preview_rows(title, previews.get(name))]
    return section(
        "### Layers",
        f"The quality of `photo` files after each of their layers: {pictures}, as SSIMULACRA2 / "
        "PSNR in dB / Fréchet distance of patches, if it was measured (in features of a classifier "
        "that was trained here). Missing symbols are replaced by their means, or by a sample "
        "(`--seed 0`). The files of the other codecs are at most as large as that of `photo`, or "
        "their smallest ones, and are cut after as many bytes; if nothing can be drawn from one, a "
        "grey picture is scored.",
        "![A photograph after each layer, and files of JPEG XL and JPEG that are cut after as many "
        "bytes](results/layers.png)",
        table(["file", "bytes so far", *columns.values()], rows),
        table(CLAIMS, claims),
    )


def layer_rows(title: str, part: Content) -> Iterator[Row]:
    """What layers cost on a set, and the quality of half a file."""
    for quality_of, found in part.items():
        if "cost_is_met" in found:
            yield (
                f"{title}, {quality_of}: cost of the layers, as a share of the file",
                f"{100 * found['cost_of_layers']:.2f} %",
                f"≤ {100 * found['target_cost']:g} %: {verdict(found['cost_is_met'])}",
            )
    halves = {
        q: found["half_of_the_bytes"] for q, found in part.items() if "half_of_the_bytes" in found
    }
    names = ("photo", "jxl", "jpeg")
    scores = [[half[f"{name}_ssimulacra2"] for name in names] for half in halves.values()]
    if halves:
        qualities = " / ".join(name.removeprefix("quality ") for name in halves)
        yield (
            f"{title}: SSIMULACRA2 of the first half of a `photo` file, and of as many bytes of "
            f"JPEG XL and of JPEG, at quality {qualities}",
            " / ".join(", ".join(f"{score:.0f}" for score in row) for row in scores),
            f"above JPEG XL: {verdict(*(ours > jxl for ours, jxl, _ in scores))}",
        )


def preview_rows(title: str, part: Content | None) -> Iterator[Row]:
    """CPU time and quality of the preview of the first layer while a file arrives."""
    found = {q: one["first_layer"] for q, one in (part or {}).items() if one.get("first_layer")}
    if not found:
        return
    qualities = " / ".join(name.removeprefix("quality ") for name in found)
    first = next(iter(found.values()))
    yield (
        f"{title}: CPU time of the preview from the first layer of an arriving file, relative to "
        f"the whole picture, at quality {qualities}",
        " / ".join(f"{one['arriving']['cpu_time_share']:.2f}" for one in found.values()),
        f"≤ {first['target_cpu_time_share']:g}: "
        f"{verdict(*(one['time_is_met'] for one in found.values()))}",
    )

    def scores(name: str) -> str:
        rows = (one[name] for one in found.values())
        return " / ".join(f"{row['ssimulacra2']:.1f}, {row['psnr_db']:.2f} dB" for row in rows)

    yield (
        f"{title}: SSIMULACRA2 and PSNR of that preview (of the picture that `--layers 1` draws: "
        f"{scores('decompressed')})",
        scores("arriving"),
        f"at most {first['target_ssimulacra2_loss']:g} lower: "
        f"{verdict(*(one['ssimulacra2_is_met'] for one in found.values()))}",
    )


def measured_curves(folder: Path) -> dict[str, Content]:
    """The curves of the sets that were measured, by their titles."""
    found = {title: load(folder, f"rate_distortion_{name}") for name, title in SETS.items()}
    return {title: result for title, result in found.items() if result}


def photo_section(folder: Path) -> str:
    results = measured_curves(folder)
    claims = [
        *equal_bytes_rows(load(folder, "equal-bytes")),
        *pattern_rows(load(folder, "pattern")),
        *speed_rows(load(folder, "speed")),
        *coding_rows(load(folder, "entropy_coding")),
        *start_up_rows(load(folder, "start_up")),
        *install_rows(load(folder, "install")),
        *large_image_rows(load(folder, "large_images")),
        *exactness_rows(load(folder, "photo_exactness")),
    ]
    return section(
        bd_rate_table(results, load(folder, "effort")),
        visual_table(load(folder, "visual")),
        training_time_table(load(folder, "training_time")),
        table(CLAIMS, claims),
        ablation_table(load(folder, "ablations")),
    )


def bd_rate_table(results: Mapping[str, Content], effort: Content) -> str:
    """BD-rates at equal PSNR; empty if no set was measured."""
    if not results:
        return ""
    low, high = next(iter(results.values()))["rate_range_bpp"]
    return section(
        f"BD-rate of `photo` with `--tune psnr` at equal PSNR, real files, {low}–{high} bpp "
        "(negative: photo needs fewer bytes); at effort 1 unless the row says otherwise:",
        table(
            [
                "against",
                *(
                    f"{title}, {image_count(result)} pictures, {ABOUT_SETS[title]}"
                    for title, result in results.items()
                ),
                "target",
            ],
            [*bd_rate_rows(results), *effort_rows(effort)],
        ),
    )


def headline_section(folder: Path) -> str:
    """The few figures of README.md."""
    results = measured_curves(folder)
    visual = visual_columns(load(folder, "visual"))
    visual = [found for found in visual if found[1] == "ssimulacra2_percent"]
    # Where pictures were shifted, training towards the score helps less.
    visual = [found for found in visual if found[2]["shift"]] or visual
    measured = {row["reference"] for one in results.values() for row in one["bd_rates"]}
    rows = []
    for peer, (title, *cells, wanted) in zip(PEERS, bd_rate_rows(results), strict=True):
        if peer in measured:
            for _, key, part in visual:
                cells += cells_against(peer, key, part) or ["not measured"]
            rows.append((title.partition(" (")[0], *cells, wanted))
    columns = [
        f"equal PSNR (`--tune psnr`), {title}, {image_count(result)} pictures"
        for title, result in results.items()
    ]
    columns += [*(title for title, _, _ in visual), "target at equal PSNR"]
    claims = [*list(speed_rows(load(folder, "speed")))[:2], *install_rows(load(folder, "install"))]
    figures = table(["against", *columns], rows)
    shifted = f" {SHIFTED_PICTURES}" if any(part["shift"] for _, _, part in visual) else ""
    return section(
        figures
        and "The bytes that `photo` needs, relative to other codecs at equal quality (BD-rate of "
        f"whole files; negative: fewer bytes).{shifted}",
        figures,
        table(CLAIMS, claims),
    )
