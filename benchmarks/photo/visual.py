"""Rate of photo against other codecs at equal SSIMULACRA2, and at equal PSNR, on whole files.

    python -m benchmarks.photo visual --data gb82=gb82.tar kodak=kodak.tar [--limit 3]
    python -m benchmarks.photo visual --tune psnr --data … -o psnr.json

Every file is written and decoded again.  For each picture, rates are compared over the scores that
both codecs reach (BD-rate), and the result is averaged over pictures: negative if photo needs fewer
bytes.  Peers are set up as people use them: AVIF in 4:4:4 at speed 6 with its default tuning, JPEG
XL at effort 7, WebP with its slowest method.

SSIMULACRA2 halves a picture repeatedly on a fixed grid, and a network that was trained towards it
can hide errors from that grid.  With `--shift 3` every codec gets a picture with three extra rows
at the top and three extra columns on the left, which are cut off after decoding, so that the grid
falls on other pixels of the codec's blocks.

Sets and curves that are not measured again stay in the result file: after a change of photo alone,
`--codecs photo` is enough.  A whole run, 49 pictures of gb82 and Kodak, takes about half an hour on
one core, mostly for the scores.
"""

from __future__ import annotations

import io
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.command import named_path
from benchmarks.harness.results import Measured, provenance
from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec.models.photo.config import TUNES
from codec.rate_distortion import (
    OperationalCodec,
    OperationalCurve,
    OverlapError,
    bd_rate,
    find_codec,
    find_images,
    measure_curve,
    model_codec,
)

SCHEMA, RESULT = "calotype.visual/1", "visual.json"
METRICS = ("ssimulacra2", "psnr")
SETTINGS: dict[str, tuple[float, ...]] = {
    "photo": (5, 15, 30, 45, 60, 75, 85, 92),
    "jpeg": (8, 16, 30, 45, 60, 75, 85, 92),
    "webp": (5, 20, 40, 55, 70, 80, 88, 94),
    "jxl": (9, 6, 4.5, 3.5, 2.5, 1.8, 1.2, 0.8),
    "avif": (20, 30, 40, 50, 60, 70, 80, 88),
}
"""Settings from the lowest rate to the highest, about 0.1 to 2 bits per pixel."""


def avif_encode(pixels: Uint8Array, quality: float) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(
        data, "AVIF", quality=int(quality), subsampling="4:4:4", speed=6, codec="aom", max_threads=1
    )
    return data.getvalue()


def visual_codec(name: str) -> OperationalCodec:
    """A codec as people use it; in other curves AVIF is tuned for PSNR."""
    known = find_codec(name)
    if name != "avif":
        return known
    encoder = "Pillow, aom, 4:4:4, speed 6, default tuning, one thread"
    return replace(known, encoder=encoder, encode=avif_encode)


def shifted(codec: OperationalCodec, shift: int) -> OperationalCodec:
    """A codec that adds rows and columns before a picture, and cuts them off after decoding."""
    added = ((shift, 0), (shift, 0), (0, 0))
    return replace(
        codec,
        encode=lambda pixels, setting: codec.encode(np.pad(pixels, added, mode="edge"), setting),
        decode=lambda data: np.ascontiguousarray(codec.decode(data)[shift:, shift:]),
    )


def kept_curves(
    path: Path, name: str, pictures: Sequence[str], shift: int
) -> dict[str, OperationalCurve]:
    """Curves of a set in an earlier result file, by codec; none if it was of other pictures."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text("utf-8"))["sets"].get(name, {})
    if (found.get("pictures"), found.get("shift")) != (list(pictures), shift):
        return {}
    curves = (OperationalCurve.from_json(curve) for curve in found["curves"])
    return {curve.codec: curve for curve in curves}


def compare(
    ours: OperationalCurve,
    peers: Mapping[str, OperationalCurve],
    metrics: Sequence[str] = METRICS,
) -> list[dict[str, Any]]:
    """Ours against each peer: mean BD-rate over the pictures at equal scores, in percent."""
    rows = []
    for peer in peers:
        row: dict[str, Any] = {"against": peer}
        for metric in metrics:
            try:
                found = bd_rate(peers[peer], ours, metric=metric)
            except OverlapError:
                row |= {f"{metric}_percent": None, f"{metric}_pictures": 0}
                continue
            mean = found.per_image_mean_percent
            row[f"{metric}_percent"] = None if mean is None else round(mean, 3)
            row[f"{metric}_pictures"] = found.per_image_count
            row[f"{metric}_percent_of_mean_curves"] = round(found.bd_rate_percent, 3)
        rows.append(row)
    return rows


def line(name: str, row: Mapping[str, Any], metrics: Sequence[str] = METRICS) -> str:
    return f"{name}, against {row['against']}: " + ", ".join(
        f"{row[f'{metric}_percent']} % at equal {metric}" for metric in metrics
    )


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=named_path, nargs="+", required=True, metavar="NAME=PATH",
                        help="sets of pictures: folders or tar files")  # fmt: skip
    parser.add_argument("--codecs", nargs="+", choices=SETTINGS, default=list(SETTINGS),
                        help="codecs to measure; others keep their curves")  # fmt: skip
    parser.add_argument("--shift", type=int, default=0, metavar="N",
                        help="rows and columns added before each picture")  # fmt: skip
    parser.add_argument("--tune", choices=TUNES, help="default: visual")
    parser.add_argument("--limit", type=int, help="only the first N pictures of each set")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="pictures at a time")


def run(options: Namespace) -> Iterator[Measured]:
    if options.shift < 0:
        raise UsageError(f"--shift {options.shift}: expected 0 or more")
    for data_set, path in options.data:
        name = f"{data_set}-shifted" if options.shift else data_set
        images = find_images([path])[: options.limit]
        pictures = [image.name for image in images]
        curves = kept_curves(options.output, name, pictures, options.shift)
        missing = set(SETTINGS) - set(curves) - set(options.codecs)
        if missing:
            raise UsageError(
                f"{name}: {options.output} has no curves of {', '.join(sorted(missing))} for these "
                "pictures: measure them too"
            )
        with ThreadPoolExecutor(options.jobs) as executor:
            for codec in options.codecs:
                print(f"{name}, {codec}: {len(images)} pictures", file=sys.stderr, flush=True)
                known = visual_codec(codec)
                if codec == "photo":
                    known = model_codec("photo", options.tune)
                curves[codec] = measure_curve(
                    shifted(known, options.shift) if options.shift else known,
                    images,
                    data_set=name,
                    settings=SETTINGS[codec],
                    metrics=METRICS,
                    executor=executor if options.jobs > 1 else None,
                )
        rows = compare(curves["photo"], {k: v for k, v in curves.items() if k != "photo"})
        content = {
            **provenance(),
            "pictures": pictures,
            "set": data_set,
            "shift": options.shift,
            "photo_weights": curves["photo"].weights,
            "rate": "bits of the whole file per pixel",
            "percent": "BD-rate of photo against a peer at equal scores, mean over pictures",
            "found": rows,
            "curves": [curves[codec].to_json() for codec in SETTINGS],
        }
        lines = [line(name, row) for row in rows]
        yield Measured({"sets": {name: content}}, lines, keep_others=True)
