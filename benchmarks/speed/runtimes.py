"""What draws a photograph fastest: NumPy, torch or OpenVINO; cold and warm.

    python -m benchmarks.speed runtimes --threads 2

The synthesis of the photo model, in a process of its own for each runtime and round; the runtimes
take turns. Then the whole commands `calotype decompress` and `calotype compress` from a cold shell,
and decoding with the model loaded beside Pillow's AVIF decoder. Runtimes that are not installed are
left out.
"""

from __future__ import annotations

import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.photographs import shipped_photo
from benchmarks.harness.results import ROOT, Measured, load_average, provenance
from codec import api, loading
from codec.models.photo.coder import PhotoCoder
from codec.rate_distortion import psnr_db

SCHEMA, RESULT = "calotype.runtimes/3", "runtimes.json"
WIDTH, HEIGHT = 768, 512
TARGET_COLD_SECONDS = 0.5
TARGET_TIMES_AVIF = 12.0
RUNTIMES = {"numpy": None, "torch": "torch", "torch-bfloat16": "torch", "openvino": "openvino"}
"""The distribution that each needs beside NumPy. In float32 unless the name says otherwise, and for
`openvino`: that is the device of the codec, in bfloat16 where the processor has it."""


def installed(runtimes: Sequence[str]) -> list[str]:
    return [name for name in runtimes if find_spec(RUNTIMES[name] or name) is not None]


def size_mib(name: str | None) -> float | None:
    """Size of the installed files of a distribution, without those of its dependencies."""
    if name is None:
        return 0.0
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files)
    return round(sum(path.stat().st_size for path in paths if path.exists()) / 2**20, 1)


def medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 5) for key in rows[0]}


def environment(threads: int) -> dict[str, str]:
    """Environment of the timed processes: a number of threads, this source tree first."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}


def measure_runtimes(
    names: Sequence[str], folder: Path, *, quality: float, threads: int, rounds: int, runs: int
) -> dict[str, dict[str, Any]]:
    """Each runtime in `rounds` processes, `runs` times in each; pixels compared with torch's.

    `folder` has latents.npy, and pixels.npy, the picture that was coded.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    script = Path(__file__).with_name("runtime_process.py")
    for _ in range(rounds):
        for name in names:
            words = [name, "--threads", str(threads), "--quality", str(quality)]
            words += ["--runs", str(runs), "--latents", str(folder / "latents.npy")]
            words += ["--pixels", str(folder / f"{name}.npy")]
            done = subprocess.run(
                [sys.executable, str(script), *words],
                check=True,
                stdout=subprocess.PIPE,
                env=environment(threads),
            )
            found[name].append(json.loads(done.stdout))
    result: dict[str, dict[str, Any]] = {}
    pixels = {name: np.load(folder / f"{name}.npy").astype(int) for name in names}
    original = np.load(folder / "pixels.npy")
    for name, rows in found.items():
        result[name] = {
            "distribution_mib": size_mib(RUNTIMES[name]),
            "peak_mib": round(statistics.median(row["peak_mib"] for row in rows), 1),
            **{part: medians([row[part] for row in rows]) for part in ("import", "load", "first")},
            "warm": medians([run for row in rows for run in row["warm"]]),
            "psnr_db": round(psnr_db(original, pixels[name].astype(np.uint8)), 3),
        }
        if "torch" in pixels:
            difference = np.abs(pixels[name] - pixels["torch"])
            result[name]["largest_difference_to_torch"] = int(difference.max())
            result[name]["samples_that_differ"] = float(f"{(difference > 0).mean():.3g}")
    return result


def measure_command(words: Sequence[str], threads: int, runs: int) -> dict[str, float]:
    """Median wall and processor seconds of a command in new processes, after one uncounted run."""
    rows = []
    for _ in range(runs + 1):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "codec", *words],
            check=True,
            capture_output=True,
            env=environment(threads),
        )
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        rows.append({"seconds": seconds, "cpu_seconds": cpu})
    return medians(rows[1:])


