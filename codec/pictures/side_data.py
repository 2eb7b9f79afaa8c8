"""Reads the metadata of an image file.

A file is readable if its pixels are.  Metadata that cannot be read or kept are left out with a
notice.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from codec.pictures.exif import DESCRIPTIVE_TAGS, ORIENTATION, without_prefix
from codec.pictures.left_out import left_out, segments_of
from codec.pictures.passed_over import passed_over
from codec.pictures.pillow_errors import PILLOW_ERRORS
from codec.pictures.side_chunks import Chunks, chunks_of

_ICC = b"ICC_PROFILE\0"  # begins a segment of a JPEG


@dataclass(frozen=True)
class SideData:
    """Metadata as in `codec.pictures.picture.Picture`, and notices of what was left out."""

    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    ancillary: Chunks
    notices: tuple[str, ...]


def side_data_of(
    image: Image.Image, png: dict[bytes, bytes], file: BinaryIO | None, *, icc_is_void: bool
) -> SideData:
    """Return the metadata of a loaded image.

    png, file     as `side_chunks.chunks_of` takes them
    icc_is_void   whether the ICC profile no longer describes the pixels
    """
    notices: list[str] = []
    more: dict[str, bytes] = {}
    with suppress(*PILLOW_ERRORS):
        more = passed_over(image, file)
    icc = None if icc_is_void else image.info.get("icc_profile") or more.get("icc")
    # Pillow silently drops a damaged profile of a PNG, or one of a JPEG that lacks a segment.
    is_there = b"iCCP" in png or any(data.startswith(_ICC) for _, data in segments_of(image))
    is_damaged = icc is None and is_there and not icc_is_void
    if is_damaged or (icc is not None and not isinstance(icc, bytes)):
        notices.append("the ICC profile was left out: it cannot be read")
        icc = None
    exif = _exif_of(image, notices)
    if exif is None and "exif" in more:
        exif = without_prefix(more["exif"])
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or more.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    if xmp is not None and not isinstance(xmp, bytes):
        notices.append("the XMP was left out: it cannot be read")
        xmp = None
    notices += left_out(image, png, file, xmp, more)
    return SideData(icc, exif, xmp, chunks_of(image, png, file), tuple(notices))


def _exif_of(image: Image.Image, notices: list[str]) -> bytes | None:
    """Return EXIF as a TIFF stream: the original bytes if the format stores them separately."""
    exif = image.info.get("exif")
    if not isinstance(exif, bytes):
        exif = None
        try:
            tags = _copy_of(image.getexif())
            if image.format == "TIFF":
                # The tags of the image itself (strips, compression) do not describe our file.
                orientation = tags.get(ORIENTATION)
                for tag in set(tags) - DESCRIPTIVE_TAGS:
                    del tags[tag]
                if isinstance(orientation, bytes) and len(orientation) == 1:
                    tags[ORIENTATION] = orientation[0]  # Pillow did not apply this odd type
            for tag in list(tags):
                if not _can_be_written(tags, tag):
                    del tags[tag]
                    notices.append(f"the EXIF tag {tag} was left out: its value cannot be read")
            exif = tags.tobytes() if len(tags) else None
        except PILLOW_ERRORS:
            notices.append("the EXIF was left out: it cannot be read")
    return None if exif is None else without_prefix(exif)


def _copy_of(tags: Image.Exif) -> Image.Exif:
    """A copy that reads from the same file."""
    file = getattr(tags, "fp", None)
    return copy.deepcopy(tags, {id(file): file})


def _can_be_written(tags: Image.Exif, tag: int) -> bool:
    single = Image.Exif()
    single.endian = tags.endian
    try:
        single[tag] = tags.get_ifd(tag) if tag in (0x8769, 0x8825) else tags[tag]
        single.tobytes()
    except PILLOW_ERRORS:
        return False
    return True
