"""Put the figures of `benchmarks/results` into README.md, between the marks of each section.

python benchmarks/figures.py            rewrites the tables
python benchmarks/figures.py --check    exits with 1 if a table is not that of the results
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.dplc_figures import dplc_section
from benchmarks.draw_figures import draw_section
from benchmarks.measurement_figures import measurement_section

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
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
    low, high = _load("rate_distortion_gb82")["rate_range_bpp"]
    lines = [
        f"BD-rate of `photo` at equal PSNR, real files, {low}–{high} bpp "
        "(negative: photo needs fewer bytes):",
        "",
        "| against | " + " | ".join(SETS.values()) + " | wanted on gb82 |",
        "|---|" + "---|" * (len(SETS) + 1),
    ]
    results = {name: _load(f"rate_distortion_{name}") for name in SETS}
    targets = {row["what"].split()[-1]: row for row in results["gb82"]["targets"]}
    for peer, title in PEERS.items():
        cells = []
        for result in results.values():
            rows = [r for r in result["bd_rates"] if (r["reference"], r["test"]) == (peer, "photo")]
            value = rows[0].get("bd_rate_percent") if rows else None
            cells.append("not comparable" if value is None else f"{value:+.1f} %")
        target = targets.get(peer)
        wanted = ""
        if target is not None:
            wanted = f"≤ {target['target_percent']:.0f} %: {_verdict(target['met'])}"
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {wanted} |")
    return "\n".join(lines)


def coding_table() -> str:
    """Speed of the codec and the command, and size and speed of the entropy coder."""
    speed, coding, start = _load("speed"), _load("entropy_coding"), _load("start_up")
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
        f"| encode + decode of 768×512 on {speed['threads']} cores, against CompressAI's "
        f"mbt2018-mean in the same run | {speed['times_faster']:.1f}× faster | "
        f"≥ {speed['target_times_faster']:.0f}×: {_verdict(speed['met'])} |",
        f"| coded size above the ideal, {coding['symbols']:,} symbols | "
        f"{ours['overhead_percent']:.4f} % ({ours['overhead_bytes']:.0f} bytes) | "
        f"≤ 0.1 % + 8 bytes: {_verdict(ours['overhead_bytes'] <= allowed)} |",
        f"| entropy coder, ns per symbol, encode / decode ({others}) | "
        f"{encode:.1f} / {decode:.1f} | "
        f"≤ 15: {_verdict(encode <= 15)} / ≤ 40: {_verdict(decode <= 40)} |",
        "| `calotype --help` / `calotype inspect`, from start to end | "
        + " / ".join(f"{seconds:.2f} s" for seconds in start["median_seconds"].values())
        + f" | ≤ {start['target_seconds']} s: {_verdict(start['met'])} |",
        *large_image_rows(),
    ]
    return "\n".join(lines)


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


def photo_section() -> str:
    """The tables on the photo codec and the entropy coder."""
    return f"{bd_rate_table()}\n\n{coding_table()}\n"


SECTIONS = {
    "figures": photo_section,
    "draw": draw_section,
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
