"""R_p(D) of the codec's generator beside the codec's own files.

    R_p(D) by annealing ≤ ideal length of the symbols ≤ bytes

Squared errors are sums over an image's pixels in [0, 1]. The codec asks for more than a small
error: its pictures are to be distributed as the generator's, which costs up to 3 dB.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.draw.rate import SSE, curve_rung
from benchmarks.harness.dplc_model import DplcModel, as_picture, read_file, write_file
from benchmarks.harness.small_images import Float64Array, cut, paste, rounded
from benchmarks.measurement.ladder import joined
from codec.datasets.arrays import Images
from codec.priors import StandardNormal
from codec.rate_distortion.annealing.pilot import MoveSettings
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.summary import envelope
from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import NATS_PER_BIT
from codec.rate_distortion.report.lines import lines_of_results
from codec.rate_distortion.report.model_plot import draw_models

LARGEST_STRIP = 4096


def sums(original: Images, again: Images) -> Float64Array:
    """Squared error of each image, summed over pixels in [0, 1]: (n,)."""
    difference = (original.astype(np.float64) - again) / 255
    found: Float64Array = (difference**2).sum(axis=(1, 2, 3))
    return found


def file_rungs(model: DplcModel, images: Images, seed: int) -> tuple[Rung, Rung, Rung]:
    """Ideal length of the symbols; bytes of one file of all images; bytes of a file for each."""
    name = model.coder.name
    lengths, together, single = [], [], []
    side = model.config.side
    strip = paste(images, len(images))
    for rate in range(len(model.config.rates)):
        quality, prior = model.quality(rate), model.coder.priors[rate]
        latents = model.coder.analyze(np.ascontiguousarray(
            np.broadcast_to(strip, (*strip.shape[:2], 3))), quality)  # fmt: skip
        bits = np.zeros(len(images))
        if prior is not None:
            bits = prior.cost_bits(model.coder.bits(latents))
        file = write_file(model.coder, strip, quality, noise_seed=seed)
        errors = sums(images, cut(read_file(model.coder, file.data), side))
        lengths.append(_rung(bits, errors, f"{name}: code length", "code_length"))
        # The file is shared: what it holds besides the symbols is divided evenly.
        whole = bits + 8 * len(file.data) / len(images) - bits.mean()
        together.append(_rung(whole, errors, f"{name}, one file of all: bytes", "bytes"))
        sizes, apart = [], []
        for number, image in enumerate(images):
            one = write_file(model.coder, as_picture(image), quality, noise_seed=seed + number)
            again = read_file(model.coder, one.data).transpose(2, 0, 1)
            sizes.append(8 * len(one.data))
            apart.append(sums(image[None], again[None])[0])
        single.append(
            _rung(
                np.array(sizes, np.float64), np.array(apart), f"{name}, a file each: bytes", "bytes"
            )
        )
    return joined(lengths), joined(together), joined(single)


def _rung(bits: Float64Array, error: Float64Array, name: str, kind: str) -> Rung:
    return Rung.of_images(
        NATS_PER_BIT * bits, error, name=name, kind=kind, distortion_name=SSE.name,
        convention=SSE.convention,
    )  # fmt: skip


def measure_rate(
    model: DplcModel,
    images: Images,
    output: Path,
    *,
    data_set: str,
    betas: Sequence[float],
    temperatures: int = 300,
    chains: int = 8,
    simulations: int = 2,
    leapfrog: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """The part `rate`, of images uint8 (n, C, side, side); draws OUTPUT.svg and OUTPUT.png."""
    if len(images) * model.config.side > LARGEST_STRIP:
        raise SystemExit(
            f"{len(images)} images, expected at most {LARGEST_STRIP // model.config.side}"
        )
    begin = time.perf_counter()
    samples = rd_samples(
        model.coder.networks.generator,
        StandardNormal(model.config.code),
        images.astype(np.float32) / np.float32(255),
        distortion="sse",
        betas=betas,
        temperatures=temperatures,
        chains=chains,
        simulations=simulations,
        seed=seed,
        moves=MoveSettings(precondition="diagonal", leapfrog=leapfrog),
        progress=lambda done, total: print(f"annealing: {done} of {total}", file=sys.stderr),
    )
    rung, failures, why_none = curve_rung(samples)
    ladder = Ladder(model.name, data_set, len(images), (rung, *file_rungs(model, images, seed)))
    for suffix in (".svg", ".png"):
        draw_models(lines_of_results([ladder]), output.with_suffix(suffix))
    gap = None if samples.gap is None else samples.gap.mean(0)
    rates = envelope(samples.beta, samples.log_partition.mean(0), samples.distortion.mean(0))
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "code_dimensions": model.config.code,
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
