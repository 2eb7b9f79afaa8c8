"""R_p(D) of several generative models on the same MNIST test images, and which is better where.

    python benchmarks/measurement/mnist.py measure --model FILE --data MNIST --work FOLDER
    python benchmarks/measurement/mnist.py compare --work FOLDER

`measure` is run once for each model and leaves its samples in the folder; `compare` reads them
all, writes the comparison and, with matplotlib, draws the curves.  Models are compared at equal
rate: D at a rate R is sup_β (L(β) − R) / β, and differences are judged by drawing the same images
for both models (paired bootstrap), with Bonferroni's correction for the number of comparisons.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness.provenance import provenance
from codec.datasets.arrays import read_images
from codec.models.generative.weights_file import load_generative
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.summary import CurveSamples, summarize
from codec.rate_distortion.files.result_file import format_json
from codec.rate_distortion.ladder.model_file import ModelResult
from codec.rate_distortion.report.figure import plot_available
from codec.rate_distortion.report.lines import lines_of_results
from codec.rate_distortion.report.model_plot import draw_models

RESULTS = Path(__file__).resolve().parents[1] / "results"
SCHEMA = "calotype.rate_distortion_mnist/1"
RATES_NATS = (2.0, 5.0, 10.0, 20.0, 25.0)
BOOTSTRAP = 4000

Float64Array = npt.NDArray[np.float64]
SCALARS = ("no_certificate", "distortion_name", "convention", "chains", "temperatures", "seed",
           "gradients")  # fmt: skip
ARRAYS = ("beta", "log_partition", "distortion", "ess_fraction", "acceptance", "gap")


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    model = load_generative(options.model)
    every = read_images(options.data, part="test")
    images = every[np.linspace(0, len(every) - 1, options.images).round().astype(int)]
    betas = np.geomspace(options.low_beta, options.high_beta, options.betas)
    begin = time.perf_counter()
    samples = rd_samples(
        model.decoder,
        model.prior,
        images,
        betas=[float(beta) for beta in betas],
        temperatures=options.temperatures,
        chains=options.chains,
        seed=options.seed,
        simulations=options.simulations,
        precision=options.precision,
        progress=lambda done, total: print(
            f"{options.model.stem}: block {done} of {total}, {time.perf_counter() - begin:.0f} s",
            flush=True,
        ),
    )
    assert samples.gap is not None
    said = {
        **{name: getattr(samples, name) for name in SCALARS},
        "precision": options.precision,
        "seconds": round(time.perf_counter() - begin),
        "provenance": provenance(),
    }
    options.work.mkdir(parents=True, exist_ok=True)
    np.savez(
        options.work / f"{options.model.stem}.npz",
        said=json.dumps(said),
        **{name: getattr(samples, name) for name in ARRAYS},
    )


def read_samples(path: Path) -> tuple[CurveSamples, dict[str, Any]]:
    with np.load(path) as file:
        said: dict[str, Any] = json.loads(str(file["said"]))
        arrays = {name: file[name] for name in ARRAYS}
    return CurveSamples(**arrays, **{name: said[name] for name in SCALARS}), said


def distortion_at(beta: Float64Array, log_partition: Float64Array, rate: float) -> Float64Array:
    """D at a rate in nats, sup over β of (L − R) / β: (…, B) to (…,)."""
    distortion: Float64Array = ((log_partition - rate) / beta).max(-1)
    return distortion


def comparison(measured: dict[str, CurveSamples], seed: int) -> dict[str, Any]:
    count = {len(samples.log_partition) for samples in measured.values()}
    if len(count) != 1:
        raise SystemExit(f"the models were measured on different numbers of images: {count}")
    (images,) = count
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


def compare(options: argparse.Namespace) -> None:
    found = {path.stem: read_samples(path) for path in sorted(options.work.glob("*.npz"))}
    if options.models:
        found = {name: found[name] for name in options.models}
    results = []
    for name, (samples, said) in found.items():
        extra = {key: said[key] for key in ("precision", "seconds", "provenance")}
        result = ModelResult(
            summarize(samples),
            model=name,
            data_set="MNIST test",
            selection=f"{len(samples.log_partition)} images, evenly spaced",
            extra=extra,
        )
        results.append(result)
    report = {
        "schema": SCHEMA,
        "provenance": provenance(),
        "comparison": comparison({name: samples for name, (samples, _) in found.items()}, 0),
        "curves": [result.to_json() for result in results],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(format_json(report) + "\n", encoding="utf-8")
    if plot_available():
        picture = lines_of_results(results, title="R_p(D) of generative models of MNIST")
        draw_models(picture, options.output.with_suffix(".svg"))
    for row in report["comparison"]["rows"]:  # type: ignore[index]
        listed = ", ".join(f"{k} {v['estimate']}" for k, v in row["distortion"].items())
        print(f"R = {row['rate_nats']:g} nats: {listed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("--model", type=Path, required=True, help="weights (.safetensors)")
    one.add_argument("--data", type=Path, required=True, help="folder of MNIST's files")
    one.add_argument("--work", type=Path, required=True, help="folder for the samples")
    one.add_argument("--images", type=int, default=1000)
    one.add_argument("--chains", type=int, default=20)
    one.add_argument("--temperatures", type=int, default=1000)
    one.add_argument("--simulations", type=int, default=10)
    one.add_argument("--low-beta", type=float, default=0.02)
    one.add_argument("--high-beta", type=float, default=50.0)
    one.add_argument("--betas", type=int, default=30)
    one.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--threads", type=int, default=1)
    all_of_them = commands.add_parser("compare")
    all_of_them.add_argument("--work", type=Path, required=True)
    all_of_them.add_argument("--models", nargs="*", help="names; default all in the folder")
    all_of_them.add_argument("--output", type=Path, default=RESULTS / "rate_distortion_mnist.json")
    options = parser.parse_args()
    {"measure": measure, "compare": compare}[options.command](options)


if __name__ == "__main__":
    main()
