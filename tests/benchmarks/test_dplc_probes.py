"""Probes of codecs: rates of real files, and errors of the decoded images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.dplc import probes as dplc_probes
from benchmarks.dplc.probes import (
    dots_row,
    measure_probes,
    operations,
    pies_row,
    probed_model,
    wilson_interval,
)
from benchmarks.harness.probes import count_dots
from benchmarks.harness.procedural_images import draw_dots, draw_pies
from benchmarks.harness.small_images import load_dplc_model, read_file, sheets, write_file
from bitstream.errors import UsageError
from codec.loading import load_model
from codec.models import weights_files
from tests.benchmarks.tiny_dplc_set import run
from tests.benchmarks.tiny_draw import FILES, write_weights

pytest.importorskip("skimage")


def test_sources_have_no_errors() -> None:
    dots, pies = draw_dots(16), draw_pies(9)
    row = dots_row(dots, dots.images)
    assert (row["count_changed"], row["mean_change_of_count"], row["relative_area_error"]) == (
        0, 0, 0,
    )  # fmt: skip
    assert row["count_changed_high"] == pytest.approx(3.8415 / (16 + 3.8415), rel=1e-3)
    assert pies_row(pies, pies.images)["fraction_error"] < 0.02
    black = np.zeros_like(dots.images)
    row = dots_row(dots, black)
    assert row["count_changed"] == row["relative_area_error"] == 1
    assert row["mean_change_of_count"] == -4.5
    assert pies_row(pies, np.zeros_like(pies.images)) == {"fraction_error": None, "pies_lost": 1.0}
    assert pies_row(pies, pies.images[::-1].copy())["fraction_error"] > 0.3


def test_wilson_interval() -> None:
    # Known values: 10 of 20, and the ends.
    low, high = wilson_interval(10, 20)
    assert (low, high) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)


def test_each_rate_of_dplc_is_a_point(dplc_folder: Path, tmp_path: Path) -> None:
    weights = dplc_folder / "grey.safetensors"
    kept = run(
        dplc_folder, tmp_path / "dplc.json", "probes", "--models", "dplc",
        "--weights", f"dplc={weights}", "--count", "9", "--columns", "2",
    )  # fmt: skip
    command = json.loads((tmp_path / "dplc.json").read_text("utf-8"))["probes"]["dplc"]
    assert command["images"] == 8
    points = kept["dplc"]["found"]
    assert len(points) == 3
    dots, coder = draw_dots(8), load_dplc_model(weights).coder
    for point, quality in zip(points, (33.33, 66.66, 100), strict=True):
        assert point["setting"] == f"quality {quality:g}"
        counts, total = [], 0
        for number, sheet in enumerate(sheets(dots.images, 2)):
            file = write_file(coder, sheet, quality, noise_seed=number)
            again = read_file(coder, file.data).reshape(2, 32, 2, 32).transpose(0, 2, 1, 3)
            counts += count_dots(again.reshape(4, 1, 32, 32), dots.disc_area).tolist()
            total += len(file.data)
        assert point["dots"]["bits_per_image"] == total
        assert point["dots"]["bits_per_pixel"] == pytest.approx(total / 1024, rel=1e-4)
        assert point["dots"]["count_changed"] == np.mean(np.array(counts) != dots.counts)


def test_installed_models_are_probed_and_missing_ones_left_out(
    monkeypatch: pytest.MonkeyPatch, tiny_weights: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(dplc_probes.QUALITIES, "photo", (1, 50))
    monkeypatch.setattr(weights_files, "WEIGHTS_FOLDER", tmp_path)
    found = measure_probes(["photo", "draw", "dplc"], {}, count=4, columns=2)
    assert set(found) == {"photo"}
    assert [one["setting"] for one in found["photo"]["found"]] == ["quality 1", "quality 50"]
    model = load_model("photo", device="cpu")
    assert found["photo"]["weights"] == model.weights_hash.hex()
    (sheet,) = sheets(draw_dots(4).images, 2)
    file = write_file(model, sheet, 50)
    point = found["photo"]["found"][1]["dots"]
    assert point["bits_per_image"] == 2 * len(file.data)
    again = read_file(model, file.data).reshape(2, 32, 2, 32).transpose(0, 2, 1, 3)
    dots = draw_dots(4)
    counts = count_dots(again.reshape(4, 1, 32, 32), dots.disc_area)
    assert point["count_changed"] == (counts != dots.counts).mean()


def test_draw_is_read_as_far_as_each_layer(tmp_path: Path) -> None:
    write_weights(tmp_path, "draw", FILES)
    model = probed_model("draw", {"draw": tmp_path / "draw.safetensors"})
    assert model is not None
    (sheet,) = sheets(draw_dots(4).images, 2)
    made = list(operations(model, sheet, (50.0,), 0))
    assert [one.setting for one in made] == [f"quality 50, {n} layers" for n in (1, 2, 3)]
    sizes = [one.coded_bytes for one in made]
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(write_file(model, sheet, 50).data)
    assert all(one.pixels.shape == sheet.shape for one in made)
    with pytest.raises(UsageError, match="weights of draw or dplc"):
        probed_model("photo", {"photo": tmp_path / "x.safetensors"})
