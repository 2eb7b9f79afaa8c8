"""Rate-distortion curves of photo and its peers on one set of pictures, with BD-rates.

    python benchmarks/photo/rate_distortion.py --data kodak.tar --name kodak
    python benchmarks/photo/rate_distortion.py --data kodak.tar --name kodak --codecs photo

writes `benchmarks/results/rate_distortion_<name>.json`.  Curves already in that file are kept for
codecs that are not measured again, so a new set of weights costs one codec's time, not six;
`--codecs ""` measures none and only compares anew. Higher efforts of photo are for `effort.py`.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.harness.provenance import provenance
from bitstream.errors import CalotypeError
from codec.rate_distortion import (
    OperationalCurve,
    OverlapError,
    bd_rate,
    codec_names,
    find_codec,
    find_images,
    measure_curve,
    read_result,
    write_result,
)

RESULTS = Path(__file__).resolve().parents[1] / "results"
RATE_RANGE_BPP = (0.15, 1.2)
TARGETS_PERCENT = {"avif": 15.0, "webp": -20.0, "jpeg2000": -20.0, "jxl": -25.0, "jpeg": -50.0}
"""BD-rate of photo against each peer that is at least wanted."""


def compare(
    curves: list[OperationalCurve], rate_range_bpp: tuple[float, float] | None
) -> list[dict[str, Any]]:
    """BD-rates of photo against every peer, and of every peer against JPEG, as JSON rows."""
    by_name = {curve.codec: curve for curve in curves}
    pairs = [(reference, "photo") for reference in by_name if reference != "photo"]
    pairs += [("jpeg", test) for test in by_name if test not in {"jpeg", "photo"}]
    rows: list[dict[str, Any]] = []
    for reference, test in pairs:
        if reference not in by_name or test not in by_name:
            continue
        try:
            delta = bd_rate(by_name[reference], by_name[test], rate_range_bpp=rate_range_bpp)
        except OverlapError as error:
            rows.append({"reference": reference, "test": test, "not_comparable": str(error)})
            continue
        rows.append(delta.to_json())
    return rows


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Target against measured BD-rate of photo for each peer that has a target."""
    found = {row["reference"]: row for row in rows if row["test"] == "photo"}
    table: list[dict[str, Any]] = []
    for reference, target_percent in TARGETS_PERCENT.items():
        measured = found.get(reference, {}).get("bd_rate_percent")
        table.append(
            {
                "reference": reference,
                "target_percent": target_percent,
                "measured_percent": measured,
                "met": None if measured is None else bool(measured <= target_percent),
            }
        )
    return table


def load_cache(path: Path, name: str) -> tuple[dict[str, OperationalCurve], dict[str, Any]]:
    """Curves and their provenance from an earlier run on the same set, by codec name."""
    if not path.exists():
        return {}, {}
    earlier = read_result(path)
    curves = {curve.codec: curve for curve in earlier.curves if curve.data_set == name}
    return curves, dict(earlier.extra.get("measured_by", {}))


def save(
    path: Path, curves: dict[str, OperationalCurve], measured_by: dict[str, Any]
) -> tuple[list[OperationalCurve], list[dict[str, Any]]]:
    """Write the result file; returns the curves in their usual order, and the BD-rates."""
    ordered = [curves[known] for known in codec_names() if known in curves]
    rows = compare(ordered, RATE_RANGE_BPP)
    extra = {
        "measured_by": measured_by,
        "rate_range_bpp": list(RATE_RANGE_BPP),
        "targets": judge(rows),
        "bd_rates": rows,
        "bd_rates_over_all_rates": compare(ordered, None),
    }
    write_result(path, ordered, extra)
    return ordered, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folder, tar or files")
    parser.add_argument("--name", required=True, help="name of the set, recorded in the result")
    parser.add_argument("--codecs", default=",".join(codec_names()), help="codecs to measure")
    parser.add_argument("--ms-ssim", action="store_true", help="measure MS-SSIM too (slow)")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="pictures at a time")
    parser.add_argument("--limit", type=int, help="only the first N pictures")
    parser.add_argument("-o", "--output", type=Path, help="result file")
    options = parser.parse_args()

    path = options.output or RESULTS / f"rate_distortion_{options.name}.json"
    images = find_images(options.data)[: options.limit]
    curves, measured_by = load_cache(path, options.name)
    with ThreadPoolExecutor(options.jobs) as executor:
        for name in filter(None, options.codecs.split(",")):
            print(f"{name}: {len(images)} pictures", file=sys.stderr, flush=True)
            curves[name] = measure_curve(
                find_codec(name),
                images,
                data_set=options.name,
                ms_ssim=options.ms_ssim,
                executor=executor if options.jobs > 1 else None,
            )
            measured_by[name] = provenance()
            # After each codec: the slow ones take a quarter of an hour.
            save(path, curves, measured_by)
    ordered, rows = save(path, curves, measured_by)
    for curve in ordered:
        print(f"\n{curve.codec} ({curve.encoder})")
        for point in curve.points:
            print(f"  {point.setting:7g} {point.mean_bpp:8.4f} bpp {point.mean_psnr_db:7.3f} dB")
    print()
    for row in rows:
        print(f"{row['test']} against {row['reference']}: {row.get('bd_rate_percent', '—')} %")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CalotypeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
