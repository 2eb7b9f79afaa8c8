"""Only the pixels decide whether a file is readable; side data are kept or named in notices."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from bitstream import InputError, limits
from bitstream.arrays import SampleArray
from codec.pictures.bands import bands_of
from codec.pictures.picture import Picture, to_pil
from codec.pictures.read import picture_from
from codec.pictures.save import save_bands
from tests.codec.pictures.png_by_hand import chunk, png

RGB = np.random.default_rng(9).integers(0, 256, (8, 6, 3), dtype=np.uint8)
ICC = b"no profile, but kept as it is"


def png_with(*before: bytes, after: tuple[bytes, ...] = ()) -> bytes:
    return png(RGB, 2, 8, before=before, after=after)


def tiff_with(next_page: int = 0, **tags: tuple[int, int, bytes]) -> bytes:
    """A TIFF file of one strip with further tags, ``t305=(type, count, 4 bytes)``."""
    height, width, _ = RGB.shape
    start = 8 + RGB.nbytes + 6
    entries = {
        256: (3, 1, struct.pack("<HH", width, 0)),
        257: (3, 1, struct.pack("<HH", height, 0)),
        258: (3, 3, struct.pack("<I", 8 + RGB.nbytes)),
        259: (3, 1, b"\1\0\0\0"),
        262: (3, 1, b"\2\0\0\0"),
        273: (4, 1, struct.pack("<I", 8)),
        277: (3, 1, b"\3\0\0\0"),
        278: (3, 1, struct.pack("<HH", height, 0)),
        279: (4, 1, struct.pack("<I", RGB.nbytes)),
    }
    entries |= {int(name[1:]): value for name, value in tags.items()}
    body = RGB.tobytes() + struct.pack("<HHH", 8, 8, 8)
    directory = struct.pack("<H", len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        directory += struct.pack("<HHI", tag, kind, count) + value
    return b"II*\0" + struct.pack("<I", start) + body + directory + struct.pack("<I", next_page)


def check_pixels(source: Any) -> Picture:
    picture = picture_from(source)
    np.testing.assert_array_equal(picture.pixels, RGB)
    return picture


RAW_PROFILE = b"Raw profile type exif\0\nexif\n      12\nnot hexadecimal at all\n"
ODD_PNGS = {
    "text under the name of a profile": png_with(chunk(b"tEXt", b"icc_profile\0text")),
    "text under the name of XMP": png_with(chunk(b"tEXt", b"xmp\0text")),
    "text under the name of EXIF": png_with(chunk(b"tEXt", b"exif\0text")),
    "a raw profile that is none": png_with(chunk(b"tEXt", RAW_PROFILE)),
    "damaged EXIF": png_with(chunk(b"eXIf", b"II*\0\xff\xff")),
    "a text that inflates to more than Pillow takes": png_with(
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**21)))
    ),
    "a wrong CRC of a comment": png_with(chunk(b"tEXt", b"Comment\0x", crc=1)),
    "a wrong CRC of a density": png_with(chunk(b"pHYs", bytes(9), crc=1)),
    "a cut gamma": png_with(chunk(b"gAMA", b"\0")),
    "a profile without a name": png_with(chunk(b"iCCP")),
    "a key and a profile that are none": png_with(chunk(b"iCCP"), chunk(b"tRNS", b"\0\1")),
    "an unknown chunk": png_with(chunk(b"ruBb", b"\0" * 99)),
}


@pytest.mark.parametrize("name", ODD_PNGS)
def test_odd_chunks_of_png(name: str, tmp_path: Path) -> None:
    data = ODD_PNGS[name]
    path = tmp_path / "odd.png"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        check_pixels(source)
    try:
        image = Image.open(path)
        image.load()
    except (ValueError, SyntaxError, OSError):
        return  # Pillow does not open it
    check_pixels(image)


@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"acTL", b"fcTL", b"tRNS"])
def test_a_chunk_that_is_too_short_leaves_the_others(kind: bytes) -> None:
    exif = b"II*\0\x08\0\0\0" + bytes(6)
    picture = check_pixels(png_with(chunk(kind), chunk(b"eXIf", exif)))
    assert picture.exif == exif
    assert [n for n in picture.notices if not n.startswith("text and damaged metadata")] == []
    assert picture.alpha is None


def test_what_is_left_out_of_a_png_is_named() -> None:
    picture = check_pixels(ODD_PNGS["a text that inflates to more than Pillow takes"])
    assert len(picture.notices) == 1
    assert picture.notices[0].startswith("text and damaged metadata of the PNG were left out")
    picture = check_pixels(ODD_PNGS["a profile without a name"])
    assert picture.notices[0].startswith("all metadata of the PNG were left out")
    picture = check_pixels(ODD_PNGS["text under the name of a profile"])
    assert picture.icc is None
    assert picture.notices == ("the ICC profile was left out: it cannot be read",)


TEXT = b"tEXt"
LEFT_OUT = {
    "a damaged profile": (
        png_with(chunk(b"iCCP", b"name\0\0not deflated")),
        "the ICC profile was left out: it cannot be read",
    ),
    "light levels of HDR": (
        png_with(chunk(b"mDCV", bytes(24)), chunk(b"cLLI", bytes(8))),
        "the light levels of HDR (mDCV, cLLI) were left out",
    ),
    "text": (
        png_with(
            chunk(TEXT, b"Software\0gimp"),
            chunk(TEXT, b"date:create\x002026"),
            chunk(TEXT, b"Author\0me"),
            after=(chunk(b"iTXt", b"Copyright\0\0\0\0\0mine"),),
        ),
        "text was left out (Author, Copyright): a .calo file holds ICC, EXIF and XMP",
    ),
    "much text": (
        png_with(*(chunk(TEXT, b"%d" % n * 60 + b"\0x") for n in range(1, 8))),
        f"text was left out ({', '.join(str(n) * 40 for n in range(1, 6))}, …): a .calo file holds "
        "ICC, EXIF and XMP",
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_has_no_place_is_named(name: str) -> None:
    data, notice = LEFT_OUT[name]
    assert check_pixels(data).notices == (notice,)


def test_text_of_programs_needs_no_notice() -> None:
    found = check_pixels(png_with(chunk(TEXT, b"Software\0gimp"), chunk(TEXT, b"png:bKGD\0x")))
    assert found.notices == ()


def raw_app1(segment: bytes) -> bytes:
    """EXIF or XMP as ImageMagick stores it in a PNG: a segment of JPEG in hexadecimal."""
    lines = "\n".join(segment.hex()[at : at + 72] for at in range(0, 2 * len(segment), 72))
    text = f"\nAPP1\n{len(segment):8}\n{lines}\n".encode()
    return chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(text))


def test_a_raw_profile_of_jpeg_is_read() -> None:
    exif = struct.pack("<4sIH", b"II*\0", 8, 1) + struct.pack("<HHII", 0x112, 3, 1, 6) + bytes(4)
    picture = check_pixels(png_with(raw_app1(b"Exif\0\0" + exif)))
    assert (picture.exif, picture.notices) == (exif, ())
    for option in ("strip", "apply_orientation"):
        turned = picture_from(png_with(after=(raw_app1(b"Exif\0\0" + exif),)), **{option: True})
        np.testing.assert_array_equal(turned.pixels, np.rot90(RGB, -1))
    packet = b"<x:xmpmeta/>"
    picture = check_pixels(png_with(raw_app1(b"http://ns.adobe.com/xap/1.0/\0" + packet)))
    assert (picture.xmp, picture.notices) == (packet, ())


@pytest.mark.parametrize("text", [b"", b"\nAPP1\n  3\nxyz", b"\nAPP1\n  3\n414243"])
def test_a_raw_profile_that_cannot_be_read_is_named(text: bytes) -> None:
    picture = check_pixels(png_with(chunk(b"tEXt", b"Raw profile type APP1\0" + text)))
    assert picture.exif is picture.xmp is None
    assert picture.notices == (
        "the metadata in a raw profile (APP1) were left out: they cannot be read",
    )


@pytest.mark.parametrize("format_name", ["JPEG", "GIF"])
def test_comments_are_named(format_name: str) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, format_name, comment=b"by me")
    notices = picture_from(buffer.getvalue()).notices
    assert notices == ("text was left out (comment): a .calo file holds ICC, EXIF and XMP",)


def test_a_gain_map_is_named() -> None:
    buffer = io.BytesIO()
    xmp = b'<rdf:Description xmlns:hdrgm="x" hdrgm:Version="1.0"/>'
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", xmp=xmp)
    picture = picture_from(buffer.getvalue())
    assert picture.xmp == xmp
    assert picture.notices == ("the gain map for HDR was left out: a .calo file holds one image",)


def test_damaged_pixels_of_png_are_refused() -> None:
    data = bytearray(png_with(chunk(b"tEXt", b"Comment\0x", crc=1)))
    data[data.index(b"IDAT") + 6] ^= 255
    with pytest.raises(InputError, match="damaged or incomplete"):
        picture_from(bytes(data))


ONE_DOUBLE = struct.pack("<I", 8)
ODD_TIFFS = {
    "software that is a number": tiff_with(t305=(11, 1, struct.pack("<f", 1.5))),
    "an artist that is a number": tiff_with(t315=(12, 1, ONE_DOUBLE)),
    "a profile that is a number": tiff_with(t34675=(3, 1, b"\1\0\0\0")),
    "an EXIF directory outside the file": tiff_with(t34665=(4, 1, b"\xff\xff\xff\x7f")),
    "a second page outside the file": tiff_with(10**6),
    "a second page inside the pixels": tiff_with(8),
}


# Pillow warns of them.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", ODD_TIFFS)
def test_odd_tags_of_tiff(name: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    path.write_bytes(ODD_TIFFS[name])
    with Image.open(path) as image:
        image.load()  # Pillow reads it, so this library does
        np.testing.assert_array_equal(np.asarray(image), RGB)
        check_pixels(image)
    check_pixels(path)


def test_one_unreadable_tag_leaves_the_others() -> None:
    data = tiff_with(t305=(11, 1, struct.pack("<f", 1.5)), t271=(2, 4, b"Mak\0"))
    picture = check_pixels(data)
    assert picture.exif is not None
    assert b"Mak" in picture.exif
    assert picture.notices == ("the EXIF tag 305 was left out: its value cannot be read",)


NO_XMP = "the XMP was left out: it cannot be read"
REFUSED_BY_PILLOW: dict[str, tuple[bytes, bytes | None, tuple[str, ...]]] = {
    "XMP as text": (tiff_with(t700=(2, 4, b"<x/>")), b"<x/>", ()),
    "XMP of two numbers": (tiff_with(t700=(3, 2, b"<x/>")), None, (NO_XMP,)),
    "XMP of one float": (tiff_with(t700=(11, 1, b"<x/>")), None, (NO_XMP,)),
} | {
    f"a directory {tag} before the file, type {kind}": (
        tiff_with(0, **{f"t{tag}": (kind, 1, struct.pack("<i", -1))}),
        None,
        (f"the EXIF tag {tag} was left out: its value cannot be read",),
    )
    for tag in (34665, 34853)
    for kind in (6, 8, 9)
}


@pytest.mark.parametrize("name", REFUSED_BY_PILLOW)
def test_tags_with_which_pillow_refuses_a_tiff(name: str, tmp_path: Path) -> None:
    data, xmp, notices = REFUSED_BY_PILLOW[name]
    path = tmp_path / "odd.tif"
    path.write_bytes(data)
    with Image.open(path) as image:
        for source in (data, path, image):
            picture = check_pixels(source)
            assert (picture.xmp, picture.notices) == (xmp, notices)


def test_orientation_in_xmp_as_text_is_applied() -> None:
    packet = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>\0'
    place = 8 + RGB.nbytes + 6 + 2 + 10 * 12 + 4
    data = tiff_with(t700=(2, len(packet), struct.pack("<I", place))) + packet
    np.testing.assert_array_equal(picture_from(data).pixels, np.rot90(RGB, -1))


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("extra", "left_out"),
    [((), 0), ((2,), 0), ((1,), 0), ((0,), 1), ((0, 0), 2), ((2, 0), 1), ((0, 0, 0), 3)],
)
def test_further_channels_of_tiff_are_named(
    extra: tuple[int, ...], left_out: int, depth: str
) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = np.full((8, 6, 3 + len(extra)), 255, depth)
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric="rgb", extrasamples=extra)
    try:
        with Image.open(file):
            pass
    except UnidentifiedImageError:
        pytest.skip("Pillow does not read such files")
    picture = picture_from(file.getvalue(), reduce_depth=True)
    notices = [notice for notice in picture.notices if "channels of the TIFF" in notice]
    expected = f"further channels of the TIFF were left out ({left_out}): "
    assert len(notices) == (1 if left_out else 0)
    assert all(notice.startswith(expected) for notice in notices)


def test_a_further_channel_of_other_tiffs_is_named() -> None:
    tifffile = pytest.importorskip("tifffile")
    for photometric, channels in (("minisblack", 1), ("separated", 4)):
        file = io.BytesIO()
        samples = np.zeros((8, 6, channels + 1), np.uint8)
        tifffile.imwrite(
            file, samples, photometric=photometric, planarconfig="contig", extrasamples=(0,)
        )
        picture = picture_from(file.getvalue())
        assert any("further channels" in notice for notice in picture.notices), photometric


def test_metadata_above_the_limit_are_a_fault_of_the_input() -> None:
    large = Picture(RGB, exif=bytes(limits.MAX_METADATA_BYTES), icc=b"x")
    with pytest.raises(InputError, match=r"16777217 bytes of metadata.*--strip"):
        picture_from(large)
    assert picture_from(large, strip=True).exif is None


def icon(*sizes: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (max(sizes),) * 2).save(buffer, "ICO", sizes=[(s, s) for s in sizes])
    return buffer.getvalue()


def test_icons_with_several_sizes() -> None:
    picture = picture_from(icon(16, 32, 64))
    assert (picture.width, picture.height) == (64, 64)
    assert picture.notices == (
        "the picture of 64×64 pixels was taken, of 3: a .calo file holds one image",
    )
    assert picture_from(icon(16)).notices == ()


def raw_photograph(preview: int, inside: int) -> bytes:
    """A TIFF in the form of DNG: a preview, and below it a directory with another picture."""
    buffer = io.BytesIO()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    Image.new("RGB", (preview, preview)).save(buffer, "TIFF", tiffinfo=tags)
    data = bytearray(buffer.getvalue())
    below = len(data)
    entries = [(256, 4, 1, inside), (257, 4, 1, inside)]
    data += struct.pack("<H", 2) + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4)
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    old = bytes(data[start + 2 : start + 2 + 12 * count])
    found = [old[at : at + 12] for at in range(0, len(old), 12)]
    found.append(struct.pack("<HHII", 330, 4, 1, below))
    found.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    struct.pack_into("<I", data, 4, len(data))
    return bytes(data + struct.pack("<H", len(found)) + b"".join(found) + bytes(4))


def test_the_preview_of_a_raw_photograph_is_not_the_picture() -> None:
    with pytest.raises(InputError, match="256×256 pixels that Pillow does not read"):
        picture_from(raw_photograph(16, 256))
    picture = picture_from(raw_photograph(256, 16))  # like the levels of a pyramid
    assert picture.width == 256
    assert picture.notices == ("further pictures below the first (1) were left out",)


def rationals(*values: int) -> bytes:
    return struct.pack(f"<{2 * len(values)}I", *(v for one in values for v in (one, 100_000)))


def test_the_white_point_and_primaries_of_tiff_come_back() -> None:
    place = 8 + RGB.nbytes + 6 + 2 + 11 * 12 + 4
    tags = {
        "t318": (5, 2, struct.pack("<I", place)),
        "t319": (5, 6, struct.pack("<I", place + 16)),
    }
    for values, is_kept in (
        (struct.unpack(">8I", CHROMATICITIES), True),
        ((31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), False),  # of sRGB
    ):
        picture = check_pixels(tiff_with(0, **tags) + rationals(*values))
        assert picture.ancillary == (((b"chrm", CHROMATICITIES),) if is_kept else ())
        assert picture.notices == ()
        for name in ("PNG", "TIFF"):
            buffer = io.BytesIO()
            assert save_bands(bands_of(picture), buffer, name) == ()
            assert picture_from(buffer.getvalue()).ancillary == picture.ancillary


def test_odd_primaries_of_tiff_mean_nothing() -> None:
    place = 8 + RGB.nbytes + 6 + 2 + 11 * 12 + 4
    tags = {
        "t318": (5, 2, struct.pack("<I", place)),
        "t319": (5, 6, struct.pack("<I", place + 16)),
    }
    assert check_pixels(tiff_with(0, **tags) + bytes(64)).ancillary == ()  # 0 / 0
    tags["t318"] = (3, 1, bytes(4))
    assert check_pixels(tiff_with(0, **tags) + bytes(64)).ancillary == ()


def test_a_ratio_of_densities_comes_back() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    place = data.index(b"JFIF\0") + 7
    data[place : place + 5] = struct.pack(">BHH", 0, 2, 3)
    jpeg = picture_from(bytes(data))
    tags = {282: 4.0, 283: 6.0, 296: 1}
    Image.fromarray(RGB).save(buffer := io.BytesIO(), "TIFF", tiffinfo=tags)
    tiff = picture_from(buffer.getvalue())
    expected = ((b"phys", struct.pack(">IIB", 2, 3, 0)),)
    assert jpeg.ancillary == tiff.ancillary == expected
    for name in ("PNG", "TIFF"):
        again = io.BytesIO()
        assert save_bands(bands_of(tiff), again, name) == ()
        assert picture_from(again.getvalue()).ancillary == expected
    (notice,) = save_bands(bands_of(tiff), io.BytesIO(), "JPEG")
    assert notice == "the density of the pixels was left out: JPEG cannot hold it"
    data[place : place + 5] = struct.pack(">BHH", 0, 3, 3)
    assert picture_from(bytes(data)).ancillary == ()


def test_a_description_of_another_length_leaves_the_others() -> None:
    own = (chunk(b"gAMA", GAMMA), chunk(b"cHRM", CHROMATICITIES))
    kept = picture_from(png_with(*own)).ancillary
    assert len(kept) == 2
    for payload in (b"", PQ[:3], PQ + b"x"):
        assert check_pixels(png_with(chunk(b"cICP", payload), *own)).ancillary == kept


DENSITY = struct.pack(">IIB", 11811, 5906, 1)  # 300 and 150 dots per inch
GAMMA = struct.pack(">I", 100_000)
CHROMATICITIES = struct.pack(">8I", 34570, 35850, 73470, 26530, 11500, 82600, 15660, 1800)
PQ = bytes([9, 16, 0, 1])
KEPT = {b"pHYs": DENSITY, b"gAMA": GAMMA, b"cHRM": CHROMATICITIES}


def test_density_and_colour_of_png_come_back() -> None:
    for kept in (KEPT, {b"cICP": PQ}, {b"pHYs": struct.pack(">IIB", 2, 1, 0)}):
        data = png_with(*(chunk(kind, payload) for kind, payload in kept.items()))
        picture = check_pixels(data)
        assert {kind.lower() for kind in kept} == {
            {b"gama": b"gama", b"chrm": b"chrm"}.get(kind, kind) for kind, _ in picture.ancillary
        }
        buffer = io.BytesIO()
        assert save_bands(bands_of(picture), buffer, "PNG") == ()
        for kind, payload in kept.items():
            assert chunk(kind, payload) in buffer.getvalue()
        assert picture_from(buffer.getvalue()).ancillary == picture.ancillary
        assert picture_from(data, strip=True).ancillary == ()


def test_density_and_colour_in_the_info_of_pillow() -> None:
    with Image.open(io.BytesIO(png_with(*(chunk(k, v) for k, v in KEPT.items())))) as image:
        theirs = image.info
        ours = to_pil(picture_from(image)).info
    assert ours == theirs
    assert to_pil(picture_from(png_with(chunk(b"cICP", PQ)))).info == {"cicp": (9, 16, 0, 1)}


@pytest.mark.parametrize("name", ["JPEG", "TIFF", "BMP"])
def test_density_goes_into_other_formats(name: str) -> None:
    picture = check_pixels(png_with(chunk(b"pHYs", DENSITY)))
    buffer = io.BytesIO()
    assert save_bands(bands_of(picture), buffer, name) == ()
    with Image.open(buffer) as image:
        assert [round(value) for value in image.info["dpi"]] == [300, 150]
    assert dict(picture_from(buffer.getvalue()).ancillary).keys() == {b"phys"}


def test_what_a_format_cannot_hold_is_named() -> None:
    picture = check_pixels(png_with(*(chunk(k, v) for k, v in KEPT.items())))
    notices = save_bands(bands_of(picture), io.BytesIO(), "WEBP")
    assert [notice.split(" was")[0] for notice in notices] == [
        "the density of the pixels",
        "the description of the colours (gamma, primaries)",
    ]


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"sRGB", b"\0"), (b"gAMA", GAMMA), (b"cHRM", CHROMATICITIES)],
        [(b"gAMA", struct.pack(">I", 45455))],
        [(b"cICP", bytes([1, 13, 0, 1]))],
    ],
)
def test_what_describes_srgb_is_not_kept(chunks: list[tuple[bytes, bytes]]) -> None:
    assert check_pixels(png_with(*(chunk(*one) for one in chunks))).ancillary == ()


def test_hdr_of_avif_is_named() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "AVIF")
    data = buffer.getvalue()
    assert picture_from(data).ancillary == ()
    at = data.index(b"colrnclx") + 8
    wide = data[:at] + struct.pack(">HH", 9, 16) + data[at + 4 :]
    assert picture_from(wide).ancillary == ((b"cicp", PQ),)


@pytest.mark.parametrize("payload", [b"", b"\0" * 8, b"\0" * 10])
def test_chunks_of_another_length_mean_nothing(payload: bytes) -> None:
    picture = Picture(RGB, ancillary=((b"phys", payload), (b"gama", payload[:3])))
    assert to_pil(picture).info == {}


def test_iptc_is_named() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG")
    data = buffer.getvalue()
    resource = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x02ab"
    segment = b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource
    picture = picture_from(data[:2] + segment + data[2:])
    assert picture.notices == (
        "the IPTC metadata were left out: a .calo file holds ICC, EXIF and XMP",
    )


@pytest.mark.parametrize("pixels", [RGB, RGB.astype(np.uint16) * 257], ids=["8", "16"])
@pytest.mark.parametrize("by", ["Pillow", "save_bands"])
def test_a_tiff_without_a_density_gets_none(pixels: SampleArray, by: str) -> None:
    buffer = io.BytesIO()
    if by == "save_bands":
        save_bands(bands_of(Picture(pixels, bit_depth=8 * pixels.itemsize)), buffer, "TIFF")
    else:
        Image.fromarray(pixels if pixels.itemsize == 1 else pixels[..., 0]).save(buffer, "TIFF")
    picture = picture_from(buffer.getvalue(), keep_depth=True)
    assert picture.ancillary == ()
    again = io.BytesIO()
    save_bands(bands_of(picture), again, "TIFF")
    with Image.open(again) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        assert not {282, 283} & set(image.tag_v2)
    # A density of one dot per inch is kept if the file states it.
    dense = io.BytesIO()
    Image.fromarray(RGB).save(dense, "TIFF", dpi=(1, 1))
    assert dict(picture_from(dense.getvalue()).ancillary).keys() == {b"phys"}


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "JPEG2000", "BMP", "WEBP"])
@pytest.mark.parametrize("density", [(1, 1), (2**32 - 1, 1), (2**32 - 1, 2**32 - 3)])
def test_densities_that_nobody_has(density: tuple[int, int], format_name: str) -> None:
    phys = struct.pack(">IIB", *density, 1)
    buffer = io.BytesIO()
    save_bands(bands_of(Picture(RGB, ancillary=((b"phys", phys),))), buffer, format_name)
    with Image.open(buffer) as image:
        image.load()
        assert image.size == (6, 8)
        if format_name == "TIFF":
            expected = [value * 0.0254 for value in density]
            assert [float(v) for v in image.info["dpi"]] == pytest.approx(expected, rel=1e-3)
