"""Curves and ladders of imaginary models, with rates known in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.model_file import ModelResult
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import RDCurve

NAME = "sum of squared errors"
CONVENTION = "sum over all samples of an image, pixels 0..1"


def model_curve(
    *,
    dimensions: int = 10,
    spread: float = 50.0,
    floor: float = 5.0,
    points: int = 12,
    uncertified: Sequence[int] = (),
    convention: str = CONVENTION,
) -> RDCurve:
    """R_p(D) = k/2 ln((s − f) / (D − f)) nats, so that β = k / 2(D − f), intervals ± 0.5 nats."""
    rates = [0.3 + 3.0 * dimensions * index / (points - 1) for index in range(points)]
    above = [(spread - floor) * math.exp(-2 * rate / dimensions) for rate in rates]
    beta = [dimensions / 2 / value for value in above]
    distortion = [floor + value for value in above]
    certified = [index not in uncertified for index in range(points)]
    return RDCurve(
        beta=tuple(beta),
        log_partition_nats=tuple(
            rate + b * d for rate, b, d in zip(rates, beta, distortion, strict=True)
        ),
        distortion=tuple(distortion),
        rate_nats=tuple(rates),
        rate_direct_nats=tuple(rates),
        rate_low_nats=tuple(max(0.0, rate - 0.5) for rate in rates),
        rate_high_nats=tuple(rate + 0.5 for rate in rates),
        bdmc_gap_nats=tuple(0.1 if one else math.nan for one in certified),
        ess_fraction=(0.5,) * points,
        acceptance=(0.65,) * points,
        certified=tuple(certified),
        failures=tuple(() if one else ("gap above 0.5 nats",) for one in certified),
        distortion_name=NAME,
        convention=convention,
        images=1000,
        chains=20,
        temperatures=1000,
        seed=0,
        gradients=10**6,
    )


def model_result(model: str = "VAE", **settings: object) -> ModelResult:
    """A result file's content for `model_curve`."""
    return ModelResult(model_curve(**settings), model, "digits", "all 1000 images")  # type: ignore[arg-type]


def rung(
    name: str,
    kind: str,
    points: Sequence[tuple[float, float]],
    *,
    half_width: float = 0.2,
    convention: str = CONVENTION,
    ceiling_nats: float | None = None,
    ceiling_name: str = "",
) -> Rung:
    """A rung through (distortion, nats), all points certified."""
    return Rung(
        name=name,
        kind=kind,
        distortion=tuple(d for d, _ in points),
        rate_nats=tuple(r for _, r in points),
        rate_low_nats=tuple(r - half_width for _, r in points),
        rate_high_nats=tuple(r + half_width for _, r in points),
        certified=(True,) * len(points),
        distortion_name=NAME,
        convention=convention,
        ceiling_nats=ceiling_nats,
        ceiling_name=ceiling_name,
    )


def ladder(*, amortised_nats: float = 17.0) -> Ladder:
    """Rungs of six kinds; R_p at distortion 8.4 is 12.9 nats."""
    low = [(d, 3 * math.log(48 / d)) for d in (10.0, 15.0, 20.0, 30.0, 40.0)]
    plug_in = [(d, 3.6 * math.log(50 / d)) for d in (12.0, 15.0, 20.0, 30.0, 40.0)]
    return Ladder(
        "VAE", "digits", 1000,
        (
            Rung.of_curve(model_curve(uncertified=(11,))),
            rung("dual bound", "lower_bound", low, ceiling_nats=math.log(1000),
                 ceiling_name="log₂ n, n = 1000"),
            rung("plug-in", "generator", plug_in, ceiling_nats=math.log(40_000),
                 ceiling_name="log₂ M, M = 40,000"),
            rung("amortised KL", "amortised", [(8.4, amortised_nats)]),
            rung("rounded code", "code_length", [(8.9, 19.0)]),
            rung("files", "bytes", [(8.9, 26.0)]),
        ),
    )  # fmt: skip
