"""Files of more than 8 bits are read and written with all of their bits."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitstream import InputError, UsageError
from bitstream.arrays import SampleArray, Uint16Array
from codec.pictures.bands import bands_of
from codec.pictures.depth import rescale, to_eight_bits
from codec.pictures.picture import Picture, to_numpy
from codec.pictures.read import picture_from
from codec.pictures.save import save_bands

tifffile = pytest.importorskip("tifffile")  # which scikit-image brings
imagecodecs = pytest.importorskip("imagecodecs")


def noise(channels: int, bit_depth: int = 16, shape: tuple[int, int] = (45, 67)) -> Uint16Array:
    """Random samples, in which every value may occur; the first pixel is white."""
    rng = np.random.default_rng(channels)
    found = rng.integers(0, 2**bit_depth, (*shape, channels), dtype=np.uint16)
    found[0, 0] = 2**bit_depth - 1
    return found


def png(samples: SampleArray, sbit: int | None = None, clear: bytes | None = None) -> bytes:
    """A PNG of 16 bits made by hand: without filters, but with chunks that other writers omit."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        crc = zlib.crc32(kind + payload)
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)

    height, width, channels = samples.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + (chunk(b"sBIT", bytes([sbit] * channels)) if sbit else b"")
        + (chunk(b"tRNS", clear) if clear else b"")
        + chunk(b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes()))
        + chunk(b"IEND", b"")
    )


def interlaced(samples: SampleArray) -> bytes:
    """The same PNG interlaced, pass by pass (PNG, clause 8.2)."""
    height, width, _ = samples.shape
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2)]
    body = b""
    for top, down, left, right in [*passes, (1, 2, 0, 1)]:
        part = np.ascontiguousarray(samples[top::down, left::right].astype(">u2"))
        if part.size:
            rows = part.view(np.uint8).reshape(len(part), -1)
            body += np.pad(rows, ((0, 0), (1, 0))).tobytes()
    data = png(samples)
    head = data[16:28] + b"\x01"
    assert (height, width) == struct.unpack(">II", head[:8])[::-1]
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    packed = zlib.compress(body)
    return (
        data[:16]
        + head
        + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        + data[33:start]
        + struct.pack(">I", len(packed))
        + b"IDAT"
        + packed
        + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
        + data[end:]
    )


def ppm(samples: SampleArray, most: int) -> bytes:
    height, width, channels = samples.shape
    kind = 5 if channels == 1 else 6
    return b"P%d %d %d %d\n" % (kind, width, height, most) + samples.astype(">u2").tobytes()


def assert_holds(picture: Picture, samples: SampleArray, bit_depth: int) -> None:
    assert picture.bit_depth == bit_depth
    found = to_numpy(picture)
    np.testing.assert_array_equal(found, samples[..., 0] if samples.shape[2] == 1 else samples)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(channels: int, tmp_path: Path) -> None:
    samples = noise(channels)
    written = imagecodecs.png_encode(samples)  # with filters
    path = tmp_path / "deep.png"
    path.write_bytes(written)
    for source in (written, png(samples), interlaced(samples), path, io.BytesIO(written)):
        picture = picture_from(source, keep_depth=True)
        assert_holds(picture, samples, 16)
        assert picture.notices == ()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 15])
def test_png_that_names_its_bits(bits: int, channels: int) -> None:
    native = noise(channels, bits)
    shifted = native << (16 - bits)
    carried = {9: 10, 11: 12}.get(bits, bits if bits < 13 else 16)
    expected = rescale(native, bits, carried)
    for samples in (rescale(native, bits, 16), shifted, shifted | (shifted >> bits)):
        picture = picture_from(png(samples, sbit=bits), keep_depth=True)
        if carried < 16:
            assert_holds(picture, expected, carried)
        else:
            assert picture.bit_depth == 16
            np.testing.assert_array_equal(
                rescale(to_numpy(picture), 16, bits), native[..., 0] if channels == 1 else native
            )


def test_a_png_that_says_less_than_it_has_keeps_all() -> None:
    samples = noise(3)
    for sbit in (1, 8, 10, 12, 16, 255):
        assert_holds(picture_from(png(samples, sbit=sbit), keep_depth=True), samples, 16)


