"""A caller's image is coded as it is, stays as it is, and its file says how deep it was."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitstream import InputError
from codec.pictures.read import picture_from

imagecodecs = pytest.importorskip("imagecodecs")

FRAMES = [Image.new("RGB", (24, 16), colour) for colour in ("red", "lime", "blue")]


def pages(format_name: str) -> bytes:
    buffer = io.BytesIO()
    FRAMES[0].save(buffer, format_name, save_all=True, append_images=FRAMES[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("format_name", ["TIFF", "GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("frame", [0, 1, 2])
@pytest.mark.parametrize("is_path", [False, True])
def test_painted_frames(format_name: str, frame: int, is_path: bool, tmp_path: Path) -> None:
    path = tmp_path / "pages"
    path.write_bytes(pages(format_name))
    with Image.open(path if is_path else io.BytesIO(path.read_bytes())) as image:
        image.seek(frame)
        image.load()
        image.paste(0, (0, 0, 5, 7))
        before = np.asarray(image.convert("RGB"))
        picture = picture_from(image)
        np.testing.assert_array_equal(picture.pixels, before)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), before)
        assert image.tell() == frame
        assert picture.notices[0].startswith(f"frame {frame + 1} of 3 was taken")


def test_an_animation_that_was_cut() -> None:
    data = pages("GIF")
    cut = data[: len(data) - 8]
    with Image.open(io.BytesIO(cut)) as image:
        picture = picture_from(image)
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(picture_from(cut).pixels, picture.pixels)


def test_a_file_object_stays_at_its_place() -> None:
    with Image.open(io.BytesIO(pages("TIFF"))) as image:
        image.seek(1)
        assert image.fp is not None
        place = image.fp.tell()
        picture_from(image)
        image.seek(2)
        assert image.convert("RGB").getpixel((0, 0)) == (0, 0, 255)
        assert place >= 0


def deep(format_name: str) -> bytes:
    samples = np.random.default_rng(4).integers(0, 1024, (16, 24, 3), dtype=np.uint16)
    if format_name == "AVIF":
        return bytes(imagecodecs.avif_encode(samples, bitspersample=10, level=90))
    return bytes(imagecodecs.jpeg2k_encode(samples, bitspersample=10, codecformat="jp2"))


@pytest.mark.parametrize("format_name", ["AVIF", "JPEG2000"])
@pytest.mark.parametrize("is_path", [False, True])
def test_depth_of_images_that_are_not_loaded(
    format_name: str, is_path: bool, tmp_path: Path
) -> None:
    path = tmp_path / "deep"
    path.write_bytes(deep(format_name))
    with Image.open(path if is_path else io.BytesIO(path.read_bytes())) as image:
        assert image.format == format_name
        for keep_depth in (False, True):
            with pytest.raises(InputError, match="10 bits per channel"):
                picture_from(image, keep_depth=keep_depth)
        assert picture_from(image, reduce_depth=True).bit_depth == 8


def test_depth_that_is_not_known_any_more_is_named() -> None:
    with Image.open(io.BytesIO(deep("JPEG2000"))) as image:
        image.load()
        notices = picture_from(image).notices
    assert notices == (
        "Pillow reads JPEG2000 at 8 bits, and whether the file has more is not known any more: "
        "give its path or bytes",
    )
    # Copies and new images have no format, and nothing that could be lost.
    assert picture_from(FRAMES[0]).notices == ()


def test_a_path_that_holds_another_picture_by_now(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    FRAMES[0].save(path)
    with Image.open(path) as image:
        image.load()
        Image.new("I;16", (3, 3)).save(path)
        picture = picture_from(image)
    assert picture.pixels.shape == (16, 24, 3)
    assert picture.bit_depth == 8
