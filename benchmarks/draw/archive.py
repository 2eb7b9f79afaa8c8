"""A lossless bits-back archive of images by DRAW, compared with the bound that it should reach."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import codec
from benchmarks.draw import subject
from benchmarks.draw.likelihood import nelbo_of, posterior_pass, targets
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import DrawModel, paste, rounded
from benchmarks.harness.targets import TARGETS
from codec.datasets.arrays import Images
from codec.loading import ENVIRONMENT_VARIABLE

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
ARCHIVE = "draw-bits-back"
ALLOWED_PERCENT = TARGETS["archive"][1]
BOUND_SAMPLES = 8


@contextmanager
def registered(weights: Path, model: str) -> Iterator[None]:
    """Make the library use the weights file for a model."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(weights, Path(folder, weights.name))
        entry = {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
        Path(folder, "registry.json").write_text(json.dumps({model: [entry]}), "utf-8")
        os.environ[ENVIRONMENT_VARIABLE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[ENVIRONMENT_VARIABLE]
            else:
                os.environ[ENVIRONMENT_VARIABLE] = before


def bound_bits(model: DrawModel, images: Images, seed: int) -> float:
    """Negative ELBO in bits of all images together, over several posterior samples."""
    x = targets(model, images)
    generator, total = torch.Generator().manual_seed(seed), 0.0
    for _ in range(BOUND_SAMPLES):
        done = posterior_pass(model.network, x, generator)
        total += float(nelbo_of(model.config, done, x).sum()) / BOUND_SAMPLES
    return total / math.log(2)


def measure_archive(
    model: DrawModel, weights: Path, images: Images, *, columns: int, seed: int
) -> dict[str, Any]:
    """The part `archive`, for images uint8 (n, C, side, side), n a multiple of the columns.

    Digits are binarised, which does not change binary ones.
    """
    model.need_likelihood()
    is_binary = model.config.likelihood == "bernoulli"
    if is_binary:
        images = np.where(targets(model, images).numpy() > 0.5, 255, 0).astype(np.uint8)
    sheet = paste(images, columns)
    sheet = sheet[:, :, 0] if is_binary else sheet
    with registered(weights, ARCHIVE):
        data = codec.compress(sheet, model=ARCHIVE)
        again = codec.decompress(data, as_="numpy")
        info = codec.inspect(data)
    bound = bound_bits(model, images, seed)
    above = 100 * (8 * len(data) / bound - 1)
    return {
        "images": len(images),
        "binarisation": "once, as for the likelihood" if is_binary else "none: 8-bit levels",
        "bound": f"negative ELBO of these images, {BOUND_SAMPLES} posterior samples, exported "
        "weights in floating point",
        "found": rounded(
            {
                "archive_bytes": len(data),
                "payload_bytes": info.payload_bytes,
                "bits_per_image": 8 * len(data) / len(images),
                "bound_bits_per_image": bound / len(images),
                "bits_per_dimension": 8 * len(data) / images.size,
                "above_bound_percent": above,
                "lossless": bool(np.array_equal(np.squeeze(again), sheet)),
                "within_claim": above <= ALLOWED_PERCENT,
            },
            7,
        ),
    }


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser, limit=1000)
    parser.add_argument("--columns", type=int, default=40, help="of a sheet")


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        return measure_archive(
            model, options.weights, images, columns=options.columns, seed=options.seed
        )

    return subject.measured(options, "archive", measure)
