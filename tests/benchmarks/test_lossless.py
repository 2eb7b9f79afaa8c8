"""The lossless model compared with other codecs: real files, decoded again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.pixel.__main__ import main
from benchmarks.pixel.lossless import PEERS, summary
from codec.loading import ENVIRONMENT_VARIABLE
from tests.codec.models.pixel.tiny import scene, write_tiny_pixel


def test_the_result_is_of_files_that_came_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imagecodecs")
    write_tiny_pixel(tmp_path / "weights")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed in range(2):
        Image.fromarray(scene(20, 30, seed)).save(pictures / f"{seed}.png")
    result = tmp_path / "x.json"
    assert main(["lossless", "--data", str(pictures), "--name", "x", "-o", str(result)]) == 0
    found = json.loads(result.read_text("utf-8"))
    assert (found["pictures"], found["came_back_different"]) == (2, 0)
    assert found["mean_bpsp"].keys() == {"pixel", *PEERS}
    assert 3 < found["mean_bpsp"]["png"] < 9
    # The files are small: about 65 bytes belong to the container.
    assert found["pictures_of_likelihood"] == 2
    assert 1 < found["above_likelihood_percent"] < 15
    for row in found["rows"].values():
        assert 50 < row["bytes"] - row["likelihood_bytes"] < 90


def test_pictures_may_come_from_jpeg_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imagecodecs")
    write_tiny_pixel(tmp_path / "weights")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    Image.fromarray(scene(64, 64)).save(tmp_path / "a.png")
    sizes = []
    for words in ([], ["--jpeg", "50"]):
        result = tmp_path / "x.json"
        words = ["--data", str(tmp_path / "a.png"), "--name", "x", "-o", str(result), *words]
        assert main(["lossless", *words]) == 0
        sizes.append(json.loads(result.read_text("utf-8"))["mean_bpsp"]["pixel"])
    assert sizes[1] < 0.9 * sizes[0]


def test_means_are_of_pictures_and_a_difference_is_counted() -> None:
    peers = dict.fromkeys(PEERS, 4.0)
    row = {"height": 512, "width": 768, "encode_seconds": 3.0, "decode_seconds": 2.0}
    rows: list[dict[str, Any]] = [
        {**row, "bpsp": {"pixel": 3.0, **peers}, "same": True},
        {**row, "bpsp": {"pixel": 4.0, **peers}, "same": False},
    ]
    found = summary(rows)
    assert found["came_back_different"] == 1
    assert found["mean_bpsp"]["pixel"] == 3.5
    assert found["more_than_percent"]["webp"] == -12.5
    assert found["seconds_for_768x512"] == {"encode": 3.0, "decode": 2.0}
    assert found["above_likelihood_percent"] is None
    rows[0] |= {"bytes": 102, "likelihood_bytes": 100.0}
    assert summary(rows)["above_likelihood_percent"] == 2.0
