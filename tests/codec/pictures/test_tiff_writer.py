"""TIFF output: the pixels are the picture's, whatever EXIF says, and EXIF is kept completely."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.pictures.bands import Bands, bands_of
from codec.pictures.orientation import read_orientation
from codec.pictures.picture import Picture
from codec.pictures.read import picture_from
from codec.pictures.save import save_bands

tifffile = pytest.importorskip("tifffile")  # which scikit-image brings

RGB = np.random.default_rng(2).integers(0, 256, (64, 48, 3), dtype=np.uint8)
NOTE = b"a maker's note that no library understands"


def exif(order: str, *entries: tuple[int, int, int, bytes], tail: bytes = b"") -> bytes:
    """An EXIF stream: entries (tag, type, count, 4 bytes), then a tail after the directory."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in sorted(entries):
        body += struct.pack(order + "HHI", tag, kind, count) + value
    return head + body + bytes(4) + tail


def camera(order: str) -> bytes:
    """EXIF as cameras write it: descriptions, then directories of EXIF and GPS."""

    def long(value: int) -> bytes:
        return struct.pack(order + "I", value)

    def short(value: int) -> bytes:
        return struct.pack(order + "HH", value, 0)

    place = 8 + 2 + 6 * 12 + 4
    details = struct.pack(order + "HHHI", 2, 0x829A, 5, 1) + long(place + 30 + 18)
    details += struct.pack(order + "HHI", 0x927C, 7, len(NOTE)) + long(place + 30 + 18 + 8)
    details += bytes(4)
    gps = struct.pack(order + "HHHI", 1, 1, 2, 2) + b"N\0\0\0" + bytes(4)
    assert (len(details), len(gps)) == (30, 18)
    tail = details + gps + struct.pack(order + "II", 1, 250) + NOTE
    return exif(
        order,
        (0x010F, 2, 4, b"Mak\0"),
        (0x0112, 3, 1, short(1)),
        (0x011A, 5, 1, long(place + 30 + 18)),
        (0x0100, 3, 1, short(20)),  # width, which is not that of this picture
        (0x8769, 4, 1, long(place)),
        (0x8825, 4, 1, long(place + 30)),
        tail=tail,
    )


def saved(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    assert save_bands(bands_of(picture), buffer, "TIFF") == ()
    return buffer.getvalue()


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_camera_photographs(order: str, bit_depth: int) -> None:
    pixels = RGB if bit_depth == 8 else RGB.astype(np.uint16) * 251
    data = saved(Picture(pixels, exif=camera(order), bit_depth=bit_depth))
    again = picture_from(data, keep_depth=True)
    np.testing.assert_array_equal(again.pixels, pixels)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    with Image.open(io.BytesIO(data)) as image:
        tags = image.getexif()
        assert tags[0x010F] == "Mak"
        assert tags.get_ifd(0x8769) == {0x829A: 1 / 250, 0x927C: NOTE}
        assert tags.get_ifd(0x8825)[1] == "N"


def test_what_a_tiff_says_of_its_document_comes_back() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "TIFF", tiffinfo={269: "a document", 285: "a page"})
    data = saved(picture_from(buffer.getvalue()))
    with Image.open(io.BytesIO(data)) as image:
        tags = image.getexif()
    assert (tags[269], tags[285]) == ("a document", "a page")


# Width, height, bits, compression, photometric, strips, samples, rows, counts, planes, predictor,
# extra samples, sample format: each with values that would break a file that obeyed them.
STRUCTURE = [256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 330, 338, 339, 347, 532]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [0, 2, 5, 6, 20, 65535])
def test_structure_tags_of_exif_stay_behind(value: int, order: str) -> None:
    entries = [(tag, 3, 1, struct.pack(order + "HH", value, 0)) for tag in STRUCTURE]
    data = saved(Picture(RGB, exif=exif(order, *entries)))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), RGB)


def test_values_outside_the_stream_stay_behind() -> None:
    far = struct.pack("<I", 10**6)
    entries = [
        (0x010F, 2, 400, far), (0x8769, 4, 1, far), (0x013B, 12, 1, far), (0x0132, 99, 4, b"abc\0")
    ]  # fmt: skip
    data = saved(Picture(RGB, exif=exif("<", *entries)))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), RGB)
        assert not {0x010F, 0x8769, 0x013B, 0x0132} & set(image.getexif())


@pytest.mark.parametrize("damaged", [b"", b"no TIFF", b"II+\0\x08\0\0\0" + bytes(40), b"II*\0"])
def test_damaged_exif_is_left_out_with_a_notice(damaged: bytes) -> None:
    buffer = io.BytesIO()
    notices = save_bands(bands_of(Picture(RGB, exif=damaged)), buffer, "TIFF")
    assert notices == ("the EXIF was left out: it is damaged",)
    np.testing.assert_array_equal(picture_from(buffer.getvalue()).pixels, RGB)


