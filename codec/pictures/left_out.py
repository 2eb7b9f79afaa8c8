"""Notices of what an image file contains but a .calo file cannot hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from PIL import Image

from codec.pictures.boxes import boxes
from codec.pictures.passed_over import RAW_APP1
from codec.pictures.pillow_errors import PILLOW_ERRORS

_SAMPLES, _WHITE_POINT, _PRIMARIES = 277, 318, 319  # TIFF tags
_PSD_CHANNELS = 12  # position of the number of channels in a PSD
_IPTC_RESOURCE = 0x0404  # number of the Photoshop resource with IPTC
_IPTC, _PHOTOSHOP = 33723, 34377  # TIFF tags; the second contains Photoshop resources
_GAIN_MAP = b"hdrgm:Version"  # in the XMP of a JPEG that contains a gain map as another JPEG
_CONTENT_CREDENTIALS = "the content credentials (C2PA) were left out: they hold for the source only"
# GeoTIFF 1.1, clause 7.1; Adobe Photoshop TIFF Technical Notes, 3; C2PA 2.1, A.3; TIFF 6.0, 20;
# GDAL, "GTiff -- GeoTIFF File Format"; ImageJ, ij/io/TiffDecoder.java.
_TAGS = {
    "the place on a map (GeoTIFF) was left out": {33550, 33922, 34264, 34735, 34736, 34737},
    "the layers of Photoshop were left out: a .calo file holds one image": {37724},
    _CONTENT_CREDENTIALS: {52545},
    "the transfer function of the TIFF was left out": {301},
    "the metadata of GDAL were left out": {42112, 42113},
    "the metadata of ImageJ were left out": {50838, 50839},
}
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_FILM_IN_XMP = re.compile(rb"(MotionPhoto|MicroVideo)\W{1,3}1")
_FILM = re.compile(rb"\0\0\0.ftyp(mp4|iso|qt|avc|hvc|MSNV|3gp)", re.DOTALL)  # the head of an MP4
_PIECE_BYTES, _FILM_BYTES = 2**20, 16
_MAX_CHUNKS = 1000
# Texts that programs write into every PNG, are kept as EXIF or XMP, or have their own notice.
_OF_PROGRAMS = re.compile(
    r"Software$|date:|Thumb::|exif:|png:|XML:com\.adobe\.xmp$|Raw profile type (exif|APP1)$"
    r"|(exif|icc_profile|xmp)$"
)
_MAX_NAMES, _MAX_NAME_LENGTH = 5, 40


def left_out(
    image: Image.Image,
    png: dict[bytes, bytes],
    file: BinaryIO | None,
    xmp: bytes | None,
    passed_over: dict[str, bytes],
) -> Iterator[str]:
    """Yield notices of what the file of a loaded image contains and is not kept.

    png           the chunks of a PNG, empty for other files
    file          seekable, if it is known; its position changes
    passed_over   as `codec.pictures.passed_over` returns it
    """
    tags: Any = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    if "iptc" in passed_over or _has_iptc(image, tags or {}):
        yield "the IPTC metadata were left out: a .calo file holds ICC, EXIF and XMP"
    if xmp is not None and _GAIN_MAP in xmp:
        yield "the gain map for HDR was left out: a .calo file holds one image"
    if image.format == "PNG" and RAW_APP1 in image.info and not passed_over:
        yield "the metadata in a raw profile (APP1) were left out: they cannot be read"
    extra = _extra_channels(image, file)
    if extra:
        yield (
            f"further channels of the {image.format} were left out ({extra}): a .calo file holds "
            "grey or colours, and alpha"
        )
    if image.format == "CUR" and "A" not in image.getbands():
        yield "the transparency of the cursor was left out: Pillow does not read it"
    names = _names_of_text(image)
    if names:
        yield f"text was left out ({names}): a .calo file holds ICC, EXIF and XMP"
    if b"mDCV" in png or b"cLLI" in png:
        yield "the light levels of HDR (mDCV, cLLI) were left out"
    if tags is not None:
        yield from (notice for notice, own in _TAGS.items() if not own.isdisjoint(tags))
        if (_WHITE_POINT in tags) != (_PRIMARIES in tags):
            yield "the white point or primaries of the TIFF were left out: only both are kept"
    segments = list(segments_of(image))
    if any(data.startswith(_EXTENDED_XMP) for _, data in segments):
        yield "the extended XMP was left out: only the first packet is kept"
    with suppress(*PILLOW_ERRORS):
        if _has_credentials(image, png, file, segments):
            yield _CONTENT_CREDENTIALS
        if image.format in ("JPEG", "MPO") and _has_film(file, xmp):
            yield "the film of a motion photo was left out: a .calo file holds one image"


def _has_iptc(image: Image.Image, tags: Any) -> bool:
    """Whether a JPEG or TIFF has IPTC only in Photoshop resources; the TIFF tag is kept."""
    resources = image.info.get("photoshop")
    if isinstance(resources, dict) and _IPTC_RESOURCE in resources:
        return True
    resources = tags.get(_PHOTOSHOP)
    head = b"8BIM" + _IPTC_RESOURCE.to_bytes(2, "big")
    return _IPTC not in tags and isinstance(resources, bytes) and head in resources


def _extra_channels(image: Image.Image, file: BinaryIO | None) -> int:
    """Number of channels of a TIFF or PSD that Pillow ignores: masks, spot colours, alphas."""
    tags: Any = getattr(image, "tag_v2", {})
    samples = tags.get(_SAMPLES) if image.format == "TIFF" else None
    if image.format == "PSD" and file is not None:
        file.seek(_PSD_CHANNELS)
        samples = int.from_bytes(file.read(2), "big")
    return max(0, samples - len(image.getbands())) if isinstance(samples, int) else 0


def _names_of_text(image: Image.Image) -> str:
    """Names of the text that users have put into a PNG, JPEG or GIF, for a notice."""
    texts: dict[str, object] = {}
    with suppress(*PILLOW_ERRORS):
        texts = dict(getattr(image, "text", {}))
    names = [str(name) for name in texts if not _OF_PROGRAMS.match(str(name))]
    if image.format in ("JPEG", "MPO", "GIF") and image.info.get("comment"):
        names.append("comment")
    more = ["…"] if len(names) > _MAX_NAMES else []
    return ", ".join([name[:_MAX_NAME_LENGTH] for name in names[:_MAX_NAMES]] + more)


def segments_of(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the segments of a JPEG."""
    if image.format in ("JPEG", "MPO"):
        for name, data in getattr(image, "applist", ()):
            if isinstance(data, bytes):
                yield name, data


