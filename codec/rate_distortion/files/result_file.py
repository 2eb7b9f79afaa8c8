"""Result files: several curves and what was derived from them, as JSON that a person can read.

`read_result` returns the curves that `write_result` wrote.  Every file names its schema, and files
of other schemas are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import ResultFileError
from codec.rate_distortion.files.curve import NUMBER_LIMIT, OperationalCurve
from codec.system.write_file import write_atomically

SCHEMA = "calotype.rate_distortion/1"


@dataclass(frozen=True)
class ResultFile:
    """Content of a result file: the curves, and everything else as it was stored."""

    curves: tuple[OperationalCurve, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def format_json(value: object, indent: int = 0) -> str:
    """JSON text with one key per line, but lists of plain values on one line.

    The standard indentation would put every picture's byte count on a line of its own.
    Raises `ValueError` for infinities and NaN, which JSON does not have.
    """
    pad = "  " * (indent + 1)
    if isinstance(value, Mapping) and value:
        lines = [
            f"{pad}{json.dumps(str(key))}: {format_json(item, indent + 1)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * indent + "}"
    if isinstance(value, (list, tuple)) and not all(_is_scalar(item) for item in value):
        lines = [pad + format_json(item, indent + 1) for item in value]
        return "[\n" + ",\n".join(lines) + "\n" + "  " * indent + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def result_to_json(
    curves: Sequence[OperationalCurve], extra: Mapping[str, Any] | None = None
) -> str:
    """JSON text of a result file; `extra` (BD-rates, provenance …) comes before the curves."""
    content = {"schema": SCHEMA, **(extra or {}), "curves": [curve.to_json() for curve in curves]}
    return format_json(content) + "\n"


def write_result(
    path: Path, curves: Sequence[OperationalCurve], extra: Mapping[str, Any] | None = None
) -> None:
    """Write a result file through a temporary file; raises `OutputError` if that fails."""
    write_text(path, result_to_json(curves, extra))


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, as `write_bytes` does; raises `UsageError` for a lone surrogate."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: a name in it is not Unicode text: {error}") from error
    write_bytes(path, data)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` so that `path` is either the old file or the complete new one.

    Missing folders are made.  Raises `OutputError`.
    """
    write_atomically(path, lambda fo: fo.write(data), force=True, make_folders=True)


def _number(text: str) -> int | float:
    # Python would read Infinity and NaN, which JSON lacks, and integers too large for a float.
    value = int(text) if text.lstrip("-").isdecimal() else float(text)
    if not abs(value) < NUMBER_LIMIT:
        raise ValueError(f"a number is not finite, or not below {NUMBER_LIMIT:g}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises `ResultFileError`, also for numbers above 1e300."""
    try:
        content = json.loads(
            path.read_text(encoding="utf-8-sig"),
            object_pairs_hook=_object,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_number,
        )
    except OSError as error:
        raise ResultFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path}: not JSON that can be used: {error}") from error
    if not isinstance(content, dict):
        raise ResultFileError(f"{path}: holds {type(content).__name__}, expected a JSON object")
    return content


def read_result(path: Path) -> ResultFile:
    """Read a result file; raises `ResultFileError` if it has another schema."""
    content = read_json(path)
    schema = content.pop("schema", None)
    if schema != SCHEMA:
        raise ResultFileError(
            f"{path}: schema {schema!r}, expected {SCHEMA!r}; "
            "give a file written by `calotype rd` or `python -m benchmarks.photo rate-distortion`"
        )
    curves = content.pop("curves", None)
    if not isinstance(curves, list):
        raise ResultFileError(f"{path}: has no list of curves")
    return ResultFile(tuple(OperationalCurve.from_json(curve) for curve in curves), content)