def test_a_transparent_colour() -> None:
    samples = noise(3)
    samples[3, 4] = samples[5, 6] = (1, 2, 0x1234)
    samples[7, 8] = (1, 2, 0x1235)
    picture = picture_from(png(samples, clear=struct.pack(">HHH", 1, 2, 0x1234)), keep_depth=True)
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha != 65535).tolist() == [[3, 4], [5, 6]]
    grey = samples[..., 2:]
    picture = picture_from(png(grey, clear=struct.pack(">H", 0x1235)), keep_depth=True)
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha == 0).tolist() == np.argwhere(grey[..., 0] == 0x1235).tolist()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiff(
    channels: int, compression: str | None, byteorder: str, tile: tuple[int, int] | None
) -> None:
    samples = noise(channels)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        samples[..., 0] if channels == 1 else samples,
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=compression,
        predictor=compression is not None,
        byteorder=byteorder,
        tile=tile,
    )
    assert_holds(picture_from(buffer.getvalue(), keep_depth=True), samples, 16)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_with_separate_channels_is_not_cut(compression: str | None) -> None:
    buffer = io.BytesIO()
    planes = np.moveaxis(noise(3), -1, 0)
    tifffile.imwrite(
        buffer, planes, photometric="rgb", planarconfig="separate", compression=compression
    )
    if compression is None:
        for options in ({}, {"keep_depth": True}, {"reduce_depth": True}):
            with pytest.raises(InputError, match="which Pillow reads as 8 bits: convert it to PNG"):
                picture_from(buffer.getvalue(), **options)
        return
    with pytest.raises(InputError, match=r"reduce_depth=True.* or convert it to PNG of 16 bits"):
        picture_from(buffer.getvalue(), keep_depth=True)
    reduced = picture_from(buffer.getvalue(), reduce_depth=True)
    np.testing.assert_array_equal(reduced.pixels, noise(3) >> 8)
    assert reduced.notices == ("16 bits per channel were reduced to 8, by Pillow",)


def test_tiff_with_signed_samples_is_refused() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.arange(-60, 60, dtype=np.int8).reshape(10, 12))
    with pytest.raises(InputError, match="signed samples of 8 bits"):
        picture_from(buffer.getvalue())
    with Image.open(buffer) as image, pytest.raises(InputError, match="signed samples"):
        picture_from(image)


@pytest.mark.parametrize("reduce_depth", [False, True])
def test_the_integers_of_a_tiff_of_32_bits_are_named_as_they_are(reduce_depth: bool) -> None:
    tifffile = pytest.importorskip("tifffile")
    for kind, values, shown in (
        ("uint32", [70_000, 2**32 - 1], "70000 .. 4294967295"),
        ("int32", [-5, 2**31 - 1], "-5 .. 2147483647"),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, np.array([values] * 2, kind))
        with pytest.raises(InputError, match=f"integers {shown}, expected"):
            picture_from(file.getvalue(), keep_depth=True, reduce_depth=reduce_depth)


def test_tiff_whose_0_is_white_is_no_negative() -> None:
    samples = noise(1)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples[..., 0], photometric="miniswhite")
    assert_holds(picture_from(buffer.getvalue(), keep_depth=True), 65535 - samples, 16)
    shallow = picture_from(buffer.getvalue(), reduce_depth=True)
    assert_holds(shallow, to_eight_bits(65535 - samples, 16), 8)


def test_floats_of_tiff_whose_0_is_white_are_no_negative() -> None:
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    for photometric, expected in (("minisblack", values), ("miniswhite", 1 - values)):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, values, photometric=photometric)
        found = picture_from(buffer.getvalue(), reduce_depth=True).pixels[..., 0]
        np.testing.assert_array_equal(found, (expected.astype(np.float64) * 255 + 0.5).astype("u1"))


@pytest.mark.parametrize("stated", [(), (0, 0), (1, 1)], ids=str)
def test_tiff_that_says_oddly_what_0_is(stated: tuple[int, ...]) -> None:
    samples = noise(1, 16, (20, 30))
    entries = [
        (256, 3, 1, 30), (257, 3, 1, 20), (258, 3, 1, 16), (259, 3, 1, 1), (273, 4, 1, 8),
        (277, 3, 1, 1), (278, 3, 1, 20), (279, 4, 1, samples.nbytes),
    ]  # fmt: skip
    if stated:
        entries.append((262, 3, 2, stated[0] << 16 | stated[1]))
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *one) for one in sorted(entries)) + bytes(4)
    body = samples.astype("<u2").tobytes()
    data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory
    expected = samples if stated == (1, 1) else 65535 - samples
    assert_holds(picture_from(data, keep_depth=True), expected, 16)


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_what_a_copy_of_a_tiff_has_lost_is_named(kind: str) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ones((20, 30), kind), photometric="miniswhite")
    with Image.open(buffer) as image:
        for part in (image.copy(), image.crop((0, 0, 5, 5))):
            assert any(
                "is not known of a copy" in n for n in picture_from(part, reduce_depth=True).notices
            )
        own = picture_from(image, reduce_depth=True).notices
    assert not any("is not known" in notice for notice in own)