def _has_credentials(
    image: Image.Image,
    png: dict[bytes, bytes],
    file: BinaryIO | None,
    segments: list[tuple[str, bytes]],
) -> bool:
    """Whether the file is signed by C2PA: specification 2.1, annex A.3."""
    if b"caBX" in png or any(name == "APP11" and b"c2pa" in data for name, data in segments):
        return True
    if file is None:
        return False
    if image.format == "WEBP":
        return any(kind == b"C2PA" for kind in _kinds_of_riff(file))
    if image.format in ("AVIF", "HEIF", "JPEG2000"):
        for kind, start, _ in boxes(file, 0, file.seek(0, 2)):
            file.seek(start)
            head = file.read(64)
            is_own = kind == b"uuid" and head.startswith(_C2PA_BOX)
            if is_own or (kind == b"jumb" and b"c2pa" in head):
                return True
    return False


def _kinds_of_riff(file: BinaryIO) -> Iterator[bytes]:
    place = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        yield head[:4]
        length = int.from_bytes(head[4:], "little")
        place += 8 + length + length % 2


def _has_film(file: BinaryIO | None, xmp: bytes | None) -> bool:
    """Whether a film follows a JPEG, as phones write it; without the file, whether XMP says so."""
    if file is None:
        return xmp is not None and _FILM_IN_XMP.search(xmp) is not None
    file.seek(0)
    kept = b""
    while piece := file.read(_PIECE_BYTES):
        if _FILM.search(kept + piece):
            return True
        kept = piece[-_FILM_BYTES:]
    return False
