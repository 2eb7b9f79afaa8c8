"""Metadata in PSD, JPEG 2000, GIF and BMP that Pillow ignores."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec.pictures.orientation import read_orientation
from codec.pictures.picture import Picture
from codec.pictures.read import picture_from
from codec.pictures.side_chunks import dots_per_inch
from tests.codec.tiny import photographs

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
EXIF_UUID = b"JpgTiffExif->JP2"
IPTC_UUID = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
PIXELS = photographs(1, side=32)[0]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes().removeprefix(b"Exif\0\0")


def box(kind: bytes, content: bytes, *, long: bool = False) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def jp2(colour: bytes | None, *more: bytes) -> bytes:
    """A JPEG 2000 file with another colour box and further boxes before the pixels."""
    fo = io.BytesIO()
    Image.fromarray(PIXELS).save(fo, "JPEG2000", irreversible=False)
    data, start, out = fo.getvalue(), 0, b""
    while start < len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        stop = start + size if size else len(data)
        if kind == b"jp2h" and colour is not None:
            inner = data[start + 8 : stop]
            place = inner.index(b"colr") - 4
            length = int.from_bytes(inner[place : place + 4], "big")
            out += box(b"jp2h", inner[:place] + box(b"colr", colour) + inner[place + length :])
        elif kind == b"jp2c":
            out += b"".join(more) + data[start:stop]
        else:
            out += data[start:stop]
        start = stop
    return out


def psd(*resources: tuple[int, bytes]) -> bytes:
    """A PSD file of the picture, with image resources."""
    held = b""
    for number, data in resources:
        held += b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, *PIXELS.shape[:2], 8, 3)
    planes = PIXELS.transpose(2, 0, 1).tobytes()
    layers = struct.pack(">IH", 0, 0)
    whole: bytes = head + struct.pack(">II", 0, len(held)) + held + layers + planes
    return whole


@pytest.mark.parametrize(
    ("mode", "channels", "left_out"),
    [(1, 1, 0), (1, 2, 1), (3, 3, 0), (3, 4, 0), (3, 6, 3), (4, 4, 0), (4, 5, 1)],
)
def test_further_channels_of_psd_are_named(mode: int, channels: int, left_out: int) -> None:
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, *PIXELS.shape[:2], 8, mode)
    data = head + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 0)
    picture = picture_from(data + bytes(channels * PIXELS[..., 0].size))
    found = [notice for notice in picture.notices if "further channels" in notice]
    assert len(found) == (left_out > 0)
    expected = f"further channels of the PSD were left out ({left_out}): "
    assert all(notice.startswith(expected) for notice in found)


def check_pixels(picture: Picture) -> None:
    np.testing.assert_array_equal(picture.pixels, PIXELS)


@pytest.mark.parametrize("method", [2, 3])
@pytest.mark.parametrize("long", [False, True])
def test_jpeg_2000_keeps_its_metadata(method: int, long: bool) -> None:
    boxes = (
        box(b"uuid", bytes(16) + b"another"),
        box(b"uuid", XMP_UUID + XMP, long=long),
        box(b"uuid", EXIF_UUID + b"Exif\0\0" + exif(6)),
    )
    found = picture_from(jp2(bytes([method, 0, 0]) + ICC, *boxes))
    check_pixels(found)
    assert (found.icc, found.xmp, found.exif) == (ICC, XMP, exif(6))
    assert found.notices == ()
    assert read_orientation(found.exif, found.xmp) == 6


def test_jpeg_2000_without_metadata() -> None:
    for data in (jp2(None), jp2(None, box(b"uuid", XMP_UUID))):
        found = picture_from(data)
        check_pixels(found)
        assert (found.icc, found.xmp, found.exif, found.notices) == (None, None, None, ())
    fo = io.BytesIO()
    Image.fromarray(PIXELS).save(fo, "JPEG2000", irreversible=False, no_jp2=True)
    check_pixels(picture_from(fo.getvalue()))


def test_iptc_has_a_notice() -> None:
    for data in (jp2(None, box(b"uuid", IPTC_UUID + b"x")), psd((1028, b"\x1c\2\0\0\2"))):
        (notice,) = picture_from(data).notices
        assert notice.startswith("the IPTC metadata were left out")


def test_psd_keeps_its_metadata() -> None:
    found = picture_from(psd((1039, ICC), (1060, XMP), (1058, exif(1)), (1000, b"x")))
    check_pixels(found)
    assert (found.icc, found.xmp, found.exif, found.notices) == (ICC, XMP, exif(1), ())
    check_pixels(picture_from(psd()))


@pytest.mark.parametrize(("dpi", "kept"), [((300, 150), True), ((72, 72), False)])
def test_psd_keeps_its_density(dpi: tuple[int, int], kept: bool) -> None:
    resolution = struct.pack(">IHHIHH", dpi[0] << 16, 1, 1, dpi[1] << 16, 1, 1)
    found = dots_per_inch(picture_from(psd((1005, resolution))).ancillary)
    assert found == (pytest.approx(dpi, rel=1e-3) if kept else None)
    assert picture_from(psd((1005, resolution[:8]))).ancillary == ()


def gif(*extensions: bytes) -> bytes:
    """A GIF file with extensions before its picture."""
    fo = io.BytesIO()
    Image.fromarray(PIXELS).quantize(16).save(fo, "GIF")
    data = fo.getvalue()
    place = 13 + (3 << (data[10] & 7) + 1)
    return data[:place] + b"".join(extensions) + data[place:]


def blocks(data: bytes) -> bytes:
    pieces = [data[start : start + 255] for start in range(0, len(data), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


GIF_ICC = b"!\xff\x0bICCRGBG1012" + blocks(ICC)
GIF_XMP = b"!\xff\x0bXMP DataXMP" + XMP + b"\1" + bytes(range(255, -1, -1)) + b"\0"


def test_gif_keeps_its_metadata() -> None:
    plain = picture_from(gif())
    assert (plain.icc, plain.xmp) == (None, None)
    other = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    found = picture_from(gif(other, GIF_ICC, GIF_XMP))
    assert (found.icc, found.xmp, found.notices) == (ICC, XMP, ())
    np.testing.assert_array_equal(found.pixels, plain.pixels)


def bmp(profile: bytes, size: int) -> bytes:
    """A BMP file of version 5 with a profile, for which the header says `size` bytes."""
    height, width, _ = PIXELS.shape
    pixels = PIXELS[::-1, :, ::-1].tobytes()
    head = struct.pack("<IiiHHI20x", 124, width, height, 1, 24, 0)
    head += struct.pack("<16x4s48xIIII", b"DEBM", 4, 124 + len(pixels), size, 0)
    whole: bytes = b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + head + pixels
    return whole + profile


@pytest.mark.parametrize("size", [len(ICC), len(ICC) + 1, 2**32 - 1, 0])
def test_bmp_keeps_its_profile(size: int) -> None:
    found = picture_from(bmp(ICC, size))
    check_pixels(found)
    assert found.icc == (ICC if size == len(ICC) else None)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_boxes_cost_no_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = [box(b"uuid", XMP_UUID + XMP), box(b"uuid", rng.bytes(30))]
    boxes.insert(int(rng.integers(3)), struct.pack(">I4s", int(rng.integers(2**32)), b"uuid"))
    data = jp2(None, *boxes)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except OSError:
        return  # Pillow does not read it either
    check_pixels(picture_from(data))
