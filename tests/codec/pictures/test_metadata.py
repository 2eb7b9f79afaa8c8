"""ICC, EXIF and XMP survive byte for byte, and orientation is applied once or not at all."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from bitstream import OutputError, UsageError
from codec.pictures.bands import bands_of
from codec.pictures.orientation import apply_orientation, read_orientation, reset_orientation
from codec.pictures.picture import Picture, to_pil
from codec.pictures.read import picture_from
from codec.pictures.save import format_of_suffix, save_bands, upright_for
from tests.codec.pictures.png_by_hand import chunk, png
from tests.codec.pictures.test_side_data import RGB as TIFF_PIXELS
from tests.codec.pictures.test_side_data import tiff_with
from tests.limits import cpu_limit

RGB = np.random.default_rng(5).integers(0, 256, (4, 6, 3), dtype=np.uint8)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/>'
    b"caf\xc3\xa9</x:xmpmeta>"
)


def exif_bytes(orientation: int, order: str = "<") -> bytes:
    """Two tags and a manufacturer's private tail that no library would preserve."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entries = struct.pack(order + "HHII", 0x010F, 2, 4, int.from_bytes(b"Mak\0", "little"))
    entries = entries[:8] + b"Mak\0"
    orient = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + struct.pack(order + "H", 2) + entries + orient + bytes(4) + b"private maker note"


