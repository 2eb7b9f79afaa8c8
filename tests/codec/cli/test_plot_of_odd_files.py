"""`calotype plot` on files with impossible numbers: an error of the library, or a drawing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bitstream.errors import CalotypeError
from codec.cli.plot import plot
from codec.rate_distortion.files.result_file import result_to_json
from codec.rate_distortion.report.figure import plot_available
from tests.codec.rate_distortion.made_up_models import ladder, model_result
from tests.codec.rate_distortion.made_up_pictures import curve

APP = typer.Typer()
APP.command()(plot)
SUFFIXES = (".html", ".svg") if plot_available() else (".html",)
HUGE = "9" * 400
ODD_VALUES = {
    "huge": HUGE,
    "too long": "9" * 5000,
    "infinity": "Infinity",
    "minus infinity": "-Infinity",
    "nan": "NaN",
    "1e999": "1e999",
    "1e308": "1e308",
    "1e299": "1e299",
    "-1e299": "-1e299",
    "1e90": "1e90",
    "1e-320": "1e-320",
    "zero": "0",
    "negative": "-5",
    "fraction": "0.5",
    "null": "null",
    "true": "true",
    "text": '"x"',
    "number as text": '"-inf"',
    "list": "[]",
    "object": "{}",
    "deep": "[" * 100_000,
}
NUMBERS = {
    "model": (
        "beta", "distortion", "rate_nats", "rate_low_nats", "rate_high_nats", "log_partition_nats",
        "acceptance", "pixel_range", "modes", "jacobian_products", "images", "image_shape",
    ),
    "ladder": (
        "distortion", "rate_nats", "rate_low_nats", "rate_high_nats", "ceiling_nats",
        "distortion_high", "beta", "image_shape", "images",
    ),
    "codec": (
        "images", "setting", "bytes", "squared_error", "ms_ssim", "ssimulacra2", "pixel_range",
        "encode_seconds", "libraries", "weights", "codec", "points",
    ),
    "anchors": ("bpp", "psnr"),
}  # fmt: skip
MARK = "the odd value"


def contents() -> dict[str, dict[str, Any]]:
    codec = json.loads(result_to_json([curve()]))
    for point in codec["curves"][0]["points"]:
        point.update(ms_ssim=[0.5, None], ssimulacra2=[80.0, None])
        point.update(encode_seconds=[1.0, 1.0], decode_seconds=[1.0, 1.0])
    return {
        "model": {**model_result().to_json(), "image_shape": [1, 28, 28]},
        "ladder": {**ladder().to_json(), "image_shape": [1, 28, 28]},
        "codec": codec,
        "anchors": {"peer": {"bpp": [0.1, 0.5], "psnr": [30, 35]}},
    }


def changed(content: Any, name: str, change: Callable[[Any], Any]) -> Any:
    """The content with every value of that name changed."""
    if isinstance(content, list):
        return [changed(item, name, change) for item in content]
    if not isinstance(content, dict):
        return content
    return {
        key: change(value) if key == name else changed(value, name, change)
        for key, value in content.items()
    }


def in_first_place(value: Any) -> Any:
    return [in_first_place(value[0]), *value[1:]] if isinstance(value, list) and value else MARK


def everywhere(value: Any) -> Any:
    return [everywhere(item) for item in value] if isinstance(value, list) and value else MARK


def draw(folder: Path, kind: str, text: str, suffixes: Sequence[str] = (".html",)) -> None:
    """Draw in these formats; only errors of the library may be raised."""
    folder.joinpath("odd.json").write_text(text)
    arguments = [str(folder / "odd.json")]
    if kind == "anchors":
        folder.joinpath("rd.json").write_text(result_to_json([curve()]))
        arguments = [str(folder / "rd.json"), "--anchors", *arguments]
    options = [[], ["--unit", "bpp", "--log-y"]] if kind in ("model", "ladder") else [[]]
    for suffix in suffixes:
        for more in options:
            output = ["--force", "-o", str(folder / f"a{suffix}")]
            result = CliRunner().invoke(APP, [*arguments, *output, *more])
            if not isinstance(result.exception, CalotypeError):
                assert result.exit_code == 0, result.exception


@pytest.mark.parametrize("odd", ODD_VALUES)
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in NUMBERS.items() for name in names]
)
def test_odd_values(tmp_path: Path, kind: str, name: str, odd: str) -> None:
    for change in (in_first_place, everywhere):
        content = changed(contents()[kind], name, change)
        text = json.dumps(content)
        assert MARK in text
        draw(tmp_path, kind, text.replace(f'"{MARK}"', ODD_VALUES[odd]))


@pytest.mark.parametrize("unit", ["bits", "bpp"])
@pytest.mark.parametrize("factor", [-1.0, -1e-200, 0.0, 1e-320, 1e-200, 1e98, 1e200, 1e298])
def test_scaled_rates(tmp_path: Path, factor: float, unit: str) -> None:
    content = contents()["ladder"]
    for name in ("rate_nats", "rate_low_nats", "rate_high_nats"):
        content = changed(content, name, lambda column: [factor * value for value in column])
    if factor < 0:
        content = changed(content, "rate_low_nats", lambda column: [2e6 * factor for _ in column])
        content = changed(content, "rate_high_nats", lambda column: [0.0 for _ in column])
    draw(tmp_path, "ladder", json.dumps(content), SUFFIXES)
