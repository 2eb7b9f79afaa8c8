"""Local references compared with annealing from the prior, on trained models of MNIST: tightness,
certificates and cost.

    python -m benchmarks.measurement mnist --model M.safetensors --data MNIST --work W --images 22
    python -m benchmarks.measurement mnist --model M.safetensors --data MNIST --work W --images 4 \\
        --reference prior --no-certify --name M-prior
    python -m benchmarks.measurement references --work W

The first curve chooses the reference at each β; the second, on some of the same images, anneals
from the prior alone.  Both are upper bounds on average, so the lower one is tighter.  The cost is
per image and includes pilots and, for the first curve, the certificate.  Parts of a curve,
NAME@0.npz and so on, are joined: a later part adds images and simulations.  Entries for other
models are kept in the result file.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Measured, provenance
from benchmarks.measurement.mnist import read_curves
from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.annealing.jacobian import PRODUCT
from codec.rate_distortion.annealing.summary import (
    LARGEST_GAP_NATS,
    CurveSamples,
    bootstrap_interval,
    envelope,
    pooled_gap,
    summarize,
)
from codec.rate_distortion.errors import MeasurementError

SCHEMA, RESULT = "calotype.rate_distortion_references/1", "rate_distortion_references.json"
PRIOR = "-prior"
DIGITS = 3


def cost(samples: CurveSamples) -> int:
    """Gradients for each image; Jacobian products count as fractions of gradients."""
    taken = samples.gradients + PRODUCT * samples.jacobian_products
    return round(taken / len(samples.log_partition))


def shared(images: list[str], others: list[str]) -> tuple[list[int], list[int]]:
    """The places of the common images in either list."""
    both = [image for image in others if image in images]
    return [images.index(image) for image in both], [others.index(image) for image in both]


def described(samples: CurveSamples, said: dict[str, Any]) -> dict[str, Any]:
    """The result of one curve; a curve without a certified point is a result as well."""
    assert samples.gap is not None
    log_partition, distortion = samples.log_partition.mean(0), samples.distortion.mean(0)
    low, high = bootstrap_interval(samples)
    points = len(samples.beta)
    certified: tuple[bool, ...] = (False,) * points
    failures: list[tuple[str, ...]]
    try:
        curve = summarize(samples)
        certified, failures = curve.certified, list(curve.failures)
    except MeasurementError as error:
        failures = [(str(error),)] * points
    return {
        "images": len(samples.log_partition),
        "chains": samples.chains,
        "temperatures": samples.temperatures,
        "simulations": len(samples.gap),
        "parts": said.get("parts", 1),
        "modes": samples.modes,
        "precision": said["precision"],
        "seconds": said["seconds"],
        "provenance": said["provenance"],
        "beta": [round(float(beta), 4) for beta in samples.beta],
        "reference": list(samples.reference),
        "distortion": _rounded(distortion),
        "rate_nats": _rounded(envelope(samples.beta, log_partition, distortion)),
        "rate_low_nats": _rounded(low),
        "rate_high_nats": _rounded(high),
        "log_partition_nats": _rounded(log_partition),
        "gap_nats": _rounded(samples.gap.mean(0)),
        "gap_pooled_nats": _rounded(pooled_gap(samples.gap, samples.beta, samples.reference)),
        "gap_worst_simulation_nats": _rounded(samples.gap.max(0)),
        "ess_fraction": _rounded(samples.ess_fraction.mean(0)),
        "acceptance": _rounded(samples.acceptance),
        "points_within_gap": int((samples.gap.mean(0) <= LARGEST_GAP_NATS).sum()),
        "certified": list(certified),
        "failures": [list(reasons) for reasons in failures],
        "gradients": samples.gradients,
        "jacobian_products": samples.jacobian_products,
        "gradients_and_products_per_image": cost(samples),
    }


def beside_prior(
    samples: CurveSamples, said: dict[str, Any], prior: CurveSamples, prior_said: dict[str, Any]
) -> dict[str, Any]:
    """L of the common images, from the prior and from the chosen references.

    Raises `UsageError` if the two have no image or no β in common.
    """
    own, others = shared(said["images"], prior_said["images"])
    if not own or not np.allclose(samples.beta, prior.beta):
        raise UsageError("the two curves have no image in common, or other values of beta")
    higher: Float64Array = prior.log_partition[others] - samples.log_partition[own]
    error = higher.std(0, ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.full(len(own), np.nan)
    return {
        "images": len(own),
        "temperatures": prior.temperatures,
        "seconds": prior_said["seconds"],
        "provenance": prior_said["provenance"],
        "log_partition_nats": _rounded(samples.log_partition[own].mean(0)),
        "prior_log_partition_nats": _rounded(prior.log_partition[others].mean(0)),
        "prior_higher_nats": _rounded(higher.mean(0)),
        "standard_error_nats": _rounded(error),
        "prior_gradients_per_image": cost(prior),
    }


def _rounded(values: Any) -> list[float]:
    return [round(float(value), DIGITS) for value in values]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="folder of the part mnist")


def run(options: Namespace) -> Iterator[Measured]:
    found = read_curves(options.work)
    names = [name for name in found if not name.endswith(PRIOR)]
    models, lines = {}, []
    for name in names:
        samples, said = found[name]
        models[name] = described(samples, said)
        points = len(samples.beta)
        lines.append(f"{name}: {models[name]['points_within_gap']} of {points} gaps in reach")
        if name + PRIOR in found:
            beside = beside_prior(samples, said, *found[name + PRIOR])
            models[name]["beside_prior"] = beside
            most = max(beside["prior_higher_nats"])
            lines.append(f"{name}: annealing from the prior is up to {most:.2f} nats higher")
    yield Measured({"provenance": provenance(), "models": models}, lines, keep_others=True)
