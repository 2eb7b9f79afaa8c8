"""Lossless coding of one-dimensional signals compared with FLAC: real bytes, decoded again.

Every channel of a WAV file is a separate signal for both codecs, so FLAC gets no stereo either.
Signals are those of the test part (`training.data.signals.part_of`), or the first of them in the
order of the SHA-256 of their names.

    bytes         of `codec.signals.compress_signal`, and of `flac -8`, without padding
    likelihood    −log₂ p of the first few by the network's mixture, before rounding to tables
    lanes         bytes of the same few with one lane, and with four times the default number

    python -m benchmarks.measurement signals --data FOLDER --name speech [--bits 8] [--limit N]
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Measured, Report, load_average, provenance
from benchmarks.harness.targets import TARGETS
from bitstream.arrays import Float32Array, Float64Array, Int32Array
from bitstream.errors import UsageError
from codec.models.signal import SIGNAL
from codec.models.signal.coder import (
    FIRST_OCTAVE,
    SCALES,
    SCALES_PER_OCTAVE,
    Expected,
    SignalCoder,
    lanes_of,
    load_signal,
)
from codec.models.weights_files import HASH_BYTES, find_weights, read_weights
from codec.signals import MAX_LANES, SignalArray, compress_signal, decompress_signal, default_lanes
from training.data.signals import Signal, read_signals
from training.signal.network import LEAST_ESCAPE

SCHEMA, RESULT = "calotype.signals/1", "signals.json"


def flac_bytes(samples: SignalArray, rate: int) -> bytes:
    """A FLAC file of one channel, int16 or int8 (n,). Raises `UsageError` without the command."""
    command = [
        "flac", "-8", "--silent", "--stdout", "--no-padding", "--no-seektable",
        "--force-raw-format", "--endian=little", "--sign=signed", "--channels=1",
        f"--bps={8 * samples.itemsize}", f"--sample-rate={rate}", "-",
    ]  # fmt: skip
    try:
        data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
        done = subprocess.run(command, input=data, capture_output=True, check=True)
    except FileNotFoundError as error:
        raise UsageError("the command flac is missing: install the package flac") from error
    return done.stdout


def flac_version() -> str:
    done = subprocess.run(["flac", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def flac_metadata_bytes(data: bytes) -> int:
    """The number of bytes before the first frame of a FLAC file."""
    place, last = 4, False
    while not last:
        last = data[place] >= 128
        place += 4 + int.from_bytes(data[place + 1 : place + 4], "big")
    return place


def log2_mixture(
    differences: Float64Array, scales: Float64Array, knots: Float32Array
) -> Float64Array:
    """log₂ p of samples `differences` from the mean, at scales; see `training.signal.network`."""
    scales = np.clip(scales, 0, SCALES - 1)
    last = knots.shape[1] - 1
    places = scales * (last / (SCALES - 1))
    left = np.clip(np.floor(places), 0, last - 1).astype(int)
    share = (places - left)[..., None]
    weights, widths = (
        (1 - share) * part[left] + share * part[left + 1] for part in knots.astype(np.float64)
    )
    spread = np.exp2(scales / SCALES_PER_OCTAVE + FIRST_OCTAVE)[..., None] * np.exp(widths)
    distance = np.abs(differences)[..., None]
    with np.errstate(over="ignore"):
        upper = 1 / (1 + np.exp((distance - 0.5) / spread))
        lower = 1 / (1 + np.exp((-distance - 0.5) / spread))
    mass = upper * lower * -np.expm1(-1 / spread)
    shares = np.exp(weights - weights.max(-1, keepdims=True))
    mixed = (mass * shares).sum(-1) / shares.sum(-1)
    found: Float64Array = np.log2(mixed * (1 - LEAST_ESCAPE) + 2.0**-22)
    return found


def likelihood_bits(coder: SignalCoder, knots: Float32Array, samples: SignalArray) -> float:
    """−log₂ p of a signal, from means and scales before these are rounded to tables."""
    lanes = default_lanes(len(samples))
    rows = lanes_of(samples.astype(np.int32), lanes)
    total = 0.0

    def code(number: int, expected: Expected) -> Int32Array:
        nonlocal total
        row: Int32Array = rows[number]
        active = min(lanes, len(samples) - number * lanes)
        found = log2_mixture(row - expected.means / 16, expected.scales / 1024, knots)
        total -= float(found[:active].sum())
        return row

    limits = np.iinfo(samples.dtype)
    coder.expect(len(samples), lanes, (int(limits.min), int(limits.max)), code)
    return total


def measure(signal: Signal) -> Report:
    """A row of the result: bytes of both codecs, seconds, and whether the signal was restored."""
    begin = time.process_time()
    data = compress_signal(signal.samples)
    middle = time.process_time()
    same = bool(np.array_equal(decompress_signal(data), signal.samples))
    end = time.process_time()
    flac = flac_bytes(signal.samples, signal.rate)
    return {
        "samples": len(signal.samples),
        "seconds": round(len(signal.samples) / signal.rate, 2),
        "bytes": len(data),
        "flac_bytes": len(flac),
        "flac_metadata_bytes": flac_metadata_bytes(flac),
        "lanes": default_lanes(len(signal.samples)),
        "encode_cpu_seconds": round(middle - begin, 2),
        "decode_cpu_seconds": round(end - middle, 2),
        "same": same,
    }


def measure_few(coder: SignalCoder, knots: Float32Array, signals: Sequence[Signal]) -> Report:
    """Bytes above the likelihood, and the cost of lanes, for some signals."""
    default = one = many = 0
    bits = 0.0
    for signal in signals:
        count = len(signal.samples)
        default += len(compress_signal(signal.samples))
        one += len(compress_signal(signal.samples, lanes=1))
        lanes = min(4 * default_lanes(count), MAX_LANES, count)
        many += len(compress_signal(signal.samples, lanes=lanes))
        bits += likelihood_bits(coder, knots, signal.samples)
    return {
        "signals": [signal.name for signal in signals],
        "bytes": default,
        "likelihood_bytes": round(bits / 8, 1),
        "above_likelihood_percent": round(100 * (8 * default / bits - 1), 3),
        "one_lane_bytes": one,
        "lanes_cost_percent": round(100 * (default / one - 1), 2),
        "four_times_as_many_cost_percent": round(100 * (many / one - 1), 2),
    }


def summary(rows: Sequence[Report]) -> Report:
    """Sums over signals, and by how much the bytes exceed FLAC's, in percent."""

    def sums(key: str) -> Any:
        return sum(row[key] for row in rows)

    samples, found, flac = sums("samples"), sums("bytes"), sums("flac_bytes")
    frames = flac - sums("flac_metadata_bytes")
    shares = [100 * (row["bytes"] / row["flac_bytes"] - 1) for row in rows]
    return {
        "signals": len(rows),
        "came_back_different": sum(not row["same"] for row in rows),
        "samples": samples,
        "bits_per_sample": round(8 * found / samples, 4),
        "flac_bits_per_sample": round(8 * flac / samples, 4),
        "more_than_flac_percent": round(100 * (found / flac - 1), 2),
        "more_than_frames_of_flac_percent": round(100 * (found / frames - 1), 2),
        "signals_smaller_than_flac": sum(share < 0 for share in shares),
        "median_percent": round(float(np.median(shares)), 2),
        "worst_percent": round(max(shares), 2),
        "encode_cpu_seconds_per_second": round(sums("encode_cpu_seconds") / sums("seconds"), 2),
        "decode_cpu_seconds_per_second": round(sums("decode_cpu_seconds") / sums("seconds"), 2),
    }


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of WAV files")
    parser.add_argument("--name", required=True, help="of the set, in the result file")
    parser.add_argument("--limit", type=int, help="test signals, the first ones by hash (all)")
    parser.add_argument(
        "--bits", type=int, choices=[8, 16], default=16, help="8: rounded down (16)"
    )
    parser.add_argument("--few", type=int, default=4, help="signals of likelihood and lanes (4)")


