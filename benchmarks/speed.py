"""Wall time of encoding and decoding one photograph: photo beside CompressAI's mbt2018-mean.

    python benchmarks/speed.py --threads 2 --rounds 9

Both models are loaded before the clock starts, and take turns, so that a busy moment of the machine
hits both.  The peer has random weights: it does the same arithmetic, and its latents are cheaper to
code than trained ones, which favours it.  Writes `benchmarks/results/speed.json`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import load_average, provenance
from benchmarks.shipped_photo import shipped_photo
from bitstream.errors import CalotypeError
from codec.rate_distortion.errors import MissingExtraError
from codec.rate_distortion.result_file import format_json, write_text

RESULTS = Path(__file__).resolve().parent / "results"
SCHEMA = "calotype.speed/1"
WIDTH, HEIGHT = 768, 512
TARGET_RATIO = 5.0
PEER = "compressai mbt2018-mean"

Pixels = NDArray[np.uint8]
Coder = Callable[[Pixels], tuple[float, float, int]]
"""Codes pixels once: seconds to encode, seconds to decode, bytes in between."""


def photo_coder(quality: int, device: str) -> Coder:
    """The photo model through the library, from pixels to a file and back."""
    from codec import api

    def code(pixels: Pixels) -> tuple[float, float, int]:
        started = time.perf_counter()
        data = api.compress(pixels, quality=quality, model="photo", device=device)
        encoded = time.perf_counter()
        decoded = api.decompress(data, as_="numpy", device=device)
        finished = time.perf_counter()
        if decoded.shape != pixels.shape:
            raise CalotypeError(f"photo gave back {decoded.shape}, expected {pixels.shape}")
        return encoded - started, finished - encoded, len(data)

    return code


def peer_coder(quality: int, device: str) -> Coder:
    """CompressAI's mean-scale hyperprior with random weights, from pixels to strings and back."""
    try:
        from compressai.zoo import mbt2018_mean
    except ImportError as error:
        raise MissingExtraError("The peer of this benchmark", "compressai", "bench") from error
    import torch

    torch.manual_seed(0)
    model = mbt2018_mean(quality=quality, metric="mse", pretrained=False).eval().to(device)
    model.update()

    def code(pixels: Pixels) -> tuple[float, float, int]:
        with torch.inference_mode():
            started = time.perf_counter()
            tensor = (
                torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().div(255).to(device)
            )
            coded = model.compress(tensor)
            encoded = time.perf_counter()
            output = model.decompress(coded["strings"], coded["shape"])["x_hat"]
            rounded = output.clamp(0, 1).mul(255).round().byte()[0].permute(1, 2, 0).cpu().numpy()
            finished = time.perf_counter()
        if rounded.shape != pixels.shape:
            raise CalotypeError(f"the peer gave back {rounded.shape}, expected {pixels.shape}")
        size_bytes = sum(len(string) for strings in coded["strings"] for string in strings)
        return encoded - started, finished - encoded, size_bytes

    return code


def measure(coders: dict[str, Coder], pixels: Pixels, rounds: int) -> dict[str, dict[str, Any]]:
    """Let the coders take turns for `rounds` rounds, after two that are not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in coders}
    sizes: dict[str, int] = {}
    for turn in range(-2, rounds):
        for name, code in coders.items():
            encode_seconds, decode_seconds, sizes[name] = code(pixels)
            if turn >= 0:
                times[name].append((encode_seconds, decode_seconds))
    return {
        name: {
            "median_encode_seconds": round(statistics.median(e for e, _ in pairs), 5),
            "median_decode_seconds": round(statistics.median(d for _, d in pairs), 5),
            "median_total_seconds": round(statistics.median(e + d for e, d in pairs), 5),
            "coded_bytes": sizes[name],
            "encode_seconds": [round(e, 5) for e, _ in pairs],
            "decode_seconds": [round(d, 5) for _, d in pairs],
        }
        for name, pairs in times.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds, at least 7")
    parser.add_argument("--quality", type=int, default=50, help="quality of photo, 1..100")
    parser.add_argument("--peer-quality", type=int, default=4, help="size of the peer, 1..8")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", choices=("photo", "peer"), help="measure one side, no ratio")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "speed.json")
    options = parser.parse_args()
    if options.rounds < 7:
        parser.error("a median of fewer than 7 rounds says little")

    import torch

    torch.set_num_threads(options.threads)
    coders: dict[str, Coder] = {}
    if options.only != "peer":
        coders["photo"] = photo_coder(options.quality, options.device)
    if options.only != "photo":
        coders[PEER] = peer_coder(options.peer_quality, options.device)
    busy_before = load_average()
    measured = measure(coders, shipped_photo(WIDTH, HEIGHT), options.rounds)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        **provenance(),
        "image": f"scikit-image's coffee, resampled to {WIDTH}×{HEIGHT}",
        "threads": options.threads,
        "load_average_before": busy_before,
        "device": options.device,
        "photo_quality": options.quality,
        "peer_quality": options.peer_quality,
        "peer_weights": "random",
    }
    if len(measured) == 2:
        photo, peer = measured["photo"], measured[PEER]
        ratio = peer["median_total_seconds"] / photo["median_total_seconds"]
        result["times_faster"] = round(ratio, 3)
        result["target_times_faster"] = TARGET_RATIO
        result["met"] = ratio >= TARGET_RATIO
    result["measured"] = measured
    write_text(options.output, format_json(result) + "\n")
    for name, row in measured.items():
        print(
            f"{name}: encode {1000 * row['median_encode_seconds']:.1f} ms, "
            f"decode {1000 * row['median_decode_seconds']:.1f} ms, {row['coded_bytes']} bytes"
        )
    if "times_faster" in result:
        print(f"photo is {result['times_faster']} times faster (wanted {TARGET_RATIO})")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CalotypeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
