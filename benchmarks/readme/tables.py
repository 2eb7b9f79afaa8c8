"""Put the figures of `benchmarks/results` into README.md, between the marks of each section.

python benchmarks/readme/tables.py            rewrites the tables
python benchmarks/readme/tables.py --check    exits with 1 if a table is not that of the results
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.readme.dplc import dplc_section
from benchmarks.readme.draw import draw_section
from benchmarks.readme.measurement import measurement_section
from benchmarks.readme.photo import (
    ablation_table,
    effort_rows,
    percent,
    realism_section,
    verdict_on,
)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
SET_NAMES = {"gb82": "gb82", "kodak": "Kodak"}
SETS = {"gb82": "gb82, 25 images, used for tuning", "kodak": "Kodak, 24 images, report only"}
PEERS = {
    "jpeg": "JPEG (optimised, 4:2:0)",
    "webp": "WebP (method 6)",
    "jpeg2000": "JPEG 2000 (9/7, YCbCr)",
    "jxl": "JPEG XL (effort 7)",
    "avif": "AVIF (4:4:4, speed 4, tuned for PSNR)",
}


def _load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return content


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def bd_rate_table() -> str:
    """BD-rates of photo against each peer on each set; negative is smaller files."""
    results = {name: _load(f"rate_distortion_{name}") for name in SETS}
    low, high = results["gb82"]["rate_range_bpp"]
    lines = [
        f"BD-rate of `photo` at equal PSNR, real files, {low}–{high} bpp "
        "(negative: photo needs fewer bytes):",
        "",
        "| against | " + " | ".join(SETS.values()) + " | wanted on both |",
        "|---|" + "---|" * (len(SETS) + 1),
    ]
    for peer, title in PEERS.items():
        cells = [_bd_rate(result, peer) for result in results.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {_wanted(results, peer)} |")
    return "\n".join([*lines, *effort_rows(SET_NAMES)])


def _bd_rate(result: dict[str, Any], peer: str) -> str:
    for row in result["bd_rates"]:
        if (row["reference"], row["test"]) == (peer, "photo"):
            return percent(row.get("bd_rate_percent"))
    return ""


def _wanted(results: dict[str, dict[str, Any]], peer: str) -> str:
    """What is wanted against a peer, and on which sets that is missed."""
    rows = {
        name: row
        for name, result in results.items()
        for row in result["targets"]
        if row["reference"] == peer and row["met"] is not None
    }
    if not rows:
        return ""
    target = next(iter(rows.values()))["target_percent"]
    missed = [SET_NAMES[name] for name, row in rows.items() if not row["met"]]
    return f"≤ {target:+.0f} %: {verdict_on(missed)}"


def coding_table() -> str:
    """Speed of the codec and the command, and size and speed of the entropy coder."""
    coding = _load("entropy_coding")
    ours, *peers = coding["results"]
    allowed = coding["ideal_bits"] / 8 * 0.001 + 8
    encode, decode = ours["encode_ns_per_symbol"], ours["decode_ns_per_symbol"]
    others = "; ".join(
        f"{p['coder']} {p['encode_ns_per_symbol']:.0f} / {p['decode_ns_per_symbol']:.0f}"
        for p in peers
    )
    lines = [
        "| what | measured | wanted |",
        "|---|---|---|",
        *speed_rows(),
        f"| coded size above the ideal, {coding['symbols']:,} symbols | "
        f"{ours['overhead_percent']:.4f} % ({ours['overhead_bytes']:.0f} bytes) | "
        f"≤ 0.1 % + 8 bytes: {_verdict(ours['overhead_bytes'] <= allowed)} |",
        f"| entropy coder, ns per symbol, encode / decode ({others}) | "
        f"{encode:.1f} / {decode:.1f} | "
        f"≤ 15: {_verdict(encode <= 15)} / ≤ 40: {_verdict(decode <= 40)} |",
        *start_up_rows(),
        *large_image_rows(),
        exactness_row(),
    ]
    return "\n".join(lines)


def start_up_rows() -> list[str]:
    """Wall time of whole commands in new processes."""
    start = _load("start_up")
    seconds, wanted, met = start["median_seconds"], start["target_seconds"], start["met"]
    small = [name for name in seconds if name != "decompress"]
    return [
        f"| `calotype {small[0]}` / `calotype {small[1]}`, from start to end | "
        + " / ".join(f"{seconds[name]:.2f} s" for name in small)
        + f" | ≤ {wanted[small[0]]} s: {_verdict(all(met[name] for name in small))} |",
        f"| `calotype decompress` of 768×512, from start to end | {seconds['decompress']:.2f} s | "
        f"≤ {wanted['decompress']:.0f} s: {_verdict(met['decompress'])} |",
    ]


SPEED_ROWS = {
    "decode_times_avif": "decoding, in units of AVIF's decoder",
    "encode_times_avif": "encoding at effort 1, in units of AVIF at speed 4",
    "times_faster_than_mbt2018_mean": "encode + decode: times faster than CompressAI's "
    "mbt2018-mean",
    "times_faster_than_cheng2020_anchor": "encode + decode: times faster than its cheng2020-anchor",
}


RUNTIMES = {"photo": "", "photo openvino": ", with `--device openvino`"}


def speed_rows() -> list[str]:
    """Time of the codec with everything loaded, beside others in the same run."""
    speed = _load("speed")
    pictures = speed["pictures"]
    sizes = " / ".join(f"{p['width']}×{p['height']}" for p in pictures)
    lines: list[str] = []
    for name, title in SPEED_ROWS.items():
        for photo, runtime in RUNTIMES.items():
            found = (p["ratios"].get(photo, {}) for p in pictures)
            rows = [ratios[name] for ratios in found if name in ratios]
            if not rows:
                continue
            values = " / ".join(f"{row['measured']:.2g}×" for row in rows)
            wanted = f"≤ {rows[0]['at_most']:.0f}×" if "at_most" in rows[0] else ""
            wanted = wanted or f"≥ {rows[0]['at_least']:.0f}×"
            verdicts = " / ".join(_verdict(row["met"]) for row in rows)
            where = f" ({sizes}, {speed['threads']} cores, all loaded)" if not lines else ""
            lines.append(f"| {title}{runtime}{where} | {values} | {wanted}: {verdicts} |")
    return lines


def large_image_rows() -> list[str]:
    """Memory for a large picture, its seams, and what is read for a part of it."""
    large = _load("large_images")
    picture, region = large["pictures"][-1], large["region"]
    peaks = picture["compress_peak_mib"], picture["decompress_peak_mib"]
    return [
        f"| {picture['megapixels']:.0f} megapixels: peak memory of `compress` / `decompress` | "
        f"{peaks[0]:.0f} / {peaks[1]:.0f} MiB | ≤ 2 GiB: {_verdict(max(peaks) <= 2048)} |",
        f"| the same file: jump of the error across borders of tiles, against other borders of "
        f"blocks | {large['error_jump_ratio_at_tiles']:.2f} times | |",
        f"| the same file: bytes and tiles read for a part of {region['region'][2]}×"
        f"{region['region'][3]} pixels | {100 * region['share_of_bytes']:.1f} % / "
        f"{region['tiles_read']} of {region['tiles']} | |",
    ]


def exactness_row() -> str:
    """Whether files parse alike with other threads, versions and arithmetic."""
    exact = _load("photo_exactness")
    rows = exact["found"]
    versions = {
        name: " and ".join(sorted({row["libraries"][name] for row in rows}))
        for name in ("numpy", "torch")
    }
    threads = " and ".join(sorted({str(row["threads"]) for row in rows}))
    kinds = ", ".join(sorted({row["arithmetic"] for row in rows}))
    return (
        f"| files parse alike with {threads} threads, NumPy {versions['numpy']}, "
        f"torch {versions['torch']}, transforms in {kinds} | "
        f"{sum(_parses_alike(row) for row in rows)} of {len(rows)} | all: "
        f"{_verdict(exact['all_parse_alike'])} |"
    )


def _parses_alike(row: dict[str, Any]) -> bool:
    return bool(
        row["files"]
        == row["files_of_here_that_parse_alike_there"]
        == row["files_of_there_that_parse_alike_here"]
    )


def photo_section() -> str:
    """The tables on the photo codec and the entropy coder."""
    parts = (bd_rate_table(), coding_table(), ablation_table())
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


SECTIONS = {
    "figures": photo_section,
    "draw": draw_section,
    "realism": realism_section,
    "dplc": dplc_section,
    "measurement": measurement_section,
}
"""What stands between `<!-- NAME -->` and `<!-- /NAME -->`."""


def filled(text: str) -> str:
    """The text with every section made anew."""
    for name, section in SECTIONS.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = before + begin + section() + end + after
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    options = parser.parse_args(arguments)
    text = README.read_text("utf-8")
    wanted = filled(text)
    if options.check:
        if wanted != text:
            print("README.md does not hold the figures of benchmarks/results", file=sys.stderr)
        return int(wanted != text)
    README.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
