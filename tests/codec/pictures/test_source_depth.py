"""More than 8 bits are never reduced without the option for it."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bitstream import InputError
from codec.pictures.read import picture_from

DEEP = np.array([[0, 1, 128, 129], [256, 32768, 65406, 65535]], np.uint16)
# The nearest of 256 levels: value · 255 / 65535.
ROUNDED = np.rint(DEEP / 257).astype(np.uint8)


def png_16(colour_type: int, channels: int) -> bytes:
    """A 16-bit PNG of 2×1 pixels, which Pillow cannot write in colour."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        crc = zlib.crc32(kind + payload)
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)

    row = b"\0" + bytes(range(2 * 2 * channels))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, colour_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )


def tiff_16_rgb() -> bytes:
    """A TIFF of one RGB pixel with 16 bits per channel."""
    entries = [
        (256, 3, 1, 1),
        (257, 3, 1, 1),
        (258, 3, 3, 8),  # BitsPerSample, at byte 8
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 14),  # pixels, at byte 14
        (277, 3, 1, 3),
        (278, 3, 1, 1),
        (279, 4, 1, 6),
    ]
    body = struct.pack("<HHH", 16, 16, 16) + bytes(range(6))
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


FILES = {
    "gray png": png_16(0, 1),
    "gray and alpha png": png_16(4, 2),
    "rgb png": png_16(2, 3),
    "rgba png": png_16(6, 4),
    "rgb tiff": tiff_16_rgb(),
    "gray pgm": b"P5 2 1 65535\n" + bytes(4),
    "rgb ppm": b"P6 2 1 65535\n" + bytes(12),
    "10-bit rgb ppm": b"P6 2 1 1023\n" + bytes(12),
}


@pytest.mark.parametrize("name", FILES)
def test_deep_files_need_the_flag(name: str, tmp_path: Path) -> None:
    data = FILES[name]
    with pytest.raises(InputError, match=r"--reduce-depth \(reduce_depth=True\)"):
        picture_from(data)
    picture = picture_from(data, reduce_depth=True)
    assert picture.pixels.shape[2] == (3 if "rgb" in name else 1)
    assert any("reduced" in notice for notice in picture.notices)
    path = tmp_path / "deep"
    path.write_bytes(data)
    with Image.open(path) as image:
        image.load()  # after this, Pillow itself no longer knows the depth
        with pytest.raises(InputError, match="--reduce-depth"):
            picture_from(image)


@pytest.mark.parametrize(
    ("extension", "codestream"),
    [
        # JPEG 2000: SOC, SIZ with one component of 12 bits (Ssiz = 11).
        (
            "JPEG2000",
            b"\xff\x4f\xff\x51" + bytes(36) + b"\x00\x01" + b"\x0b\x01\x01",
        ),
        # AVIF: av1C with high_bitdepth.
        ("AVIF", b"....ftypavif....av1C\x81\x00\x40\x00"),
    ],
)
def test_headers_of_other_formats(extension: str, codestream: bytes) -> None:
    from codec.pictures.source_depth import source_bit_depth

    image = Image.new("RGB", (1, 1))
    image.format = extension
    shallow = codestream.replace(b"\x0b\x01\x01", b"\x07\x01\x01").replace(b"\x40\x00", b"\x00\x00")
    for before in (b"", b"x" * (2**20 - 2)):
        if before and extension == "AVIF":
            continue  # its headers are at the beginning
        file = io.BytesIO(before + codestream)
        file.seek(5)
        assert source_bit_depth(image, file) > 8
        assert file.tell() == 5
        assert source_bit_depth(image, io.BytesIO(before + shallow)) == 8


def test_8_bit_files_need_no_flag() -> None:
    for extension in ("PNG", "TIFF", "PPM", "JPEG", "WEBP", "AVIF", "JPEG2000", "BMP"):
        buffer = io.BytesIO()
        Image.new("RGB", (3, 2)).save(buffer, extension)
        assert picture_from(buffer.getvalue()).notices == ()


def test_packed_16_bit_bmp_is_not_deep() -> None:
    # 5 + 6 + 5 bits in 16: BITFIELDS, one pixel padded to 4 bytes.
    header = struct.pack("<IiiHHIIIIII", 40, 1, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    size = 14 + 40 + 12 + 4
    data = b"BM" + struct.pack("<IHHI", size, 0, 0, 66) + header + masks + b"\xff\xff\0\0"
    assert picture_from(data).pixels.tolist() == [[[255, 255, 255]]]


def test_16_bit_gray_is_rounded() -> None:
    for image in (Image.fromarray(DEEP), Image.fromarray(DEEP.astype(np.int32))):
        with pytest.raises(InputError, match="--reduce-depth"):
            picture_from(image)
        assert np.array_equal(picture_from(image, reduce_depth=True).pixels[..., 0], ROUNDED)


def test_16_bit_transparent_gray() -> None:
    image = Image.fromarray(DEEP)
    image.info["transparency"] = 32768
    alpha = picture_from(image, reduce_depth=True).alpha
    assert alpha is not None
    assert alpha.tolist() == [[255, 255, 255, 255], [255, 0, 255, 255]]


def test_integers_out_of_range() -> None:
    for values in ([[-1]], [[65536]]):
        with pytest.raises(InputError, match=r"expected 0 \.\. 65535"):
            picture_from(Image.fromarray(np.array(values, np.int32)), reduce_depth=True)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_of_16_bits(channels: int) -> None:
    deep = np.dstack([DEEP] * channels)
    with pytest.raises(InputError, match="reduce_depth=True"):
        picture_from(deep)
    picture = picture_from(deep, reduce_depth=True)
    assert np.array_equal(picture.pixels[..., 0], ROUNDED)
    assert (picture.alpha is not None) == (channels in (2, 4))
    if picture.alpha is not None:
        assert np.array_equal(picture.alpha, ROUNDED)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats(kind: npt.DTypeLike) -> None:
    array = np.array([[0, 0.5, 1]], kind)
    for reduce_depth in (False, True):
        picture = picture_from(array, reduce_depth=reduce_depth)
        assert picture.pixels.ravel().tolist() == [0, 128, 255]
    deep = picture_from(array, keep_depth=True, bit_depth=16)
    assert deep.pixels.ravel().tolist() == [0, 32768, 65535]
    reduced = picture_from(array, reduce_depth=True, bit_depth=12)
    assert reduced.pixels.ravel().tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_floats_out_of_range(value: float) -> None:
    with pytest.raises(InputError, match=r"0 \.\. 1"):
        picture_from(np.array([[value]]), reduce_depth=True)


def test_float_image() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.float32))
    with pytest.raises(InputError, match="--reduce-depth"):
        picture_from(image)
    assert picture_from(image, reduce_depth=True).pixels.ravel().tolist() == [0, 255]
