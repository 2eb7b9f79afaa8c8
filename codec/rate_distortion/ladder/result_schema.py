"""What every result file of a model must say, checked when it is written and when it is read.

    schema                   fields besides the measurements
    calotype.model_curve/1   distortion_name, convention, distortion_reduction, pixel_range,
                             rate_unit "nats per image", model, data_set, selection
    calotype.ladder/1        distortion_name, convention, rate_unit "nats per image", model, …
    calotype.gap_table/1     distortion_name, convention, rate_unit "bits per image", model, …

The commonest reason why two published curves disagree is a sum against a mean, or pixels 0..1
against 0..255, so the convention has to name both: it holds "sum", "mean", "nats" or
"dimensionless", and "pixels LOW..HIGH".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from codec.rate_distortion.errors import ResultFileError
from codec.rate_distortion.ladder import gap_table, ladder
from codec.rate_distortion.ladder.gap_table import GAP_SCHEMA, GapMeasurements
from codec.rate_distortion.ladder.ladder import LADDER_SCHEMA
from codec.rate_distortion.ladder.rung import KINDS
from codec.rate_distortion.model_curve import CURVE_SCHEMA, ROW_FIELDS

REDUCTIONS = ("sum", "mean", "nats", "dimensionless")
_REDUCTION = re.compile(rf"\b({'|'.join(REDUCTIONS)})\b")
_RANGE = re.compile(r"\bpixels (-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)")

Check = Callable[[Any], bool]


def reduction_of(convention: str) -> str | None:
    """How a distortion's convention gathers samples, one of `REDUCTIONS`; None if it is silent."""
    found = _REDUCTION.search(convention)
    return found[1] if found else None


def pixel_range_of(convention: str) -> tuple[float, float] | None:
    """The range of pixels that a distortion's convention names; None if it is silent."""
    found = _RANGE.search(convention)
    return (float(found[1]), float(found[2])) if found else None


def check_content(content: object) -> str:
    """Check a parsed result file of a model and return its schema.

    Raises `ResultFileError` naming the first fields that are missing or of another kind.
    """
    if not isinstance(content, Mapping):
        raise ResultFileError(f"holds {type(content).__name__}, expected a JSON object")
    schema = content.get("schema")
    if schema not in _CHECKS:
        raise ResultFileError(f"schema {schema!r}, expected one of {', '.join(_CHECKS)}")
    problems = _problems(content, _CHECKS[schema], "")
    if not problems:
        problems = _columns(content, "") if schema == CURVE_SCHEMA else []
        for index, rung in enumerate(content["rungs"] if schema == LADDER_SCHEMA else ()):
            where = f"rungs[{index}]."
            problems += _problems(rung, _RUNG, where) if isinstance(rung, Mapping) else [where]
        if schema == GAP_SCHEMA:
            problems += _problems(content["measured"], _MEASURED, "measured.")
    if problems:
        raise ResultFileError(f"{schema}: missing or unusable: {', '.join(problems[:5])}")
    return str(schema)


def _problems(content: Mapping[str, Any], checks: Mapping[str, Check], where: str) -> list[str]:
    return [
        where + name
        for name, is_good in checks.items()
        if name not in content or not is_good(content[name])
    ]


def _columns(content: Mapping[str, Any], where: str) -> list[str]:
    count = len(content["beta"])
    return [
        f"{where}{name} ({len(content[name])} entries for {count} of beta)"
        for name in (*ROW_FIELDS, "failures")
        if len(content[name]) != count
    ]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_column(value: object) -> bool:
    return isinstance(value, list) and all(v is None or _is_number(v) for v in value)


def _is_full_column(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


def _are_flags(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, bool) for v in value)


def _are_reasons(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and all(isinstance(v, str) for v in row) for row in value
    )


def _is_convention(value: object) -> bool:
    return isinstance(value, str) and None not in (reduction_of(value), pixel_range_of(value))


def _is_range(value: object) -> bool:
    return _is_full_column(value) and len(value) == 2 and value[0] < value[1]  # type: ignore[arg-type,index]


def _is(*allowed: str) -> Check:
    return lambda value: value in allowed


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


_COMMON: dict[str, Check] = {
    "distortion_name": _is_text,
    "convention": _is_convention,
    "model": _is_text,
    "data_set": _is_text,
    "images": _is_count,
}

_CURVE: dict[str, Check] = {
    **_COMMON,
    "rate_unit": _is(ladder.RATE_UNIT),
    "distortion_reduction": _is(*REDUCTIONS),
    "pixel_range": _is_range,
    "selection": _is_text,
    **dict.fromkeys(ROW_FIELDS, _is_column),
    "beta": _is_full_column,
    "certified": _are_flags,
    "failures": _are_reasons,
    **dict.fromkeys(("chains", "temperatures", "seed", "gradients"), _is_count),
}

_LADDER: dict[str, Check] = {
    **_COMMON,
    "rate_unit": _is(ladder.RATE_UNIT),
    "violations": lambda value: isinstance(value, list),
    "rungs": lambda value: isinstance(value, list) and bool(value),
}

_RUNG: dict[str, Check] = {
    "name": _is_text,
    "kind": _is(*KINDS),
    **dict.fromkeys(
        ("distortion", "rate_nats", "rate_low_nats", "rate_high_nats"), _is_full_column
    ),
    "certified": _are_flags,
    "beta": _or_null(_is_full_column),
    "distortion_high": _or_null(_is_full_column),
    "ceiling_nats": _or_null(_is_number),
    "ceiling_name": lambda value: isinstance(value, str),
}

_GAP: dict[str, Check] = {
    **_COMMON,
    "rate_unit": _is(gap_table.RATE_UNIT),
    "total_bits": _is_number,
    "terms_bits": lambda value: isinstance(value, Mapping),
    "residual_parts_bits": lambda value: isinstance(value, Mapping),
    "residual_percent": _or_null(_is_number),
    "measured": lambda value: isinstance(value, Mapping),
}

_MEASURED: dict[str, Check] = dict.fromkeys(GapMeasurements.__dataclass_fields__, _is_number)

_CHECKS: dict[str, dict[str, Check]] = {
    CURVE_SCHEMA: _CURVE,
    LADDER_SCHEMA: _LADDER,
    GAP_SCHEMA: _GAP,
}
