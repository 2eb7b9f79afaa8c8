"""Bounds on known rate-distortion functions: how close does each come?

  gaussian_2d    two Gaussians, mean squared error, λ = 3: lower bound, particles, Blahut-Arimoto
                 and an encoder against the truth (the demonstration of Yang and Mandt, ICLR 2022)
  deconvolution  a sphere in noise, whose optimal reproduction is the sphere (Yang et al., 2023)
  gaussian_40d   40 Gaussians σ_k = 2 e^{−k/2}, sum of squared errors: the trained plug-in of Lei
                 et al. (NERD, 2022) and an encoder on the same generator

    python -m benchmarks.measurement sandwich [--seed N]

All Lagrangians are in nats.  It takes a few minutes on one core.
"""

from __future__ import annotations

import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness.results import Measured, load_average, provenance
from bitstream.arrays import Float64Array
from codec.priors import StandardNormal
from codec.rate_distortion.bounds import (
    BoundPoint,
    SearchEffort,
    amortized_bound,
    nerd_bound,
    particle_descent,
    source_lower_bound,
    train_generator,
)
from codec.rate_distortion.distortions import MeanSquaredError, SumSquaredError
from codec.rate_distortion.known import DeconvolutionSource, GaussianSource, LinearGaussianDecoder
from codec.rate_distortion.known.discrete_sources import empirical_rate_distortion

SCHEMA, RESULT = "calotype.sandwich/1", "rate_distortion_sandwich.json"
GOAL_NATS = (2.10, 2.24)
SANDWICH_VARIANCES, SANDWICH_LAMBDA = (1.20553, 1.08977), 3.0
TEST_40D = 500
TRAIN_SEARCH = SearchEffort(candidates=256, starts=16, finalists=4, final_steps=20)
PUBLISHED_SANDWICH = {"upper": 2.2356, "blahut_arimoto": 2.23647, "lower": 1.936}
"""Intercepts R + λD of the published demonstration, nats."""
PUBLISHED_NERD_GAPS = {20.0: 0.239, 10.0: 0.078, 6.0: 0.031, 3.0: 0.015, 1.0: 0.0016, 0.25: 0.005}
"""Lagrangian of the published points minus the truth, nats, by λ."""


class LinearDecoder(nn.Module):
    """x̂ = W z + b, from W = diag(scales)."""

    def __init__(self, scales: Float64Array) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.diag(torch.tensor(scales, dtype=torch.float32)))
        self.offset = nn.Parameter(torch.zeros(len(scales)))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return codes @ self.weight.T + self.offset


def optimal_model(source: GaussianSource, beta: float) -> LinearGaussianDecoder:
    """The linear decoder whose R_p(D) touches the source's R(D) at β per sum of squared errors."""
    kept = np.maximum(0, np.array(source.variances) - 0.5 / beta)
    return LinearGaussianDecoder(np.diag(np.sqrt(kept)), np.zeros(source.dim))


def interval(point: BoundPoint) -> dict[str, float]:
    return {
        "intercept_nats": point.lagrangian_nats,
        "intercept_low_nats": point.lagrangian_low_nats,
        "intercept_high_nats": point.lagrangian_high_nats,
        "rate_nats": point.rate_nats,
        "distortion": point.distortion,
    }


def gaussian_2d(seed: int) -> dict[str, Any]:
    source = GaussianSource(SANDWICH_VARIANCES)
    # λ for the mean over two dimensions is λ/2 for the sum.
    beta = SANDWICH_LAMBDA / 2
    train, test = source.sample(50_000, seed), source.sample(50_000, seed + 1)
    lower = source_lower_bound(
        source.sample, beta=SANDWICH_LAMBDA, squared_error="mean", steps=300,
        training_samples=4096, samples=16_384, repeats=10, seed=seed,
    )  # fmt: skip
    particles = particle_descent(
        train, beta=SANDWICH_LAMBDA, particles=200, squared_error="mean", steps=200,
        batch=2000, seed=seed, effort=TRAIN_SEARCH,
    )  # fmt: skip
    empirical = empirical_rate_distortion(
        train[:1000], (SANDWICH_LAMBDA,), squared_error="mean", tolerance_nats=2e-3
    )
    scales = np.sqrt(np.array(SANDWICH_VARIANCES) - 0.5 / beta)
    amortized = amortized_bound(
        LinearDecoder(scales), StandardNormal(2), train, test[:20_000],
        betas=(SANDWICH_LAMBDA,), distortion=MeanSquaredError(), hidden=(), steps=500,
        learning_rate=2e-2, seed=seed,
    )  # fmt: skip
    upper = particles.evaluate(test)
    truth = source.lagrangian(beta)
    # The optimum's excess over its known mean on these test samples is sampling noise.
    luck = optimal_model(source, beta).lagrangian(test, beta) - truth
    return {
        "variances": list(SANDWICH_VARIANCES),
        "convention": "mean of squared errors over 2 dimensions; intercept R + λD",
        "lambda": SANDWICH_LAMBDA,
        "truth": {
            "intercept_nats": truth,
            "rate_nats": source.rate(beta),
            "distortion": source.distortion(beta) / 2,
        },
        "goal_nats": list(GOAL_NATS),
        "published_intercepts_nats": PUBLISHED_SANDWICH,
        "lower_bound": lower.to_json(),
        "upper_bound_particles": {
            **interval(upper),
            "intercept_with_control_variate_nats": upper.lagrangian_nats - luck,
            "fit": particles.to_json(),
        },
        "upper_bound_encoder_on_the_optimal_decoder": interval(amortized.points[0]),
        "blahut_arimoto_of_1000_samples": empirical.to_json(),
        "met": {
            "lower": GOAL_NATS[0] <= lower.intercept_nats <= GOAL_NATS[1],
            "upper": GOAL_NATS[0] <= upper.lagrangian_nats <= GOAL_NATS[1],
        },
    }


