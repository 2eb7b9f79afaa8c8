"""Every kind of image becomes a picture, and nothing is lost without a notice."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from bitstream import InputError, UsageError, limits
from codec.pictures.picture import Picture, to_numpy, to_pil, to_torch
from codec.pictures.read import has_image_suffix, picture_from

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def png_bytes(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def check(picture: Picture, colours: npt.NDArray[Any], alpha: npt.NDArray[Any] | None) -> None:
    expected = colours if colours.ndim == 3 else colours[..., None]
    assert np.array_equal(picture.pixels, expected)
    if alpha is None:
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        assert np.array_equal(picture.alpha, alpha)


def test_plain_modes() -> None:
    check(picture_from(Image.fromarray(RGB)), RGB, None)
    check(picture_from(Image.fromarray(GRAY)), GRAY, None)
    check(picture_from(Image.fromarray(np.dstack([RGB, ALPHA]))), RGB, ALPHA)
    check(picture_from(Image.fromarray(np.dstack([GRAY, ALPHA]), "LA")), GRAY, ALPHA)
    check(picture_from(Image.fromarray(GRAY > 127)), (GRAY > 127) * 255, None)
    check(picture_from(Image.fromarray(RGB).convert("RGBX")), RGB, None)


@pytest.mark.parametrize("mode", sorted(["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB",
    "HSV", "LA", "PA", "RGBX", "RGBa", "La"]))  # fmt: skip
@pytest.mark.parametrize("size", [(1, 1), (3, 2)])
def test_every_8_bit_mode_is_taken(mode: str, size: tuple[int, int]) -> None:
    picture = picture_from(Image.new(mode, size))
    assert picture.pixels.shape[:2] == size[::-1]
    assert (picture.alpha is not None) == (mode in ("RGBA", "LA", "PA", "RGBa", "La"))
    assert bool(picture.notices) == (mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBa", "La"))


@pytest.mark.parametrize("alpha", [ALPHA, np.full_like(ALPHA, 255)], ids=["parts", "opaque"])
def test_colours_that_are_multiplied_by_alpha_are_named(alpha: npt.NDArray[Any]) -> None:
    rgba = np.dstack([RGB, alpha])
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "TIFF")
    apart, within = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    tiff = buffer.getvalue().replace(apart, within)
    multiplied = Image.fromarray(rgba).convert("RGBa")
    for source in (multiplied, tiff):
        notices = picture_from(source).notices
        assert [n.partition(":")[0] for n in notices] == (
            ["the colours were multiplied by alpha"] if alpha is ALPHA else []
        )
    check(picture_from(buffer.getvalue()), RGB, alpha)
    assert picture_from(buffer.getvalue()).notices == ()


def test_palettes() -> None:
    image = Image.fromarray(RGB).quantize(8)
    check(picture_from(image), np.asarray(image.convert("RGB")), None)
    data = png_bytes(image, transparency=3)
    index = np.asarray(image)
    check(
        picture_from(data),
        np.asarray(image.convert("RGB")),
        np.where(index == 3, 0, 255),
    )
    # One alpha for each entry of the palette.
    alphas = bytes(range(0, 256, 32))
    check(
        picture_from(png_bytes(image, transparency=alphas)),
        np.asarray(image.convert("RGB")),
        np.frombuffer(alphas, np.uint8)[index],
    )


def test_transparent_colours() -> None:
    gray = np.array([[10, 20], [30, 10]], np.uint8)
    picture = picture_from(png_bytes(Image.fromarray(gray), transparency=10))
    check(picture, gray, np.array([[0, 255], [255, 0]]))
    rgb = np.dstack([gray] * 3)
    picture = picture_from(png_bytes(Image.fromarray(rgb), transparency=(10, 10, 10)))
    check(picture, rgb, np.array([[0, 255], [255, 0]]))


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_transparent_colours_of_other_integers(kind: Any) -> None:
    gray = np.array([[10, 20], [30, 10]], np.uint8)
    clear = np.array([[0, 255], [255, 0]])
    image = Image.fromarray(gray)
    image.info["transparency"] = kind(10)
    check(picture_from(image), gray, clear)
    rgb = np.dstack([gray] * 3)
    for several in (tuple, list, np.array):
        image = Image.fromarray(rgb)
        image.info["transparency"] = several([kind(10)] * 3)
        check(picture_from(image), rgb, clear)
    image.info["transparency"] = [0.5, 1, 2]
    with pytest.raises(InputError, match="expected integers"):
        picture_from(image)


def test_colours_under_full_transparency_are_kept() -> None:
    check(picture_from(Image.fromarray(np.dstack([RGB, ALPHA * 0]))), RGB, np.zeros_like(ALPHA))


def test_cmyk_is_converted_with_a_notice() -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    picture = picture_from(image)
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert "without colour management" in picture.notices[0]
    image.info["icc_profile"] = b"not a profile"
    picture = picture_from(image)
    assert picture.icc is None
    assert "left out" in picture.notices[0]


def test_lab_loses_its_profile() -> None:
    lab = Image.new("LAB", (2, 2))
    lab.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert picture_from(lab).icc is None


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1)])
def test_arrays_round_trip(shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    again = to_numpy(picture_from(array))
    assert np.array_equal(again, array[..., 0] if shape[2:] == (1,) else array)


def test_sources(tmp_path: Path) -> None:
    data = png_bytes(Image.fromarray(RGB))
    path = tmp_path / "x.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)):
        check(picture_from(source), RGB, None)
    with Image.open(path) as image:
        check(picture_from(image), RGB, None)
    picture = picture_from(path)
    assert picture_from(picture) is picture


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"", InputError),
        (b"no image", InputError),
        (Path("/does/not/exist.png"), InputError),
        (Path(__file__).parent, InputError),
        (png_bytes(Image.fromarray(RGB))[:-30], InputError),
        (io.StringIO("text"), UsageError),
        (17, UsageError),
        (np.zeros((2, 2), np.int8), UsageError),
        (np.zeros((2, 2), bool), UsageError),
        (np.zeros((2, 2), complex), UsageError),
        (np.zeros(4, np.uint8), UsageError),
        (np.zeros((2, 2, 5), np.uint8), UsageError),
        (np.zeros((0, 2), np.uint8), UsageError),
    ],
)
def test_unusable_sources(source: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        picture_from(source)


def test_postscript_is_not_run() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    with pytest.raises(InputError, match="is EPS, not a picture"):
        picture_from(eps)


def test_too_many_pixels_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png_bytes(Image.fromarray(RGB))
    monkeypatch.setattr(limits, "MAX_PIXELS", 34)
    with pytest.raises(InputError, match="7×5 pixels"):
        picture_from(data[:60])  # the pixels are missing
    with pytest.raises(InputError):
        picture_from(RGB)


def test_first_frame_is_taken_with_a_notice() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    picture = picture_from(buffer.getvalue())
    check(picture, RGB, None)
    assert picture.notices == ("frame 1 of 2 was taken: a .calo file holds one image",)


def test_to_pil_and_to_torch() -> None:
    picture = Picture(RGB, ALPHA, icc=b"i", exif=b"e", xmp=b"x")
    image = to_pil(picture)
    assert image.mode == "RGBA"
    assert image.info == {"icc_profile": b"i", "exif": b"Exif\0\0e", "xmp": b"x"}
    tensor = to_torch(picture)
    assert tuple(tensor.shape) == (4, 5, 7)
    assert np.array_equal(tensor.numpy()[3], ALPHA)
    assert to_pil(Picture(GRAY[..., None])).mode == "L"
    assert to_pil(Picture(GRAY[..., None], ALPHA)).mode == "LA"
    assert tuple(to_torch(Picture(GRAY[..., None])).shape) == (1, 5, 7)


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (GRAY, None),
        (RGB.astype(np.uint16), None),
        (RGB[..., :2], None),
        (RGB[:0], None),
        (RGB, ALPHA[:2]),
        (RGB, ALPHA.astype(np.int16)),
    ],
)
def test_pictures_check_their_planes(pixels: Any, alpha: Any) -> None:
    with pytest.raises(UsageError, match="expected"):
        Picture(pixels, alpha)


def test_suffixes_of_images() -> None:
    for name in ("x.png", "X.JPG", "x.webp", "x.avif", "x.tif"):
        assert has_image_suffix(Path(name))
    for name in ("x", "x.txt", "x.pdf", "x.eps", "x.mpg", "png"):
        assert not has_image_suffix(Path(name))


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(InputError, match="is empty, expected an image"):
        picture_from(b"")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_device_without_a_size_is_not_called_empty() -> None:
    with pytest.raises(InputError, match="/dev/zero is not an image"):
        picture_from("/dev/zero")
