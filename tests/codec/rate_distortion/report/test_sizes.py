"""Pictures of every size: no warning, no text beyond the edge, and no name on another."""

from __future__ import annotations

import dataclasses
import re
import warnings
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.report.figure import draw_picture, font_points, plot_available
from codec.rate_distortion.report.labels import shortened, wrapped
from codec.rate_distortion.report.lines import Picture, picture_of_curves, picture_of_results
from codec.rate_distortion.report.page import WIDTH, page_of
from tests.codec.rate_distortion.made_up_models import ladder, model_result, rung
from tests.codec.rate_distortion.made_up_pictures import curve

LONG = "a model with a name of far more than 24 characters"
needs_matplotlib = pytest.mark.skipif(not plot_available(), reason="matplotlib is not installed")


def codecs() -> Picture:
    names = ("photo", "photo", "a codec with a name of far more than 24 characters", "$x$ and $\\y")
    curves = [curve(0.6 + 0.1 * index, codec=name) for index, name in enumerate(names)]
    return picture_of_curves(curves, title="Two pictures of waves, coded by several codecs")


def alone() -> Picture:
    rungs = (
        rung("files", "bytes", [(9.0, 20.0)], half_width=2.0),
        rung("code length of " + LONG, "code_length", [(8.4, 17.0)]),
        rung("plain files", "bytes", [(9.0, 21.0)], half_width=0.0),
    )
    return picture_of_results([Ladder("m", "d", 9, rungs)])


def crowded() -> Picture:
    rungs = (
        rung(
            f"coder-{n}: code length",
            "code_length",
            [(9 + 0.1 * n, 60.0 - 3 * n), (12, 35.0 - n), (25, 14 - n / 2), (60, 1.0)],
        )
        for n in range(9)
    )
    return picture_of_results([Ladder("m", "d", 9, tuple(rungs))])


PICTURES = {
    "crowded": crowded(),
    "models": picture_of_results(
        [model_result(LONG), model_result("GAN", floor=9.0, uncertified=range(12))]
    ),
    "ladder": picture_of_results([ladder()]),
    "ladder, log": picture_of_results([ladder()], log_y=True),
    "alone": alone(),
    "codecs": codecs(),
}
SIZES = [(3.3, 2.5), (8.4, 5.4), (12.0, 4.0)]
EXTREMES = [(2.0, 2.0), (40.0, 2.0), (2.0, 20.0)]


def sized(picture: Picture, size: tuple[float, float]) -> Picture:
    return dataclasses.replace(picture, size_inches=size)


