"""The table on the lossless model, from `lossless_NAME.json`; what was not measured is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.readme.tables import CLAIMS, Content, Row, load, percent, section, table, verdict

SETS = {"gb82": "gb82", "kodak": "Kodak"}
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
        f"{shown}: pictures that came back to the last bit",
        f"{same} of {pictures}",
        f"all: {verdict(same == pictures)}",
    )
    yield f"{shown}: bits per sub-pixel, mean of whole files", f"{means['pixel']:.3f}", ""
    for peer, title in PEERS.items():
        more, target = content["more_than_percent"][peer], content["targets_percent"].get(peer)
        wanted = "" if target is None else f"≤ {target:+g} %: {verdict(more <= target)}"
        yield (
            f"{shown}: bytes against {title}, {means[peer]:.3f} bits per sub-pixel",
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
