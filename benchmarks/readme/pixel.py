"""The tables on the pixel models, from `lossless_NAME.json` and `near_lossless_NAME.json`.

Measurements that were not made are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.readme.tables import (
    CLAIMS,
    Content,
    Row,
    judged,
    load,
    percent,
    section,
    table,
    verdict,
)

SETS = {
    "gb82": "gb82",
    "kodak": "Kodak",
    "jpeg": "gb82 decoded from JPEG of quality 95",
    "screenshots": "screenshots",
}
PEERS = {"png": "PNG (optimised)", "webp": "WebP (method 5)", "jxl": "JPEG XL (effort 7)"}


def lossless_rows(folder: Path) -> Iterator[Row]:
    for name, shown in SETS.items():
        content = load(folder, f"lossless_{name}")
        if content:
            yield from _rows_of(shown, content)


def _rows_of(shown: str, content: Content) -> Iterator[Row]:
    pictures, means = content["pictures"], content["mean_bpsp"]
    same = pictures - content["came_back_different"]
    yield (
        f"{shown}: pictures that came back exactly",
        f"{same} of {pictures}",
        f"all: {verdict(same == pictures)}",
    )
    yield f"{shown}: bits per sub-pixel, mean of whole files", f"{means['pixel']:.3f}", ""
    if content.get("pictures_of_likelihood"):
        above = content["above_likelihood_percent"]
        yield (
            f"{shown}: size of files above −log₂ p of the integer tables, "
            f"{content['pictures_of_likelihood']} pictures",
            f"{above:.2f} %",
            judged("above likelihood", above),
        )
    for peer, title in PEERS.items():
        more, target = content["more_than_percent"][peer], content["targets_percent"].get(peer)
        wanted = "" if target is None else f"≤ {target:+g} %: {verdict(more <= target)}"
        yield (
            f"{shown}: bytes relative to {title}, which takes {means[peer]:.3f} bits per sub-pixel",
            percent(more),
            wanted,
        )
    seconds, limit = content["seconds_for_768x512"], content["decode_target_seconds"]
    yield (
        f"{shown}: CPU seconds to encode / decode 768×512 pixels",
        f"{seconds['encode']:.1f} / {seconds['decode']:.1f}",
        f"decode ≤ {limit:g}: {verdict(seconds['decode'] <= limit)}",
    )


def pixel_section(folder: Path) -> str:
    return section(table(CLAIMS, lossless_rows(folder)))


def near_lossless_rows(folder: Path) -> Iterator[Row]:
    for name, shown in SETS.items():
        content = load(folder, f"near_lossless_{name}")
        for bound, found in content.get("bounds", {}).items():
            yield from _rows_at(f"{shown}, ±{bound}", content, bound, found)


def _rows_at(title: str, content: Content, bound: str, found: Content) -> Iterator[Row]:
    broken, pictures = found["beyond_the_bound"], content["pictures"]
    means, more = found["mean_bpsp"], found["more_than_percent"]
    yield (
        f"{title}: bits per sub-pixel, mean of whole files of {pictures} pictures",
        f"{means['near-lossless']:.3f}",
        f"bound kept by all: {verdict(not broken)}",
    )
    if "above_likelihood_percent" in found:
        above = found["above_likelihood_percent"]
        yield (
            f"{title}: size of files above −log₂ p of the integer tables",
            f"{above:.2f} %",
            judged("above likelihood", above),
        )
    yield (
        f"{title}: bytes relative to JPEG-LS, which takes {means['jpeg-ls']:.3f} bits per "
        "sub-pixel",
        percent(more["jpeg-ls"]),
        "",
    )
    target, simple = content["targets_percent"][bound], "median predictor, ideal"
    yield (
        f"{title}: bytes relative to a closed loop with the median predictor, which takes "
        f"{means[simple]:.3f} bits per sub-pixel",
        percent(more[simple]),
        f"≤ {target:+g} %: {verdict(more[simple] <= target)}",
    )
    costs = found["photo_first_costs_percent"]
    yield (
        f"{title}: additional bytes with a `photo` file of quality {' / '.join(costs)} as a first "
        "layer",
        " / ".join(percent(cost) for cost in costs.values()),
        "",
    )
    seconds = found["seconds_for_768x512"]
    yield (
        f"{title}: CPU seconds to encode and check / decode 768×512 pixels",
        f"{seconds['encode']:.1f} / {seconds['decode']:.1f}",
        "",
    )


def near_lossless_section(folder: Path) -> str:
    return section(table(CLAIMS, near_lossless_rows(folder)))
