"""The picture with four panels shows the same part of each picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photo import __main__ as photo
from benchmarks.photo import side_by_side
from benchmarks.photo.side_by_side import ENLARGE, GAP, LINE, panels
from codec.loading import ENVIRONMENT_VARIABLE
from tests.codec.models.photo.tiny_realism import write_tiny_realism
from tests.codec.tiny import photographs


def test_panels_show_the_same_part_of_each() -> None:
    one = photographs(1, side=64)[0]
    other = np.invert(one)
    sheet = np.asarray(panels([("one", one), ("other\nline", other)], (8, 16, 40, 48)))
    side = 32 * ENLARGE
    assert sheet.shape == (side + 2 * LINE * ENLARGE, 2 * side + GAP, 3)
    for number, pixels in enumerate((one, other)):
        left = number * (side + GAP)
        shown = sheet[:side:ENLARGE, left : left + side : ENLARGE]
        np.testing.assert_array_equal(shown, pixels[16:48, 8:40])
    assert (sheet[side:] < 128).any()  # the label is written


def test_no_file_is_larger_than_that_of_avif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path
) -> None:
    pytest.importorskip("PIL._avif")
    pytest.importorskip("imagecodecs")
    pixels = photographs(1, side=96)[0]
    monkeypatch.setattr(side_by_side, "load_photograph", lambda _: pixels)
    output = tmp_path / "out.json"
    words = ["--bpp", "0.6", "--effort", "1", "--crop", "0", "0", "8", "8", "-o", str(output)]
    write_tiny_realism(tmp_path / "both", tiny_weights, shake=0.05)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "both"))
    assert photo.main(["side-by-side", "--realism", "1", *words]) == 0
    avif, *others = json.loads(output.read_text("utf-8"))["files"]
    assert [file["codec"] for file in (avif, *others)] == ["avif", "jxl", "photo", "photo"]
    plain, realistic = others[1:]
    assert (plain["realism"], realistic["realism"]) == (0, 1)
    assert plain["bytes"] == realistic["bytes"]
    assert plain["psnr_db"] != realistic["psnr_db"]
    for file in others:
        assert 0.6 * avif["bytes"] < file["bytes"] <= avif["bytes"]
    assert avif["rate_bpp"] == pytest.approx(0.6, rel=0.2)
    with Image.open(output.with_suffix(".png")) as image:
        assert image.height == (8 + 2 * LINE) * ENLARGE
