"""The time of `calotype bound` on the example of README.md: with `--quick`, and by default.

    python -m benchmarks.measurement bound-time [--only quick]

Seconds are CPU time of one process with one thread, which other work on the machine hardly changes;
the wall time and the load of the machine are recorded as well.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import ROOT, Measured, load_average, provenance

SCHEMA, RESULT = "calotype.bound_time/1", "bound_time.json"
RUNS: dict[str, tuple[str, ...]] = {"quick": ("--quick",), "default": ()}
IMAGES = 100


def example() -> str:
    """The file `model.py` of README.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- file: model\.py -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None, "README.md shows no model.py"
    return found[1]


def timed(options: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Run the command of README.md with further options in a folder that holds its files."""
    command = [
        sys.executable, "-m", "codec", "bound", "model.py:model", "--data", "digits.npz",
        "--images", str(IMAGES), "-o", "result", "-f", *options,
    ]  # fmt: skip
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, check=True, env=one_thread, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    curve = json.loads((folder / "result" / "bound.json").read_text(encoding="utf-8"))
    return {
        "command": " ".join(["calotype", *command[3:]]),
        "processor_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
        "wall_seconds": round(time.perf_counter() - begin, 1),
        "points": len(curve["beta"]),
        "certified": sum(curve["certified"]),
        "gradients": curve["gradients"],
        "jacobian_products": curve["jacobian_products"],
    }


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--only", choices=RUNS, help="one of the runs; the other keeps its figures")


def run(options: Namespace) -> Iterator[Measured]:
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.py").write_text(example(), encoding="utf-8")
        np.savez(folder / "digits.npz", images=images)
        for run_name in RUNS if options.only is None else (options.only,):
            load = load_average()
            found = timed(RUNS[run_name], folder)
            content = {"provenance": provenance(), "load_average": load, "found": found}
            yield Measured({run_name: content}, [json.dumps(found)], keep_others=True)
