"""How near the annealed curve comes to the closed form for linear-Gaussian decoders.

    gap       worst L̂(β) − L(β) over 40 β, on fresh random decoders, for several settings of the
              annealing from the prior
    bridge-10, -50, -100   the same for the reference that is chosen at each β, and its cost
    coverage  how often the 95 % intervals contain the population's exact rate at their β
    bridge-coverage        the same from local references
    speed     decoder gradients, over all rounds, that the published method needs for the worst gap
              that ours reaches with few; on linear decoders, and on a trained VAE if one is given,
              for which the lowest L̂ is taken as the truth

    python -m benchmarks.measurement linear [--parts gap bridge-10 …] [--vae FILE --data MNIST]

Parts that are not run keep their entries in the result file.  The parts bridge-… take time: with
--first 105 --instances 1 they measure one more decoder in addition to those in the file.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.results import Measured, provenance
from benchmarks.measurement.reference_ais import reference_ais
from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.datasets.arrays import read_images
from codec.models.generative.weights_file import load_generative
from codec.priors import LatentPrior, StandardNormal
from codec.rate_distortion.annealing.rd_curve import rd_curve
from codec.rate_distortion.annealing.settings import ROWS_PER_BLOCK
from codec.rate_distortion.annealing.tempering import TemperedTarget
from codec.rate_distortion.distortions import SumSquaredError
from codec.rate_distortion.known.linear_decoder import LinearGaussianDecoder
from codec.rate_distortion.model_curve import RDCurve

SCHEMA, RESULT = "calotype.rate_distortion_linear/1", "rate_distortion_linear.json"
BETAS = tuple(float(beta) for beta in np.geomspace(0.1, 3000, 40))
POINTS, CHAINS, NOISE_VARIANCE = 20, 20, 0.01
PRODUCT_COST = 0.5
"""Cost of a Jacobian-vector product in gradients: it needs only a forward pass."""

FIRST_INSTANCE = 100
"""Smaller seeds were used while the method was developed; the figures come from fresh ones."""


class LinearDecoder(torch.nn.Module):
    """z (r, k) to W z (r, n)."""

    def __init__(self, weight: Float64Array) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return codes @ self.weight.T


class SeveralDecoders(torch.nn.Module):
    """Several linear decoders at once, each for its own equal share of the rows."""

    def __init__(self, weights: Sequence[Float64Array]) -> None:
        super().__init__()
        stacked = np.stack([weight.T for weight in weights])
        self.weights = torch.nn.Parameter(torch.tensor(stacked, dtype=torch.float32))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        count, dim, pixels = self.weights.shape
        return torch.bmm(codes.view(count, -1, dim), self.weights).reshape(-1, pixels)


def model_of(instance: int, dim: int) -> LinearGaussianDecoder:
    """A decoder of `dim` to 3 · `dim` values with independent N(0, 1) weights."""
    weight = np.random.default_rng(instance).standard_normal((3 * dim, dim))
    return LinearGaussianDecoder(weight, np.zeros(3 * dim))


def curve_of(
    model: LinearGaussianDecoder,
    images: Float64Array,
    *,
    temperatures: int,
    seed: int,
    betas: Sequence[float] = BETAS,
    **options: Any,
) -> RDCurve:
    return rd_curve(
        LinearDecoder(model.weight),
        StandardNormal(model.dim),
        images,
        betas=betas,
        temperatures=temperatures,
        chains=CHAINS,
        seed=seed,
        **options,
    )


def gap_of(
    model: LinearGaussianDecoder, images: Float64Array, log_partition: Sequence[float]
) -> Float64Array:
    exact = [model.lagrangian(images, beta) for beta in BETAS]
    return np.subtract(log_partition, exact)


def gap_row(
    dim: int,
    temperatures: int,
    instances: int,
    *,
    reference: str = "prior",
    first: int = FIRST_INSTANCE,
    **options: Any,
) -> dict[str, Any]:
    gaps, gradients, products, direct, certified = [], [], [], [], []
    local = 0
    for instance in range(first, first + instances):
        model = model_of(instance, dim)
        images = model.sample(POINTS, NOISE_VARIANCE, instance)
        curve = curve_of(
            model, images, temperatures=temperatures, seed=instance, certify=False,
            reference=reference, **options,
        )  # fmt: skip
        gaps.append(gap_of(model, images, curve.log_partition_nats))
        gradients.append(curve.gradients / (POINTS * CHAINS))
        products.append(curve.jacobian_products / (POINTS * CHAINS))
        local += curve.reference.count("local")
        exact = [model.rate(images, beta) for beta in BETAS]
        direct.append(np.abs(np.array(curve.rate_direct_nats) - exact).max())
        certified.append(_envelope_error(model, images, curve))
    row = {
        "code_dimensions": dim,
        "temperatures": temperatures,
        "instances": instances,
        **options,
        "median_gap_nats": _round(np.median(gaps)),
        "worst_of_mean_gap_nats": _round(np.mean(gaps, 0).max()),
        "worst_gap_nats": _round(np.max(gaps)),
        "worst_gap_of_each_nats": [_round(gap.max()) for gap in gaps],
        "smallest_gap_nats": _round(np.min(gaps)),
        "worst_error_of_direct_rate_nats": _round(max(direct)),
        "worst_error_of_envelope_rate_nats": _round(max(certified)),
        "gradients_per_chain": round(float(np.mean(gradients))),
    }
    if reference != "prior":
        cost = np.mean(gradients) + PRODUCT_COST * np.mean(products)
        row |= {
            "reference": reference,
            "first_instance": first,
            "date": provenance()["date"],
            "local_points_of_all": [local, instances * len(BETAS)],
            "jacobian_products_per_chain": round(float(np.mean(products))),
            "gradients_and_products_per_chain": round(float(cost)),
        }
    print(json.dumps(row), flush=True)
    return row


def _envelope_error(model: LinearGaussianDecoder, images: Float64Array, curve: RDCurve) -> float:
    """Largest error of the envelope's rate at distortions that the model can reach."""
    floor = model.smallest_distortion(images)
    return max(
        abs(rate - model.rate_at(images, distortion))
        for rate, distortion in zip(curve.rate_nats, curve.distortion, strict=True)
        if distortion > floor
    )