def drawn(picture: Picture, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draw; returns the figure of matplotlib."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        draw_picture(picture, path)
    return figures[0]


@needs_matplotlib
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_texts_stay_in_the_picture_and_names_apart(
    name: str, size: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Annotation, Text

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawn(sized(PICTURES[name], size), tmp_path / "a.png", monkeypatch)
        axes = figure.axes[0]
        names = [one for one in axes.texts if isinstance(one, Annotation)]
        texts = [one for one in figure.findobj(Text) if one.get_text() and one.get_visible()]
        # Numbers beyond the ends of an axis are not drawn.
        ticks = [
            label
            for axis in (axes.xaxis, axes.yaxis)
            for label in (*axis.get_majorticklabels(), *axis.get_minorticklabels())
        ]
        canvas: Any = FigureCanvasAgg(figure)
        renderer = canvas.get_renderer()
        for one in names:
            one.update_positions(renderer)
        boxes = {one: Text.get_window_extent(one, renderer) for one in texts if one not in ticks}
    assert len(names) >= len(PICTURES[name].lines)
    assert min(one.get_fontsize() for one in texts) >= 6
    frame = figure.bbox.padded(2.0)
    for one, box in boxes.items():
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1, (one.get_text(), box)
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1, (one.get_text(), box)
    # Lines of text are further apart than letters are high.
    inner = {one: boxes[one].padded(0, -0.15 * boxes[one].height) for one in names}
    for first, second in combinations(names, 2):
        assert not inner[first].overlaps(inner[second]), (first.get_text(), second.get_text())
    box = axes.get_window_extent()
    assert box.width > 0.4 * figure.bbox.width
    assert box.height > 0.4 * figure.bbox.height


@needs_matplotlib
@pytest.mark.parametrize(
    ("size", "suffix"),
    [(SIZES[0], ".svg"), (SIZES[0], ".pdf"), *((size, ".png") for size in EXTREMES)],
    ids=str,
)
@pytest.mark.parametrize("name", ["ladder", "codecs"])
def test_no_size_gives_a_warning(
    name: str, size: tuple[float, float], suffix: str, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_picture(sized(PICTURES[name], size), tmp_path / f"a{suffix}")


@needs_matplotlib
def test_strokes_and_markers_shrink_with_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert font_points((8.4, 5.4)) == pytest.approx(11)
    assert 6 < font_points((3.3, 2.5)) < 8 < font_points((12.0, 4.0)) < 11
    assert font_points((2.0, 2.0)) == 6
    usual, small = (
        drawn(sized(PICTURES["ladder"], size), tmp_path / "a.png", monkeypatch).axes[0].lines[0]
        for size in ((8.4, 5.4), (3.3, 2.5))
    )
    ratio = font_points((3.3, 2.5)) / 11
    assert small.get_linewidth() == pytest.approx(ratio * usual.get_linewidth())
    assert small.get_markersize() < usual.get_markersize() or usual.get_marker() == "None"


@pytest.mark.parametrize("size", [*SIZES, (4.0, 8.0), (20.0, 2.0)], ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_the_drawing_of_a_page_holds_its_texts(name: str, size: tuple[float, float]) -> None:
    svg = re.search(r"<svg.*?</svg>", page_of(sized(PICTURES[name], size)), re.DOTALL)
    assert svg is not None
    root = ElementTree.fromstring(svg[0])
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert width == WIDTH
    assert height >= 200
    boxes = []
    for text in root.iter("text"):
        # About the width in fonts that browsers take.
        length = 0.57 * 13 * len(text.text or "")
        moved = re.match(r"translate\((\S+) (\S+)\) rotate\(-90\)", text.get("transform", ""))
        if moved:
            x, y = map(float, moved.groups())
            assert x >= 8
            assert length / 2 - 2 <= y <= height - length / 2 + 2, text.text
            continue
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        left = x - {"start": 0, "middle": length / 2, "end": length}[text.attrib["text-anchor"]]
        assert left >= 0, text.text
        assert left + length <= WIDTH, text.text
        assert 9 <= y <= height - 2, text.text
        if text.attrib["class"] == "name":
            boxes.append((left, y - 9, left + length, y))
    for one, other in combinations(boxes, 2):
        if size[1] > 2:
            assert (
                one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            ), (one, other)


def test_long_texts_lose_their_middle_or_are_broken() -> None:
    def measure(text: str) -> float:
        return len(text)

    assert shortened("a short name", 12, measure) == "a short name"
    assert shortened("a long name (2)", 10, measure) == "a lon… (2)"
    assert len(shortened("a long name", 0, measure)) == 5
    assert wrapped("rate in bits (1 bit = 0.693 nats)", 40, measure) == [
        "rate in bits (1 bit = 0.693 nats)"
    ]
    assert wrapped("rate in bits (1 bit = 0.693 nats)", 21, measure) == [
        "rate in bits", "(1 bit = 0.693 nats)",
    ]  # fmt: skip
    assert wrapped("rate in bits (1 bit)", 8, measure) == ["rate in", "bits", "(1 bit)"]


def test_equal_names_of_codecs_get_numbers() -> None:
    labels = [line.label for line in PICTURES["codecs"].lines]
    assert labels[:2] == ["photo", "photo (2)"]
    odd = picture_of_curves([curve(codec=name) for name in ("a", "a (2)", "a")])
    assert [line.label for line in odd.lines] == ["a", "a (2)", "a (3)"]
