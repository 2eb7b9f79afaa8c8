"""Four ways to code one VAE's posterior, and a lossless archive: real files compared with theory.

Writes the same digits, as one sheet in one file, with
  vae-round      means rounded to a grid
  vae-dither     universal quantisation: the mean plus uniform noise
  vae-rec        relative entropy coding: a sample of the posterior
  vae-vbq        variational Bayesian quantisation: dyadic quantiles of the prior
  vae-bits-back  bits-back coding of the digits at a threshold, lossless

    python -m benchmarks.measurement samples-to-bits --data MNIST [--images N] [--float-model FILE]

Every file is decoded again.  Rates are bits of the whole file per image unless a name says
otherwise; squared errors are sums over an image's pixels in [0, 1], averaged over the images.
The exit status is 1 if a figure misses its claim.
"""

from __future__ import annotations

import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.results import Measured, load_average, provenance
from benchmarks.measurement.digits import DigitsMeasurement, measure_digits, posterior_of
from benchmarks.measurement.prior_mismatch import prior_mismatch
from bitstream.arrays import Float64Array, Uint8Array
from codec import loading
from codec.datasets.arrays import read_images
from codec.models.generative.weights_file import load_generative
from codec.models.vae.archive import BitsBackCoder
from codec.models.vae.coder import VaeCoder
from codec.models.vae.exact_mlp import ExactMlp

SCHEMA, RESULT = "calotype.samples_to_bits/1", "samples_to_bits.json"
LOSSY = ("vae-round", "vae-dither", "vae-rec", "vae-vbq")
ARCHIVE = "vae-bits-back"
QUALITIES = (30.0, 45.0, 60.0, 75.0, 90.0)
MAX_DITHER_PERCENT = 3.0
MAX_ARCHIVE_PERCENT = 2.0
ELBO_SAMPLES = 8

Forward = Callable[[Float64Array], Float64Array]


def as_row(found: DigitsMeasurement, seconds: float) -> dict[str, Any]:
    """Means per image; figures that are not defined for a model are left out."""
    row: dict[str, Any] = {
        "model": found.model,
        "quality": found.quality,
        "file_bytes": found.file_bytes,
        "payload_bytes": found.payload_bytes,
        "header_bytes": found.header_bytes,
        "bits_per_image": 8 * found.file_bytes / found.images,
        "ideal_bits_per_image": float(found.ideal_bits.mean()),
        "coder_overhead_bits": found.coder_overhead_bits,
        "posterior_kl_bits_per_image": float(found.kl_nats.mean()) / math.log(2),
        "sse": float(found.sse.mean()),
        "posterior_sse": float(found.posterior_sse.mean()),
        "uniform_channel_bits_per_image": float(found.uniform_rate_bits.mean()),
        "block_bound_bits_per_image": float(found.block_bound_bits.mean()),
        "negative_elbo_bits_per_image": float(found.negative_elbo_bits.mean()),
        "blocks": found.blocks or None,
        "seed_bits": found.seed_bits or None,
        "seconds": round(seconds, 1),
    }
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in row.items()
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }


def measured(name: str, images: Uint8Array, quality: float) -> dict[str, Any]:
    begin = time.perf_counter()
    found = measure_digits(name, images, quality)
    row = as_row(found, time.perf_counter() - begin)
    print(
        f"{name:14}{quality:5.0f}{row['bits_per_image']:9.2f} bits, {row['sse']:7.3f} SSE, "
        f"KL {row['posterior_kl_bits_per_image']:.2f}",
        file=sys.stderr,
    )
    return row


def float_elbo_bits(encode: Forward, decode: Forward, pixels: Float64Array, seed: int = 0) -> float:
    """Negative ELBO in bits per image of pixels (n, 784), 0 or 1, in floating point."""
    mean, log_variance = np.split(encode(pixels), 2, axis=1)
    nats = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(axis=1)
    rng = np.random.default_rng(seed)
    for _ in range(ELBO_SAMPLES):
        codes = mean + np.exp(log_variance / 2) * rng.standard_normal(mean.shape)
        log_odds = decode(codes)
        costs = np.logaddexp(0, log_odds) - pixels * log_odds
        nats += costs.sum(axis=1) / ELBO_SAMPLES
    return float(nats.mean()) / math.log(2)


def without_rounding(network: ExactMlp) -> Forward:
    """The integer network's weights in floating-point arithmetic."""

    def forward(values: Float64Array) -> Float64Array:
        for number, layer in enumerate(network.layers):
            values = values @ (layer.weight.T * 2.0**-layer.weight_bits) + layer.bias / 1024
            values = np.maximum(values, 0) if number < len(network.layers) - 1 else values
        return values

    return forward