def _round(value: float) -> float:
    return round(float(value), 4)


def gap_part(instances: int) -> list[dict[str, Any]]:
    rows = [gap_row(10, temperatures, instances) for temperatures in (300, 450, 1000)]
    rows.append(gap_row(10, 1000, instances, method="ais"))
    for dim in (50, 100):
        rows += [gap_row(dim, temperatures, instances) for temperatures in (300, 1000)]
    return rows


def bridge_part(dim: int, options: Namespace) -> list[dict[str, Any]]:
    """The rows of other decoders in the file, and new ones."""
    first, instances = options.first, options.instances
    row = gap_row(dim, 1000, instances, reference="auto", first=first)
    known: list[dict[str, Any]] = []
    if options.output.exists():
        known = json.loads(options.output.read_text("utf-8")).get(f"bridge-{dim}", {"found": []})[
            "found"
        ]
    ours = set(range(first, first + instances))
    return [*(one for one in known if not ours & _instances(one)), row]


def _instances(row: dict[str, Any]) -> set[int]:
    first = row.get("first_instance", FIRST_INSTANCE)
    return set(range(first, first + row["instances"]))


def coverage_part(
    repetitions: int,
    *,
    reference: str = "prior",
    betas: Sequence[float] = BETAS,
    count: int = 50,
    temperatures: int = 300,
) -> dict[str, Any]:
    dim = 10
    model = model_of(FIRST_INSTANCE - 1, dim)
    squares = (np.linalg.svd(model.weight, compute_uv=False)) ** 2
    # The closed form's mean over all images f(z) + noise, instead of over a sample.
    a = 2 * np.outer(betas, squares)
    projected = squares + NOISE_VARIANCE
    truth = 0.5 * (np.log1p(a) - a / (1 + a)).sum(1) + (
        np.array(betas) * (projected * a / (1 + a) ** 2).sum(1)
    )
    covered = np.zeros((repetitions, len(betas)), dtype=bool)
    for repetition in range(repetitions):
        images = model.sample(count, NOISE_VARIANCE, 1000 + repetition)
        curve = curve_of(
            model, images, temperatures=temperatures, seed=repetition, certify=False, betas=betas,
            reference=reference,
        )  # fmt: skip
        covered[repetition] = (np.array(curve.rate_low_nats) <= truth) & (
            truth <= np.array(curve.rate_high_nats)
        )
    of_each = covered.sum(0)
    row = {
        "code_dimensions": dim,
        "images": count,
        "chains": CHAINS,
        "temperatures": temperatures,
        "reference": reference,
        "betas": len(betas),
        "repetitions": repetitions,
        "interval_percent": 95,
        "covered_at_each_beta": [int(number) for number in of_each],
        "covered_fewest": int(of_each.min()),
        "covered_mean": round(float(of_each.mean()), 2),
    }
    print(json.dumps(row), flush=True)
    return row


