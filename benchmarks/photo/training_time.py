"""How much longer training helps: weights after some core-hours, compared with the last ones.

    python -m benchmarks.photo training-time --data gb82.tar --name gb82 --limit 8 \
        --weights 10.7=early.safetensors 20.5=photo.safetensors

Files of the tune psnr are compared at equal PSNR, files of the tune visual at equal SSIMULACRA2 of
pictures shifted by three pixels (see `benchmarks.photo.visual`): how many more bits the earlier
weights take, mean over pictures.
"""

from __future__ import annotations

import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from benchmarks.harness.command import named_path
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, provenance
from benchmarks.photo.visual import SETTINGS, compare, shifted
from bitstream.errors import UsageError
from codec.models.weights_files import ENVIRONMENT_VARIABLE
from codec.rate_distortion import (
    OperationalCurve,
    SourceImage,
    find_images,
    measure_curve,
    model_codec,
)

SCHEMA, RESULT = "calotype.training_time/1", "training_time.json"
TUNES = {"psnr": ("psnr", 0), "visual": ("ssimulacra2", 3)}
"""For each tune the score at which rates are compared, and the shift of the pictures."""


def curves_of(weights: Path, images: Sequence[SourceImage]) -> dict[str, OperationalCurve]:
    """The curve of each tune, by its name."""
    found = {}
    with TemporaryDirectory() as folder:
        shutil.copy(weights, folder)
        # Without a registry, the only file of the folder is the default of its model.
        with mock.patch.dict(os.environ, {ENVIRONMENT_VARIABLE: folder}):
            for tune, (metric, shift) in TUNES.items():
                codec = model_codec("photo", tune)
                found[tune] = measure_curve(
                    shifted(codec, shift) if shift else codec,
                    images,
                    data_set="",
                    settings=SETTINGS["photo"],
                    metrics=("psnr", metric) if metric != "psnr" else ("psnr",),
                )
    return found


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--weights", type=named_path, nargs="+", required=True,
                        metavar="HOURS=FILE",
                        help="weights by the core-hours of their training")  # fmt: skip


def run(options: Namespace) -> Iterator[Measured]:
    try:
        weights = sorted((float(hours), path) for hours, path in options.weights)
    except ValueError as error:
        raise UsageError(f"--weights: hours are a number ({error})") from error
    images = find_images(options.data)[: options.limit]
    curves = []
    for hours, path in weights:
        print(f"{hours:g} hours: {len(images)} pictures", file=sys.stderr, flush=True)
        curves.append(curves_of(path, images))
    rows: list[dict[str, Any]] = []
    for (hours, _), earlier in zip(weights, curves, strict=True):
        row: dict[str, Any] = {"core_hours": hours, "weights": earlier["psnr"].weights}
        for tune, (metric, _) in TUNES.items():
            # Against itself, a curve may differ from 0 by rounding.
            (found,) = compare(earlier[tune], {"last": curves[-1][tune]}, (metric,))
            row[f"{metric}_percent"] = found[f"{metric}_percent"]
        rows.append(row)
    content = {
        **provenance(),
        "pictures": [image.name for image in images],
        "percent": "BD-rate against the last weights, mean over pictures: at equal PSNR in the "
        "tune psnr, at equal SSIMULACRA2 of shifted pictures in the tune visual",
        "found": rows,
    }
    yield Measured({"sets": {options.name: content}}, [str(row) for row in rows], keep_others=True)
