"""Distribution-preserving coding of Gaussian numbers, whose optimum is known in closed form.

    D(R) = 2σ² (1 − √(1 − 2^(−2R)))      rate R in bits per number, perfect realism

Two measurements are compared with it. The first trains a linear E and a stochastic linear B around
the linear generator G(z) = σz by gradient descent, with the losses of the method: squared error and
the discrepancy of B's codes from N(0, I). Its rate is information, not bytes: E's output passes a
Gaussian channel of limited power, whose capacity is R. The second writes real bytes: a dithered
scalar quantiser and an entropy coder, with decoders that keep the distribution of the source.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.dplc import subject
from benchmarks.dplc.dithered_normal import DitheredNormal
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import rounded
from benchmarks.harness.targets import DPLC_CLOSED_FORM_SHARE
from bitstream import SymbolDecoder, SymbolEncoder, TableSet
from bitstream.arrays import Float64Array, Int32Array
from codec.coding.prior_tables import dither_tables, normal_quantile
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.known.perception import (
    GaussianPerception,
    gaussian_information,
    linear_distortion,
)
from codec.rate_distortion.metrics import gaussian_wasserstein
from training.generative.wae import inverse_multiquadric_mmd

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
NOISE_LEVELS = 64
WARM_UP = 0.25
RATES_BITS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class LinearTraining:
    """How the linear maps are trained; the discrepancy's weight falls with rate like the error.

    mmd_weight  λ at rate 0; at R bits it is λ·2^(−2R), in units of σ², for a mean over numbers
    """

    dimensions: int = 4
    batch: int = 512
    steps: int = 600
    learning_rate: float = 0.02
    mmd_weight: float = 100.0
    samples: int = 100_000


class LinearCodec(nn.Module):
    """E and B for vectors N(0, variance·I) of k numbers, both linear without biases.

    E's output has mean power 1 and is sent with noise of power 1 / (2^(2R) − 1), so that
    I(X; received) ≤ k·R bits whatever E is. B takes the received values and its own normal noise.
    """

    def __init__(self, dimensions: int, variance: float, rate_bits: float) -> None:
        super().__init__()
        self.encoder = nn.Linear(dimensions, dimensions, bias=False)
        self.mapping = nn.Linear(2 * dimensions, dimensions, bias=False)
        self.variance = variance
        self.channel_noise = (2 ** (2 * rate_bits) - 1) ** -0.5

    @property
    def sender(self) -> Tensor:
        """E's matrix (k, k), scaled to mean power 1."""
        weight = self.encoder.weight
        return weight * (self.variance * weight.square().sum() / len(weight)) ** -0.5

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x (n, k) to z (n, k)."""
        noise, own = (torch.randn(x.shape, generator=generator) for _ in range(2))
        received = x @ self.sender.T + self.channel_noise * noise
        found: Tensor = self.mapping(torch.cat([received, own], dim=1))
        return found

    def covariances(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """The exact covariances of x and of z, and E x zᵀ."""
        with torch.no_grad():
            sender, (receiver, own) = self.sender.double(), self.mapping.weight.double().chunk(2, 1)
        size = len(sender)
        source = self.variance * torch.eye(size, dtype=torch.float64)
        received = sender @ source @ sender.T + self.channel_noise**2 * torch.eye(size)
        code = receiver @ received @ receiver.T + own @ own.T
        cross = source @ sender.T @ receiver.T
        return source.numpy(), code.numpy(), cross.numpy()


def train_linear(
    variance: float, rate_bits: float, settings: LinearTraining, seed: int
) -> LinearCodec:
    """Adam on squared error + λ·MMD², with a cosine to 0; λ rises to its full value at first.

    With the full λ from the start, the maps would hardly turn to where the error is small.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    codec = LinearCodec(settings.dimensions, variance, rate_bits)
    adam = torch.optim.Adam(codec.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    weight = settings.mmd_weight * 2 ** (-2 * rate_bits)
    for step in range(settings.steps):
        shape = (settings.batch, settings.dimensions)
        x = math.sqrt(variance) * torch.randn(shape, generator=generator)
        z = codec(x, generator)
        error = (x - math.sqrt(variance) * z).square().mean() / variance
        mmd = inverse_multiquadric_mmd(z, torch.randn(shape, generator=generator))
        fraction = step / settings.steps
        adam.zero_grad(set_to_none=True)
        (error + weight * min(1, fraction / WARM_UP) * mmd).backward()
        for group in adam.param_groups:
            group["lr"] = settings.learning_rate * _cosine(fraction)
        adam.step()
    return codec


def _cosine(fraction: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * fraction))


