"""Curves: their means, and unchanged results from JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from codec.rate_distortion import (
    MeasuredImage,
    OperatingPoint,
    ResultFileError,
    curves_to_csv,
    read_result,
    write_result,
)
from codec.rate_distortion.files.curve import OperationalCurve
from codec.rate_distortion.files.result_file import SCHEMA, format_json
from tests.codec.rate_distortion.made_up_pictures import curve

TWO = (MeasuredImage("a", 10, 10), MeasuredImage("b", 20, 10))


def point(**changes: object) -> OperatingPoint:
    values = {
        "setting": 1.0,
        "images": TWO,
        "coded_bytes": (25, 100),
        "squared_error": (300, 6000),
        **changes,
    }
    return OperatingPoint(**values)  # type: ignore[arg-type]


def test_rates_and_distortions_of_one_point() -> None:
    one = point()
    assert one.bpp == (2.0, 4.0)
    assert one.mse == (1.0, 10.0)
    assert one.psnr_db == pytest.approx((48.1308036, 38.1308036))
    assert one.mean_bpp == 3.0
    assert one.mean_psnr_db == pytest.approx(43.1308036)
    # 10·log10(255² / 5.5): the two means differ, and the mean of dB is never the smaller.
    assert one.psnr_of_mean_mse_db == pytest.approx(40.7271767)
    assert one.mean_ms_ssim is None
    assert point(ms_ssim=(0.5, None)).mean_ms_ssim == 0.5


def test_an_unchanged_picture_is_null_in_json() -> None:
    one = point(squared_error=(0, 0))
    assert one.mean_psnr_db == math.inf

    whole = OperationalCurve("png", "none", "level", "set", TWO, (one,))
    content = json.loads(format_json(whole.to_json()))
    assert content["points"][0]["mean_psnr_db"] is None
    assert OperationalCurve.from_json(content) == whole


def test_result_file_round_trip(tmp_path: Path) -> None:
    curves = [curve(), curve(0.8, codec="photo")]
    path = tmp_path / "new" / "rd.json"
    write_result(path, curves, {"bd_rates": [{"bd_rate_percent": -20.0}]})
    found = read_result(path)
    assert list(found.curves) == curves
    assert found.extra == {"bd_rates": [{"bd_rate_percent": -20.0}]}
    content = json.loads(path.read_text())
    assert content["schema"] == SCHEMA == "calotype.rate_distortion/1"
    assert set(content["curves"][0]) == {
        "codec", "encoder", "setting_name", "data_set", "rate", "distortion", "pixel_range",
        "libraries", "weights", "images", "points",
    }  # fmt: skip
    assert set(content["curves"][0]["points"][0]) == {
        "setting", "mean_bpp", "mean_psnr_db", "psnr_of_mean_mse_db", "mean_ms_ssim", "bytes",
        "squared_error", "psnr_db",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "holds list"),
        ("{}", "schema None"),
        ('{"schema": "calotype.rate_distortion/99"}', "expected 'calotype.rate_distortion/1'"),
        (f'{{"schema": "{SCHEMA}"}}', "no list of curves"),
        (f'{{"schema": "{SCHEMA}", "curves": [{{"codec": "x"}}]}}', "not complete"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ResultFileError, match=message):
        read_result(path)


def test_columns_must_have_one_entry_per_picture(tmp_path: Path) -> None:
    content = curve().to_json()
    content["points"][0]["bytes"].pop()
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"schema": SCHEMA, "curves": [content]}))
    with pytest.raises(ResultFileError, match="bytes has 1 entries for 2 images"):
        read_result(path)


def test_json_keeps_lists_of_numbers_on_one_line() -> None:
    value = {"a": [1, 2, 3], "b": [[1], [2]], "c": {}, "d": []}
    text = format_json(value)
    assert '"a": [1, 2, 3]' in text
    assert json.loads(text) == value


def test_csv_of_means_and_of_pictures() -> None:
    one = curve(steps=(0, 1))
    means = list(csv.DictReader(io.StringIO(curves_to_csv([one]))))
    assert len(means) == 2
    assert float(means[0]["mean_bpp"]) == pytest.approx(one.points[0].mean_bpp, abs=1e-6)
    assert float(means[1]["mean_psnr_db"]) == pytest.approx(one.points[1].mean_psnr_db, abs=1e-5)
    assert means[0]["mean_ms_ssim"] == ""
    pictures = list(csv.DictReader(io.StringIO(curves_to_csv([one], per_image=True))))
    assert [row["image"] for row in pictures] == ["a.png", "b.png", "a.png", "b.png"]
    assert [int(row["bytes"]) for row in pictures[:2]] == list(one.points[0].coded_bytes)


def test_other_scores_have_keys_and_columns_of_their_own_and_old_files_lack_them() -> None:
    one = point(ssimulacra2=(80.5, None), ms_ssim=(0.5, 0.75))
    assert one.scores("ssimulacra2") == (80.5, None)
    assert (one.mean_score("ssimulacra2"), one.mean_score("ms-ssim")) == (80.5, 0.625)
    assert point().scores("ssimulacra2") == (None, None)
    whole = OperationalCurve("x", "none", "level", "set", TWO, (one,))
    content = json.loads(format_json(whole.to_json()))
    stored = content["points"][0]
    assert (stored["ssimulacra2"], stored["mean_ssimulacra2"]) == ([80.5, None], 80.5)
    assert OperationalCurve.from_json(content) == whole
    del stored["ssimulacra2"], stored["mean_ssimulacra2"], stored["ms_ssim"]
    assert OperationalCurve.from_json(content).points == (point(),)
    means = list(csv.DictReader(io.StringIO(curves_to_csv([whole]))))
    assert (means[0]["total_bytes"], means[0]["mean_ssimulacra2"]) == ("125", "80.5000")
    pictures = list(csv.DictReader(io.StringIO(curves_to_csv([whole], per_image=True))))
    assert [row["ssimulacra2"] for row in pictures] == ["80.5000", ""]
    assert [row["ms_ssim"] for row in pictures] == ["0.500000", "0.750000"]