def save(image: Image.Image, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_metadata_are_read_byte_for_byte(format_name: str, order: str) -> None:
    exif = exif_bytes(6, order)
    options: dict[str, Any] = {"icc_profile": ICC, "exif": b"Exif\0\0" + exif}
    if format_name == "PNG":
        options["pnginfo"] = _png_xmp()
    else:
        options["xmp"] = XMP
    picture = picture_from(save(Image.fromarray(RGB), format_name, **options))
    assert picture.icc == ICC
    assert picture.exif == exif
    assert picture.xmp == XMP
    stripped = picture_from(picture, strip=True)
    assert (stripped.icc, stripped.exif, stripped.xmp) == (None, None, None)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_metadata_are_written_byte_for_byte(format_name: str) -> None:
    picture = Picture(RGB, icc=ICC, exif=exif_bytes(3), xmp=XMP)
    buffer = io.BytesIO()
    assert save_bands(bands_of(picture), buffer, format_name) == ()
    again = picture_from(buffer.getvalue())
    assert (again.icc, again.exif, again.xmp) == (picture.icc, picture.exif, picture.xmp)


@pytest.mark.parametrize("format_name", ["TIFF", "AVIF"])
def test_metadata_survive_in_formats_that_rewrite_them(format_name: str) -> None:
    picture = Picture(RGB, icc=ICC, exif=exif_bytes(3), xmp=XMP)
    buffer = io.BytesIO()
    assert save_bands(bands_of(picture), buffer, format_name) == ()
    with Image.open(buffer) as image:
        assert image.info["icc_profile"] == ICC
        assert image.info["xmp"] == XMP
        assert image.getexif()[0x0112] == 3
        assert image.getexif()[0x010F].rstrip("\0") == "Mak"


@pytest.mark.parametrize("name", ["JPEG", "PPM", "BMP"])
def test_alpha_that_is_opaque_is_no_transparency(name: str) -> None:
    opaque = np.full(RGB.shape[:2], 255, np.uint8)
    with_alpha, without = io.BytesIO(), io.BytesIO()
    assert save_bands(bands_of(Picture(RGB, opaque)), with_alpha, name) == ()
    save_bands(bands_of(Picture(RGB)), without, name)
    assert with_alpha.getvalue() == without.getvalue()
    opaque[-1, -1] = 254
    with pytest.raises(UsageError, match="transparency"):
        save_bands(bands_of(Picture(RGB, opaque)), io.BytesIO(), name)


def test_formats_without_metadata_say_so() -> None:
    picture = Picture(RGB, icc=ICC, exif=exif_bytes(3), xmp=XMP)
    notices = save_bands(bands_of(picture), io.BytesIO(), "BMP")
    assert [n.split(" was")[0] for n in notices] == ["the ICC profile", "the EXIF", "the XMP"]


@pytest.mark.parametrize(
    ("name", "metadata", "title"),
    [
        ("JPEG", {"exif": exif_bytes(1) + bytes(70_000)}, "EXIF"),
        ("JPEG", {"xmp": bytes(70_000)}, "XMP"),
        ("AVIF", {"exif": b"no TIFF stream at all"}, "EXIF"),
        ("AVIF", {"exif": b"II*\0"}, "EXIF"),
    ],
)
def test_metadata_that_a_format_cannot_hold_do_not_cost_the_picture(
    name: str, metadata: dict[str, bytes], title: str
) -> None:
    buffer = io.BytesIO()
    (notice,) = save_bands(bands_of(Picture(RGB, **{"icc": ICC, **metadata})), buffer, name)  # type: ignore[arg-type]
    assert notice.startswith(f"the {title} was left out: {name} cannot hold it (")
    again = picture_from(buffer.getvalue())
    assert again.pixels.shape == RGB.shape
    assert again.icc == ICC


@pytest.mark.parametrize("name", ["BMP", "JPEG2000", "PPM", "QOI", "TGA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_formats_without_an_orientation_get_upright_pixels(name: str, orientation: int) -> None:
    expected = apply_orientation(RGB, orientation)
    in_xmp = XMP.replace(b'Orientation="6"', b'Orientation="%d"' % orientation)
    for metadata in ({"exif": exif_bytes(orientation)}, {"xmp": in_xmp}):
        turned = upright_for(bands_of(Picture(RGB, **metadata)), name)  # type: ignore[arg-type]
        assert (turned.height, turned.width) == expected.shape[:2]
        assert bool(turned.notices) == (orientation > 1)
        assert read_orientation(turned.exif, turned.xmp) == 1
        buffer = io.BytesIO()
        save_bands(turned, buffer, name)
        with Image.open(buffer) as image:
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_formats_with_an_orientation_keep_the_pixels(name: str) -> None:
    bands = bands_of(Picture(RGB, exif=exif_bytes(6)))
    assert upright_for(bands, name) is bands


def test_deep_pixels_and_alpha_are_turned() -> None:
    deep = RGB.astype(np.uint16) * 257
    picture = Picture(deep, deep[..., 0], exif=exif_bytes(6), bit_depth=16)
    turned = upright_for(bands_of(picture), "PPM").picture()
    np.testing.assert_array_equal(turned.pixels, apply_orientation(deep, 6))
    np.testing.assert_array_equal(turned.alpha, apply_orientation(deep[..., 0], 6))


TOO_LARGE = {"EXIF": {"exif": exif_bytes(6) + bytes(70_000)}, "XMP": {"xmp": XMP + bytes(70_000)}}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_the_orientation_of_metadata_that_are_too_large_stays(name: str) -> None:
    buffer = io.BytesIO()
    (notice,) = save_bands(bands_of(Picture(RGB, **TOO_LARGE[name])), buffer, "JPEG")  # type: ignore[arg-type]
    assert "was left out" in notice
    again = picture_from(buffer.getvalue())
    assert read_orientation(again.exif, again.xmp) == 6


def test_a_picture_that_a_format_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", fails)
    buffer = io.BytesIO()
    with pytest.raises(OutputError, match=r"as JPEG \(no space left\)"):
        save_bands(bands_of(Picture(RGB, icc=ICC, xmp=XMP)), buffer, "JPEG")
    assert buffer.getvalue() == b""


@pytest.mark.parametrize("format_name", ["JPEG", "PPM", "BMP"])
def test_alpha_into_formats_without_it(format_name: str) -> None:
    buffer = io.BytesIO()
    with pytest.raises(UsageError, match=r"transparency.*\.png"):
        save_bands(bands_of(Picture(RGB, RGB[..., 0])), buffer, format_name)
    assert buffer.getvalue() == b""


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "JPEG2000", "TGA", "QOI"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_lossless_outputs(format_name: str, channels: int, has_alpha: bool) -> None:
    picture = Picture(RGB[..., :channels].copy(), RGB[..., 1].copy() if has_alpha else None)
    buffer = io.BytesIO()
    save_bands(bands_of(picture), buffer, format_name)
    with Image.open(buffer) as image:
        expected = to_pil(picture).convert("RGBA")
        assert np.array_equal(np.asarray(image.convert("RGBA")), np.asarray(expected))


def test_suffixes() -> None:
    assert format_of_suffix(".PNG") == "PNG"
    assert format_of_suffix(".jpeg") == "JPEG"
    for suffix in ("", ".gif", ".calo", ".exe"):
        with pytest.raises(UsageError, match=r"expected one of \.png"):
            format_of_suffix(suffix)
    with pytest.raises(UsageError):
        save_bands(bands_of(Picture(RGB)), io.BytesIO(), "GIF")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_applied_once(orientation: int, order: str) -> None:
    image = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
    exif = exif_bytes(orientation, order)
    data = save(image, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))

    kept = picture_from(data)
    assert kept.exif == exif
    assert np.array_equal(kept.pixels, RGB)

    turned = picture_from(data, apply_orientation=True)
    assert np.array_equal(turned.pixels, upright[..., :3])
    assert turned.alpha is not None
    assert np.array_equal(turned.alpha, upright[..., 3])
    assert turned.exif == exif_bytes(1, order)

    twice = picture_from(turned, apply_orientation=True)
    assert np.array_equal(twice.pixels, turned.pixels)


def test_orientation_in_xmp_alone() -> None:
    assert read_orientation(None, XMP) == 6
    assert read_orientation(None, b"<tiff:Orientation>8</tiff:Orientation>") == 8
    assert read_orientation(exif_bytes(3), XMP) == 3
    exif, xmp = reset_orientation(exif_bytes(3), XMP)
    assert exif == exif_bytes(1)
    assert xmp == XMP.replace(b'"6"', b'"1"')
    data = save(Image.fromarray(RGB), "WEBP", lossless=True, xmp=XMP)
    turned = picture_from(data, apply_orientation=True)
    assert np.array_equal(turned.pixels, apply_orientation(RGB, 6))
    assert turned.xmp == xmp


@pytest.mark.parametrize(
    "exif",
    [b"", b"II*", b"II*\0", b"II*\0\xff\xff\xff\xff", exif_bytes(6)[:30], exif_bytes(0),
     exif_bytes(9), b"XX" + exif_bytes(6)],
)  # fmt: skip
def test_damaged_exif_means_upright(exif: bytes) -> None:
    assert read_orientation(exif, None) == 1
    assert reset_orientation(exif, None) == (exif, None)


SPELLINGS = [
    b"<tiff:Orientation>8</tiff:Orientation>",
    b"<tiff:Orientation> 8\n</tiff:Orientation>",
    b'<tiff:Orientation rdf:datatype="x">8</tiff:Orientation>',
    b"<d tiff:Orientation='8'/>",
    b'<d tiff:Orientation = " 08 "/>',
    b'<d xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="8"/>',
    b"<d xmlns:t='http://ns.adobe.com/tiff/1.0/'><t:Orientation>8</t:Orientation></d>",
    b"<d xmlns:t\n\t\t\t =\n     'http://ns.adobe.com/tiff/1.0/' t:Orientation\t \n\t=\n     '8'/>",
    b"<d xmlns='http://ns.adobe.com/tiff/1.0/'><Orientation>8</Orientation></d>",
    b"<tiff:Orientation" + b" xml:lang='x-default'" * 9 + b"\n>8</tiff:Orientation>",
    b"<d xmlns:a='a' xmlns:b='b' xmlns:c='c' xmlns:d='d' xmlns:e='e' xmlns:f='f' xmlns:g='g' "
    b"xmlns:t='http://ns.adobe.com/tiff/1.0/' t:Orientation='8'/>",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_orientation_in_every_spelling(spelling: bytes, encoding: str) -> None:
    xmp = spelling.decode().encode(encoding)
    assert read_orientation(None, xmp) == 8
    _, reset = reset_orientation(None, xmp)
    assert reset is not None
    assert read_orientation(None, reset) == 1
    assert reset.decode(encoding) == spelling.decode().replace("8", "1", 1)


@pytest.mark.parametrize(
    "xmp",
    [
        b"<d tiff:Orientation='9'/>", b"<d tiff:Orientation='80'/>", b"<d tiff:Orientations='8'/>",
        b"<d my-tiff:Orientation='8'/>", b"<d t:Orientation='8'/>", b"\xff\xfe<\0\0",
        b"<d xmlns:tiff='another' tiff:Orientation='8'/>", b"<Orientation>8</Orientation>",
        b"<d xmlns='http://ns.adobe.com/tiff/1.0/' Orientation='8'/>",
        b"<tiff:Orientation" + b" " * 10**6, b"tiff:Orientation" * 10**5,
    ],
)  # fmt: skip
def test_what_is_no_orientation(xmp: bytes) -> None:
    assert read_orientation(None, xmp) == 1
    assert reset_orientation(None, xmp) == (None, xmp)


@pytest.mark.parametrize(
    ("kind", "form"),
    [(1, "B3x"), (3, "H2x"), (4, "I"), (6, "b3x"), (8, "h2x"), (9, "i")],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_of_every_type_of_integer(kind: int, form: str, order: str) -> None:
    def stream(value: int) -> bytes:
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
        return head + struct.pack(order + "HHI" + form, 0x0112, kind, 1, value) + bytes(4)

    assert read_orientation(stream(6), None) == 6
    assert reset_orientation(stream(6), XMP) == (stream(1), XMP.replace(b'"6"', b'"1"'))


def test_many_entries_of_the_orientation_take_little_time() -> None:
    def stream(value: int) -> bytes:
        entry = struct.pack("<HHII", 0x0112, 3, 1, value)
        return struct.pack("<4sIH", b"II*\0", 8, 65535) + 65535 * entry + bytes(4)

    with cpu_limit(3):
        assert reset_orientation(stream(6), None) == (stream(1), None)


def test_a_prefix_that_stands_there_twice() -> None:
    stream = exif_bytes(6)
    head, tail = png(RGB, 2, 8).split(b"IDAT", 1)
    data = head[:-4] + chunk(b"eXIf", 2 * b"Exif\0\0" + stream) + head[-4:] + b"IDAT" + tail
    assert picture_from(data).exif == stream
    upright = picture_from(data, apply_orientation=True).pixels
    assert np.array_equal(upright, apply_orientation(RGB, 6))


def test_stripping_does_not_turn_a_picture() -> None:
    data = save(Image.fromarray(RGB), "PNG", exif=exif_bytes(6))
    stripped = picture_from(data, strip=True)
    assert stripped.exif is None
    np.testing.assert_array_equal(stripped.pixels, apply_orientation(RGB, 6))
    assert stripped.notices == (
        "the pixels were turned upright, since the file keeps no orientation",
    )
    assert picture_from(data, strip=True, apply_orientation=True).notices == ()
    upright = save(Image.fromarray(RGB), "PNG", exif=exif_bytes(1))
    assert picture_from(upright, strip=True).notices == ()


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 7, 8, 9])
def test_orientation_of_tiff_of_every_type(kind: int) -> None:
    data = tiff_with(t274=(kind, 1, b"\6\0\0\0"))
    picture = picture_from(data, apply_orientation=True)
    assert np.array_equal(picture.pixels, apply_orientation(TIFF_PIXELS, 6))
    assert read_orientation(picture.exif, picture.xmp) == 1


def test_orientation_of_tiff_is_applied_by_pillow_and_not_again() -> None:
    data = save(Image.fromarray(RGB), "TIFF", tiffinfo={0x0112: 6, 0x010F: "Mak"})
    expected = apply_orientation(RGB, 6)
    for apply in (False, True):
        picture = picture_from(data, apply_orientation=apply)
        assert np.array_equal(picture.pixels, expected)
        assert read_orientation(picture.exif, picture.xmp) == 1
        assert picture.exif is not None
        assert b"Mak" in picture.exif


def _png_xmp() -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return info
