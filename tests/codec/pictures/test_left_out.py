"""Content of a file that a .calo file cannot hold is named in notices."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from codec.pictures.read import picture_from
from tests.codec.pictures.png_by_hand import chunk
from tests.codec.pictures.test_passed_over import box, jp2
from tests.codec.pictures.test_side_data import RGB, png_with, tiff_with

C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
CREDENTIALS = "the content credentials (C2PA) were left out: they hold for the source only"
FILM = "the film of a motion photo was left out: a .calo file holds one image"
IPTC = b"8BIM\4\4" + struct.pack(">HI", 0, 5) + b"\x1c\2\5\0\0"  # as a resource of Photoshop
MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(12)


def saved(format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format_name, **options)
    return buffer.getvalue()


def jpeg(*segments: tuple[int, bytes], tail: bytes = b"", **options: object) -> bytes:
    data = saved("JPEG", **options)
    more = b"".join(
        struct.pack(">BBH", 0xFF, 0xE0 + number, 2 + len(content)) + content
        for number, content in segments
    )
    return data[:2] + more + data[2:] + tail


def webp(kind: bytes, content: bytes) -> bytes:
    more = kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    data = saved("WEBP") + more
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def icon(bits: int) -> bytes:
    """An icon of 4×4 pixels with its mask; except for one byte it is a cursor as well."""
    head = struct.pack("<IiiHHI20x", 40, 4, 8, 1, bits, 0)
    picture = head + bytes(4 * 4 * bits // 8) + 4 * b"\xf0\0\0\0"
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 4, 4, 0, 0, 1, bits, len(picture), 22) + picture


def short(tag: int) -> bytes:
    return tiff_with(0, **{f"t{tag}": (3, 1, b"\1\0\0\0")})


LEFT_OUT: dict[str, tuple[Callable[[], bytes], str]] = {
    **{
        f"tag {tag}": (lambda tag=tag: short(tag), notice)  # type: ignore[misc]
        for tag, notice in {
            33550: "the place on a map (GeoTIFF) was left out",
            34735: "the place on a map (GeoTIFF) was left out",
            37724: "the layers of Photoshop were left out: a .calo file holds one image",
            52545: CREDENTIALS,
            301: "the transfer function of the TIFF was left out",
            42112: "the metadata of GDAL were left out",
            50839: "the metadata of ImageJ were left out",
            318: "the white point or primaries of the TIFF were left out: only both are kept",
        }.items()
    },
    "IPTC in TIFF": (
        lambda: saved("TIFF", tiffinfo={34377: IPTC}),
        "the IPTC metadata were left out: a .calo file holds ICC, EXIF and XMP",
    ),
    "a part of a profile": (
        lambda: jpeg((2, b"ICC_PROFILE\0\1\2abc")),
        "the ICC profile was left out: it cannot be read",
    ),
    "the mask of a cursor": (
        lambda: b"\0\0\2" + icon(24)[3:],
        "the transparency of the cursor was left out: Pillow does not read it",
    ),
    "extended XMP": (
        lambda: jpeg((1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(99))),
        "the extended XMP was left out: only the first packet is kept",
    ),
    "credentials of JPEG": (lambda: jpeg((11, b"JP" + bytes(9) + b"jumdc2pa")), CREDENTIALS),
    "credentials of PNG": (lambda: png_with(chunk(b"caBX", b"x")), CREDENTIALS),
    "credentials of WebP": (lambda: webp(b"C2PA", b"abc"), CREDENTIALS),
    "credentials of AVIF": (lambda: saved("AVIF") + box(b"uuid", C2PA + b"x"), CREDENTIALS),
    "credentials of JPEG 2000": (lambda: jp2(None, box(b"jumb", b"jumdc2pa")), CREDENTIALS),
    "a film": (lambda: jpeg(tail=bytes(2**20 - 400) + MP4), FILM),
    "a film that XMP announces": (lambda: jpeg(tail=MP4, xmp=b'<x GCamera:MicroVideo="1"/>'), FILM),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_has_no_place_is_named(name: str) -> None:
    make, notice = LEFT_OUT[name]
    assert picture_from(make()).notices == (notice,)


NOTHING: dict[str, Callable[[], bytes]] = {
    "IPTC in TIFF that is kept": lambda: saved("TIFF", tiffinfo={33723: IPTC[12:], 34377: IPTC}),
    "another resource in TIFF": lambda: saved("TIFF", tiffinfo={34377: b"8BIM\3\xed" + bytes(6)}),
    "the mask of an icon": lambda: icon(24),
    "a cursor with alpha": lambda: b"\0\0\2" + icon(32)[3:],
    "another segment": lambda: jpeg((11, b"JP" + b"jumb"), (1, b"http://another\0")),
    "other bytes behind a JPEG": lambda: jpeg(tail=b"ftyp" * 99),
    "XMP of a film that is not there": lambda: jpeg(xmp=b'<x GCamera:MotionPhoto="1"/>'),
    "another box": lambda: saved("AVIF") + box(b"uuid", bytes(99)),
    "another chunk": lambda: webp(b"abcd", b"x"),
    "a cut chunk": lambda: saved("WEBP") + b"C2P",
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_nothing_of_these(name: str) -> None:
    assert picture_from(NOTHING[name]()).notices == ()


def test_a_film_whose_file_is_closed() -> None:
    with io.BytesIO(jpeg(xmp=b'<x GCamera:MotionPhoto="1"/>')) as file:
        image = Image.open(file)
        image.load()
    assert picture_from(image).notices == (FILM,)
    np.testing.assert_array_equal(picture_from(image).pixels, np.asarray(image))
