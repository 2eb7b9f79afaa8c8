"""Pictures of models: complete, repeatable, self-contained, with names that cover nothing."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from bitstream.errors import UsageError
from codec.rate_distortion import MissingExtraError
from codec.rate_distortion.ladder.model_file import AnyModelResult
from codec.rate_distortion.report import figure as drawing
from codec.rate_distortion.report.figure import draw_picture, plot_available
from codec.rate_distortion.report.labels import place_labels
from codec.rate_distortion.report.lines import Picture, picture_of_results
from codec.rate_distortion.report.page import line_colour
from tests.codec.rate_distortion.ladder.test_ladder import gap_table
from tests.codec.rate_distortion.made_up_models import ladder, model_result

NAMES = ("R_p by annealing", "dual bound", "plug-in", "amortised KL", "rounded code", "files")


def models() -> Picture:
    return picture_of_results(
        [model_result("VAE"), model_result("GAN", floor=9.0, uncertified=(9, 10, 11))]
    )


def test_svg_has_every_rung_ceiling_and_unit_as_text_and_is_repeatable(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = picture_of_results([ladder()])
    first, second = tmp_path / "a.svg", tmp_path / "new" / "b.svg"
    for path in (first, second):
        draw_picture(picture, path)
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    ElementTree.fromstring(text)
    for words in (
        *NAMES,
        "log₂ n, n = 1000: 10.0 bits",
        "log₂ M, M = 40,000: 15.3 bits",
        "rate in bits per image",
        "sum of squared errors (sum over all samples of an image, pixels 0..1)",
        "VAE on digits (1000 images)",
    ):
        assert f">{words}" in text


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_other_formats(tmp_path: Path, suffix: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"a{suffix}"
    draw_picture(models(), path)
    assert path.read_bytes().startswith(start)
    if suffix == ".png":
        with Image.open(path) as image:
            assert min(image.size) > 600


def test_html_is_whole_without_network_or_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "plot_available", lambda: False)
    path = tmp_path / "a.html"
    draw_picture(models(), path)
    text = path.read_text("utf-8")
    assert not re.search(r"https?:|src=|href=|@import|url\(", text)
    svg = re.search(r"<svg.*?</svg>", text, re.DOTALL)
    assert svg is not None
    root = ElementTree.fromstring(svg[0])
    classes = [one.get("class") for one in root.iter("circle")]
    assert (classes.count("sure"), classes.count("unsure")) == (21, 3)
    titles = [one.text or "" for one in root.iter("title")]
    assert sum("not certified" in words for words in titles) == 3
    assert text.count("<tr ") == 24
    with pytest.raises(MissingExtraError, match="install the extra 'plot'"):
        draw_picture(models(), tmp_path / "a.svg")


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    draw_picture(picture_of_results([model_result("<script>alert(1)</script>&")]), path)
    text = path.read_text("utf-8")
    assert "<script>alert" not in text
    assert text.count("<script>") == 1


@pytest.mark.parametrize("suffix", [".svg", ".html", ".png", ".pdf"])
def test_characters_that_cannot_be_drawn_are_written_out(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    odd = model_result("a\0b\x1bc\ud800d\uffff")
    draw_picture(picture_of_results([odd], title="\ud800"), path)
    data = path.read_bytes()
    assert len(data) > 1000
    if suffix == ".svg":
        texts = "".join(ElementTree.fromstring(data).itertext())
        assert r"a\x00b\x1bc\ud800d\uffff" in texts
    elif suffix == ".html":
        assert rb"a\x00b\x1bc\ud800d\uffff" in data
        assert b"\0" not in data


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use \.svg, \.png, \.pdf, \.html"):
        draw_picture(models(), tmp_path / "a.gif")
    with pytest.raises(UsageError, match="a gap table has no curve"):
        picture_of_results([gap_table()])
    with pytest.raises(UsageError, match="nothing to draw"):
        picture_of_results([])
    mean = model_result("GAN", convention="mean over all samples of an image, pixels 0..1")
    with pytest.raises(UsageError, match="several distortions cannot share an axis"):
        picture_of_results([model_result(), mean])


def test_lines_rise_in_distortion_and_names_are_distinct() -> None:
    picture = picture_of_results([model_result("VAE"), model_result("VAE"), ladder()])
    labels = [line.label for line in picture.lines]
    assert labels == ["VAE", "VAE (2)", *NAMES]
    assert picture_of_results([ladder(), model_result("GAN")]).lines[0].label == f"VAE: {NAMES[0]}"
    for line in picture.lines:
        assert [point.x for point in line.points] == sorted(point.x for point in line.points)
    assert picture.is_logarithmic
    assert [ceiling.y for ceiling in picture.ceilings] == pytest.approx([9.97, 15.29], 1e-3)


def test_curves_have_the_names_that_were_given() -> None:
    results = [model_result("VAE"), model_result("GAN", floor=9.0), model_result("VAE")]
    assert [line.label for line in picture_of_results(results).lines] == ["VAE", "GAN", "VAE (2)"]
    renamed = picture_of_results(results, labels=["mine", "yours", "mine"])
    assert [line.label for line in renamed.lines] == ["mine", "yours", "mine (2)"]
    with pytest.raises(UsageError, match=r"labels for 1 of 3 curves.* order of VAE, GAN, VAE"):
        picture_of_results(results, labels=["mine"])


def test_units_and_axes(tmp_path: Path) -> None:
    results: list[AnyModelResult] = [ladder(), model_result("GAN")]
    bits, nats = picture_of_results(results), picture_of_results(results, unit="nats")
    assert "nats per image" in nats.y_label
    for one, other in zip(bits.lines, nats.lines, strict=True):
        for p, q in zip(one.points, other.points, strict=True):
            assert (q.y, q.low, q.high) == pytest.approx(
                tuple(math.log(2) * value for value in (p.y, p.low, p.high))
            )
            assert p.cells == q.cells  # the table has both units
    assert nats.ceilings[0].name == "log₂ n, n = 1000: 6.9 nats"
    sized: list[AnyModelResult] = [
        dataclasses.replace(ladder(), image_shape=(1, 28, 28)),
        dataclasses.replace(model_result("GAN"), extra={"image_shape": [28, 28]}),
    ]
    per_pixel = picture_of_results(sized, unit="bpp")
    assert per_pixel.y_label == "rate in bits per pixel"
    assert per_pixel.lines[0].points[0].y == pytest.approx(bits.lines[0].points[0].y / 784)
    odd: list[AnyModelResult] = [sized[0], dataclasses.replace(ladder(), image_shape=(9, 9))]
    for shown in (results, odd):
        with pytest.raises(UsageError, match="one size of images"):
            picture_of_results(shown, unit="bpp")
    with pytest.raises(UsageError, match="unit 'bytes'"):
        picture_of_results(results, unit="bytes")

    log = picture_of_results(results, log_x=False, log_y=True)
    assert (log.is_logarithmic, log.is_logarithmic_up) == (False, True)
    assert log.up(log.y_limits[0] * 2) - log.up(log.y_limits[0]) == pytest.approx(
        log.up(log.y_limits[1]) - log.up(log.y_limits[1] / 2)
    )
    assert 0 < log.y_limits[0] <= min(p.y for line in log.lines for p in line.points if p.y)
    for suffix in (".html", ".svg") if plot_available() else (".html",):
        draw_picture(log, tmp_path / f"log{suffix}")
    ticks = re.findall(r'class="tick"[^>]*>([^<]*)<', (tmp_path / "log.html").read_text("utf-8"))
    assert {"5", "10", "20"} < set(ticks)


def test_more_lines_than_colours_are_told_apart_by_their_dashes(tmp_path: Path) -> None:
    picture = picture_of_results([model_result(f"model {index}") for index in range(16)])
    looks = {(line_colour(line, i), picture.dashes(i)) for i, line in enumerate(picture.lines)}
    assert len(looks) == 16
    draw_picture(picture, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text("utf-8")
    drawn = re.findall(r'style="color:([^"]*)"><g class="drawn">.*?<polyline[^>]*?'
                       r'(?:stroke-dasharray="([^"]*)")?/>', text, re.DOTALL)  # fmt: skip
    assert len(set(drawn)) == 16
    if plot_available():
        draw_picture(picture, tmp_path / "a.svg")
        assert "stroke-dasharray" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("size", [(4.0, 8.0), (12.0, 4.0)], ids=str)
def test_size(tmp_path: Path, size: tuple[float, float]) -> None:
    picture = picture_of_results([model_result()], size_inches=size)
    draw_picture(picture, tmp_path / "a.html")
    assert f"0 0 900 {900 * size[1] / size[0]:.0f}" in (tmp_path / "a.html").read_text("utf-8")
    if plot_available():
        draw_picture(picture, tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            assert image.size == (150 * size[0], 150 * size[1])


def test_one_point_alone_can_be_drawn(tmp_path: Path) -> None:
    from codec.rate_distortion.ladder.ladder import Ladder
    from tests.codec.rate_distortion.made_up_models import rung

    alone = Ladder("m", "d", 9, (rung("files", "bytes", [(0.0, 0.0)], half_width=0.0),))
    draw_picture(picture_of_results([alone]), tmp_path / "a.html")
    if plot_available():
        draw_picture(picture_of_results([alone]), tmp_path / "a.svg")


def test_names_cover_neither_each_other_nor_points() -> None:
    width, height, font = 450.0, 330.0, 11.0
    for picture in (picture_of_results([ladder()]), models()):
        paths = [
            [(picture.across(p.x) * width, picture.up(p.y) * height) for p in line.points]
            for line in picture.lines
        ]
        boxes = []
        for line, path, label in zip(
            picture.lines, paths, place_labels(picture, width, height, font), strict=True
        ):
            length = 0.68 * font * len(line.label)
            left = label.x if label.align == "left" else label.x - length
            boxes.append((left, label.y - 0.5 * font, left + length, label.y + 0.5 * font))
            assert label.leader or abs(label.y - path[0][1]) < 3 * font, line.label
        for index, (left, low, right, high) in enumerate(boxes):
            for other in boxes[index + 1 :]:
                apart = right <= other[0] or other[2] <= left or high <= other[1] or other[3] <= low
                assert apart, (picture.lines[index].label, boxes)
            for path in paths:
                for (x1, y1), (x2, y2) in zip(path, path[1:] or path, strict=False):
                    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
                        x, y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
                        assert not (left < x < right and low < y < high)
