"""Result files: their content, its provenance, and how they are written."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bitstream.errors import UsageError
from codec.rate_distortion.files.result_file import format_json, write_text

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
LIBRARIES = (
    "numpy", "pillow", "torch", "constriction", "compressai", "imagecodecs", "bjontegaard",
    "pytorch-msssim", "scikit-image", "ssimulacra2", "onnxruntime",
)  # fmt: skip

Report = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """The measurements of a part of a room.

    content      content of the result file, except its schema
    lines        lines to print
    failure      the claim that does not hold; empty if all hold
    keep_others  `content` is part → name → measurements; entries of the result file under other
                 parts and names are kept
    """

    content: Report
    lines: Sequence[str] = ()
    failure: str = ""
    keep_others: bool = False


def write(path: Path, schema: str, measured: Measured) -> None:
    """Write a result file.

    Raises `UsageError` if it would have to keep parts of a file of another schema, and
    `OutputError` if the file cannot be written.
    """
    content: Report = {"schema": schema}
    if measured.keep_others and path.exists():
        content = json.loads(path.read_text("utf-8"))
        if content.get("schema") != schema:
            raise UsageError(f"{path}: schema {content.get('schema')!r}, expected {schema!r}")
    for part, found in measured.content.items():
        content[part] = {**content.get(part, {}), **found} if measured.keep_others else found
    write_text(path, format_json(content) + "\n")


def timed(
    part: str, measure: Callable[[], Mapping[str, Report]], **about: Any
) -> Iterator[Measured]:
    """The results of `measure`, by name, each with its provenance and the time it took.

    about   further fields for each
    """
    load, begin = load_average(), time.perf_counter()
    for name, found in measure().items():
        origin = {
            "provenance": provenance(),
            "load_average": load,
            "seconds": round(time.perf_counter() - begin, 1),
        }
        content = {part: {name: {**origin, **about, **found}}}
        yield Measured(content, [format_json(found["found"])], keep_others=True)


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
    script, *rest = sys.argv if arguments is None else arguments
    room = Path(script).parent.name  # of `__main__.py`
    return shlex.join(["python", "-m", f"benchmarks.{room}", *map(_without_folders, rest)])


def _without_folders(word: str) -> str:
    """A path, or `NAME=PATH,PATH`, whose absolute paths are cut."""
    name, equals, paths = word.partition("=")
    shown = [Path(p).name if Path(p).is_absolute() else p for p in (paths or name).split(",")]
    return (name + equals if paths else "") + ",".join(shown)


def library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Versions of those libraries that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def load_average() -> float | None:
    """Processes that needed a core in the last minute; if more than cores, times are misleading."""
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
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "libraries": library_versions(),
    }