def test_an_applied_orientation_is_not_applied_again() -> None:
    turned = exif("<", (0x0112, 3, 1, b"\6\0\0\0"), (0x0100, 3, 1, b"\x30\0\0\0"))
    upright = picture_from(Picture(RGB, exif=turned), apply_orientation=True)
    assert upright.pixels.shape == (48, 64, 3)
    again = picture_from(saved(upright))
    np.testing.assert_array_equal(again.pixels, upright.pixels)
    # If a tag stays, Pillow rotates what it reads.
    kept = picture_from(saved(Picture(RGB, exif=turned)))
    np.testing.assert_array_equal(kept.pixels, upright.pixels)


XMP = "<x xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation='{}'/>"
ODD_ORIENTATIONS = {
    "a byte": [(0x0112, 1, 1, b"\6\0\0\0")],
    "a long": [(0x0112, 4, 1, b"\6\0\0\0")],
    "bytes": [(0x0112, 1, 4, b"\6\3\3\3")],
    "two shorts": [(0x0112, 3, 2, b"\6\0\3\0")],
    "two entries": [(0x0112, 3, 1, b"\6\0\0\0"), (0x0112, 3, 1, b"\7\0\0\0")],
    "two entries, the first of text": [
        (0x0112, 2, 1, b"\3\0\0\0"), (0x0112, 3, 1, b"\6\0\0\0"),
    ],
    "shorts elsewhere": [(0x0112, 3, 3, b"\6\0\0\0")],
    "shorts outside the stream": [(0x0112, 3, 1000, b"\6\0\0\0")],
    "a float": [(0x0112, 11, 1, struct.pack("<f", 6))],
    "no orientation": [(0x0112, 3, 1, b"\x09\0\0\0")],
    "none": [],
}  # fmt: skip


@pytest.mark.parametrize("xmp", [None, XMP.format(8).encode()], ids=["alone", "beside XMP"])
@pytest.mark.parametrize("name", ODD_ORIENTATIONS)
def test_a_tiff_shows_the_orientation_that_is_read(name: str, xmp: bytes | None) -> None:
    picture = Picture(RGB, exif=exif("<", *ODD_ORIENTATIONS[name]), xmp=xmp)
    stated = read_orientation(picture.exif, xmp)
    assert stated in ((1, 6) if xmp is None else (6, 8))
    upright = picture_from(picture, apply_orientation=True)
    assert read_orientation(upright.exif, upright.xmp) == 1
    data = saved(picture)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[0x0112]
        assert (tag.dtype, tag.count, tag.value) == (3, 1, stated)
    for option in (False, True):
        again = picture_from(data, apply_orientation=option)
        np.testing.assert_array_equal(again.pixels, upright.pixels)
        assert read_orientation(again.exif, again.xmp) == 1


def test_orientation_of_a_tiff_goes_before_its_xmp() -> None:
    upright = exif("<", (0x0112, 3, 1, b"\1\0\0\0"))
    data = saved(Picture(RGB, exif=upright, xmp=XMP.format(6).encode()))
    again = picture_from(data, apply_orientation=True)
    np.testing.assert_array_equal(again.pixels, RGB)
    assert again.xmp == XMP.format(1).encode()


@pytest.mark.parametrize("height", [1, 1820, 1821, 4000])
def test_strips_of_any_number(height: int) -> None:
    # 2^18 bytes of 48·3 are 1820 rows.
    pixels = np.random.default_rng(height).integers(0, 256, (height, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(picture_from(saved(Picture(pixels))).pixels, pixels)


def test_bands_of_uneven_height_make_strips_of_even_height() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5000, 60, 1), dtype=np.uint8)
    cuts = [0, 1, 7, 4444, 5000]
    pieces = ((pixels[a:b], None) for a, b in itertools.pairwise(cuts))
    buffer = io.BytesIO()
    save_bands(Bands(60, 5000, 1, False, pieces), buffer, "TIFF")
    np.testing.assert_array_equal(picture_from(buffer.getvalue()).pixels, pixels)


def test_a_file_object_may_stand_anywhere_or_be_unable_to_seek() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *arguments: Any) -> int:
            raise io.UnsupportedOperation("seek")

    pipe, later = Pipe(), io.BytesIO(b"before")
    later.seek(6)
    for fo in (pipe, later):
        save_bands(bands_of(Picture(RGB)), fo, "TIFF")
    assert later.getvalue() == b"before" + pipe.getvalue()
    np.testing.assert_array_equal(picture_from(pipe.getvalue()).pixels, RGB)
