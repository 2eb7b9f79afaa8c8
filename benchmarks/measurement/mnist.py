"""R_p(D) of one generative model on MNIST's test images.

    python -m benchmarks.measurement mnist --model FILE --data MNIST --work FOLDER

It is run once for each model and writes its samples to the folder as NAME.npz; the parts
`mnist-comparison` and `references` read them and write the result files.  An interrupted run
continues where it stopped.  If all images are too many for one run,

    python -m benchmarks.measurement mnist … --start 0 --count 50
    python -m benchmarks.measurement mnist … --start 50 --count 50

measure 50 of them each, in a random order that is always the same, and write NAME@0.npz and
NAME@50.npz; the other parts read all parts of a model as one curve.
"""

from __future__ import annotations

import hashlib
import json
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.results import Measured, provenance
from benchmarks.harness.small_images import images_of_size
from bitstream.arrays import Int64Array
from bitstream.errors import UsageError
from codec.cli.progress import PhaseLines
from codec.models.generative.weights_file import load_generative
from codec.rate_distortion.annealing.finished import clear_blocks
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.summary import ROWS, CurveSamples, joined_rows
from training.data.small_images import evenly

SCHEMA, RESULT = "calotype.rate_distortion_mnist/1", "rate_distortion_mnist.json"

SCALARS = ("no_certificate", "distortion_name", "convention", "chains", "temperatures", "seed",
           "gradients", "reference", "jacobian_products", "no_local_reference",
           "modes")  # fmt: skip
PART = "@"
ARRAYS = "beta", *ROWS, "acceptance", "gap", "missed", "unseen"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="weights (.safetensors)")
    parser.add_argument("--name", help="of the samples; default that of the weights")
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's files")
    parser.add_argument("--work", type=Path, required=True, help="folder for the samples")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0, help="first of --count, in drawn order")
    parser.add_argument("--count", type=int, help="so many of the --images only")
    parser.add_argument("--chains", type=int, default=20)
    parser.add_argument("--temperatures", type=int, default=1000)
    parser.add_argument("--simulations", type=int, default=10)
    parser.add_argument("--no-certify", action="store_true", help="for the images alone")
    parser.add_argument("--reference", default="auto", choices=["auto", "local", "prior"])
    parser.add_argument("--bridge-steps", type=int, default=64)
    parser.add_argument("--modes", type=int, help="default: what the pilot finds enough")
    parser.add_argument("--low-beta", type=float, default=0.02)
    parser.add_argument("--high-beta", type=float, default=50.0)
    parser.add_argument("--betas", type=int, default=30)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)


def run(options: Namespace) -> Iterator[Measured]:
    torch.set_num_threads(options.threads)
    model = load_generative(options.model)
    name = options.name or options.model.stem
    channels, side, _ = model.config.image_shape
    images = evenly(images_of_size(options.data, channels, side), options.images)
    if options.count is not None:
        images = images[some_of(len(images), options.start, options.count)]
        name = f"{name}{PART}{options.start}"
    blocks = options.work / "unfinished" / name
    betas = np.geomspace(options.low_beta, options.high_beta, options.betas)
    begin = time.perf_counter()
    samples = rd_samples(
        model.decoder,
        model.prior,
        images,
        betas=[float(beta) for beta in betas],
        temperatures=options.temperatures,
        reference=options.reference,
        bridge_steps=options.bridge_steps,
        modes=options.modes,
        chains=options.chains,
        seed=options.seed + options.start,
        blocks=blocks,
        simulations=options.simulations,
        certify=not options.no_certify,
        precision=options.precision,
        progress=PhaseLines(name),
    )
    write_samples(
        options.work / f"{name}.npz",
        samples,
        images=[hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images],
        precision=options.precision,
        seconds=round(time.perf_counter() - begin),
        provenance=provenance(),
    )
    clear_blocks(blocks)
    yield from ()  # nothing for the result file yet


def some_of(images: int, start: int, count: int) -> Int64Array:
    """The indexes of a part of `images` images; raises `UsageError` if they are out of range."""
    order: Int64Array = np.random.default_rng(0).permutation(images)
    if not 0 <= start < start + count <= images:
        raise UsageError(f"images {start} to {start + count} of {images}: expected some of them")
    return order[start : start + count]


def write_samples(path: Path, samples: CurveSamples, **about: Any) -> None:
    """Store the samples of a curve, and further fields about them."""
    said = {**{name: getattr(samples, name) for name in SCALARS}, **about}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(samples, name) for name in ARRAYS}
    arrays = {name: values for name, values in arrays.items() if values is not None}
    np.savez(path, said=json.dumps(said), **arrays)


def read_samples(path: Path) -> tuple[CurveSamples, dict[str, Any]]:
    """The inverse of `write_samples`: the samples, and the further fields."""
    with np.load(path) as file:
        said: dict[str, Any] = json.loads(str(file["said"]))
        arrays = {name: file[name] for name in ARRAYS if name in file}
    scalars = {name: said[name] for name in SCALARS if name in said}
    # Samples from before there were local references do not have this field.
    scalars["reference"] = tuple(scalars.get("reference", ()))
    return CurveSamples(**{"gap": None, **arrays, **scalars}), said


Curve = tuple[CurveSamples, dict[str, Any]]
"""Samples, and the further fields about them."""


def read_curves(folder: Path) -> dict[str, Curve]:
    """The curves of a folder by name, with the parts of each joined.

    Raises `UsageError` if there are none, or if parts do not fit together.
    """
    parts = defaultdict(list)
    for path in sorted(folder.glob("*.npz")):
        parts[path.stem.partition(PART)[0]].append(read_samples(path))
    if not parts:
        raise UsageError(f"{folder}: has no samples (*.npz); run the part mnist first")
    return {name: joined_parts(several) for name, several in parts.items()}


def joined_parts(parts: Sequence[Curve]) -> Curve:
    """One curve from several parts of the images, each with a pilot and simulations of its own.

    Raises `UsageError` if the parts have different β, or images in common.
    """
    (first, about), rest = parts[0], parts[1:]
    if not rest:
        return first, about
    curves = [samples for samples, _ in parts]
    if any(not np.array_equal(first.beta, curve.beta) for curve in curves):
        raise UsageError("parts of one curve have other values of beta: measure them alike")
    images = [image for _, said in parts for image in said["images"]]
    if len(set(images)) < len(images):
        raise UsageError("parts of one curve have images in common: give each its own --start")
    rows: dict[str, Any] = joined_rows(curves)
    gaps = [curve.gap for curve in curves if curve.gap is not None]
    missed = [curve.missed for curve in curves if curve.missed is not None]
    unseen = [curve.unseen for curve in curves if curve.unseen is not None]
    whole = replace(
        first,
        **rows,
        gap=np.concatenate(gaps) if len(gaps) == len(curves) else None,
        acceptance=np.mean([curve.acceptance for curve in curves], 0),
        missed=np.max(missed, 0) if missed else None,
        unseen=np.max(unseen, 0) if unseen else None,
        reference=tuple(
            "/".join(sorted(set(names)))
            for names in zip(*(curve.reference for curve in curves), strict=True)
        ),
        gradients=sum(curve.gradients for curve in curves),
        jacobian_products=sum(curve.jacobian_products for curve in curves),
        modes=max(curve.modes for curve in curves),
    )
    seconds = sum(said["seconds"] for _, said in parts)
    return whole, {**about, "images": images, "seconds": seconds, "parts": len(parts)}