def linear_row(
    codec: LinearCodec, rate_bits: float, settings: LinearTraining, seed: int
) -> dict[str, Any]:
    """Rate and distortion of a trained codec per number; D is measured on fresh samples."""
    size, deviation = settings.dimensions, math.sqrt(codec.variance)
    generator = torch.Generator().manual_seed(seed + 1)
    x = deviation * torch.randn(settings.samples, size, generator=generator)
    with torch.inference_mode():
        error = (x - deviation * codec(x, generator)).square().mean(1).double()
    source, code, cross = codec.covariances()
    per_bit = size * math.log(2)
    known = GaussianPerception(codec.variance)
    wanted = known.distortion_at(rate_bits * math.log(2))
    distortion = float(error.mean())
    decoded = codec.variance * code
    realism = gaussian_wasserstein(source, decoded) / size
    return {
        "rate_bits": rate_bits,
        "information_bits": gaussian_information(source, code, cross) / per_bit,
        "distortion": distortion,
        "standard_error": float(error.std()) / math.sqrt(len(error)),
        "exact_distortion": linear_distortion(source, decoded, deviation * cross) / size,
        "closed_form": wanted,
        "ratio": distortion / wanted,
        "over_least_error": distortion / (codec.variance * 2 ** (-2 * rate_bits)),
        "wasserstein_squared": realism,
        "closed_form_at_this_realism": known.distortion_at(rate_bits * math.log(2), realism),
        "met": abs(distortion / wanted - 1) <= DPLC_CLOSED_FORM_SHARE,
    }


@dataclass(frozen=True)
class CodedNumbers:
    """Numbers N(0, 1) decoded from real bytes; arrays (n,).

    source    the coded numbers
    centre    middle of the cell of each symbol
    """

    data: bytes
    source: Float64Array
    centre: Float64Array


def code_numbers(quantizer: DitheredNormal, count: int, seed: int) -> CodedNumbers:
    """Quantise, write and read back. Raises `MeasurementError` if the symbols differ."""
    rng = np.random.default_rng(seed)
    source, noise = rng.standard_normal(count), rng.random(count) - 0.5
    symbols = np.rint(source / quantizer.step + noise).astype(np.int32)
    # A table for each of a few levels of the noise, which both sides know.
    levels = np.floor((noise + 0.5) * NOISE_LEVELS).astype(np.int32)
    tables = dither_tables([quantizer.step], NOISE_LEVELS)
    data = _write(symbols, levels, tables)
    read = _read(data, levels, tables)
    if not np.array_equal(read, symbols):
        raise MeasurementError("the entropy coder read other symbols than it wrote")
    return CodedNumbers(data, source, quantizer.step * (read - noise))


def _write(symbols: Int32Array, levels: Int32Array, tables: TableSet) -> bytes:
    encoder = SymbolEncoder()
    encoder.put(symbols, levels, tables)
    return encoder.finish()


def _read(data: bytes, levels: Int32Array, tables: TableSet) -> Int32Array:
    decoder = SymbolDecoder(data)
    symbols = decoder.get(levels, tables)
    decoder.finish()
    return symbols


