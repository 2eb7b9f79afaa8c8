"""How realistic samples of generators are: Fréchet distances of several runs of each kind.

A run is a weights file; runs of one kind differ in their training seed. The interval is Student's
t over the runs, so it shows how much runs vary, not how much samples vary.
"""

from __future__ import annotations

import json
import math
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.dplc import subject
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import features_of, images_of_size, rounded
from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.datasets.arrays import Images
from codec.loading import hash_weights
from codec.models.generative.networks import GenerativeModel
from codec.models.generative.weights_file import load_generative
from codec.rate_distortion.estimates import student_quantile_975
from codec.rate_distortion.metrics import frechet_distance
from training.features.train import FeatureNetwork, load_features

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
BATCH = 250
PATTERN_ENTROPY = "pattern_entropy_bits"
FEWEST_RUNS = 3
"""Number of runs needed for an interval."""


@dataclass(frozen=True)
class Group:
    """Runs of one kind of generator."""

    name: str
    files: tuple[Path, ...]


def read_group(text: str) -> Group:
    """`NAME=FILE,FILE,…`. Raises `ArgumentTypeError` for another form."""
    name, equals, files = text.partition("=")
    paths = tuple(Path(file) for file in files.split(",") if file)
    if not (name and equals and paths):
        raise ArgumentTypeError(f"{text!r}: expected NAME=FILE,FILE,…")
    return Group(name, paths)


@torch.inference_mode()
def sample_images(model: GenerativeModel, count: int, seed: int) -> Images:
    """Samples uint8 (count, C, H, W) of a model: decoded codes of its prior."""
    codes = model.prior.sample(count, torch.Generator().manual_seed(seed))
    parts = [model.decoder(part) for part in torch.split(codes, BATCH)]
    return torch.cat(parts).mul(255).round().to(torch.uint8).numpy()


def training_figures(model: GenerativeModel) -> dict[str, float]:
    """What only the run knows, from its validation: the entropy of the critic's patterns."""
    figures: dict[str, float] = json.loads(model.card.get("validation", "{}"))
    return {name: value for name, value in figures.items() if name == PATTERN_ENTROPY}


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean over the runs and half of its 95 % interval, None for fewer than three."""
    found: Float64Array = np.asarray(values, dtype=np.float64)
    half = None
    if len(found) >= FEWEST_RUNS:
        error = float(found.std(ddof=1)) / math.sqrt(len(found))
        half = student_quantile_975(len(found) - 1) * error
    return {"mean": float(found.mean()), "half_of_95_percent_interval": half}


def measure_samples(
    groups: Sequence[Group], images: Images, network: FeatureNetwork, samples: int, seed: int
) -> dict[str, Any]:
    """Measure `samples` samples of each run against test images uint8 (n, C, side, side)."""
    original = features_of(network, images)
    found = []
    for group in groups:
        distances, of_training = [], []
        for path in group.files:
            model = load_generative(path)
            if model.config.image_shape != images.shape[1:]:
                raise UsageError(
                    f"{path.name}: images of shape {model.config.image_shape}, expected "
                    f"{images.shape[1:]}, as the data are"
                )
            drawn = features_of(network, sample_images(model, samples, seed))
            distances.append(frechet_distance(original, drawn))
            of_training.append(training_figures(model))
            print(f"{group.name}: {path.name} {distances[-1]:.3f}", file=sys.stderr)
        found.append(
            {
                "name": group.name,
                "runs": [
                    {
                        "file": path.name,
                        "weights_sha256": hash_weights(path).hex(),
                        "frechet_distance": distance,
                        **training,
                    }
                    for path, distance, training in zip(
                        group.files, distances, of_training, strict=True
                    )
                ],
                **interval(distances),
            }
        )
    return {
        "images": len(images),
        "samples_of_each_run": samples,
        "seed": seed,
        "frechet": "squared Fréchet distance of Gaussians fitted to own classifier features of "
        "the test images and of the samples; not comparable with FID",
        "interval": f"95 %, Student's t over runs; none for fewer than {FEWEST_RUNS}",
        "frechet_between_halves_of_the_originals": rounded(
            frechet_distance(original[::2], original[1::2])
        ),
        "found": rounded(found),
    }


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    subject.add_data(parser)
    subject.add_features(parser)
    parser.add_argument(
        "--weights", type=read_group, nargs="+", required=True, metavar="NAME=FILE,FILE"
    )
    parser.add_argument("--samples", type=int, default=10_000, help="of each run")
    parser.add_argument("--name", default="generators", help="under which it is kept")


def run(options: Namespace) -> Iterator[Measured]:
    def measure() -> dict[str, Report]:
        channels, side, _ = load_generative(options.weights[0].files[0]).config.image_shape
        images = images_of_size(options.data, channels, side, limit=options.limit)
        network = load_features(options.features)
        found = measure_samples(options.weights, images, network, options.samples, options.seed)
        return {options.name: {**found, "features": options.features.name}}

    yield from subject.measured(options, "samples", measure)
