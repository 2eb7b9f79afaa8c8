"""The HTML report of `calotype rd`: whole without network, and its slider moved in a browser."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from bitstream.arrays import Uint8Array
from codec import loading
from codec.rate_distortion import (
    OperationalCodec,
    SourceImage,
    find_codec,
    find_images,
    measure_curve,
)
from codec.rate_distortion.report import pictures as pictures_module
from codec.rate_distortion.report.page import (
    BOTTOM,
    NAMES_SIDE,
    NUMBERS_SIDE,
    TOP,
    WIDTH,
    report_page,
)
from codec.rate_distortion.report.pictures import (
    LARGEST_SIDE,
    MOST_PICTURES,
    REALISMS,
    ShownFile,
    ShownPicture,
    ShownVersion,
    show_files,
    show_pictures,
)
from tests.codec.cli.test_rate_distortion import call
from tests.codec.models.photo.tiny_realism import write_tiny_realism
from tests.codec.rate_distortion.made_up_pictures import curve
from tests.codec.rate_distortion.report.browser import Page, browser_page, find_browser

VOID = {"meta", "img", "input", "br"}


class Outline(HTMLParser):
    """Checks that every tag is closed, and collects all of them with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def flat_picture(name: str, *colours: tuple[int, int, int], side: int = 200) -> ShownPicture:
    versions = []
    for index, colour in enumerate(colours):
        data = io.BytesIO()
        Image.new("RGB", (side, side), colour).save(data, "PNG")
        uri = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
        versions.append(ShownVersion(f"v{index}", f"version {index}", uri))
    return ShownPicture(name, side, side, tuple(versions))


def gray_file(layers: int, realisms: tuple[float, ...], side: int = 120) -> ShownFile:
    """A file whose gray is 40 times the number of layers, and 10 more for each realism."""

    def uri(gray: int) -> str:
        return flat_picture("", (gray,) * 3, side=side).versions[0].uri

    uris = tuple(tuple(uri(40 * n + 10 * k) for k in range(len(realisms))) for n in range(layers))
    words = tuple(f"{n + 1} of {layers}" for n in range(layers))
    return ShownFile("a file", (side, side), words, realisms, uris)


def page_text(*pictures: ShownPicture, files: tuple[ShownFile, ...] = ()) -> str:
    curves = [curve(), curve(0.7, codec="photo")]
    return report_page("T", curves, pictures, [], "jpeg", files=files)


def test_the_command_writes_it(
    picture_folder: Path, tmp_path: Path, fake_photo: OperationalCodec
) -> None:
    out = tmp_path / "out"
    arguments = ("rd", picture_folder, "--codecs", "photo", "--html", "-o", out)
    status, stdout, _ = call(*arguments)
    assert (status, "rd.html" in stdout) == (0, True)
    text = (out / "rd.html").read_text("utf-8")
    outline = Outline(text)
    # Nothing is fetched from anywhere, and the browser is told so.
    assert not re.search(r"https?:|href=|@import|url\(|file:", text)
    assert all((one["src"] or "").startswith("data:image/") for one in outline.all("img"))
    assert (outline.all("meta")[1]["content"] or "").startswith("default-src 'none'; img-src data:")
    assert str(tmp_path) not in text
    # Two pictures, each as an original and by two codecs, and one slider each.
    assert len(outline.all("img")) == 6
    assert [one["type"] for one in outline.all("input")] == ["range", "range"]
    assert [one["class"] for one in outline.all("img")] == ["left", "right", ""] * 2
    svg = re.search(r"<svg.*?</svg>", text, re.DOTALL)
    assert svg is not None
    titles = [one.text or "" for one in ElementTree.fromstring(svg[0]).iter("title")]
    assert any(re.fullmatch(r"jpeg: [01]\.\d{3} bpp, \d\d\.\d\d dB", one) for one in titles)


def test_versions_are_the_decoded_files_nearest_to_the_rate(
    picture_folder: Path, fake_photo: OperationalCodec
) -> None:
    images = find_images([picture_folder])
    measured = measure_curve(fake_photo, images, data_set="d")
    (first, second) = show_pictures([fake_photo], images, [measured], rate_bpp=3.0)
    rates = [point.bpp[1] for point in measured.points]
    nearest = min(range(len(rates)), key=lambda i: abs(np.log(rates[i] / 3.0)))
    point = measured.points[nearest]
    assert 0 < nearest < len(rates) - 1
    assert second.versions[1].caption == (
        f"photo, quality {point.setting:g}: {point.coded_bytes[1]:,} bytes, {rates[nearest]:.3f} "
        f"bpp, {point.psnr_db[1]:.2f} dB"
    )
    pixels = images[0].pixels()
    assert np.abs(shown(first.versions[0]).astype(int) - pixels).mean() < 3
    assert (first.name, first.width, first.height) == ("wave-0.png", 48, 48)