def symbol_rows(rate_bits: float, variance: float, count: int, seed: int) -> list[dict[str, Any]]:
    """Real bytes near a rate, and the decoders that keep the distribution of the source."""
    quantizer = DitheredNormal.of_rate(rate_bits)
    coded = code_numbers(quantizer, count, seed)
    measured_bits = 8 * len(coded.data) / count
    known = GaussianPerception(variance)
    wanted = known.distortion_at(measured_bits * math.log(2))
    uniform = np.random.default_rng(seed + 1).random(count)
    decoders = {
        "random": (
            quantizer.random(coded.centre, np.clip(uniform, 1e-12, None)),
            quantizer.random_distortion,
        ),
        "transport": (quantizer.transport(coded.centre), quantizer.transport_distortion),
    }
    rows = []
    for name, (decoded, expected) in decoders.items():
        errors = variance * (decoded - coded.source) ** 2
        distortion = float(errors.mean())
        rows.append(
            {
                "decoder": name,
                "step": math.sqrt(variance) * quantizer.step,
                "bytes": len(coded.data),
                "rate_bits": measured_bits,
                "entropy_bits": quantizer.rate_bits,
                "distortion": distortion,
                "standard_error": float(errors.std()) / math.sqrt(count),
                "expected_distortion": variance * expected,
                "closed_form": wanted,
                "ratio": distortion / wanted,
                "bits_above_closed_form": measured_bits - known.rate_at(distortion) / math.log(2),
                "wasserstein_squared": variance * _distance_from_normal(decoded),
                "met": distortion / wanted - 1 <= DPLC_CLOSED_FORM_SHARE,
            }
        )
    return rows


def _distance_from_normal(values: Float64Array) -> float:
    """W₂² between samples (n,) and as many quantiles of N(0, 1)."""
    places = (np.arange(len(values)) + 0.5) / len(values)
    return float(((np.sort(values) - normal_quantile(places)) ** 2).mean())


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    parser.add_argument("--variance", type=float, default=2.0)
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES_BITS), help="bits")
    parser.add_argument("--steps", type=int, default=LinearTraining.steps, help="of training")
    parser.add_argument("--numbers", type=int, default=1_000_000, help="that are coded as bytes")


def run(options: Namespace) -> Iterator[Measured]:
    yield from subject.measured(options, "gaussian", lambda: {"normal": measure_gaussian(options)})


def measure_gaussian(options: Namespace) -> Report:
    settings, numbers = LinearTraining(steps=options.steps), options.numbers
    variance, seed = options.variance, options.seed
    linear, symbols = [], []
    for rate in options.rates:
        codec = train_linear(variance, rate, settings, seed)
        linear.append(linear_row(codec, rate, settings, seed))
        symbols += symbol_rows(rate, variance, numbers, seed)
        print(
            f"{rate:g} bits: D over the closed form {linear[-1]['ratio']:.3f} trained, "
            f"{symbols[-1]['ratio']:.3f} with real symbols",
            file=sys.stderr,
        )
    return {
        "source": f"N(0, {variance:g}), independent numbers; the generator is z ↦ σz",
        "claim": f"squared error within {100 * DPLC_CLOSED_FORM_SHARE:g} % of "
        "2σ²(1 − √(1 − 2^(−2R)))",
        "linear": f"vectors of {settings.dimensions}; the rate is information, the capacity of a "
        "Gaussian channel that E's output passes, not bytes; distortion per number, on "
        f"{settings.samples:,} fresh vectors; Wasserstein distance exact, from the covariances",
        "symbols": f"{numbers:,} numbers in one stream of bytes, entropy-coded dithered scalar "
        "quantisation; decoders: random = a sample of the source given the cell, transport = the "
        "monotone map of the cell's mean to the law of the source. A scalar quantiser needs up "
        "to ½·log₂(2πe/12) = 0.25 bit more than a channel; misses from it are misses",
        "training": {
            "steps": settings.steps, "batch": settings.batch,
            "learning_rate": settings.learning_rate,
            "mmd_weight": f"{settings.mmd_weight:g}·2^(−2R)", "seed": seed,
        },
        "found": rounded(
            {
                "linear": linear,
                "symbols": symbols,
                "linear_met": sum(row["met"] for row in linear),
                "symbols_met": sum(row["met"] for row in symbols),
            }
        ),
    }  # fmt: skip
