"""The comparison at equal scores: its files, its comparisons, and which results are kept."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photo import __main__ as photo
from benchmarks.photo import visual
from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec.rate_distortion import find_codec
from tests.codec.rate_distortion.made_up_pictures import curve
from tests.codec.tiny import photographs


def test_rows_are_means_over_pictures_where_curves_overlap() -> None:
    pytest.importorskip("bjontegaard")
    ours = curve(0.6, codec="photo")
    peers = {"jpeg": curve(codec="jpeg"), "webp": curve(0.3, codec="webp")}
    (jpeg, webp) = visual.compare(ours, peers, metrics=("psnr",))
    assert (jpeg["against"], webp["against"]) == ("jpeg", "webp")
    assert jpeg["psnr_percent"] == pytest.approx(-40, abs=0.01)
    assert webp["psnr_percent"] == pytest.approx(100, abs=0.01)
    assert jpeg["psnr_pictures"] == len(ours.images)
    assert "against jpeg: -40.0 % at equal psnr" in visual.line("set", jpeg, metrics=("psnr",))


def test_avif_is_tuned_as_by_default() -> None:
    pytest.importorskip("PIL._avif")
    pixels = photographs(1, side=64)[0]
    data = visual.visual_codec("avif").encode(pixels, 60)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "AVIF"
    assert data != find_codec("avif").encode(pixels, 60)
    assert visual.visual_codec("jxl") is find_codec("jxl")


def test_shifted_pictures_have_more_rows_and_columns_while_they_are_coded() -> None:
    sizes = []

    def encode(pixels: Uint8Array, setting: float) -> bytes:
        sizes.append(pixels.shape)
        return find_codec("jpeg").encode(pixels, setting)

    pixels = photographs(1, side=64)[0]
    codec = visual.shifted(replace(find_codec("jpeg"), encode=encode), 3)
    decoded = codec.decode(codec.encode(pixels, 95))
    assert sizes == [(67, 67, 3)]
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).mean() < 5
    whole = find_codec("jpeg")
    assert not np.array_equal(decoded, whole.decode(whole.encode(pixels, 95)))


@pytest.mark.usefixtures("tiny_weights")
def test_sets_are_kept_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("bjontegaard", "ssimulacra2"):
        pytest.importorskip(library)
    for number, pixels in enumerate(photographs(3, side=64)):
        folder = tmp_path / ("one" if number < 2 else "two")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    settings = {"photo": (5.0, 25.0, 50.0, 80.0), "jpeg": (5.0, 20.0, 50.0, 80.0)}
    monkeypatch.setattr(visual, "SETTINGS", settings)
    output = tmp_path / "visual.json"
    for name in ("one", "two"):
        words = ["--data", f"{name}={tmp_path / name}", "--limit", "1", "-o", str(output)]
        assert photo.main(["visual", *words]) == 0
    assert str(tmp_path) not in output.read_text("utf-8")
    sets = json.loads(output.read_text("utf-8"))["sets"]
    assert (sets["one"]["pictures"], sets["two"]["pictures"]) == (["0.png"], ["2.png"])
    (row,) = sets["one"]["found"]
    assert row["against"] == "jpeg"
    assert {"ssimulacra2_percent", "psnr_percent"} <= set(row)
    ours, theirs = sets["one"]["curves"]
    assert (ours["codec"], theirs["codec"]) == ("photo", "jpeg")
    scores = [point["mean_ssimulacra2"] for point in theirs["points"]]
    assert scores == sorted(scores)

    sets["one"]["curves"] = [{**ours, "points": []}, theirs]
    output.write_text(json.dumps({"schema": visual.SCHEMA, "sets": sets}), "utf-8")
    again = ["visual", "--codecs", "photo", "-o", str(output), "--data"]
    assert photo.main([*again, f"one={tmp_path / 'one'}", "--limit", "1"]) == 0
    new = json.loads(output.read_text("utf-8"))["sets"]["one"]
    assert new["curves"][1] == theirs
    for now, before in zip(new["curves"][0]["points"], ours["points"], strict=True):
        assert now["bytes"] == before["bytes"]
    assert new["found"] == [row]
    shifted = ["visual", "--shift", "3", "--limit", "1", "-o", str(output), "--data"]
    assert photo.main([*shifted, f"one={tmp_path / 'one'}"]) == 0
    sets = json.loads(output.read_text("utf-8"))["sets"]
    assert [(part["set"], part["shift"]) for part in sets.values()] == [
        ("one", 0), ("two", 0), ("one", 3)
    ]  # fmt: skip
    assert sets["one-shifted"]["curves"] != sets["one"]["curves"]
    for shift in ("-1", "2"):  # the file has the curves of a shift by 3
        wrong = [*again, f"one={tmp_path / 'one'}", "--limit", "1", "--shift", shift]
        assert photo.main(wrong) == UsageError.exit_code
    # The curve in the file is of one picture of this set.
    assert photo.main([*again, f"one={tmp_path / 'one'}"]) == UsageError.exit_code
