"""Wall time of starting the command: help, reading what a file says of itself, and decoding it.

    python benchmarks/speed/start_up.py

Each command is a new process.  Writes `benchmarks/results/start_up.json`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness.photographs import shipped_photo
from benchmarks.harness.provenance import load_average, provenance
from codec import compress
from codec.rate_distortion.files.result_file import format_json, write_text

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TARGET_SECONDS = {"--help": 0.3, "inspect": 0.3, "decompress": 3.0}


def wall_seconds(arguments: list[str], runs: int) -> list[float]:
    """Seconds of each of `runs` runs of the command, after one that is not counted."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "codec", *arguments], check=True, cwd=ROOT, capture_output=True
        )
        seconds.append(time.perf_counter() - started)
    return [round(value, 4) for value in seconds[1:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "start_up.json")
    options = parser.parse_args()
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
    result = {
        "schema": "calotype.start_up/2",
        **provenance(),
        "load_average_before": busy_before,
        "target_seconds": TARGET_SECONDS,
        "met": {name: median <= TARGET_SECONDS[name] for name, median in medians.items()},
        "median_seconds": medians,
        "seconds": measured,
    }
    write_text(options.output, format_json(result) + "\n")
    for name, median in medians.items():
        print(f"calotype {name}: {median:.3f} s (wanted {TARGET_SECONDS[name]})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
