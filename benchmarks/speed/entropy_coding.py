"""How close to the ideal code length, and how fast, is the entropy coder?

Codes the same symbols, drawn as the latents of a photo codec are distributed, with
  ours         bitstream.SymbolEncoder: integer tables, symbols grouped by table
  constriction its range coder with a Gaussian for each symbol, no tables
  compressai   its rANS coder with a table for each symbol (if it is installed)

    python benchmarks/speed/entropy_coding.py [--symbols N] [--runs R] [--output FILE]

Every message is decoded again and compared.  Times are medians over the runs, in one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from benchmarks.harness.provenance import load_average, provenance
from bitstream import SymbolDecoder, SymbolEncoder, TableSet, gaussian_tables

RESULTS = Path(__file__).resolve().parents[1] / "results"
SCHEMA = "calotype.entropy_coding/1"
SCALES = np.geomspace(0.11, 256, 64)
ESCAPES_PER_MILLION = 20
MAX_OVERHEAD_PERCENT, MAX_OVERHEAD_BYTES = 0.1, 8

Int32Array = npt.NDArray[np.int32]
Decode = Callable[[], Int32Array]


@dataclass(frozen=True)
class Result:
    """One coder on the message.  Overhead is against the ideal length under our tables."""

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


def measure(
    coder: str, code: Callable[[], tuple[int, Decode]], symbols: Int32Array, ideal: float, runs: int
) -> Result:
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


def run(count: int, runs: int, seed: int) -> dict[str, Any]:
    load = load_average()
    tables = gaussian_tables(SCALES)
    symbols, indexes = draw_message(np.random.default_rng(seed), count)
    ideal = tables.code_length_bits(symbols, indexes) / 8
    results = [
        measure("ours", lambda: code_ours(symbols, indexes, tables), symbols, ideal, runs),
        measure("constriction", lambda: code_constriction(symbols, indexes), symbols, ideal, runs),
    ]
    try:
        compressai = CompressAI(tables)
    except ImportError:
        print("compressai is not installed: left out", file=sys.stderr)
    else:
        results.append(
            measure("compressai", lambda: compressai(symbols, indexes), symbols, ideal, runs)
        )
    return {
        "schema": SCHEMA,
        "provenance": provenance(),
        "load_average": load,
        "seed": seed,
        "runs": runs,
        "symbols": count,
        "scale_below_half_percent": round(100 * float(np.mean(SCALES[indexes] < 0.5)), 1),
        "ideal_bits": round(8 * ideal, 1),
        "ideal_bits_per_symbol": round(8 * ideal / count, 4),
        "results": [asdict(result) for result in results],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=10**6)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS / "entropy_coding.json",
    )
    arguments = parser.parse_args()
    report = run(arguments.symbols, arguments.runs, arguments.seed)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    print(f"{report['symbols']} symbols, {report['ideal_bits_per_symbol']} bits each at best")
    print(f"{'':14}{'bytes':>10}{'overhead':>10}{'encode':>10}{'decode':>10}  (ns per symbol)")
    for r in report["results"]:
        print(
            f"{r['coder']:14}{r['coded_bytes']:10}{r['overhead_percent']:9.3f}%"
            f"{r['encode_ns_per_symbol']:10.1f}{r['decode_ns_per_symbol']:10.1f}"
        )
    ours = report["results"][0]
    allowed = report["ideal_bits"] / 8 * MAX_OVERHEAD_PERCENT / 100 + MAX_OVERHEAD_BYTES
    if ours["overhead_bytes"] > allowed:
        raise SystemExit(f"overhead of {ours['overhead_bytes']} bytes, allowed are {allowed:.0f}")


if __name__ == "__main__":
    main()