def deconvolution(seed: int) -> dict[str, Any]:
    rows = []
    for dim, count in ((2, 50), (5, 400)):
        source = DeconvolutionSource(dim, 0.1)
        found = particle_descent(
            source.sample(6000, seed), beta=source.beta, particles=count,
            squared_error="half_sum", steps=100, seed=seed,
        )  # fmt: skip
        lower = source_lower_bound(
            source.sample, beta=source.beta, squared_error="half_sum", steps=200,
            training_samples=2048, samples=16_384, repeats=5, learning_rate=3e-3, seed=seed,
        )  # fmt: skip
        rows.append(
            {
                "dim": dim,
                "noise_variance": source.noise_variance,
                "convention": "half the sum of squared errors, λ = 1/noise_variance",
                "truth_nats": source.optimal_loss(),
                "lower_bound": lower.to_json(),
                "particles": {
                    **interval(found.evaluate(source.sample(50_000, seed + 1))),
                    "fit": found.to_json(),
                },
            }
        )
    return {"rows": rows}


def gaussian_40d(seed: int) -> dict[str, Any]:
    source = GaussianSource(tuple(4 * math.exp(-k) for k in range(40)))
    train, test = source.sample(20_000, seed), source.sample(TEST_40D, seed + 1)
    rows = []
    for beta, published in PUBLISHED_NERD_GAPS.items():
        prior = StandardNormal(source.dim)
        generator = train_generator(
            LinearDecoder(np.sqrt(np.array(source.variances))), prior, train, beta=beta,
            distortion=SumSquaredError(), samples=4096, steps=500, learning_rate=1e-2, seed=seed,
        )  # fmt: skip
        model = optimal_model(source, beta)
        best = LinearDecoder(np.array(np.diag(model.weight)))
        # The exact optimum on the same test samples, so sampling noise cancels in the difference.
        exact = model.lagrangian(test, beta)
        plug_in, ideal = (
            nerd_bound(decoder, prior, test, betas=(beta,), distortion=SumSquaredError(), seed=seed)
            for decoder in (generator, best)
        )
        encoder = amortized_bound(
            best, prior, train, test, betas=(beta,), distortion=SumSquaredError(), hidden=(),
            steps=3000, learning_rate=5e-3, samples=32, seed=seed,
        ).points[0]  # fmt: skip
        point = plug_in.points[0]
        rows.append(
            {
                "lambda": beta,
                "truth_rate_bits": source.rate(beta) / math.log(2),
                "truth_distortion": source.distortion(beta),
                "truth_nats": source.lagrangian(beta),
                "published_gap_nats": published,
                "gap_nats": point.lagrangian_nats - exact,
                "gap_of_the_plug_in_on_the_optimal_generator_nats": (
                    ideal.points[0].lagrangian_nats - exact
                ),
                "gap_of_the_encoder_on_the_optimal_generator_nats": (
                    encoder.lagrangian_nats - exact
                ),
                "interval_without_pairing_nats": [
                    point.lagrangian_low_nats,
                    point.lagrangian_high_nats,
                ],
                "rate_bits": point.rate_bits,
                "distortion": point.distortion,
                "ceiling_bits": plug_in.ceiling_nats / math.log(2),
                "near_ceiling": plug_in.near_ceiling[0],
            }
        )
    return {
        "convention": "sum of squared errors over 40 dimensions; gaps of R + λD against the "
        "optimum on the same test samples, 40000 codes",
        "test_samples": TEST_40D,
        "rows": rows,
    }


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0)


def run(options: Namespace) -> Iterator[Measured]:
    load, seconds, found = load_average(), {}, {}
    for part in (gaussian_2d, deconvolution, gaussian_40d):
        begin = time.perf_counter()
        found[part.__name__] = part(options.seed)
        seconds[part.__name__] = round(time.perf_counter() - begin, 1)
        print(f"{part.__name__}: {seconds[part.__name__]} seconds", file=sys.stderr)
    met = found["gaussian_2d"]["met"]
    yield Measured(
        {
            "provenance": provenance(),
            "load_average": load,
            "seed": options.seed,
            "seconds": seconds,
            **found,
        },
        lines_of(found),
        failure=""
        if all(met.values())
        else f"the 2-D Gaussian is not within {GOAL_NATS} nats: {met}",
    )


def lines_of(found: dict[str, Any]) -> list[str]:
    two = found["gaussian_2d"]
    lower, upper = two["lower_bound"], two["upper_bound_particles"]
    return [
        f"2-D Gaussian: {lower['intercept_nats']:.4f} ≤ {two['truth']['intercept_nats']:.4f} ≤ "
        f"{upper['intercept_with_control_variate_nats']:.4f} nats (published lower bound "
        f"{two['published_intercepts_nats']['lower']})",
        *(
            f"sphere in {row['dim']}-D: {row['lower_bound']['intercept_nats']:.4f} ≤ "
            f"{row['truth_nats']:.4f} ≤ {row['particles']['intercept_nats']:.4f} nats"
            for row in found["deconvolution"]["rows"]
        ),
        "40-D Gaussian, gaps in nats:  λ  published  plug-in  encoder",
        *(
            f"{row['lambda']:31g}{row['published_gap_nats']:11.4f}{row['gap_nats']:9.4f}"
            f"{row['gap_of_the_encoder_on_the_optimal_generator_nats']:9.4f}"
            for row in found["gaussian_40d"]["rows"]
        ),
    ]