def speed_part(instances: int, temperatures: int) -> dict[str, Any]:
    models = [model_of(FIRST_INSTANCE + index, 10) for index in range(instances)]
    sets = [
        model.sample(POINTS, NOISE_VARIANCE, FIRST_INSTANCE + index)
        for index, model in enumerate(models)
    ]
    rows = torch.tensor(np.concatenate(sets), dtype=torch.float32).repeat_interleave(CHAINS, 0)
    target = TemperedTarget(
        SeveralDecoders([model.weight for model in models]),
        StandardNormal(10),
        SumSquaredError(),
        rows,
    )
    with torch.no_grad():
        found = reference_ais(target, BETAS, temperatures=temperatures, chains=CHAINS, seed=6)
    of_image = found.log_partition_nats.numpy().reshape(instances, POINTS, -1).mean(1)
    reference = [
        gap_of(model, images, log_partition)
        for model, images, log_partition in zip(models, sets, of_image, strict=True)
    ]
    worst = float(np.max(reference))
    needed = found.gradients / len(rows)
    tried = []
    for ours in (60, 100, 150, 200, 300, 450, 700, 1000):
        row = gap_row(10, ours, instances)
        tried.append(row)
        if row["worst_gap_nats"] <= worst:
            break
    equal = tried[-1]
    return {
        "reference_temperatures": temperatures,
        "reference_worst_gap_nats": _round(worst),
        "reference_median_gap_nats": _round(np.median(reference)),
        "reference_gradients_per_chain": round(needed),
        "ours": tried,
        "equal_gap_reached": equal["worst_gap_nats"] <= worst,
        "speed_up_in_gradients": round(needed / equal["gradients_per_chain"], 1),
    }


def trained_part(decode: torch.nn.Module, prior: LatentPrior, images: torch.Tensor,
                 temperatures: int) -> dict[str, Any]:  # fmt: skip
    betas = tuple(float(beta) for beta in np.geomspace(0.02, 50, 30))
    rows = images.repeat_interleave(CHAINS, 0)
    target = TemperedTarget(decode, prior, SumSquaredError(), rows)
    found = reference_ais(target, betas, temperatures=temperatures, chains=CHAINS, seed=6)
    reference = found.log_partition_nats.mean(0).numpy()

    def curve(ours: int) -> RDCurve:
        return rd_curve(
            decode, prior, images, betas=betas, temperatures=ours, chains=CHAINS, certify=False,
            reference="prior",
        )  # fmt: skip

    best = np.array(curve(3000).log_partition_nats)
    worst = float((reference - best).max())
    tried = []
    for ours in (50, 100, 150, 200, 300, 450, 700, 1000):
        measured = curve(ours)
        gap = float((np.array(measured.log_partition_nats) - best).max())
        tried.append(
            {
                "temperatures": ours,
                "worst_gap_nats": _round(gap),
                "gradients_per_chain": round(measured.gradients / len(rows)),
            }
        )
        if gap <= worst:
            break
    needed = found.gradients / len(rows)
    return {
        "images": len(images),
        "chains": CHAINS,
        "truth": "our run with 3,000 temperatures; no closed form exists",
        "reference_temperatures": temperatures,
        "reference_worst_gap_nats": _round(worst),
        "reference_gradients_per_chain": round(needed),
        "ours": tried,
        "equal_gap_reached": tried[-1]["worst_gap_nats"] <= worst,
        "speed_up_in_gradients": round(needed / tried[-1]["gradients_per_chain"], 1),
    }


def trained(options: Namespace) -> dict[str, Any]:
    if options.vae is None or options.data is None:
        raise UsageError("--parts trained needs --vae and --data")
    model = load_generative(options.vae)
    model.decoder.requires_grad_(requires_grad=False)
    images = torch.tensor(read_images(options.data, part="test")[: options.images]) / 255
    row = trained_part(model.decoder, model.prior, images, options.reference_temperatures)
    return {"model": options.vae.stem, **row}


PARTS: dict[str, Callable[[Namespace], Any]] = {
    "gap": lambda options: gap_part(options.instances),
    **{f"bridge-{dim}": partial(bridge_part, dim) for dim in (10, 50, 100)},
    "coverage": lambda options: coverage_part(options.repetitions),
    "bridge-coverage": lambda options: coverage_part(
        options.repetitions, reference="local", betas=BETAS[::6], count=20, temperatures=50
    ),
    "speed": lambda options: speed_part(options.instances, options.reference_temperatures),
    "trained": trained,
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=[part for part in PARTS if part != "trained"]
    )
    parser.add_argument("--instances", type=int, default=10)
    parser.add_argument(
        "--first", type=int, default=FIRST_INSTANCE, help="seed of the first decoder of bridge-…"
    )
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--reference-temperatures", type=int, default=10_000)
    parser.add_argument("--vae", type=Path, help="weights of a generative model (.safetensors)")
    parser.add_argument("--data", type=Path, help="folder of MNIST's files, for --vae")
    parser.add_argument("--images", type=int, default=10, help="of the data, for --vae")
    parser.add_argument("--threads", type=int, default=1)


def run(options: Namespace) -> Iterator[Measured]:
    torch.set_num_threads(options.threads)
    # These decoders are small, so larger blocks than for a network keep the cores busy.
    ROWS_PER_BLOCK["cpu"] = 4000
    for part in options.parts:
        begin = time.perf_counter()
        found = PARTS[part](options)
        seconds = round(time.perf_counter() - begin)
        content = {"provenance": provenance(), "seconds": seconds, "found": found}
        yield Measured({part: content}, keep_others=True)
