"""Which of several generative models of MNIST is better at which rate.

    python -m benchmarks.measurement mnist-comparison --work FOLDER

Reads the files that the part `mnist` has written to the folder, writes the comparison and, with
matplotlib, draws the curves, on the images that all models have in common.  Models are compared at
equal rate: D at a rate R is sup_β (L(β) − R) / β.  Differences are tested by a paired bootstrap,
which draws the same images for both models, with Bonferroni's correction for the number of
comparisons.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Measured, provenance
from benchmarks.measurement.mnist import RESULT as RESULT
from benchmarks.measurement.mnist import SCHEMA as SCHEMA
from benchmarks.measurement.mnist import Curve, read_curves
from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.annealing.summary import CurveSamples, summarize
from codec.rate_distortion.ladder.model_file import ModelResult
from codec.rate_distortion.report.figure import draw_picture, plot_available
from codec.rate_distortion.report.lines import picture_of_results

RATES_NATS = (2.0, 5.0, 10.0, 20.0, 25.0)
BOOTSTRAP = 4000


def distortion_at(beta: Float64Array, log_partition: Float64Array, rate: float) -> Float64Array:
    """D at a rate in nats, sup over β of (L − R) / β: (…, B) to (…,)."""
    distortion: Float64Array = ((log_partition - rate) / beta).max(-1)
    return distortion


def on_common_images(found: dict[str, Curve]) -> dict[str, Curve]:
    """The curves, each on the images that all have in common; the simulations are kept.

    Raises `UsageError` if there are none.
    """
    lists = [about["images"] for _, about in found.values()]
    common = [image for image in lists[0] if all(image in images for images in lists)]
    if not common:
        raise UsageError("the models were measured on different images")

    def restricted(samples: CurveSamples, about: dict[str, Any]) -> Curve:
        places = [about["images"].index(image) for image in common]
        return samples.of_images(places), {**about, "images": common}

    return {name: restricted(*curve) for name, curve in found.items()}


def comparison(measured: dict[str, CurveSamples], seed: int) -> dict[str, Any]:
    images = len(next(iter(measured.values())).log_partition)
    draws = np.random.default_rng(seed).multinomial(
        images, np.full(images, 1 / images), size=BOOTSTRAP
    )
    pairs = list(combinations(measured, 2))
    tests = len(pairs) * len(RATES_NATS)
    tail = 100 * 0.025 / tests
    rows = []
    for rate in RATES_NATS:
        point, drawn = {}, {}
        for name, samples in measured.items():
            point[name] = float(distortion_at(samples.beta, samples.log_partition.mean(0), rate))
            means = draws @ samples.log_partition / images
            drawn[name] = distortion_at(samples.beta, means, rate)
        order = sorted(point, key=point.__getitem__)
        differences = []
        for better, worse in combinations(order, 2):
            difference = drawn[worse] - drawn[better]
            low, high = np.percentile(difference, [tail, 100 - tail])
            differences.append(
                {
                    "lower": better,
                    "higher": worse,
                    "difference": round(point[worse] - point[better], 3),
                    "interval": [round(float(low), 3), round(float(high), 3)],
                    "significant": bool(low > 0),
                }
            )
        rows.append(
            {
                "rate_nats": rate,
                "rate_bits": round(rate / np.log(2), 2),
                "order_by_distortion": order,
                "distortion": {
                    name: {
                        "estimate": round(point[name], 3),
                        "interval_95": [
                            round(float(v), 3) for v in np.percentile(drawn[name], [2.5, 97.5])
                        ],
                    }
                    for name in order
                },
                "differences": differences,
            }
        )
    return {
        "statistic": "difference of D at equal rate, paired bootstrap over the images",
        "bootstrap": BOOTSTRAP,
        "tests": tests,
        "level": "0.05, two-sided, Bonferroni over all tests",
        "rows": rows,
    }


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", nargs="*", help="names; default all in the folder")


def run(options: Namespace) -> Iterator[Measured]:
    found = read_curves(options.work)
    if options.models:
        found = {name: found[name] for name in options.models}
    found = on_common_images(found)
    results = []
    for name, (samples, said) in found.items():
        extra = {key: said[key] for key in ("precision", "seconds", "provenance")}
        result = ModelResult(
            summarize(samples),
            model=name,
            data_set="MNIST test",
            selection=f"{len(samples.log_partition)} images",
            extra=extra,
        )
        results.append(result)
    compared = comparison({name: samples for name, (samples, _) in found.items()}, 0)
    if plot_available():
        picture = picture_of_results(results, title="R_p(D) of generative models of MNIST")
        draw_picture(picture, options.output.with_suffix(".svg"))
    curves = [result.to_json() for result in results]
    lines = []
    for row in compared["rows"]:
        listed = ", ".join(f"{k} {v['estimate']}" for k, v in row["distortion"].items())
        lines.append(f"R = {row['rate_nats']:g} nats: {listed}")
    yield Measured({"provenance": provenance(), "comparison": compared, "curves": curves}, lines)
