"""R_p(D) of a trained DRAW beside its own encoder and its files.

    R_p(D) by annealing ≤ E KL of the encoder's posterior ≤ bytes of the files

The codes have thousands of dimensions, where annealing with an affordable number of temperatures
is not expected to be certified; what it gives is above R_p on average all the same, and what the
certificate says of it is reported as it is.  Squared errors are sums over an image's pixels in
[0, 1]; they compare the model's picture in floating point, that of files its 8-bit pixels.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.draw.decoder import DrawDecoder, picture
from benchmarks.draw.files import ideal_bits
from benchmarks.draw.likelihood import posterior_pass, targets
from benchmarks.harness.small_images import (
    DrawModel,
    Float64Array,
    decode_prefixes,
    rounded,
    write_file,
)
from benchmarks.measurement.ladder import joined
from codec.datasets.arrays import Images
from codec.priors import StandardNormal
from codec.rate_distortion.annealing.pilot import MoveSettings
from codec.rate_distortion.annealing.rd_curve import rd_samples
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
from codec.rate_distortion.report.lines import lines_of_results
from codec.rate_distortion.report.model_plot import draw_models

Float32Array = npt.NDArray[np.float32]

SSE = SumSquaredError()

NAME = "R_p by annealing"


def pixels_of(model: DrawModel, images: Images) -> Float32Array:
    """What is to be described, float32 (n, C, h, w) in 0..1: digits are binarised."""
    if model.config.likelihood == "bernoulli":
        binary: Float32Array = targets(model, images).numpy()
        return binary
    levels: Float32Array = images.astype(np.float32) / np.float32(255)
    return levels


def annealed(
    decoder: DrawDecoder,
    pixels: Float32Array,
    betas: Sequence[float],
    *,
    temperatures: int,
    chains: int,
    simulations: int,
    leapfrog: int,
    seed: int,
) -> CurveSamples:
    """L(β) and D(β) of each image, with the certificate's gaps."""
    return rd_samples(
        decoder,
        StandardNormal(decoder.dim),
        pixels,
        distortion="sse",
        betas=betas,
        temperatures=temperatures,
        chains=chains,
        simulations=simulations,
        seed=seed,
        moves=MoveSettings(precondition="diagonal", leapfrog=leapfrog),
        progress=lambda done, total: print(f"annealing: {done} of {total}", file=sys.stderr),
    )


def curve_rung(samples: CurveSamples) -> tuple[Rung, list[list[str]], str]:
    """The curve as a rung, the gates that each point fails, and why none is certified, if so.

    A curve without one certified point is an error elsewhere; here it is a finding.
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


def amortised_rung(model: DrawModel, decoder: DrawDecoder, images: Images, seed: int) -> Rung:
    """The encoder's posterior in the decoder's first steps, and the prior in the others.

    Points of E KL and the squared error of a sample, one for each number of steps that are sent.
    """
    x, pixels = targets(model, images), torch.from_numpy(pixels_of(model, images))
    generator = torch.Generator().manual_seed(seed)
    points = []
    for sent in range(1, decoder.steps + 1):
        done = posterior_pass(model.network, x, generator, sent=sent, steps=decoder.steps)
        error = SSE(pixels, picture(model.network, done.canvas)).numpy()
        points.append(_rung(done.kl.sum(1).numpy(), error, "E KL, own encoder", "amortised"))
    return joined(points)


def file_rungs(model: DrawModel, decoder: DrawDecoder, images: Images) -> tuple[Rung, Rung]:
    """Code length of the decoder's steps, and bytes of files cut after each of them.

    Each image is a file of its own; missing layers are the prior's mean.
    """
    coder, quality = model.file_coder(), decoder.quality
    bits, ends, errors = [], [], []
    for image in images:
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
        file = write_file(coder, pixels, quality)
        bits.append(ideal_bits(coder, pixels, quality, steps=decoder.steps)[0])
        ends.append(file.layer_ends[: decoder.steps])
        decoded = list(decode_prefixes(coder, file, None))[: decoder.steps]
        errors.append([float(((pixels / 255.0 - p / 255.0) ** 2).sum()) for p in decoded])
    lengths, error = np.array(ends, dtype=np.float64), np.array(errors)
    code = _rung(np.array(bits) * NATS_PER_BIT, error[:, -1], "files: code length", "code_length")
    cut = [
        _rung(8 * NATS_PER_BIT * lengths[:, k], error[:, k], "files: bytes", "bytes")
        for k in range(decoder.steps)
    ]
    return code, joined(cut)


def _rung(nats: Float64Array, error: Float64Array, name: str, kind: str) -> Rung:
    return Rung.of_images(
        nats, error, name=name, kind=kind, distortion_name=SSE.name, convention=SSE.convention
    )


def measure_rate(
    model: DrawModel,
    images: Images,
    output: Path,
    *,
    data_set: str,
    betas: Sequence[float],
    steps: int | None = None,
    quality: float = 75,
    temperatures: int = 60,
    chains: int = 4,
    simulations: int = 2,
    leapfrog: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """The part `rate`, of images uint8 (n, C, side, side); draws OUTPUT.svg and OUTPUT.png.

    steps  that have noise of their own, None for all
    """
    decoder = DrawDecoder(model.network, images.shape[2], steps=steps, quality=quality)
    begin = time.perf_counter()
    samples = annealed(
        decoder, pixels_of(model, images), betas, temperatures=temperatures, chains=chains,
        simulations=simulations, leapfrog=leapfrog, seed=seed,
    )  # fmt: skip
    rung, failures, why_none = curve_rung(samples)
    if model.config.posterior == "gaussian":
        others: tuple[Rung, ...] = (amortised_rung(model, decoder, images, seed),)
    else:
        others = file_rungs(model, decoder, images)
    ladder = Ladder(model.name, data_set, len(images), (rung, *others))
    for suffix in (".svg", ".png"):
        draw_models(lines_of_results([ladder]), output.with_suffix(suffix))
    gap = None if samples.gap is None else samples.gap.mean(0)
    rates = envelope(samples.beta, samples.log_partition.mean(0), samples.distortion.mean(0))
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "code_dimensions": decoder.dim,
        "steps": decoder.steps,
        "quality": quality if model.config.knots > 1 else None,
        "prior": "the model's own, in unit normal coordinates"
        if model.config.posterior == "gaussian"
        else "Gaussian relaxation of the quantised prior",
        "settings": {
            "temperatures": samples.temperatures, "chains": chains, "simulations": simulations,
            "leapfrog": leapfrog, "seed": seed, "gradients": samples.gradients,
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
