"""Gaussian numbers in real bytes by vector quantisation, compared with the closed form.

    D(R) = 2σ² (1 − √(1 − 2^(−2R)))      rate R in bits per number, perfect realism

Vectors are randomly rotated, quantised by trellis codes, written, read back, rescaled to lengths of
normal vectors and rotated back (see `benchmarks.dplc.rotation`), so the decoded numbers are exactly
independent and N(0, σ²).
"""

from __future__ import annotations

import dataclasses
import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.dplc import subject
from benchmarks.dplc.rotation import turn, turn_back, with_normal_lengths
from benchmarks.dplc.trellis_codes import LatticeCode, RandomCode, Trellis, TrellisCode
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import rounded
from benchmarks.harness.targets import DPLC_CLOSED_FORM_SHARE
from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.coding.prior_tables import normal_distribution
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.known.perception import GaussianPerception

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
RATES_BITS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
LOWEST_OF_LATTICES = 0.5
"""Bits below which most levels of a lattice would be used too rarely."""
DESIGN = Trellis(8, 0o515 >> 1, 0o362 >> 1)
"""Code of Ungerboeck 1982, with parity checks in octal; levels hardly depend on the trellis."""
LATTICES = {8: DESIGN, 12: Trellis(12, 0o10041 >> 1, 0o5272 >> 1)}
"""By memory; the one of 12 bits has the least error of 362 random ones, for uniform numbers."""
SAMPLE = (128, 1000)
SOURCE_SEED, SAMPLE_SEED = 0xCA23, 0xCA24


def code_of_rate(rate_bits: float, options: Namespace) -> TrellisCode:
    if rate_bits >= LOWEST_OF_LATTICES:
        sample = np.random.default_rng([SAMPLE_SEED, options.seed]).standard_normal(SAMPLE)
        code = LatticeCode.designed(DESIGN, rate_bits, sample)
        return dataclasses.replace(code, trellis=LATTICES[options.lattice_memory])
    return RandomCode.of_memory(options.random_memory, round(1 / rate_bits))


def coded(code: TrellisCode, values: Float64Array) -> tuple[bytes, Float64Array]:
    """Streams (streams, n) as bytes, and as decoded from these.

    Raises `MeasurementError` if the decoded symbols differ.
    """
    symbols = code.quantize(values)
    data = code.encode(symbols)
    read = code.decode(data, *symbols.shape)
    if not np.array_equal(read, symbols):
        raise MeasurementError("the entropy coder read other symbols than it wrote")
    return data, code.dequantize(read)


def measure_rates(options: Namespace) -> list[dict[str, Any]]:
    """A row for each rate. Raises `UsageError` if the streams do not divide the numbers."""
    shape = options.vectors, options.length
    source = np.random.default_rng([SOURCE_SEED, options.seed]).standard_normal(shape)
    turned = turn_back(source, options.seed)
    sizes, scaled = [], []
    for rate in options.rates:
        code = code_of_rate(rate, options)
        # With few bits, those spent on leaving the first state weigh more: longer streams.
        independent = isinstance(code, LatticeCode)
        length = options.length * (1 if independent else options.vectors_of_stream)
        if turned.size % length or length % code.numbers:
            raise UsageError(
                f"rate {rate:g}: {turned.size} numbers are not a whole number of streams of "
                f"{length}, or these not of words of {code.numbers}"
            )
        data, found = coded(code, turned.reshape(-1, length))
        sizes.append(len(data))
        scaled.append(
            with_normal_lengths(found.reshape(shape), options.seed, independent=independent)
        )
    decoded = turn(np.stack(scaled), options.seed)
    return [
        row(rate, options.variance, size, source, one)
        for rate, size, one in zip(options.rates, sizes, decoded, strict=True)
    ]


def row(
    wanted_bits: float, variance: float, size: int, source: Float64Array, decoded: Float64Array
) -> dict[str, Any]:
    """The result for a rate; source and decoded are N(0, 1), (vectors, n)."""
    errors = variance * ((decoded - source) ** 2).mean(axis=1)
    distortion, rate_bits = float(errors.mean()), 8 * size / source.size
    known = GaussianPerception(variance)
    best = known.distortion_at(rate_bits * math.log(2))
    above = rate_bits - known.rate_at(distortion) / math.log(2)
    found = {
        "wanted_bits": wanted_bits,
        "bytes": size,
        "rate_bits": rate_bits,
        "distortion": distortion,
        "standard_error": float(errors.std()) / math.sqrt(len(errors)),
        "closed_form": best,
        "ratio": distortion / best,
        "bits_above_closed_form": above,
        "share_of_rate_above": above / rate_bits,
        "decoded_variance": variance * float((decoded**2).mean()),
        "kolmogorov": kolmogorov(decoded.ravel()),
        "met": distortion / best - 1 <= DPLC_CLOSED_FORM_SHARE,
    }
    print(
        f"{wanted_bits:g} bits: D over the closed form {found['ratio']:.3f}, "
        f"{above:.4f} bits above it",
        file=sys.stderr,
    )
    return found


def kolmogorov(values: Float64Array) -> float:
    """√n · sup |F − Φ| of samples (n,); for normal ones it is below 1.63 in 99 of 100 cases."""
    count = len(values)
    expected = normal_distribution(np.sort(values))
    step = np.arange(count + 1) / count
    return math.sqrt(count) * float(max((step[1:] - expected).max(), (expected - step[:-1]).max()))


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    parser.add_argument("--variance", type=float, default=2.0)
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES_BITS), help="bits")
    parser.add_argument("--length", type=int, default=1000, help="of vectors")
    parser.add_argument("--vectors", type=int, default=512, help="vectors of each rate")
    parser.add_argument("--vectors-of-stream", type=int, default=16, help="at rates below 0.5")
    parser.add_argument("--lattice-memory", type=int, choices=LATTICES, default=12, help="bits")
    parser.add_argument("--random-memory", type=int, default=16, help="bits, at rates below 0.5")


def run(options: Namespace) -> Iterator[Measured]:
    yield from subject.measured(options, "trellis", lambda: {"normal": measure(options)})


def measure(options: Namespace) -> Report:
    rows = measure_rates(options)
    return {
        "source": f"N(0, {options.variance:g}), independent numbers, {options.vectors:,} vectors "
        f"of {options.length:,}",
        "claim": f"squared error within {100 * DPLC_CLOSED_FORM_SHARE:g} % of "
        "2σ²(1 − √(1 − 2^(−2R)))",
        "codes": f"from {LOWEST_OF_LATTICES:g} bits on entropy-coded trellis-coded quantisation of "
        f"2^{options.lattice_memory} states, levels and tables of another sample, each vector a "
        f"stream; below, 2^{options.random_memory} states and a random word on each branch, each "
        f"{options.vectors_of_stream} vectors a stream",
        "decoder": "vectors are turned by random orthogonal matrices that both sides draw, get "
        "lengths of normal vectors, and are turned back: N(0, σ²) and independent, exactly. "
        "kolmogorov = √n · largest distance of the distribution functions",
        "seed": options.seed,
        "found": rounded({"rows": rows, "met": sum(one["met"] for one in rows)}),
    }
