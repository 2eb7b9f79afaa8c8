"""The curve of an untrained codec, compared with files that the test writes and reads itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codec
from benchmarks.harness.command import measure
from benchmarks.readme.vq import vq_section
from benchmarks.vq.__main__ import PARTS
from benchmarks.vq.curve import QUALITIES, interval, summary
from codec import loading
from tests.codec.models.vq.tiny import scene, write_tiny_vq

COLUMNS, SHEETS = 2, 3


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("vq")
    write_tiny_vq(folder, stem="vq-test")
    images = np.stack([scene(32, 32, seed=seed) for seed in range(COLUMNS**2 * SHEETS + 1)])
    np.savez(folder / "data.npz", x_test=images)
    words = ["curve", "--weights", str(folder / "vq-test.safetensors"), "--singles", "2"]
    words += ["--data", str(folder / "data.npz"), "--columns", "2", "--sheets", "3"]
    words += ["--peers", "jpeg", "jpeg2000", "-o", str(folder / "vq.json")]
    assert measure("vq", PARTS, words) == 0
    content: dict[str, Any] = json.loads((folder / "vq.json").read_text("utf-8"))
    return content, folder


def test_figures_are_those_of_files(
    found: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, folder = found
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(folder))
    part = content["curve"]["vq-test"]
    assert (content["schema"], part["images"], part["levels"]) == ("calotype.vq/1", 12, 2)
    images = np.load(folder / "data.npz")["x_test"].astype(np.uint8)
    sheets = [
        np.concatenate([np.concatenate(images[at : at + 2], 1) for at in (first, first + 2)])
        for first in (0, 4, 8)
    ]
    rows = part["found"]["qualities"]
    assert [row["quality"] for row in rows] == list(QUALITIES)
    for row in (rows[0], rows[-1]):
        files = [codec.compress(sheet, model="vq", quality=row["quality"]) for sheet in sheets]
        assert row["bytes_per_image"] == pytest.approx(sum(map(len, files)) / 12, rel=1e-4)
        assert row["rate_bpp"] == pytest.approx(8 * sum(map(len, files)) / 12 / 1024, rel=1e-4)
        errors = []
        for sheet, file in zip(sheets, files, strict=True):
            again = codec.decompress(file, as_="numpy").astype(np.float64)
            blocks = ((again - sheet) ** 2).reshape(2, 32, 2, 32, 3).mean((1, 3, 4))
            errors += blocks.ravel().tolist()
        assert row["mse"]["mean"] == pytest.approx(np.mean(errors), rel=1e-4)
        half = 2.201 * np.std(errors, ddof=1) / np.sqrt(12)
        assert row["mse"]["half_of_95_percent_interval"] == pytest.approx(half, rel=0.01)
        above = row["payload_above_likelihood_percent"]
        assert -1 < above < 15
        assert row["above_likelihood_percent"] > above
        for peer in row["peers"].values():
            if peer is not None:
                assert peer["bytes_per_image"] <= row["bytes_per_image"]
                difference = peer["mse"]["mean"] - row["mse"]["mean"]
                assert peer["mse_more_than_vq"]["mean"] == pytest.approx(difference, rel=0.01)


def test_the_tables_say_what_was_measured(found: tuple[dict[str, Any], Path]) -> None:
    content, folder = found
    text = vq_section(folder)
    last = content["curve"]["vq-test"]["found"]["qualities"][-1]
    assert f"| 100 | {last['rate_bpp']:.3f} |" in text
    assert "12 test images" in text
    first = content["curve"]["vq-test"]["found"]["qualities"][0]["above_likelihood_percent"]
    assert f"| {first:.2f} % … {last['above_likelihood_percent']:.2f} % | ≤ 1 %: " in text
    assert "no file so small" in text
    assert vq_section(folder / "nothing") == ""


def test_what_is_certain_is_counted() -> None:
    def cell(mean: float, half: float) -> dict[str, Any]:
        return {"mse_more_than_vq": {"mean": mean, "half_of_95_percent_interval": half}}

    rows: list[dict[str, Any]] = [
        {"peers": {"a": cell(3, 1), "b": None}},
        {"peers": {"a": cell(0.5, 1), "b": None}},
        {"peers": {"a": cell(-3, 1), "b": cell(2, 0.1)}},
    ]
    assert summary(rows) == {
        "a": {"qualities": 3, "vq_is_better": 1, "vq_is_worse": 1},
        "b": {"qualities": 1, "vq_is_better": 1, "vq_is_worse": 0},
    }
    found = interval(np.array([1.0, 3.0]))
    assert found["mean"] == 2
    assert found["half_of_95_percent_interval"] == pytest.approx(12.706, rel=1e-3)
