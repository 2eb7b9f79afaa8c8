"""R_p(D) of a generative model compared with files of a codec that is built on it.

Squared errors are sums over an image's pixels in [0, 1].
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.harness.results import Report
from benchmarks.harness.small_images import rounded
from bitstream.arrays import Float32Array, Float64Array
from codec.cli.progress import PhaseLines
from codec.priors import StandardNormal
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.settings import MoveSettings
from codec.rate_distortion.annealing.summary import (
    CurveSamples,
    bootstrap_interval,
    envelope,
    summarize,
)
from codec.rate_distortion.distortions import SumSquaredError
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import NATS_PER_BIT
from codec.rate_distortion.report.figure import draw_picture
from codec.rate_distortion.report.lines import picture_of_results

SSE = SumSquaredError()
NAME = "R_p by annealing"


def joined(rungs: Sequence[Rung]) -> Rung:
    """Rungs of one point each as one rung, by rising distortion."""
    ordered = sorted(rungs, key=lambda rung: rung.distortion)
    columns: dict[str, Any] = {
        name: tuple(getattr(rung, name)[0] for rung in ordered)
        for name in ("distortion", "rate_nats", "rate_low_nats", "rate_high_nats", "certified",
                     "distortion_high")
    }  # fmt: skip
    return replace(ordered[0], **columns)


def rung_of_images(rate_nats: Float64Array, error: Float64Array, name: str, kind: str) -> Rung:
    """A rung of one point from the rates and squared errors (n,) of the images."""
    return Rung.of_images(
        rate_nats, error, name=name, kind=kind, distortion_name=SSE.name,
        convention=SSE.convention,
    )  # fmt: skip


def curve_rung(samples: CurveSamples) -> tuple[Rung, list[list[str]], str]:
    """The curve as a rung, the checks that each point fails, and, if no point is certified, why.

    Elsewhere a curve without a certified point is an error; here it is a result.
    """
    try:
        curve = summarize(samples)
    except MeasurementError as error:
        rates = envelope(samples.beta, samples.log_partition.mean(0), samples.distortion.mean(0))
        low, high = bootstrap_interval(samples)
        rung = Rung(
            NAME, "model", tuple(samples.distortion.mean(0).tolist()), tuple(rates.tolist()),
            tuple(np.fmin(low, rates).tolist()), tuple(np.fmax(high, rates).tolist()),
            (False,) * len(rates), SSE.name, SSE.convention, beta=tuple(samples.beta.tolist()),
        )  # fmt: skip
        return rung, [[]] * len(rates), str(error)
    return Rung.of_curve(curve, name=NAME), [list(failed) for failed in curve.failures], ""


def add_arguments(parser: ArgumentParser, *, temperatures: int, chains: int, leapfrog: int) -> None:
    """The arguments of `measure_generative_rate`."""
    parser.add_argument("--picture", type=Path, help="SVG and PNG to write")
    parser.add_argument("--count", type=int, default=20, help="images, evenly spaced")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0])
    parser.add_argument("--temperatures", type=int, default=temperatures)
    parser.add_argument("--chains", type=int, default=chains)
    parser.add_argument("--simulations", type=int, default=2)
    parser.add_argument("--leapfrog", type=int, default=leapfrog)


def measure_generative_rate(
    options: Namespace,
    name: str,
    decoder: nn.Module,
    dim: int,
    pixels: Float32Array,
    others: Callable[[], Sequence[Rung]],
) -> Report:
    """Anneal, and draw the ladder of the curve and the other rungs.

    options   those of `add_arguments`, `seed` and `data`; `picture` is the file to draw
    decoder   codes (n, dim), N(0, I), to images
    pixels    the images to describe, (n, C, h, w) in 0..1
    others    makes the other rungs of the ladder
    """
    begin = time.perf_counter()
    samples = rd_samples(
        decoder,
        StandardNormal(dim),
        pixels,
        distortion="sse",
        betas=options.betas,
        temperatures=options.temperatures,
        chains=options.chains,
        simulations=options.simulations,
        seed=options.seed,
        moves=MoveSettings(precondition="diagonal", leapfrog=options.leapfrog),
        progress=PhaseLines(),
    )
    rung, failures, why_none = curve_rung(samples)
    ladder = Ladder(name, f"{options.data.name}, test", len(pixels), (rung, *others()))
    for suffix in (".svg", ".png"):
        draw_picture(picture_of_results([ladder]), options.picture.with_suffix(suffix))
    gap = None if samples.gap is None else samples.gap.mean(0)
    rates = envelope(samples.beta, samples.log_partition.mean(0), samples.distortion.mean(0))
    return {
        "settings": {
            "temperatures": samples.temperatures, "chains": options.chains,
            "simulations": options.simulations, "leapfrog": options.leapfrog,
            "seed": options.seed, "gradients": samples.gradients,
            "seconds": round(time.perf_counter() - begin),
        },
        "found": rounded(
            {
                "certified_points": sum(rung.certified),
                "why_none": why_none,
                "rows": [
                    {
                        "beta": beta,
                        "distortion": samples.distortion.mean(0)[i],
                        "rate_nats": rates[i],
                        "rate_bits": rates[i] / NATS_PER_BIT,
                        "bdmc_gap_nats": None if gap is None else gap[i],
                        "ess_fraction": samples.ess_fraction.mean(0)[i],
                        "acceptance": samples.acceptance[i],
                        "failures": failures[i],
                    }
                    for i, beta in enumerate(samples.beta)
                ],
            }
        ),
        "ladder": rounded(ladder.to_json(), 7),
    }  # fmt: skip
