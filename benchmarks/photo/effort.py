"""Rate saved and time spent by higher efforts of photo: real files, decoded again.

    python -m benchmarks.photo effort --data gb82.tar --name gb82 --limit 6

The result file has a part for each set. For each effort it has the rate and PSNR at each quality,
the BD-rates against effort 1 and against AVIF, the encoding time relative to effort 1, and how many
more or fewer bits each file has than effort 1 needs for the same picture at the same PSNR. The
encoder is designed so that no file has more.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, load_average, provenance
from benchmarks.photo.rate_distortion import RATE_RANGE_BPP
from bitstream.arrays import Uint8Array
from codec.datasets.pictures import SourceImage
from codec.models.photo.config import TUNES
from codec.rate_distortion import (
    OperationalCodec,
    OperationalCurve,
    bd_rate,
    find_codec,
    find_images,
    measure_curve,
)
from codec.rate_distortion.errors import OverlapError

SCHEMA, RESULT = "calotype.effort/3", "effort.json"
EFFORTS = (3, 5, 7, 9)
QUALITIES = (20.0, 35.0, 50.0, 65.0, 80.0)
PEER = "avif"
TARGETS_PERCENT = {9: 0.0}
"""The largest acceptable BD-rate of an effort against AVIF."""


@dataclass(frozen=True)
class CentredImage(SourceImage):
    """The middle of a picture, at most `side` pixels in either direction; 0 takes all of it."""

    side: int = 0

    def pixels(self) -> Uint8Array:
        whole = super().pixels()
        height, width = (min(self.side or s, s) for s in whole.shape[:2])
        top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
        return np.ascontiguousarray(whole[top : top + height, left : left + width])


def choose_images(data: Sequence[Path], limit: int | None, side: int) -> list[CentredImage]:
    """At most `limit` pictures of a set, spread over it in the order of their names."""
    found = find_images(data)
    count = min(limit or len(found), len(found))
    chosen = [found[number * len(found) // count] for number in range(count)]
    return [CentredImage(image.name, image.path, image.place, side) for image in chosen]


def codec_at(effort: int, device: str, tune: str | None = None) -> OperationalCodec:

    def encode(pixels: Uint8Array, quality: float) -> bytes:
        return codec.compress(pixels, quality=quality, effort=effort, device=device, tune=tune)

    name, encoder = f"photo-e{effort}", f"Calotype photo model, effort {effort}"
    return replace(find_codec("photo"), name=name, encoder=encoder, encode=encode)


def changes_percent(curve: OperationalCurve, reference: OperationalCurve) -> list[float]:
    """How much larger each file is than the reference's for the same picture at the same PSNR.

    The reference's log(rate) over PSNR is interpolated by monotone cubics; files whose PSNR the
    reference does not reach are left out.
    """
    from scipy.interpolate import PchipInterpolator

    found = []
    for picture in range(len(curve.images)):
        known = sorted((p.psnr_db[picture], p.bpp[picture]) for p in reference.points)
        psnrs, rates = np.array(known).T
        log_rate = PchipInterpolator(psnrs, np.log(rates), extrapolate=False)
        for point in curve.points:
            change = np.log(point.bpp[picture]) - log_rate(point.psnr_db[picture])
            found.append(100 * float(np.expm1(change)))
    return [change for change in found if not np.isnan(change)]


def seconds(curve: OperationalCurve) -> float:
    """Seconds to encode all files of a curve."""
    return sum(sum(point.encode_seconds or ()) for point in curve.points)


def row(
    effort: int,
    curve: OperationalCurve,
    reference: OperationalCurve,
    one: OperationalCurve,
    peer: OperationalCurve,
) -> dict[str, Any]:
    """The entry of an effort in the result file.

    one        the curve of effort 1 at the qualities of `curve`
    reference  the curve of effort 1 at more qualities
    """
    found: dict[str, Any] = {
        "effort": effort,
        "encode_seconds_over_effort_1": round(seconds(curve) / seconds(one), 2),
        "points": [
            {
                "quality": point.setting,
                "mean_bpp": round(point.mean_bpp, 5),
                "mean_psnr_db": round(point.mean_psnr_db, 4),
            }
            for point in curve.points
        ],
    }
    against_peer = _bd_rate_percent(peer, curve, RATE_RANGE_BPP)
    found[f"bd_rate_against_{PEER}_percent"] = against_peer
    if effort in TARGETS_PERCENT:
        found["target_percent"] = TARGETS_PERCENT[effort]
        found["met"] = against_peer is not None and against_peer <= TARGETS_PERCENT[effort]
    if curve is not one:
        changes = changes_percent(curve, reference)
        found["files"] = len(changes)
        found["files_larger_at_equal_psnr"] = sum(change > 0 for change in changes)
        found["mean_change_percent"] = round(float(np.mean(changes)), 3)
        found["largest_change_percent"] = round(max(changes), 3)
        found["bd_rate_percent"] = _bd_rate_percent(reference, curve)
    return found


def _bd_rate_percent(
    reference: OperationalCurve,
    curve: OperationalCurve,
    rate_range_bpp: tuple[float, float] | None = None,
) -> float | None:
    try:
        delta = bd_rate(reference, curve, rate_range_bpp=rate_range_bpp)
    except OverlapError:
        return None
    return round(delta.bd_rate_percent, 3)


def measure(
    images: Sequence[SourceImage],
    name: str,
    efforts: Sequence[int],
    qualities: Sequence[float],
    device: str,
    tune: str | None = None,
) -> list[dict[str, Any]]:
    """Rows of effort 1, then of the others."""
    # Loading at the first use of a level does not count as part of its time.
    for effort in (1, *efforts):
        codec_at(effort, device, tune).encode(images[0].pixels()[:16, :16], 50.0)
    one_pass = codec_at(1, device, tune)
    # The given qualities, and some between and beyond them.
    ends = max(1.0, min(qualities) - 10), min(100.0, max(qualities) + 10)
    more = [float(quality) for quality in np.linspace(*ends, 15)]
    reference = measure_curve(one_pass, images, data_set=name, settings=more)
    one = measure_curve(one_pass, images, data_set=name, settings=qualities)
    peer = measure_curve(find_codec(PEER), images, data_set=name)
    rows = [row(1, one, reference, one, peer)]
    for effort in efforts:
        searching = codec_at(effort, device, tune)
        curve = measure_curve(searching, images, data_set=name, settings=qualities)
        rows.append(row(effort, curve, reference, one, peer))
        print(line(rows[-1]), file=sys.stderr, flush=True)
    return rows


def line(found: dict[str, Any]) -> str:
    rate = found.get("bd_rate_percent")
    return (
        f"effort {found['effort']}: BD-rate {'—' if rate is None else f'{rate:+.2f} %'}, "
        f"against {PEER} {found[f'bd_rate_against_{PEER}_percent']} %, "
        f"{found['files_larger_at_equal_psnr']} of {found['files']} files larger at equal PSNR, "
        f"{found['encode_seconds_over_effort_1']:g} times as long as effort 1"
    )


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument(
        "--efforts", type=int, nargs="+", default=list(EFFORTS), help="beside effort 1"
    )
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--side", type=int, default=0, help="only the middle N × N pixels of each")
    parser.add_argument("--tune", choices=TUNES, help="default: visual")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


def run(options: Namespace) -> Iterator[Measured]:
    images = choose_images(options.data, options.limit, options.side)
    busy_before = load_average()
    chosen = options.efforts, options.qualities, options.device, options.tune
    rows = measure(images, options.name, *chosen)
    result = {
        **provenance(),
        "pictures": [image.name for image in images],
        "part": f"middle {options.side}×{options.side}" if options.side else "whole pictures",
        "tune": options.tune,
        "photo_weights": find_codec("photo").weights(),
        "device": options.device,
        "load_average_before": busy_before,
        "rate": "bits of the whole file per pixel, mean over pictures",
        "psnr": "dB of each picture, then the mean",
        "rate_range_bpp_of_peer": list(RATE_RANGE_BPP),
        "change": "of a file's bits against effort 1 for the same picture at the same PSNR",
        "found": rows,
    }
    part = options.name if options.tune is None else f"{options.name}-{options.tune}"
    yield Measured({"effort": {part: result}}, keep_others=True)
