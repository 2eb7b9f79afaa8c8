"""Damaged image files give an error of this library, whatever Pillow does with them."""

import io
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bitstream import CalotypeError
from codec.pictures.bands import bands_of
from codec.pictures.exif import EXIF_PREFIX, without_prefix
from codec.pictures.orientation import read_orientation, reset_orientation
from codec.pictures.picture import Picture
from codec.pictures.read import picture_from
from codec.pictures.save import save_bands

PIXELS = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def file_of(format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(buffer, format_name, exif=exif, **options)
    return buffer.getvalue()


FILES = {
    name: file_of(name)
    for name in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "JPEG2000", "TGA")
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_mutations_give_a_picture_or_a_typed_error(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    content = content[: data.draw(st.sampled_from([cut, len(content)]))]
    try:
        picture = picture_from(
            bytes(content), reduce_depth=True, apply_orientation=data.draw(st.booleans())
        )
    except CalotypeError:
        return
    assert isinstance(picture, Picture)


def deep_file(format_name: str, channels: int) -> bytes:
    samples = np.random.default_rng(2).integers(0, 1024, (9, 7, channels), dtype=np.uint16)
    colours, alpha = samples[..., : 3 if channels > 2 else 1].copy(), None
    if channels in (2, 4):
        alpha = samples[..., -1].copy()
    buffer = io.BytesIO()
    picture = Picture(colours, alpha, exif=None, icc=b"a profile", bit_depth=10)
    save_bands(bands_of(picture), buffer, format_name)
    return buffer.getvalue()


DEEP_FILES = {
    (name, channels): deep_file(name, channels)
    for name in ("PNG", "TIFF", "PPM")
    for channels in (1, 2, 3, 4)
    if name != "PPM" or channels in (1, 3)
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DEEP_FILES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_mutations_of_deep_files(name: tuple[str, int], data: st.DataObject) -> None:
    content = bytearray(DEEP_FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(200, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    content = content[: data.draw(st.sampled_from([cut, len(content)]))]
    if data.draw(st.booleans()) and name[0] == "PNG":
        # With correct checksums the mutations get past them.
        content = with_checksums(bytes(content))
    try:
        picture = picture_from(bytes(content), keep_depth=True)
    except CalotypeError:
        return
    assert isinstance(picture, Picture)


def with_checksums(content: bytes) -> bytearray:
    """A PNG whose chunks have correct checksums as long as their lengths are correct."""
    found, at = bytearray(content), 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        found[end : end + 4] = zlib.crc32(content[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return found


def test_the_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(FILES["PNG"][:-40])
    with pytest.raises(CalotypeError, match=r"cut\.png cannot be decoded"):
        picture_from(path)


@pytest.mark.parametrize("name", ["prefixes", "mentions", "elements", "declarations"])
def test_no_xmp_packet_makes_the_search_for_the_orientation_slow(name: str) -> None:
    declared = b" ".join(
        b'xmlns:p%03d%s="http://ns.adobe.com/tiff/1.0/"' % (number, b"x" * 60)
        for number in range(256)
    )
    parts = {
        "prefixes": b"p1" + b"x" * 62 + b" ",
        "mentions": b"tiff:Orientation ",
        "elements": b"<tiff:Orientation " + b"a" * 400,
        "declarations": b"xmlns:" + b"a" * 64 + b" " * 99,
    }
    packet = b"<x " + declared + b" " + parts[name] * (2**22 // len(parts[name]))
    started = time.process_time()
    assert read_orientation(None, packet) == 1
    assert reset_orientation(None, packet) == (None, packet)
    assert time.process_time() - started < 3


def test_the_prefix_of_exif_may_be_repeated_a_million_times() -> None:
    started = time.process_time()
    assert without_prefix(EXIF_PREFIX * 2**20 + b"II*\0") == b"II*\0"
    assert without_prefix(EXIF_PREFIX * 2**20) is None
    assert time.process_time() - started < 3