def fits(values: Any, **cards: int) -> bytes:
    """A FITS file, in which rows are stored from the bottom upwards."""
    height, width = values.shape
    lines = {"SIMPLE": "T", "BITPIX": 16, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height, **cards}
    head = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in lines.items())
    body: bytes = values[::-1].astype(">i2").tobytes()
    return (head + "END").ljust(2880).encode() + body.ljust(2880, b"\0")


def test_signed_samples_of_fits() -> None:
    values = np.arange(0, 600, dtype=np.int16).reshape(20, 30)
    assert_holds(picture_from(fits(values), keep_depth=True), values[..., None].astype("u2"), 16)
    for shift, cards in ((1, {}), (2**15, {"BZERO": 2**15})):
        with pytest.raises(InputError, match="signed samples of 16 bits"):
            picture_from(fits(values.astype(int) - shift, **cards), keep_depth=True)


def test_tiff_of_12_bits() -> None:
    native = noise(1, 12, (20, 30))
    text = "".join(f"{value:012b}" for value in native.ravel().tolist())
    body = int(text, 2).to_bytes(len(text) // 8, "big")
    entries = [
        (256, 3, 1, 30), (257, 3, 1, 20), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 20), (279, 4, 1, len(body)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory
    assert_holds(picture_from(data, keep_depth=True), native, 12)
    shallow = picture_from(data, reduce_depth=True)
    assert_holds(shallow, to_eight_bits(native, 12), 8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("bits", "carried"), [(9, 10), (10, 10), (12, 12), (14, 16), (16, 16)])
def test_ppm(channels: int, bits: int, carried: int) -> None:
    native = noise(channels, bits)
    picture = picture_from(ppm(native, 2**bits - 1), keep_depth=True)
    assert_holds(picture, rescale(native, bits, carried), carried)


def test_ppm_with_an_odd_peak_and_one_that_is_cut() -> None:
    samples = np.array([[[0, 500, 1000]]], np.uint16)
    data = ppm(samples, 1000)
    picture = picture_from(data, keep_depth=True)
    assert_holds(picture, np.array([[[0, 32768, 65535]]]), 16)
    beyond = picture_from(ppm(samples + np.uint16(1), 500), keep_depth=True)
    assert_holds(beyond, np.array([[[131, 65535, 65535]]]), 16)
    with pytest.raises(InputError, match="damaged or incomplete"):
        picture_from(data[:-1], keep_depth=True)


def test_jpeg_2000_of_12_bits() -> None:
    native = noise(1, 12)
    data = imagecodecs.jpeg2k_encode(native[..., 0], reversible=True, level=0, bitspersample=12)
    assert_holds(picture_from(data, keep_depth=True), native, 12)
    colours = imagecodecs.jpeg2k_encode(noise(3, 12), reversible=True, level=0, bitspersample=12)
    with pytest.raises(InputError, match="reduce_depth=True"):
        picture_from(colours, keep_depth=True)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays(channels: int) -> None:
    samples = noise(channels)
    assert_holds(picture_from(samples, keep_depth=True), samples, 16)
    shallow = picture_from(samples, keep_depth=True, reduce_depth=True)
    assert shallow.bit_depth == 8
    for kind in (np.int32, np.uint32, np.float32):
        with pytest.raises(InputError):
            picture_from(samples.astype(kind), keep_depth=True)


def test_pillow_images_of_integers() -> None:
    samples = noise(1)
    for kind in (np.uint16, np.int32):
        image = Image.fromarray(samples[..., 0].astype(kind))
        assert_holds(picture_from(image, keep_depth=True), samples, 16)
    for value in (-1, 65536):
        with pytest.raises(InputError, match=r"expected 0 \.\. 65535"):
            picture_from(Image.fromarray(np.array([[value]], np.int32)), keep_depth=True)
    with pytest.raises(InputError, match="reduce_depth=True"):
        picture_from(Image.fromarray(np.zeros((1, 1), np.float32)), keep_depth=True)


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("from_memory", [False, True])
def test_pillow_images_of_deep_files_are_read_from_their_file(
    is_loaded: bool, from_memory: bool, tmp_path: Path
) -> None:
    samples = noise(3)
    path = tmp_path / "deep.png"
    path.write_bytes(png(samples))
    source = io.BytesIO(path.read_bytes()) if from_memory else path
    with Image.open(source) as image:
        if is_loaded:
            image.load()
        with pytest.raises(InputError, match="expected 8: pass --reduce-depth"):
            picture_from(image)
        assert_holds(picture_from(image, keep_depth=True), samples, 16)
        assert_holds(picture_from(image, reduce_depth=True), to_eight_bits(samples, 16), 8)


def test_a_painted_image_of_a_deep_file_has_8_bits() -> None:
    with Image.open(io.BytesIO(png(noise(3)))) as image:
        image.paste((1, 2, 3), (0, 0, 20, 20))
        with pytest.raises(InputError, match="16 bits per channel, of which Pillow reads 8"):
            picture_from(image, keep_depth=True)
        picture = picture_from(image, reduce_depth=True)
        np.testing.assert_array_equal(picture.pixels, np.asarray(image))
        assert picture.notices == ("16 bits per channel were reduced to 8, by Pillow",)


def test_deep_pictures_are_reduced_on_request() -> None:
    samples = noise(4, 12)
    picture = Picture(samples[..., :3].copy(), samples[..., 3].copy(), bit_depth=12)
    shallow = picture_from(picture, reduce_depth=True)
    assert_holds(shallow, to_eight_bits(samples, 12), 8)
    assert shallow.notices == ("12 bits per channel were reduced to 8",)
    assert picture_from(picture) is picture


def saved(picture: Picture, name: str) -> bytes:
    buffer = io.BytesIO()
    save_bands(bands_of(picture), buffer, name)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bit_depth", [10, 12, 16])
def test_saved_files_hold_every_value(bit_depth: int, channels: int) -> None:
    samples = noise(channels, bit_depth)
    colours = 1 if channels < 3 else 3
    alpha = samples[..., -1].copy() if channels in (2, 4) else None
    picture = Picture(samples[..., :colours].copy(), alpha, exif=None, bit_depth=bit_depth)
    data = saved(picture, "PNG")
    assert_holds(picture_from(data, keep_depth=True), samples, bit_depth)
    spread = rescale(samples, bit_depth, 16)
    np.testing.assert_array_equal(imagecodecs.png_decode(data).reshape(samples.shape), spread)
    assert (b"sBIT" in data) == (bit_depth < 16)
    if alpha is None:
        again = picture_from(saved(picture, "PPM"), keep_depth=True)
        assert_holds(again, samples, bit_depth)
    data = saved(picture, "TIFF")
    if channels == 2:
        spread = spread[..., [0, 0, 0, 1]]
    found = tifffile.imread(io.BytesIO(data))
    np.testing.assert_array_equal(found.reshape(spread.shape), spread)
    assert_holds(picture_from(data, keep_depth=True), spread, 16)


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_refusals_name_formats_that_hold_the_picture(bit_depth: int, has_alpha: bool) -> None:
    samples = noise(4, bit_depth, (8, 8)).astype(np.uint8 if bit_depth == 8 else np.uint16)
    alpha = samples[..., 3].copy() if has_alpha else None
    picture = Picture(samples[..., :3].copy(), alpha, bit_depth=bit_depth)
    for name in ("PPM", "JPEG", "WEBP", "AVIF"):
        try:
            saved(picture, name)
        except UsageError as error:
            named = re.findall(r"\.([a-z]+)", str(error).partition("choose a ")[2])
            assert named
            for suffix in named:
                assert saved(picture, suffix.upper())


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_saved_files_hold_metadata(name: str) -> None:
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
    picture = Picture(noise(3), icc=b"a profile", exif=exif.tobytes()[6:], xmp=xmp, bit_depth=16)
    again = picture_from(saved(picture, name), keep_depth=True)
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert (again.icc, again.xmp) == (picture.icc, xmp)
    assert again.exif is not None
    assert b"a camera" in again.exif


@pytest.mark.parametrize("order", ["<", ">"])
def test_arrays_in_either_byte_order(order: str) -> None:
    samples = noise(3)
    assert_holds(picture_from(samples.astype(f"{order}u2"), keep_depth=True), samples, 16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_metadata_behind_the_pixels(channels: int) -> None:
    data = png(noise(channels))
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    end = data.index(b"IEND") - 4
    for kind, payload in (
        (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + b"<x/>"),
        (b"eXIf", exif.tobytes()[6:]),
    ):
        crc = zlib.crc32(kind + payload)
        chunk = struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)
        data = data[:end] + chunk + data[end:]
    picture = picture_from(data, keep_depth=True)
    assert_holds(picture, noise(channels), 16)
    assert picture.xmp == b"<x/>"
    assert picture.exif == exif.tobytes()[6:]


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF", "JPEG2000", "BMP", "TGA", "QOI"])
def test_formats_of_8_bits_say_where_to_go(name: str) -> None:
    with pytest.raises(UsageError, match=r"12 bits .* hold 8: choose a \.png"):
        saved(Picture(noise(3, 12), bit_depth=12), name)