def trained_elbo_bits(path: Path, pixels: Float64Array) -> float:
    """Negative ELBO of the trained float network, from its own weights file."""
    model = load_generative(path)
    encoder, decoder = model.encoder, model.decoder
    if encoder is None:
        raise SystemExit(f"{path} has no encoder")

    def encode(values: Float64Array) -> Float64Array:
        images = torch.from_numpy(values.astype(np.float32)).reshape(-1, 1, 28, 28)
        mean, log_variance = encoder(images)
        assert log_variance is not None
        return torch.cat([mean, log_variance], 1).double().numpy()

    def decode(values: Float64Array) -> Float64Array:
        logits = decoder.logits(torch.from_numpy(values.astype(np.float32)))
        return logits.flatten(1).double().numpy()

    with torch.inference_mode():
        return float_elbo_bits(encode, decode, pixels)


def checks(rows: list[dict[str, Any]], archive: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims, each with the measured number and the number that it must not exceed."""
    found = []
    for row in rows:
        name = f"{row['model']} at quality {row['quality']:g}: "
        if row["model"] == "vae-dither":
            allowed = row["uniform_channel_bits_per_image"] * (1 + MAX_DITHER_PERCENT / 100)
            found.append((name + "file within 3 % of the uniform channel", row, allowed))
        if row["model"] == "vae-rec":
            bound = row["block_bound_bits_per_image"]
            found.append((name + "KL + log2(KL + 1) + 5 for each block", row, bound))
    for key in (
        "negative_elbo_bits_per_image", "float_negative_elbo_bits_per_image",
        "trained_negative_elbo_bits_per_image",
    ):  # fmt: skip
        if key in archive:
            allowed = archive[key] * (1 + MAX_ARCHIVE_PERCENT / 100)
            found.append((f"{ARCHIVE}: within 2 % of {key}", archive, allowed))
    return [
        {
            "claim": claim,
            "bits_per_image": row["bits_per_image"],
            "at_most": round(allowed, 4),
            "holds": row["bits_per_image"] <= allowed,
        }
        for claim, row, allowed in found
    ]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="MNIST's folder, IDX or .npz")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--float-model", type=Path, help="trained weights of the archive's VAE")


def run(options: Namespace) -> Iterator[Measured]:
    report = measure(options.data, options.images, options.float_model)
    met = report["archive"]["lossless"] and all(c["holds"] for c in report["checks"])
    lines = [
        f"{'holds' if check['holds'] else 'FAILS'}  {check['bits_per_image']:9.3f} <= "
        f"{check['at_most']:9.3f}  {check['claim']}"
        for check in report["checks"]
    ]
    yield Measured(report, lines, failure="" if met else "a claim does not hold")


def measure(data: Path, count: int, float_model: Path | None) -> dict[str, Any]:
    load = load_average()
    images = read_images(data, shape=(1, 28, 28), part="test")[:count]
    rows = [measured(name, images, quality) for name in LOSSY for quality in QUALITIES]
    vae = loading.load_model("vae-round", device="cpu")
    assert isinstance(vae, VaeCoder)
    posterior = posterior_of(vae, images)
    mismatch = prior_mismatch(posterior.mean, posterior.variance)

    binary = np.where(images >= 128, 255, 0).astype(np.uint8)
    archive = measured(ARCHIVE, binary, 75.0)
    coder = loading.load_model(ARCHIVE, device="cpu")
    assert isinstance(coder, BitsBackCoder)
    pixels = (binary.reshape(len(binary), -1) // 255).astype(np.float64)
    archive["lossless"] = archive["sse"] == 0
    archive["float_negative_elbo_bits_per_image"] = round(
        float_elbo_bits(without_rounding(coder.encoder), without_rounding(coder.decoder), pixels), 4
    )
    if float_model is not None:
        archive["trained_negative_elbo_bits_per_image"] = round(
            trained_elbo_bits(float_model, pixels), 4
        )
    return {
        "provenance": provenance(),
        "load_average": load,
        "data": "MNIST test images, the first ones",
        "images": count,
        "threshold": "vae-bits-back: pixels of 128 and more are white",
        "distortion": "sum of squared errors of an image, pixels in [0, 1], mean over images",
        "rate": "bits of the whole file per image; *_bits_per_image otherwise as named",
        "weights": {
            name: loading.load_model(name).weights_hash.hex() for name in (*LOSSY, ARCHIVE)
        },
        "prior_mismatch_bits": {
            "lower": round(mismatch.lower_nats / math.log(2), 4),
            "upper": round(mismatch.upper_nats / math.log(2), 4),
            "standard_error": round(mismatch.standard_error_nats / math.log(2), 4),
            "bandwidths": [w if math.isfinite(w) else None for w in mismatch.bandwidths],
            "log2_images": round(mismatch.ceiling_nats / math.log(2), 4),
            "sampled_kl": round(mismatch.kl_nats / math.log(2), 4),
        },
        "lossy": rows,
        "archive": archive,
        "checks": checks(rows, archive),
    }
