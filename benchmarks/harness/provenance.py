"""What every result file says about where its numbers come from."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy", "pillow", "torch", "constriction", "compressai", "imagecodecs", "bjontegaard",
    "pytorch-msssim", "scikit-image",
)  # fmt: skip


def processor_name() -> str:
    """Model name of the CPU, as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def command_line(arguments: Sequence[str] | None = None) -> str:
    """The command as typed, with absolute paths cut down to their last part.

    A result file outlives the machine; where its data lay there says nothing to a reader.
    """
    words = sys.argv if arguments is None else arguments
    script, *rest = words
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *map(_shown, rest)])


def _shown(word: str) -> str:
    """A path, or `NAME=PATH,PATH`, as a reader elsewhere is told."""
    name, equals, paths = word.partition("=")
    shown = [Path(p).name if Path(p).is_absolute() else p for p in (paths or name).split(",")]
    return (name + equals if paths else "") + ",".join(shown)


def library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Versions of those of the libraries that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def load_average() -> float | None:
    """Processes that wanted a core in the last minute; above the number of cores, times mislead."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # Windows has none
        return None


def provenance() -> dict[str, Any]:
    """Command, processor, cores, date (UTC), Python and library versions."""
    return {
        "command": command_line(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "libraries": library_versions(),
    }
