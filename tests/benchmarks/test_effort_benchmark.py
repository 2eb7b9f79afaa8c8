"""The measurement of effort: the choice of pictures, the promises, and the written results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photo import __main__ as photo
from benchmarks.photo import effort
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
def test_changes_are_those_of_bits_at_equal_psnr(folder: Path) -> None:
    pytest.importorskip("scipy")
    images = effort.choose_images([folder], 2, 64)
    settings = [5.0, 20.0, 40.0, 60.0]
    curve = measure_curve(effort.codec_at(1, "cpu"), images, data_set="s", settings=settings)
    tripled = [
        replace(point, coded_bytes=tuple(3 * size for size in point.coded_bytes))
        for point in curve.points[1:3]
    ]
    found = effort.changes_percent(replace(curve, points=tuple(tripled)), curve)
    np.testing.assert_allclose(found, [200] * 4, rtol=1e-6)
    beyond = replace(curve.points[-1], squared_error=(1, 1))
    assert effort.changes_percent(replace(curve, points=(beyond,)), curve) == []


@pytest.mark.usefixtures("tiny_weights")
def test_the_script_writes_a_result(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bjontegaard")
    pytest.importorskip("PIL._avif")
    output = tmp_path / "out.json"
    arguments = [
        "effort",
        "--data",
        str(folder),
        "--name",
        "scenes",
        "--limit",
        "2",
        "--side",
        "64",
    ]
    arguments += ["--efforts", "3", "--qualities", "10", "25", "40", "55", "--device", "cpu"]
    assert photo.main([*arguments, "-o", str(output)]) == 0
    content = json.loads(output.read_text("utf-8"))
    assert content["schema"] == effort.SCHEMA
    content = content["effort"]["scenes"]
    assert content["pictures"] == ["0.png", "2.png"]
    assert str(tmp_path) not in output.read_text("utf-8")
    one, three = content["found"]
    assert (one["effort"], one["encode_seconds_over_effort_1"], three["effort"]) == (1, 1, 3)
    assert "bd_rate_percent" not in one
    assert three["files"] + 1 >= 8  # the lowest quality may be beyond effort 1
    assert 0 <= three["files_larger_at_equal_psnr"] <= three["files"]
    assert three["mean_change_percent"] <= three["largest_change_percent"]
    assert isinstance(three["bd_rate_percent"], float)
    assert "bd_rate_against_avif_percent" in three
    assert "met" not in three  # effort 3 has no target
    assert len(three["points"]) == 4
    assert three["encode_seconds_over_effort_1"] > 0
