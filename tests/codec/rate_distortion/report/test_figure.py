"""Pictures of curves: valid files, repeatable, with every name on them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from bitstream.errors import UsageError
from codec.rate_distortion import MissingExtraError, ResultFileError
from codec.rate_distortion.report import figure as plot
from codec.rate_distortion.report.labels import spread
from codec.rate_distortion.report.lines import lines_of_anchors, picture_of_curves
from tests.codec.rate_distortion.made_up_pictures import curve

pytest.importorskip("matplotlib")

CURVES = [curve(0.8, codec="photo"), curve()]
PICTURE = picture_of_curves(CURVES)


def anchors(path: Path, count: int = 2) -> Path:
    content = {
        f"lab/peer-{index}": {"bpp": [0.1, 0.5, 1.0], "psnr": [27 + index, 32 + index, 36 + index]}
        for index in range(count)
    }
    path.write_text(json.dumps(content))
    return path


def test_svg_holds_names_as_text_and_is_repeatable(tmp_path: Path) -> None:
    published = lines_of_anchors(anchors(tmp_path / "anchors.json"))
    picture = picture_of_curves(CURVES, anchors=published, title="Waves")
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        plot.draw_picture(picture, path)
    text = first.read_text()
    assert first.read_bytes() == second.read_bytes()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    for name in ("photo", "jpeg", "peer-0", "peer-1", "Waves", "rate in bits per pixel"):
        assert f">{name}" in text
    assert "stroke-dasharray" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "anchors.json", "b.svg"]


def test_png_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    plot.draw_picture(PICTURE, path)
    with Image.open(path) as image:
        assert (image.format, min(image.size) > 600) == ("PNG", True)


def test_many_anchors_have_to_be_chosen(tmp_path: Path) -> None:
    path = anchors(tmp_path / "anchors.json", count=9)
    with pytest.raises(UsageError, match=r"has 9 published curves.*'lab/peer-0'"):
        lines_of_anchors(path)
    chosen = lines_of_anchors(path, ["lab/peer-3", "lab/peer-5=Five"])
    assert [line.label for line in chosen] == ["peer-3", "Five"]
    assert all(line.published for line in chosen)
    with pytest.raises(UsageError, match="no published curve named lab/none"):
        lines_of_anchors(path, ["lab/none"])


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {"bpp": [1], "psnr": [1, 2]}}'])
def test_other_files_are_no_anchors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "anchors.json"
    path.write_text(text)
    with pytest.raises(ResultFileError):
        lines_of_anchors(path)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"use \.svg, \.png, \.pdf"):
        plot.draw_picture(PICTURE, tmp_path / "a.gif")
    nothing = picture_of_curves(CURVES, rate_range_bpp=(50, 60))
    with pytest.raises(UsageError, match="no curve has a point within 50–60 bpp"):
        plot.draw_picture(nothing, tmp_path / "a.svg")
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="install the extra 'plot'"):
        plot.draw_picture(PICTURE, tmp_path / "a.svg")


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    placed = spread([10.0, 10.1, 30.0, 9.9], gap=1.0)
    assert placed == pytest.approx([10.0, 11.0, 30.0, 9.0])
