"""Rate-distortion curves of photo and its peers on one set of pictures, with BD-rates.

    python -m benchmarks.photo rate-distortion --data kodak.tar --name kodak
    python -m benchmarks.photo rate-distortion --data kodak.tar --name kodak --codecs photo

Curves in the result file are kept for codecs that are not measured again, so new weights cost the
time of one codec, not six; `--codecs ""` measures none and only repeats the comparison. The part
`effort` measures higher efforts of photo.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, provenance
from codec.rate_distortion import (
    OperationalCodec,
    OperationalCurve,
    OverlapError,
    bd_rate,
    codec_names,
    find_codec,
    find_images,
    measure_curve,
    read_result,
)
from codec.rate_distortion.files.codecs import model_codec
from codec.rate_distortion.files.result_file import SCHEMA as SCHEMA

RESULT = "rate_distortion_{name}.json"
RATE_RANGE_BPP = (0.15, 1.2)
TARGETS_PERCENT = {"avif": 5.0, "webp": -20.0, "jpeg2000": -20.0, "jxl": -25.0, "jpeg": -50.0}
"""The largest acceptable BD-rate of photo against each peer."""


def tuned_codec(name: str) -> OperationalCodec:
    """A codec with its best tune for PSNR: by default photo and AVIF are tuned for the eye."""
    if name == "photo":
        return replace(model_codec("photo", "psnr"), name=name)
    return find_codec(name)


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
    """Target and measured BD-rate of photo for each peer that has a target."""
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


def report(curves: dict[str, OperationalCurve], measured_by: dict[str, Any]) -> Measured:
    """The result file: the curves in their usual order, and the BD-rates."""
    ordered = [curves[known] for known in codec_names() if known in curves]
    rows = compare(ordered, RATE_RANGE_BPP)
    content = {
        "measured_by": measured_by,
        "rate_range_bpp": list(RATE_RANGE_BPP),
        "targets": judge(rows),
        "bd_rates": rows,
        "bd_rates_over_all_rates": compare(ordered, None),
        "curves": [curve.to_json() for curve in ordered],
    }
    return Measured(
        content,
        [f"{r['test']} against {r['reference']}: {r.get('bd_rate_percent', '—')} %" for r in rows],
    )


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--codecs", default=",".join(codec_names()), help="codecs to measure")
    parser.add_argument("--ms-ssim", action="store_true", help="measure MS-SSIM too (slow)")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="pictures at a time")


def run(options: Namespace) -> Iterator[Measured]:
    images = find_images(options.data)[: options.limit]
    curves, measured_by = load_cache(options.output, options.name)
    with ThreadPoolExecutor(options.jobs) as executor:
        for name in filter(None, options.codecs.split(",")):
            print(f"{name}: {len(images)} pictures", file=sys.stderr, flush=True)
            curves[name] = measure_curve(
                tuned_codec(name),
                images,
                data_set=options.name,
                metrics=("psnr", "ms-ssim") if options.ms_ssim else ("psnr",),
                executor=executor if options.jobs > 1 else None,
            )
            measured_by[name] = provenance()
            # Yielded after each codec, because slow ones take a quarter of an hour.
            yield report(curves, measured_by)
    if not options.codecs:
        yield report(curves, measured_by)
