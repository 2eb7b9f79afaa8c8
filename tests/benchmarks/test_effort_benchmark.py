"""The measurement of effort: which pictures, what is promised, what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import effort
from codec.rate_distortion import measure_curve
from tests.codec.tiny import photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "set"
    data.mkdir()
    for number, scene in enumerate(photographs(4, side=80)):
        Image.fromarray(scene).save(data / f"{number}.png")
    return data


def test_pictures_are_spread_over_the_set_and_cut_in_the_middle(folder: Path) -> None:
    images = effort.choose_images([folder], 2, 48)
    assert [image.name for image in images] == ["0.png", "2.png"]
    whole = effort.choose_images([folder], None, 0)
    assert len(whole) == 4
    np.testing.assert_array_equal(images[1].pixels(), whole[2].pixels()[16:64, 16:64])


@pytest.mark.usefixtures("tiny_weights")
def test_cost_is_that_of_the_objective(folder: Path) -> None:
    images = effort.choose_images([folder], 2, 64)
    curve = measure_curve(effort.codec_at(1, "cpu"), images, data_set="s", settings=[1.0, 100.0])
    found = effort.costs(curve)
    assert found.shape == (2, 2)
    for point, lagrange, row in zip(curve.points, (4e-4, 0.8), found, strict=True):
        expected = lagrange * np.array(point.mse) + np.array(point.bpp)
        np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.usefixtures("tiny_weights")
def test_the_script_writes_a_result(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bjontegaard")
    output = tmp_path / "out.json"
    arguments = ["--data", str(folder), "--name", "scenes", "--limit", "2", "--side", "64"]
    arguments += ["--efforts", "1", "3", "--qualities", "10", "25", "40", "55", "--device", "cpu"]
    assert effort.main([*arguments, "-o", str(output)]) == 0
    content = json.loads(output.read_text("utf-8"))
    assert (content["schema"], content["set"]) == (effort.SCHEMA, "scenes")
    assert content["pictures"] == ["0.png", "2.png"]
    assert str(tmp_path) not in output.read_text("utf-8")
    one, three = content["found"]
    assert (one["effort"], one["mean_cost_percent"], three["effort"]) == (1, 0, 3)
    assert "bd_rate_percent" not in one
    assert isinstance(three["bd_rate_percent"], float)
    assert len(three["points"]) == 4
    assert three["encode_seconds_over_effort_1"] > 0
