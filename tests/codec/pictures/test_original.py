"""A caller's image is coded as it is and is not changed, and its file tells its bit depth."""

from __future__ import annotations

import io
import struct
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


def said_of(image: Image.Image) -> tuple[object, ...]:
    """What a caller sees of an image besides its pixels."""
    exif = image.getexif()
    return dict(image.info), dict(exif), exif.get_ifd(0x8769), exif.get_ifd(0x8825)


def with_exif(image: Image.Image, format_name: str, **options: object) -> bytes:
    tags = Image.Exif()
    tags[271], tags[0x9003] = "Maker", "2026"
    tags.get_ifd(0x8769)[0x9003] = "2026"
    buffer = io.BytesIO()
    image.save(buffer, format_name, exif=tags, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format_name", ["TIFF", "JPEG", "PNG"])
@pytest.mark.parametrize("is_loaded", [False, True])
def test_what_an_image_says_stays(format_name: str, is_loaded: bool) -> None:
    with Image.open(io.BytesIO(with_exif(FRAMES[0], format_name))) as image:
        if is_loaded:
            image.load()
        before = said_of(image)
        picture_from(image)
        assert said_of(image) == before
        tags = image.getexif()
        tags[305] = object()  # which cannot be written
        picture = picture_from(image)
        assert tags[305] is image.getexif()[305]
        if format_name == "TIFF":
            assert "the EXIF tag 305 was left out: its value cannot be read" in picture.notices


@pytest.mark.parametrize("xmp", ["<x/>", (1.5, 2.5)], ids=repr)
def test_odd_xmp_of_an_image_stays(xmp: object) -> None:
    with Image.open(io.BytesIO(with_exif(FRAMES[0], "TIFF"))) as image:
        image.info["xmp"] = xmp
        picture = picture_from(image)
        assert image.info["xmp"] == xmp
        assert picture.xmp == (b"<x/>" if isinstance(xmp, str) else None)


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


def with_late_headers(avif: bytes) -> bytes:
    """An AVIF file with its pixels before its headers, as some writers make it."""
    shift, start, found = 2**17, 0, {}
    while start < len(avif):
        size, kind = struct.unpack_from(">I4s", avif, start)
        found[kind] = start, avif[start : start + size]
        start += size
    meta, moved = bytearray(found[b"meta"][1]), shift + len(found[b"ftyp"][1]) + 8
    place = meta.index(b"iloc") + 8  # version 0: places of 4 bytes, from the start of the file
    assert meta[place - 4 : place + 2] == b"\0\0\0\0\x44\0"
    (items,) = struct.unpack_from(">H", meta, place + 2)
    for item in range(items):
        at = place + 4 + 14 * item + 6
        old = struct.unpack_from(">I", meta, at)[0]
        struct.pack_into(">I", meta, at, old - found[b"mdat"][0] - 8 + moved)
    pixels = bytes(shift) + found[b"mdat"][1][8:]
    mdat = struct.pack(">I4s", 8 + len(pixels), b"mdat") + pixels
    return found[b"ftyp"][1] + mdat + bytes(meta)


def test_depth_of_avif_with_late_headers() -> None:
    data = with_late_headers(deep("AVIF"))
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(deep("AVIF"))) as plain:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(plain))
    with pytest.raises(InputError, match="10 bits per channel"):
        picture_from(data)


def test_depth_of_jpeg_2000_behind_bytes_that_look_like_pixels() -> None:
    data = deep("JPEG2000")
    shallow = b"\xff\x4f\xff\x51" + bytes(36) + b"\0\1\7\1\1"
    place = data.index(b"jp2c") - 4
    box = struct.pack(">I4s", 24 + len(shallow), b"uuid") + bytes(16) + shallow
    with pytest.raises(InputError, match="10 bits per channel"):
        picture_from(data[:place] + box + data[place:])


def dds(*masks: int) -> bytes:
    """A DDS file of 2×2 pixels of 32 bits, in which each channel has the bits of its mask."""
    flags = 0x40 | (len(masks) == 4)  # colours, and alpha
    form = struct.pack("<4I4I", 32, flags, 0, 32, *(*masks, 0)[:4])
    head = struct.pack("<7I44x", 124, 0x1007, 2, 2, 8, 0, 0) + form + struct.pack("<5I", *5 * [0])
    return b"DDS " + head + bytes(range(16))


def test_depth_of_dds_with_masks() -> None:
    assert picture_from(dds(0xFF0000, 0xFF00, 0xFF, 0xFF << 24)).bit_depth == 8
    for masks in ((0x3FF << 20, 0x3FF << 10, 0x3FF), (0x3FF, 0x3FF << 10, 0x3FF << 20, 3 << 30)):
        with pytest.raises(InputError, match="10 bits per channel"):
            picture_from(dds(*masks))
        (notice,) = picture_from(dds(*masks), reduce_depth=True).notices
        assert notice == "10 bits per channel were reduced to 8, by Pillow"


def test_depth_that_is_not_known_any_more_is_named() -> None:
    with Image.open(io.BytesIO(deep("JPEG2000"))) as image:
        image.load()
        notices = picture_from(image).notices
    assert notices == (
        "Pillow reads JPEG2000 at 8 bits, and whether the file has more is not known any more: "
        "give its path or bytes",
    )
    # Copies and new images have no format, and so nothing that could be lost.
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
