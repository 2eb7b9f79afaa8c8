"""Image.open and Image.save for .calo files."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageSequence, UnidentifiedImageError

import codec
import codec.plugins.pillow
from bitstream import SIGNATURE, UsageError
from codec.pictures.read import picture_from
from tests.codec.tiny_layers import DATA, Blocks, pixels_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def photo(tiny_weights: Path, photograph: Any) -> Image.Image:
    return Image.fromarray(photograph)


def saved(image: Image.Image, **options: Any) -> bytes:
    fo = io.BytesIO()
    image.save(fo, "CALO", **options)
    return fo.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_there_and_back(photo: Image.Image, tmp_path: Path, mode: str) -> None:
    image = photo.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    path = tmp_path / "photo.calo"
    image.save(path)
    assert path.read_bytes() == saved(image) == codec.compress(image)
    with Image.open(path) as back:
        assert (back.format, back.mode, back.size) == ("CALO", mode, (64, 48))
        assert back.get_format_mimetype() == "image/x-calotype"
        expected = codec.decompress(path, as_="numpy")
        assert np.array_equal(np.asarray(back), expected)
        if mode.endswith("A"):
            assert back.getchannel("A").tobytes() == image.getchannel("A").tobytes()
        assert [frame.size for frame in ImageSequence.Iterator(back)] == [(64, 48)]
    with Image.open(io.BytesIO(path.read_bytes())) as back:
        assert back.convert("RGB").resize((8, 6)).getpixel((0, 0)) is not None


def test_opening_reads_the_header_only_and_loads_no_torch(
    photo: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "x.calo"
    photo.save(path)
    code = (
        "import sys, codec.plugins.pillow\n"
        "from PIL import Image\n"
        "with Image.open(sys.argv[1]) as image:\n"
        "    assert (image.size, image.mode) == ((64, 48), 'RGB')\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)


def test_files_that_opening_would_not_find_without_the_plugin(tmp_path: Path) -> None:
    assert Image.registered_extensions()[".calo"] == "CALO"
    assert Image.MIME["CALO"] == "image/x-calotype"
    for content in (b"", b"no image at all", b"\xc3ALO\n rest", SIGNATURE[:5]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(content))
    # The signature decides, not the name.
    Image.new("L", (2, 2)).save(tmp_path / "x.calo", "PNG")
    with Image.open(tmp_path / "x.calo") as image:
        assert image.format == "PNG"
    with pytest.raises(SyntaxError, match=r"not a \.calo file"):
        codec.plugins.pillow.CaloImageFile(io.BytesIO(b"something else"))


def test_options_are_those_of_the_library(photo: Image.Image) -> None:
    assert saved(photo, quality=20, effort=3) == codec.compress(photo, quality=20, effort=3)
    assert saved(photo, size=1500, optimize=True) == codec.compress(photo, size=1500)
    for options, message in (
        ({"quality": 0}, "expected 1 .. 100"),
        ({"quality": "keep"}, "expected a finite number"),
        ({"quality": 50, "bpp": 1.0}, "only one of them"),
    ):
        with pytest.raises(ValueError, match=message):
            saved(photo, **options)
    with pytest.raises(OSError, match="'vapor' is unknown"):
        saved(photo, model="vapor")
    deep = Image.new("I;16", (8, 8), 40000)
    with pytest.raises(OSError, match="reduce_depth=True"):
        saved(deep, model="draw")
    with Image.open(io.BytesIO(saved(deep))) as back:
        assert back.mode == "I;16"
    with Image.open(io.BytesIO(saved(deep, reduce_depth=True))) as back:
        assert back.mode == "L"


def test_a_score_is_a_target_as_well(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ssimulacra2")
    assert saved(photo, ssimulacra2=5) == codec.compress(photo, ssimulacra2=5)
    with pytest.raises(ValueError, match=r"give a smaller target, or instead --max-error N"):
        saved(photo, ssimulacra2=99)
    monkeypatch.setattr("codec.system.missing_extra.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="install the extra 'metrics'"):
        saved(photo, ssimulacra2=5)


def test_notices_are_logged(photo: Image.Image, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codec"):
        saved(photo.convert("CMYK"))
    assert "CMYK was converted to RGB" in caplog.text


def test_a_failure_leaves_no_file(photo: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="quality 101"):
        photo.save(tmp_path / "x.calo", quality=101)
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_kept_replaced_or_left_out(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010E] = "words"
    photo.info.update(icc_profile=b"colours", xmp=b"<x/>", exif=exif.tobytes())
    with Image.open(io.BytesIO(saved(photo))) as kept:
        assert (kept.info["icc_profile"], kept.info["xmp"]) == (b"colours", b"<x/>")
        assert kept.getexif()[0x010E] == "words"
        # An image that was opened here can be saved elsewhere.
        fo = io.BytesIO()
        kept.save(fo, "PNG", exif=kept.info["exif"])
        with Image.open(fo) as png:
            assert png.getexif()[0x010E] == "words"
            assert png.info["icc_profile"] == b"colours"
    exif[0x010E] = "other"
    data = saved(photo, icc_profile=b"new", xmp="<y/>", exif=exif)
    with Image.open(io.BytesIO(data)) as replaced:
        assert (replaced.info["icc_profile"], replaced.info["xmp"]) == (b"new", b"<y/>")
        assert replaced.getexif()[0x010E] == "other"
    for options in ({"strip": True}, {"icc_profile": None, "xmp": None, "exif": None}):
        with Image.open(io.BytesIO(saved(photo, **options))) as bare:
            assert not {"icc_profile", "xmp", "exif"} & set(bare.info)
    exif[0x0112] = 6
    with Image.open(io.BytesIO(saved(photo, exif=exif, apply_orientation=True))) as turned:
        assert turned.size == (48, 64)


def test_the_density_is_replaced_or_left_out(photo: Image.Image) -> None:
    fo = io.BytesIO()
    photo.save(fo, "PNG", dpi=(200, 100))
    with Image.open(fo) as source:
        for options, dpi in (
            ({}, (200, 100)),
            ({"dpi": (300, 72.5)}, (300, 72.5)),
            ({"dpi": [96, 96]}, (96, 96)),
            ({"dpi": None}, None),
            ({"dpi": (300, 300), "strip": True}, None),
        ):
            with Image.open(io.BytesIO(saved(source, **options))) as image:
                found = image.info.get("dpi")
            assert found == (None if dpi is None else pytest.approx(dpi, rel=1e-3))
        for odd in ("72", 300, (300,), (300, "x"), (0, 300), (float("nan"), 300), (10**400, 1)):
            with pytest.raises(UsageError, match=r"dpi .* was given, expected two numbers"):
                saved(source, dpi=odd)


@pytest.mark.parametrize("name", ["icc_profile", "exif", "xmp"])
def test_metadata_that_are_no_bytes(photo: Image.Image, name: str) -> None:
    for value in (5, [b"x"], 0.5):
        with pytest.raises(ValueError, match=f"{name} of type .* expected bytes"):
            saved(photo, **{name: value})
    with Image.open(io.BytesIO(saved(photo, **{name: memoryview(b"II*\0abcd")}))) as image:
        assert image.info[name].endswith(b"II*\0abcd")


def test_damaged_files_are_os_errors_that_say_what_is_wrong(photo: Image.Image) -> None:
    data = saved(photo)
    with pytest.raises(OSError, match="CRC-32") as caught:
        Image.open(io.BytesIO(data[:15] + b"\xff" + data[16:]))
    assert isinstance(caught.value.__cause__, codec.StreamError)
    with pytest.raises(OSError, match="the file ends"):
        Image.open(io.BytesIO(data[:40]))
    with Image.open(io.BytesIO(data[:-1])) as cut, pytest.raises(OSError, match="the file ends"):
        cut.load()


def test_missing_weights_are_told_when_the_image_is_loaded(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = saved(photo)
    monkeypatch.setenv("CALOTYPE_WEIGHTS", str(tmp_path))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (64, 48)
        with pytest.raises(OSError, match=r"weights .* are not installed"):
            image.load()


def test_verify_finds_what_is_damaged_or_missing(photo: Image.Image) -> None:
    data = saved(photo)
    Image.open(io.BytesIO(data)).verify()
    for broken in (data[:-9], data[:-1], data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]):
        with pytest.raises(OSError, match=r"damaged|ends|cut|checksum|CRC"):
            Image.open(io.BytesIO(broken)).verify()


def test_a_cut_file_gives_its_layers_where_pillow_is_told_so(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cut = DATA[:-60]
    with Image.open(io.BytesIO(cut)) as image:
        assert (image.size, image.mode) == ((150, 100), "RGBA")
        with pytest.raises(OSError, match="the file ends"):
            image.load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(cut)) as image:
        assert np.array_equal(np.asarray(image), pixels_of(DATA, layers=2))
    assert "2 of 3 layers were decoded" in caplog.text


def test_the_library_reads_its_own_files_as_images(photo: Image.Image) -> None:
    data = saved(photo)
    again = picture_from(data)
    assert np.array_equal(again.pixels, codec.decompress(data, as_="numpy"))


def test_a_file_can_be_saved_over_itself(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "x.calo"
    photo.save(path)
    with Image.open(path) as image:
        image.load()
        image.save(path, quality=10)
    assert codec.inspect(path).quality == 10


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    total = 0

    def read(self, count: int | None = -1) -> bytes:
        data = super().read(count)
        self.total += len(data)
        return data


@pytest.fixture
def layered(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """A file of six tiles."""
    monkeypatch.setattr("codec.loading.load_model", lambda *_, **__: Blocks())
    return Counting(DATA)


@pytest.mark.parametrize("box", [(3, 5, 40, 44), (0.4, 0.6, 63.5, 20.2), (100, 70, 150, 100)])
def test_a_crop_reads_only_its_tiles(
    layered: Counting, box: tuple[float, float, float, float]
) -> None:
    with Image.open(io.BytesIO(DATA)) as image:
        image.load()
        expected = image.crop(box)
    with Image.open(layered) as image:
        layered.total = 0
        part = image.crop(box)
        assert image.tile  # not loaded
        assert (part.mode, part.size, part.info) == (expected.mode, expected.size, image.info)
        assert part.tobytes() == expected.tobytes()
        assert layered.total < 0.9 * len(DATA)
        # The image itself can be loaded as before.
        assert image.crop((0, 0, *image.size)).size == image.size
        np.testing.assert_array_equal(np.asarray(image), pixels_of(DATA))


def test_crops_that_need_the_whole_image(layered: Counting) -> None:
    width, height = 150, 100
    with Image.open(layered) as image:
        for box in ((-5, 0, 20, 20), (0, 0, width + 1, 5), (4, 4, 4, 9), None):
            assert image.tile or box != (-5, 0, 20, 20)
            part = image.crop(box)
            assert part.size == (image.size if box is None else (box[2] - box[0], box[3] - box[1]))
    with Image.open(layered) as image:
        crops = 0
        while image.tile:
            image.crop((0, 0, width // 2, height))
            crops += 1
        assert crops == 3  # two cost as much as the image, so the third loads it


def test_a_crop_of_a_damaged_file(layered: Counting) -> None:
    damaged = bytearray(DATA)
    damaged[-20] ^= 1  # in the last tile
    with Image.open(io.BytesIO(bytes(damaged))) as image:
        assert image.crop((0, 0, 20, 20)).size == (20, 20)
        with pytest.raises(OSError, match="damaged"):
            image.crop((100, 70, 150, 100))


def test_a_parser_that_is_fed_piece_by_piece(photo: Image.Image) -> None:
    data = saved(photo)
    parser = ImageFile.Parser()
    for start in range(0, len(data), 100):
        parser.feed(data[start : start + 100])
    assert np.array_equal(np.asarray(parser.close()), codec.decompress(data, as_="numpy"))
    parser = ImageFile.Parser()
    parser.feed(data[:-9])
    with pytest.raises(OSError, match="the file ends"):
        parser.close()


def test_xmp_that_no_encoding_holds(photo: Image.Image) -> None:
    with pytest.raises(UsageError, match="xmp has no UTF-8"):
        saved(photo, xmp="\udc80")