def take_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, dict[str, float]]:
    """Times of calls that take turns, after one round that is not counted."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in calls}
    for turn in range(-1, rounds):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            row = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
            if turn >= 0:
                rows[name].append(row)
    return {name: medians(times) for name, times in rows.items()}


def avif_of_size(picture: Image.Image, size_bytes: int) -> bytes:
    """The smallest AVIF file of at least so many bytes: its decoder has no less to read."""
    for quality in range(30, 100, 3):
        buffer = io.BytesIO()
        picture.save(buffer, "AVIF", quality=quality)
        if len(buffer.getvalue()) >= size_bytes:
            break
    return buffer.getvalue()


def measure_stages(coder: PhotoCoder, data: bytes, quality: float, rounds: int) -> dict[str, Any]:
    """Decoding with the model loaded: its parts, the whole, and AVIF of the same size."""
    picture = Image.fromarray(shipped_photo(WIDTH, HEIGHT))
    avif = avif_of_size(picture, len(data))
    latents = coder.analyze(np.asarray(picture), quality)
    payloads = coder.encode_tile(latents, quality)
    rows, columns = latents.shape[1:]
    calls: dict[str, Callable[[], object]] = {
        "analyze": lambda: coder.analyze(np.asarray(picture), quality),
        "encode": lambda: coder.encode_tile(latents, quality),
        "decode": lambda: coder.decode_tile(payloads, rows, columns, quality),
        "synthesize": lambda: coder.synthesize(latents, quality),
        "compress": lambda: api.compress(picture, quality=quality),
        "decompress": lambda: api.decompress(data),
        "avif": lambda: Image.open(io.BytesIO(avif)).load(),
    }
    return {"bytes": len(data), "avif_bytes": len(avif), **take_turns(calls, rounds)}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each runtime")
    parser.add_argument("--runs", type=int, default=9, help="of every process, and of commands")
    parser.add_argument("--quality", type=float, default=75)


def run(options: Namespace) -> Iterator[Measured]:
    if os.environ.get("OMP_NUM_THREADS") != str(options.threads):
        # NumPy has read it when it was imported.
        again = [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]]
        done = subprocess.run(again, env=environment(options.threads), check=False)
        raise SystemExit(done.returncode)
    busy_before = load_average()
    coder = loading.load_model("photo", device="cpu")
    assert isinstance(coder, PhotoCoder)
    pixels = shipped_photo(WIDTH, HEIGHT)
    names = installed(list(RUNTIMES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        latents = coder.analyze(pixels, options.quality)
        np.save(folder / "latents.npy", np.rint(latents))
        np.save(folder / "pixels.npy", pixels)
        runtimes = measure_runtimes(
            names,
            folder,
            quality=options.quality,
            threads=options.threads,
            rounds=options.rounds,
            runs=options.runs,
        )
        data = api.compress(pixels, quality=options.quality)
        (folder / "photo.calo").write_bytes(data)
        Image.fromarray(pixels).save(folder / "photo.png")
        commands = {
            verb: measure_command([verb, str(folder / file), "-f"], options.threads, options.runs)
            for verb, file in (("decompress", "photo.calo"), ("compress", "photo.png"))
        }
    loaded = measure_stages(coder, data, options.quality, options.runs)
    times_avif = loaded["decompress"]["seconds"] / loaded["avif"]["seconds"]
    cold = commands["decompress"]["seconds"]
    lines = []
    for runtime, row in runtimes.items():
        times = ", ".join(
            f"{part} {1000 * row[part]['seconds']:.0f}" for part in ("import", "load", "first")
        )
        lines.append(
            f"{runtime}: {times}, warm {1000 * row['warm']['seconds']:.1f} ms "
            f"(processor {1000 * row['warm']['cpu_seconds']:.1f}), peak {row['peak_mib']:.0f} MiB"
        )
    for verb, row in commands.items():
        lines.append(
            f"calotype {verb}: {row['seconds']:.3f} s (processor {row['cpu_seconds']:.3f})"
        )
    lines.append(f"decompress, loaded: {times_avif:.1f} × AVIF (wanted {TARGET_TIMES_AVIF:g})")
    yield Measured(
        {
            **provenance(),
            "image": f"scikit-image's coffee, resampled to {WIDTH}×{HEIGHT}",
            "weights_hash": coder.weights_hash.hex(),
            "quality": options.quality,
            "threads": options.threads,
            "load_average_before": busy_before,
            "target_cold_seconds": TARGET_COLD_SECONDS,
            "cold_met": cold <= TARGET_COLD_SECONDS,
            "decompress_times_avif": round(times_avif, 2),
            "target_times_avif": TARGET_TIMES_AVIF,
            "times_avif_met": times_avif <= TARGET_TIMES_AVIF,
            "synthesis": runtimes,
            "commands_cold": commands,
            "model_loaded": loaded,
        },
        lines,
    )
