"""Result files of generative models: curves, ladders and gap tables, with checked schemas.

write_model_result(path, result)   and   read_model_result(path)   are inverse

A file may also hold several curves in a list `curves`, as those of the benchmarks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import ResultFileError
from codec.rate_distortion.files.result_file import format_json, read_json, write_text
from codec.rate_distortion.ladder.gap_table import GAP_SCHEMA, GapTable
from codec.rate_distortion.ladder.ladder import LADDER_SCHEMA, RATE_UNIT, Ladder
from codec.rate_distortion.ladder.result_schema import check_content, pixel_range_of, reduction_of
from codec.rate_distortion.model_curve import CURVE_SCHEMA, RDCurve

MODEL_SCHEMAS = (CURVE_SCHEMA, LADDER_SCHEMA, GAP_SCHEMA)


@dataclass(frozen=True)
class ModelResult:
    """One measured curve, and on what it was measured: the content of `bound.json`.

    model, data_set   names for titles
    selection         which images of the data set were used
    extra             further fields of the file (libraries, prior …), plain JSON values
    """

    curve: RDCurve
    model: str
    data_set: str
    selection: str = "as given"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The curve's fields, preceded by their units.

        Raises `UsageError` if the distortion's convention does not say sum or mean, and the
        range of the pixels.
        """
        convention = self.curve.convention
        reduction, pixel_range = reduction_of(convention), pixel_range_of(convention)
        if reduction is None or pixel_range is None:
            raise UsageError(
                f"the convention {convention!r} of the distortion {self.curve.distortion_name!r} "
                'has to say "sum" or "mean" (or "nats", "dimensionless") and the range, such as '
                '"pixels 0..1"'
            )
        content = self.curve.to_json()
        return {
            "schema": content.pop("schema"),
            "model": self.model,
            "data_set": self.data_set,
            "selection": self.selection,
            "rate_unit": RATE_UNIT,
            "distortion_reduction": reduction,
            "pixel_range": list(pixel_range),
            **self.extra,
            **content,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ModelResult:
        """Rebuild from `to_json`; raises `ResultFileError` for anything else."""
        check_content(content)
        curve = RDCurve.from_json(content)
        known = {
            *curve.to_json(), "model", "data_set", "selection", "rate_unit",
            "distortion_reduction", "pixel_range",
        }  # fmt: skip
        extra = {key: value for key, value in content.items() if key not in known}
        return cls(
            curve, str(content["model"]), str(content["data_set"]), str(content["selection"]), extra
        )


AnyModelResult = ModelResult | Ladder | GapTable


def write_model_result(path: Path, result: AnyModelResult | RDCurve) -> None:
    """Write a checked result file, completely or not at all.

    A bare curve gets the file's name as that of its model.

    Raises `UsageError` for a convention that does not give units, `OutputError`.
    """
    if isinstance(result, RDCurve):
        result = ModelResult(result, path.stem.strip() or "model", "unnamed images")
    content = result.to_json()
    check_content(content)
    write_text(path, format_json(content) + "\n")


def is_model_result(content: Mapping[str, Any]) -> bool:
    """Whether `read_model_results` can read a file with this content."""
    return bool(_results_in(content))


def read_model_results(path: Path) -> list[AnyModelResult]:
    """Read the single result of a file, or all its curves; raises `ResultFileError`."""
    content = read_json(path)
    return [_read(path, one) for one in _results_in(content) or [content]]


def read_model_result(path: Path) -> AnyModelResult:
    """Read a result file with any of `MODEL_SCHEMAS`; raises `ResultFileError`."""
    return _read(path, read_json(path))


def _results_in(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if content.get("schema") in MODEL_SCHEMAS:
        return [content]
    curves = content.get("curves")
    listed = curves if isinstance(curves, list) else []
    return [one for one in listed if isinstance(one, dict) and one.get("schema") in MODEL_SCHEMAS]


def _read(path: Path, content: Mapping[str, Any]) -> AnyModelResult:
    readers: dict[str, type[AnyModelResult]] = {
        CURVE_SCHEMA: ModelResult,
        LADDER_SCHEMA: Ladder,
        GAP_SCHEMA: GapTable,
    }
    try:
        return readers[check_content(content)].from_json(content)
    except ResultFileError as error:
        raise ResultFileError(f"{path}: {error}") from error
