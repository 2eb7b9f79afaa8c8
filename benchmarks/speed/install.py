"""Seconds and disk space of the README's demonstration on a fresh machine.

    python -m benchmarks.speed install

Runs the commands of README.md unchanged in a copy of the tree: a new virtual environment, the base
installation without pip's cache, and the demonstration. Downloads are included.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness.results import ROOT, Measured, load_average, provenance

SCHEMA, RESULT = "calotype.install/1", "install.json"
TARGET_SECONDS, TARGET_BYTES = 60, 350_000_000


def add_arguments(parser: ArgumentParser) -> None:
    """This part has no options."""


def demo_commands() -> list[str]:
    """The commands of README.md that install and run the demonstration."""
    text = (ROOT / "README.md").read_text("utf-8")
    (block,) = re.findall(r"<!-- command: demo -->\n```sh\n(.*?)```", text, re.DOTALL)
    return str(block).splitlines()


def copy_tree(folder: Path) -> None:
    """Copy the files that git tracks, without build outputs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def disk_bytes(folder: Path) -> int:
    """Disk space of the files in a folder, in whole blocks."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))


def cpu_seconds() -> float:
    """CPU time of child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def run(options: Namespace) -> Iterator[Measured]:
    busy_before = load_average()
    seconds, cpu = {}, {}
    environment = {**os.environ, "PIP_NO_CACHE_DIR": "1"}
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        for command in demo_commands():
            begin, cpu_begin = time.perf_counter(), cpu_seconds()
            subprocess.run(
                command, shell=True, cwd=folder, env=environment, check=True, capture_output=True
            )
            seconds[command] = round(time.perf_counter() - begin, 2)
            cpu[command] = round(cpu_seconds() - cpu_begin, 2)
        size_bytes = disk_bytes(folder / ".venv")
    total = sum(seconds.values())
    yield Measured(
        {
            **provenance(),
            "load_average_before": busy_before,
            "target_seconds": TARGET_SECONDS,
            "target_bytes": TARGET_BYTES,
            "met": {"seconds": total <= TARGET_SECONDS, "bytes": size_bytes <= TARGET_BYTES},
            "seconds": seconds,
            "cpu_seconds": cpu,
            "total_seconds": round(total, 2),
            "total_cpu_seconds": round(sum(cpu.values()), 2),
            "environment_bytes": size_bytes,
        },
        [
            f"{total:.0f} s, {sum(cpu.values()):.0f} s of them CPU time (wanted {TARGET_SECONDS})",
            f"{size_bytes / 1e6:.0f} MB (wanted {TARGET_BYTES / 1e6:.0f})",
        ],
    )