def shown(version: ShownVersion) -> Uint8Array:
    with Image.open(io.BytesIO(base64.b64decode(version.uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def test_size_is_bounded(tmp_path: Path, fake_photo: OperationalCodec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (430, 500, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    image = SourceImage("noise.png", tmp_path / "noise.png")
    measured = measure_curve(fake_photo, [image], data_set="d", settings=(5, 20))
    (one,) = show_pictures([fake_photo], [image], [measured])
    assert (one.width, one.height) == (LARGEST_SIDE, LARGEST_SIDE)
    # The middle, at its own scale; as JPEG, because PNG of noise is larger.
    part = shown(one.versions[0]).astype(int) - noise[23:407, 58:442]
    assert np.abs(part).mean() < 25
    assert one.versions[0].uri.startswith("data:image/jpeg")
    assert all(len(version.uri) < 1.4 * LARGEST_SIDE**2 * 3 for version in one.versions)
    flat = pictures_module._data_uri(np.zeros((64, 64, 3), np.uint8))
    assert flat.startswith("data:image/png")


def test_no_more_than_some_pictures(
    tmp_path: Path, fake_photo: OperationalCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def note(codecs: object, image: object, curves: object, number: int, rate: float) -> object:
        seen.append(number)
        return number

    monkeypatch.setattr(pictures_module, "_show", note)
    images = [SourceImage(f"{n}", tmp_path) for n in range(20)]
    show_pictures([fake_photo], images, [curve()])
    assert len(seen) == MOST_PICTURES
    assert seen == sorted(set(seen))
    assert (seen[0], seen[-1] >= 17) == (0, True)


def test_names_cannot_break_out_of_the_page() -> None:
    evil = '"><script>alert(1)</script>&'
    picture = flat_picture(evil, (1, 2, 3), (4, 5, 6))
    text = report_page(evil, [curve(codec=evil)], [picture], [], evil)
    assert text.count("<script>") == 1
    assert len(Outline(text).all("img")) == 2


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    if find_browser() is None:
        pytest.skip("no Chromium is installed")
    text = page_text(
        flat_picture("flags", (255, 0, 0), (0, 0, 255), (0, 255, 0)),
        flat_picture("other", (9, 9, 9), (99, 99, 99)),
        files=(gray_file(4, (0.0, 0.5, 1.0)), gray_file(2, (0.0,))),
    )
    (tmp_path / "rd.html").write_text(text, "utf-8")
    with browser_page(tmp_path / "profile") as page:
        page.open(tmp_path / "rd.html")
        yield page


def colours_at(page: Page, number: int, *shares: float) -> list[tuple[int, ...]]:
    """Colours in the middle row of a picture, at shares of its width."""
    x, y, width, height = box(page, number)
    row = page.screenshot()[round(y + height / 2)]
    return [tuple(map(int, row[round(x + share * width)])) for share in shares]


def box(page: Page, number: int) -> list[float]:
    found: list[float] = page.run(
        f"(frame => {{frame.scrollIntoView({{block: 'center'}}); "
        "const b = frame.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]})"
        f"(document.querySelector('#picture-{number} .frame'))"
    )
    return found


def test_a_browser_moves_the_slider_and_changes_versions(page: Page) -> None:
    red, blue, green = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    assert colours_at(page, 0, 0.25, 0.45, 0.55, 0.75) == [red, red, blue, blue]
    x, y, width, height = box(page, 0)
    assert (width, height) == (200, 200)
    middle = y + height / 2
    page.drag((x + 0.5 * width, middle), (x + 0.9 * width, middle))
    assert colours_at(page, 0, 0.25, 0.75, 0.85, 0.95) == [red, red, red, blue]
    page.drag((x + 0.2 * width, middle), (x + 0.1 * width, middle))
    assert colours_at(page, 0, 0.05, 0.15, 0.75) == [red, blue, blue]
    # Keys move it too, and the other picture's border stays.
    value = float(page.run("document.activeElement.value"))
    page.press("ArrowRight")
    assert float(page.run("document.activeElement.value")) > value
    assert colours_at(page, 1, 0.25, 0.75) == [(9, 9, 9), (99, 99, 99)]
    choose = (
        "(select => {{select.value = '{}'; select.dispatchEvent(new Event('change'))}})"
        "(document.querySelector('#picture-0 select[data-side={}]'))"
    )
    page.run(choose.format(2, "right"))
    assert colours_at(page, 0, 0.05, 0.75) == [red, green]
    page.run(choose.format(1, "left"))
    assert colours_at(page, 0, 0.05, 0.75) == [blue, green]
    page.run(choose.format(1, "right"))
    assert colours_at(page, 0, 0.05, 0.75) == [blue, blue]
    # Lines of the plot: the nearest point is read out, and a click on a name hides its line.
    spot = page.run(
        "scrollTo(0, 0), (b => [b.x + b.width / 2, b.y + b.height / 2])"
        "(document.querySelector('circle').getBoundingClientRect())"
    )
    page.drag(spot, spot)
    assert page.run("readout.textContent").startswith("jpeg: ")
    spot = page.run(
        "(b => [b.x + b.width / 2, b.y + b.height / 2])"
        "(document.querySelector('svg .name').getBoundingClientRect())"
    )
    page.drag(spot, spot)
    assert page.run("document.querySelectorAll('.line.off').length") == 1
    assert page.console == []


def test_a_browser_chooses_layers_and_realism(page: Page) -> None:
    def gray(number: int) -> int:
        x, y, width, height = page.run(
            "(stack => {stack.scrollIntoView({block: 'center'}); "
            "const b = stack.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]})"
            f"(document.querySelector('#file-{number} .stack'))"
        )
        assert (width, height) == (120, 120)
        (value,) = set(page.screenshot()[round(y + height / 2), round(x + width / 2)].tolist())
        return int(value)

    def slide(number: int, slider: int, share: float) -> None:
        x, y, width, height = page.run(
            "(s => {s.scrollIntoView({block: 'center'}); "
            "const b = s.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]})"
            f"(document.querySelectorAll('#file-{number} input')[{slider}])"
        )
        place = (x + 8 + share * (width - 16), y + height / 2)
        page.drag(place, place)

    def said(number: int) -> str:
        words: str = page.run(f"document.querySelector('#file-{number} p').textContent")
        return words

    assert (gray(0), said(0)) == (120, "layers 4 of 4, realism 0")
    slide(0, 1, 1)
    assert (gray(0), said(0)) == (140, "layers 4 of 4, realism 1")
    slide(0, 0, 0)
    assert (gray(0), said(0)) == (20, "layers 1 of 4, realism 1")
    page.press("ArrowRight")
    assert (gray(0), said(0)) == (60, "layers 2 of 4, realism 1")
    slide(0, 1, 0.5)
    assert (gray(0), said(0)) == (50, "layers 2 of 4, realism 0.5")
    # The other file has one decoder and one slider, and stays as it is.
    assert page.run("document.querySelectorAll('#file-1 input').length") == 1
    assert gray(1) == 40
    slide(1, 0, 0)
    assert (gray(1), said(1)) == (0, "layers 1 of 2, realism 0")
    assert page.console == []


def test_files_are_shown_as_they_decode(
    weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_realism(tmp_path / "weights", weights_folder, shake=0.3)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    noise = np.random.default_rng(0).integers(0, 256, (130, 140, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    image = SourceImage("noise.png", tmp_path / "noise.png")
    codecs = [find_codec("photo"), find_codec("jpeg")]
    measured = [measure_curve(c, [image], data_set="d", settings=(30, 80)) for c in codecs]
    (file,) = show_files(codecs, [image], measured, rate_bpp=100)
    data = codecs[0].encode(noise, 80)
    assert file.name == f"noise.png: photo, quality 80, {len(data):,} bytes"
    assert file.size == (140, 130)
    sizes = codec.inspect(data).layer_bytes
    assert file.layers[1] == f"2 of 4, {sum(sizes[:2]):,} bytes"
    assert (len(file.uris), file.realisms) == (4, REALISMS)
    for layers, row in enumerate(file.uris, 1):
        for realism, uri in zip(REALISMS, row, strict=True):
            expected = codec.decompress(data, as_="numpy", layers=layers, realism=realism)
            found = shown(ShownVersion("", "", uri)).astype(int)
            assert np.abs(found - expected).mean() < 4
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(weights_folder))
    (plain,) = show_files(codecs, [image], measured, rate_bpp=100)
    assert plain.realisms == (0.0,)
    assert [row[0] for row in plain.uris] == [row[0] for row in file.uris]


def test_curves_are_drawn_within_the_axes() -> None:
    text = page_text(flat_picture("x", (1, 2, 3), (4, 5, 6)))
    circles = Outline(text).all("circle")
    _, _, width, height = map(float, str(Outline(text).all("svg")[0]["viewbox"]).split())
    assert len(circles) == sum(
        point.mean_bpp <= 2 for one in (curve(), curve(0.7)) for point in one.points
    )
    assert width == WIDTH
    right = WIDTH - NAMES_SIDE
    assert all(NUMBERS_SIDE <= float(one["cx"] or 0) <= right for one in circles)
    assert all(TOP <= float(one["cy"] or 0) <= height - BOTTOM for one in circles)
