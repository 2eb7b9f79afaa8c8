"""What every result file of a model must say, checked when it is written and when it is read.

    schema                   fields besides the measurements
    calotype.model_curve/1   distortion_name, convention, distortion_reduction, pixel_range,
                             rate_unit "nats per image", model, data_set, selection
    calotype.ladder/1        distortion_name, convention, rate_unit "nats per image", model, …
    calotype.gap_table/1     distortion_name, convention, rate_unit "bits per image", model, …

Most often two published curves disagree because one uses a sum and the other a mean, or pixels 0..1
and 0..255.  The convention therefore has to name both: it contains "sum", "mean", "nats" or
"dimensionless", and "pixels LOW..HIGH".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
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

_Kinds = Mapping[str, str]


def reduction_of(convention: str) -> str | None:
    """How a convention reduces samples, one of `REDUCTIONS`; None if it does not say."""
    found = _REDUCTION.search(convention)
    return found[1] if found else None


def pixel_range_of(convention: str) -> tuple[float, float] | None:
    """The range of pixels that a distortion's convention names; None if it does not say."""
    found = _RANGE.search(convention)
    return (float(found[1]), float(found[2])) if found else None


def check_content(content: object) -> str:
    """Check a parsed result file of a model and return its schema.

    Raises `ResultFileError` that names the first fields that are missing or of another kind.
    """
    if not isinstance(content, Mapping):
        raise ResultFileError(f"holds {type(content).__name__}, expected a JSON object")
    schema = content.get("schema")
    if not isinstance(schema, str) or schema not in _FIELDS:
        raise ResultFileError(f"schema {schema!r}, expected one of {', '.join(_FIELDS)}")
    problems = _problems(content, _FIELDS[schema])
    if not problems and schema == CURVE_SCHEMA:
        count = len(content["beta"])
        problems = [
            f"{name} ({len(content[name])} entries for {count} of beta)"
            for name in (*ROW_FIELDS, "failures")
            if len(content[name]) != count
        ]
        problems = problems or _contradictions(content)
    if not problems and schema == LADDER_SCHEMA:
        for index, rung in enumerate(content["rungs"]):
            problems += _problems(rung, _rung_fields(rung), f"rungs[{index}].")
    if not problems and schema == GAP_SCHEMA:
        problems = _problems(content["measured"], _MEASURED, "measured.")
    if problems:
        raise ResultFileError(f"{schema}: missing or unusable: {', '.join(problems[:5])}")
    return schema


def _contradictions(curve: Mapping[str, Any]) -> list[str]:
    """What cannot be true together in the fields of a curve."""
    convention, beta = curve["convention"], curve["beta"]
    intervals = zip(curve["rate_low_nats"], curve["rate_high_nats"], strict=True)
    wrong = {
        "beta (expected rising numbers from 0 on)": beta[0] < 0
        or any(low >= high for low, high in pairwise(beta)),
        "distortion (negative)": curve["distortion_reduction"] != "nats"
        and any(value is not None and value < 0 for value in curve["distortion"]),
        "rate_low_nats (above rate_high_nats)": any(
            None not in ends and ends[0] > ends[1] for ends in intervals
        ),
        "distortion_reduction (not that of the convention)": curve["distortion_reduction"]
        != reduction_of(convention),
        "pixel_range (not that of the convention)": tuple(curve["pixel_range"])
        != pixel_range_of(convention),
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def _rung_fields(rung: object) -> _Kinds:
    """The fields that a rung must have, and the kinds of the later ones if it has them."""
    given = rung if isinstance(rung, Mapping) else {}
    return {**_RUNG, **{name: kind for name, kind in _LATER_RUNG.items() if name in given}}


def _problems(content: object, kinds: _Kinds, where: str = "") -> list[str]:
    if not isinstance(content, Mapping):
        return [where]
    return [
        where + name
        for name, kind in kinds.items()
        if name not in content or not _is(kind, content[name])
    ]


def _is(kind: str, value: Any) -> bool:
    """Whether a value is of a kind; "A?" is null or an A, "A*" a list of A, "A+" a non-empty list.

    Any other kind is a text that the value has to equal; "|" separates alternatives.
    """
    if kind.endswith("?"):
        return value is None or _is(kind[:-1], value)
    if kind.endswith(("*", "+")):
        is_list = isinstance(value, list) and (bool(value) or kind[-1] == "*")
        return is_list and all(_is(kind[:-1], item) for item in value)
    if kind == "number":
        return type(value) in (int, float) and math.isfinite(value)
    if kind == "count":
        return type(value) is int and value >= 0
    if kind == "flag":
        return isinstance(value, bool)
    if kind == "anything":
        return True
    if kind == "object":
        return isinstance(value, Mapping)
    if kind == "range":
        return _is("number+", value) and len(value) == 2 and value[0] < value[1]
    if not isinstance(value, str):
        return False
    if kind == "convention":
        return None not in (reduction_of(value), pixel_range_of(value))
    return kind == "text" or (kind == "name" and bool(value.strip())) or value in kind.split("|")


_COMMON: _Kinds = {
    **dict.fromkeys(("distortion_name", "model", "data_set"), "name"),
    "convention": "convention",
    "images": "count",
}
_FIELDS: Mapping[str, _Kinds] = {
    CURVE_SCHEMA: {
        **_COMMON,
        "rate_unit": ladder.RATE_UNIT,
        "distortion_reduction": "|".join(REDUCTIONS),
        "pixel_range": "range",
        "selection": "name",
        **dict.fromkeys(ROW_FIELDS, "number?*"),
        "beta": "number+",
        "certified": "flag*",
        "failures": "text**",
        **dict.fromkeys(("chains", "temperatures", "seed", "gradients"), "count"),
    },
    LADDER_SCHEMA: {
        **_COMMON,
        "rate_unit": ladder.RATE_UNIT,
        "violations": "anything*",
        "rungs": "anything+",
    },
    GAP_SCHEMA: {
        **_COMMON,
        "rate_unit": gap_table.RATE_UNIT,
        "total_bits": "number",
        **dict.fromkeys(("terms_bits", "residual_parts_bits", "measured"), "object"),
        "residual_percent": "number?",
    },
}
_RUNG: _Kinds = {
    "name": "name",
    "kind": "|".join(KINDS),
    **dict.fromkeys(("distortion", "rate_nats", "rate_low_nats", "rate_high_nats"), "number+"),
    "certified": "flag*",
    **dict.fromkeys(("beta", "distortion_high"), "number+?"),
    "ceiling_nats": "number?",
    "ceiling_name": "text",
}
_LATER_RUNG: _Kinds = {"gap_nats": "number?*?", "reference": "text*?", "failures": "text**?"}
_MEASURED: _Kinds = dict.fromkeys((item.name for item in fields(GapMeasurements)), "number")
