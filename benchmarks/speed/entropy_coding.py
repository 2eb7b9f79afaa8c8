"""How close to the ideal code length is the entropy coder, and how fast?

Codes the same symbols, distributed like the latents of a photo codec, with
  ours         bitstream.SymbolEncoder: integer tables, symbols grouped by table
  constriction its range coder with a Gaussian for each symbol, no tables
  compressai   its rANS coder with a table for each symbol (if it is installed)

    python -m benchmarks.speed entropy-coding [--symbols N] [--runs R]

Every message is decoded again and compared.  Times are medians over the runs, in one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import constriction
import numpy as np

from benchmarks.harness.results import Measured, load_average, provenance
from bitstream import SymbolDecoder, SymbolEncoder, TableSet, gaussian_tables
from bitstream.arrays import Int32Array

SCHEMA, RESULT = "calotype.entropy_coding/1", "entropy_coding.json"
SCALES = np.geomspace(0.11, 256, 64)
ESCAPES_PER_MILLION = 20
MAX_OVERHEAD_PERCENT, MAX_OVERHEAD_BYTES = 0.1, 8

Decode = Callable[[], Int32Array]
Code = Callable[[], tuple[int, Decode]]
"""Codes the message once; returns the number of bytes and their decoder."""


@dataclass(frozen=True)
class Result:
    """The result of one coder.  Overhead is relative to the ideal length under our tables."""

    coder: str
    coded_bytes: int
    overhead_bytes: float
    overhead_percent: float
    encode_ns_per_symbol: float
    decode_ns_per_symbol: float


def draw_message(rng: np.random.Generator, count: int) -> tuple[Int32Array, Int32Array]:
    """Return symbols and table indexes: two thirds of the scales are below 0.5, some are large."""
    log_scales = np.log(0.11) + rng.gamma(shape=1.0, scale=1.4, size=count)
    indexes = np.searchsorted(SCALES, np.exp(np.minimum(log_scales, np.log(SCALES[-1]))))
    indexes = np.minimum(indexes, len(SCALES) - 1).astype(np.int32)
    symbols = np.rint(rng.normal(size=count) * SCALES[indexes]).astype(np.int32)
    places = rng.choice(count, count * ESCAPES_PER_MILLION // 10**6, replace=False)
    symbols[places] = rng.choice([-1, 1], len(places)) * rng.integers(1100, 3000, len(places))
    return symbols, indexes


def code_ours(symbols: Int32Array, indexes: Int32Array, tables: TableSet) -> tuple[int, Decode]:
    encoder = SymbolEncoder()
    encoder.put(symbols, indexes, tables)
    data = encoder.finish()

    def decode() -> Int32Array:
        decoder = SymbolDecoder(data)
        decoded = decoder.get(indexes, tables)
        decoder.finish()
        return decoded

    return len(data), decode


def code_constriction(symbols: Int32Array, indexes: Int32Array) -> tuple[int, Decode]:
    family = constriction.stream.model.QuantizedGaussian(int(symbols.min()), int(symbols.max()))
    means, scales = np.zeros(len(symbols)), SCALES[indexes]
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols, family, means, scales)
    words = encoder.get_compressed()

    def decode() -> Int32Array:
        decoded: Int32Array = constriction.stream.queue.RangeDecoder(words).decode(
            family, means, scales
        )
        return decoded

    return words.nbytes, decode


class CompressAI:
    """CompressAI's coder on lists, as its entropy models call it; 16-bit tables made from ours."""

    def __init__(self, tables: TableSet) -> None:
        from compressai import ans
        from compressai._CXX import pmf_to_quantized_cdf

        self.ans = ans
        pairs = list(zip(tables.starts[:-1], tables.starts[1:], strict=True))
        pmfs = [tables.frequencies[begin:end] / 2**24 for begin, end in pairs]
        self.cdfs = [pmf_to_quantized_cdf(pmf.tolist(), 16) for pmf in pmfs]
        self.sizes = [len(cdf) for cdf in self.cdfs]
        self.offsets = tables.minimums.tolist()

    def __call__(self, symbols: Int32Array, indexes: Int32Array) -> tuple[int, Decode]:
        shared = indexes.tolist(), self.cdfs, self.sizes, self.offsets
        data = self.ans.RansEncoder().encode_with_indexes(symbols.tolist(), *shared)

        def decode() -> Int32Array:
            decoded = self.ans.RansDecoder().decode_with_indexes(
                data, indexes.tolist(), *shared[1:]
            )
            return np.array(decoded, dtype=np.int32)

        return len(data), decode


def measure(coder: str, code: Code, symbols: Int32Array, ideal: float, runs: int) -> Result:
    encode_seconds, decode_seconds = [], []
    for _ in range(runs):
        begin = time.perf_counter()
        coded_bytes, decode = code()
        middle = time.perf_counter()
        decoded = decode()
        end = time.perf_counter()
        if not np.array_equal(decoded, symbols):
            raise SystemExit(f"{coder} decoded other symbols than it encoded")
        encode_seconds.append(middle - begin)
        decode_seconds.append(end - middle)
    per_symbol = 1e9 / len(symbols)
    return Result(
        coder=coder,
        coded_bytes=coded_bytes,
        overhead_bytes=round(coded_bytes - ideal, 1),
        overhead_percent=round(100 * (coded_bytes / ideal - 1), 4),
        encode_ns_per_symbol=round(statistics.median(encode_seconds) * per_symbol, 1),
        decode_ns_per_symbol=round(statistics.median(decode_seconds) * per_symbol, 1),
    )


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--symbols", type=int, default=10**6)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)


def run(options: Namespace) -> Iterator[Measured]:
    load, count, runs = load_average(), options.symbols, options.runs
    tables = gaussian_tables(SCALES)
    symbols, indexes = draw_message(np.random.default_rng(options.seed), count)
    ideal = tables.code_length_bits(symbols, indexes) / 8
    coders: dict[str, Code] = {
        "ours": lambda: code_ours(symbols, indexes, tables),
        "constriction": lambda: code_constriction(symbols, indexes),
    }
    try:
        compressai = CompressAI(tables)
    except ImportError:
        print("compressai is not installed: left out", file=sys.stderr)
    else:
        coders["compressai"] = lambda: compressai(symbols, indexes)
    found = [measure(name, code, symbols, ideal, runs) for name, code in coders.items()]
    allowed = ideal * MAX_OVERHEAD_PERCENT / 100 + MAX_OVERHEAD_BYTES
    over = found[0].overhead_bytes > allowed
    yield Measured(
        {
            "provenance": provenance(),
            "load_average": load,
            "seed": options.seed,
            "runs": runs,
            "symbols": count,
            "scale_below_half_percent": round(100 * float(np.mean(SCALES[indexes] < 0.5)), 1),
            "ideal_bits": round(8 * ideal, 1),
            "ideal_bits_per_symbol": round(8 * ideal / count, 4),
            "results": [asdict(result) for result in found],
        },
        [
            f"{count} symbols, {8 * ideal / count:.4f} bits each at best",
            f"{'':14}{'bytes':>10}{'overhead':>10}{'encode':>10}{'decode':>10}  (ns per symbol)",
            *(
                f"{r.coder:14}{r.coded_bytes:10}{r.overhead_percent:9.3f}%"
                f"{r.encode_ns_per_symbol:10.1f}{r.decode_ns_per_symbol:10.1f}"
                for r in found
            ),
        ],
        failure=f"{found[0].overhead_bytes} bytes of overhead, allowed {allowed:.0f}"
        if over
        else "",
    )
