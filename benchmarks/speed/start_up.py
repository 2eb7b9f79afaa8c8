"""Wall time of starting the command: `--help`, inspecting a file, and decoding it.

    python -m benchmarks.speed start-up

Each command is a new process with modules that are already compiled, as after an installation.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness.photographs import shipped_photo
from benchmarks.harness.results import ROOT, Measured, load_average, provenance
from codec import compress

SCHEMA, RESULT = "calotype.start_up/2", "start_up.json"
TARGET_SECONDS = {"--help": 0.3, "inspect": 0.3, "decompress": 0.6}


def wall_seconds(arguments: list[str], runs: int) -> list[float]:
    """Seconds of each of `runs` runs of the command, after one that is not counted."""
    seconds = []
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "codec", *arguments],
            check=True,
            cwd=ROOT,
            env=environment,
            capture_output=True,
        )
        seconds.append(time.perf_counter() - started)
    return [round(value, 4) for value in seconds[1:]]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=9)


def run(options: Namespace) -> Iterator[Measured]:
    busy_before = load_average()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.calo"
        path.write_bytes(compress(shipped_photo(768, 512)))
        picture = str(Path(folder) / "photo.png")
        commands = {
            "--help": ["--help"],
            "inspect": ["inspect", str(path)],
            "decompress": ["decompress", "-f", str(path), "-o", picture],
        }
        measured = {name: wall_seconds(words, options.runs) for name, words in commands.items()}
    medians = {name: statistics.median(seconds) for name, seconds in measured.items()}
    yield Measured(
        {
            **provenance(),
            "load_average_before": busy_before,
            "target_seconds": TARGET_SECONDS,
            "met": {name: median <= TARGET_SECONDS[name] for name, median in medians.items()},
            "median_seconds": medians,
            "seconds": measured,
        },
        [f"calotype {n}: {s:.3f} s (wanted {TARGET_SECONDS[n]})" for n, s in medians.items()],
    )
