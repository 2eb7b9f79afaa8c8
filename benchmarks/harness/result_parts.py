"""Result files that are measured one part at a time: what is not measured again stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codec.rate_distortion.files.result_file import format_json, write_text

Report = dict[str, Any]


def read_parts(path: Path, schema: str) -> Report:
    """What a result file holds, or an empty one. Ends the program for another schema."""
    if not path.exists():
        return {"schema": schema}
    content: Report = json.loads(path.read_text("utf-8"))
    if content.get("schema") != schema:
        raise SystemExit(f"{path}: schema {content.get('schema')!r}, expected {schema!r}")
    return content


def keep_part(path: Path, schema: str, part: str, name: str, found: Report) -> None:
    """Put one part of one model into a result file, made where it is not there."""
    content = read_parts(path, schema)
    content[part] = {**content.get(part, {}), name: found}
    write_text(path, format_json(content) + "\n")