def run(options: Namespace) -> Iterator[Measured]:
    signals = read_signals([options.data], "test")
    available = len(signals)
    signals.sort(key=lambda signal: hashlib.sha256(signal.name.encode()).digest())
    signals = signals[: options.limit]
    if options.bits == 8:
        signals = [replace(s, samples=(s.samples >> 8).astype(np.int8)) for s in signals]
    file = find_weights(SIGNAL, None, None)
    arrays, metadata = read_weights(file)
    coder = load_signal(arrays, metadata, bytes.fromhex(file.sha256)[:HASH_BYTES], device="cpu")
    load, begin = load_average(), time.perf_counter()
    few = measure_few(coder, arrays["mixture"], signals[: options.few])
    rows: dict[str, Report] = {}
    for signal in signals:
        rows[signal.name] = measure(signal)
        found = summary(list(rows.values()))
        above = few["above_likelihood_percent"]
        failed = []
        if found["came_back_different"]:
            failed.append(f"{found['came_back_different']} signals came back different")
        if above > TARGETS["above likelihood"][1]:
            failed.append(f"{above} % above the likelihood")
        content = {
            "provenance": provenance(),
            "load_average": load,
            "wall_seconds": round(time.perf_counter() - begin, 1),
            "data": options.data.name,
            "bits": options.bits,
            "test_signals": available,
            "weights_sha256": file.sha256,
            "peer": f"{flac_version()}, -8 --no-padding --no-seektable, one channel",
            "found": {**found, "few": few},
            "rows": rows,
        }
        lines = [f"{signal.name}: {rows[signal.name]}", str(found)]
        yield Measured(
            {"sets": {options.name: content}}, lines, "; ".join(failed), keep_others=True
        )
