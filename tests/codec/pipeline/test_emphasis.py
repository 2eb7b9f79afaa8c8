"""Regions of interest: the encoder alone gives them more bits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import codec
from bitstream.arrays import SampleArray
from codec.cli import app
from codec.cli.values import parse_roi
from codec.models.catalog import all_models
from codec.options import CompressOptions
from codec.pictures.similarity import psnr_db
from tests.codec.tiny import photographs

ROI = (64, 48, 64, 80)
INSIDE = slice(48, 128), slice(64, 128)


@pytest.fixture
def pixels() -> SampleArray:
    """A part of a photograph, (176, 192, 3), to be coded with the shipped weights."""
    path = Path(codec.__file__).parent / "photographs" / "coffee.webp"
    with Image.open(path) as image:
        array: SampleArray = np.asarray(image.convert("RGB"))[100:276, 150:342]
        return array


def scores(pixels: SampleArray, data: bytes) -> tuple[float, float]:
    """PSNR of the region, and of the rest."""
    decoded = codec.decompress(data, as_="numpy")
    outside = np.ones(pixels.shape[:2], np.bool_)
    outside[INSIDE] = False
    return (
        psnr_db(pixels[INSIDE], decoded[INSIDE]),
        psnr_db(pixels[outside][:, None], decoded[outside][:, None]),
    )


def test_the_region_is_better_and_the_rest_as_it_was(pixels: SampleArray) -> None:
    plain, fine = (codec.compress(pixels, quality=quality) for quality in (40, 70))
    found = codec.compress(pixels, quality=40, roi=(*ROI, 30))
    assert len(plain) < len(found) < len(fine)
    info = codec.inspect(found)
    assert (info.quality, info.format_version) == (70, codec.inspect(plain).format_version)
    region, rest = scores(pixels, found)
    assert region == pytest.approx(scores(pixels, fine)[0], abs=0.3)
    assert rest == pytest.approx(scores(pixels, plain)[1], abs=0.5)


def test_at_an_equal_size_the_region_gains(pixels: SampleArray) -> None:
    size = len(codec.compress(pixels, quality=50))
    plain = scores(pixels, codec.compress(pixels, quality=50))
    data = codec.compress(pixels, size=size, roi=(*ROI, 30))
    assert 0.95 * size < len(data) <= size
    assert scores(pixels, data)[0] > plain[0] + 0.5


def test_a_score_is_that_of_the_whole_picture(pixels: SampleArray, tmp_path: Path) -> None:
    with (tmp_path / "out.calo").open("wb") as fo:
        done = codec.compress_to_file(pixels, fo, psnr=30, roi=ROI)
    decoded = codec.decompress(tmp_path / "out.calo", as_="numpy")
    assert done.psnr_db == pytest.approx(psnr_db(pixels, decoded))
    assert (done.psnr_db or 0) >= 30
    assert codec.inspect(tmp_path / "out.calo").quality == pytest.approx(done.quality + 20)


@pytest.mark.usefixtures("tiny_weights")
def test_alpha_gray_depth_and_the_highest_quality() -> None:
    rgb = photographs(1, side=128)[0]
    rgba = np.dstack([rgb, np.arange(128 * 128, dtype=np.uint8).reshape(128, 128)])
    found = codec.decompress(codec.compress(rgba, roi=(3, 5, 30, 20)), as_="numpy")
    np.testing.assert_array_equal(found[..., 3], rgba[..., 3])
    assert codec.decompress(codec.compress(rgb[..., 0], roi=(3, 5, 30, 20))).mode == "L"
    deep = rgb.astype(np.uint16) * 257
    assert codec.inspect(codec.compress(deep, roi=(3, 5, 30, 20))).bit_depth == 16
    assert codec.compress(rgb, quality=100, roi=(0, 0, 9, 9)) == codec.compress(rgb, quality=100)
    assert codec.inspect(codec.compress(rgb, quality=90, roi=(0, 0, 9, 9))).quality == 100


@pytest.mark.usefixtures("tiny_weights")
def test_a_region_that_the_highest_quality_cuts_has_a_notice() -> None:
    rgb = photographs(1, side=128)[0]
    for quality, notices in ((80, 0), (81, 1), (100, 1)):
        done = codec.compress_to_file(rgb, io.BytesIO(), quality=quality, roi=(0, 0, 9, 9))
        assert len(done.notices) == notices
        for notice in done.notices:
            assert f"which is {100 - quality} above the rest and not 20" in notice


@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize("roi", [(100, 0, 29, 5), (0, 127, 5, 2), (500, 500, 1, 1)])
def test_a_region_outside_is_refused(roi: tuple[int, ...]) -> None:
    with pytest.raises(codec.UsageError, match="not inside the image of 128×128"):
        codec.compress(photographs(1, side=128)[0], roi=roi)


@pytest.mark.parametrize(
    "roi",
    [(), (1, 2, 3), (-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 5, 5, 0), (0, 0, 5, 5, 100), 7, "1,2,3,4",
     (1, 2, 3, 4, 5, 6), (0, 0, 5.0, 5), (0, 0, 10**400, 5), (True, 0, 5, 5), [None] * 4],
    ids=str,
)  # fmt: skip
def test_what_is_no_region(roi: Any) -> None:
    with pytest.raises(codec.UsageError, match="roi"):
        CompressOptions(roi=roi)


@pytest.mark.parametrize("name", [model.name for model in all_models() if model.lossless])
def test_a_lossless_model_has_no_region(name: str) -> None:
    with pytest.raises(codec.UsageError, match="roi was given"):
        CompressOptions(roi=ROI, model=name)


def test_numbers_of_numpy_are_taken() -> None:
    assert CompressOptions(roi=np.array([1, 2, 3, 4])).roi == (1, 2, 3, 4, 20)  # type: ignore[arg-type]


@pytest.mark.usefixtures("tiny_weights")
def test_the_command(tmp_path: Path) -> None:
    rgb = photographs(1, side=128)[0]
    Image.fromarray(rgb).save(tmp_path / "a.png")
    runner = CliRunner()
    done = runner.invoke(app, ["compress", str(tmp_path / "a.png"), "--roi", "8,9,50,40:15"])
    assert done.exit_code == 0, done.output
    expected = codec.compress(rgb, roi=(8, 9, 50, 40, 15))
    assert (tmp_path / "a.calo").read_bytes() == expected
    for text in ("1,2,3", "1,2,3,4:", "1,2,3,4:-5", "1,2,3,4:5:6", "a,b,c,d", "0,0,5,5:200"):
        wrong = runner.invoke(app, ["compress", str(tmp_path / "a.png"), "-f", "--roi", text])
        assert wrong.exit_code == 2, text
        assert "roi" in wrong.stderr
    assert parse_roi(" 1,2,3,4 : 5 ") == (1, 2, 3, 4, 5)
