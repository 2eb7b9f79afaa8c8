"""Reads the file behind a caller's Pillow image without changing the image.

Asking an image for its number of frames seeks in it, which would discard changes to its pixels, so
the file is opened a second time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, TiffTags

from bitstream import InputError
from codec.pictures.pillow_errors import PILLOW_ERRORS
from codec.system.source import open_path

_BAND_PIXELS = 2**20


@contextmanager
def file_of(image: Image.Image) -> Iterator[BinaryIO | None]:
    """Give the seekable file from which an image was opened, or None if it cannot be read."""
    with ExitStack() as stack:
        yield _by_name(image, stack) or _by_object(image)


@contextmanager
def loadable(image: Image.Image) -> Iterator[tuple[str, ...]]:
    """Remove metadata with which Pillow fails to load a TIFF, and give notices of them.

    After the block the image has them again.
    """
    xmp, removed = image.info.get("xmp"), without_odd_metadata(image)
    notices = [f"the EXIF tag {tag} was left out: its value cannot be read" for tag in removed]
    if xmp is not None and "xmp" not in image.info:
        notices.append("the XMP was left out: it cannot be read")
    try:
        yield tuple(notices)
    finally:
        left = image.info.get("xmp")  # Pillow has removed the orientation from it
        if isinstance(xmp, str) and isinstance(left, bytes):
            image.info["xmp"] = left.decode("latin-1")
        elif xmp is not None and left is None:
            image.info["xmp"] = xmp
        for tag, value in removed.items():
            image.getexif()[tag] = value


def without_odd_metadata(image: Image.Image) -> dict[int, Any]:
    """Remove metadata with which Pillow fails to load a TIFF; return the removed EXIF tags.

    image   opened, but not loaded

    While loading, Pillow searches XMP for the orientation, and reads the EXIF directories.
    """
    removed: dict[int, Any] = {}
    if image.format != "TIFF":
        return removed
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        image.info["xmp"] = xmp.encode("latin-1", "replace")  # as Pillow decodes a tag of text
    elif xmp is not None and not isinstance(xmp, bytes):
        del image.info["xmp"]
    if getattr(image, "tile", None):
        with suppress(*PILLOW_ERRORS):
            tags = image.getexif()
            for tag in TiffTags.TAGS_V2_GROUPS:
                try:
                    tags.get_ifd(tag)
                except PILLOW_ERRORS:
                    removed[tag] = tags.get(tag)
                    del tags[tag]
    return removed


def reopened(image: Image.Image, file: BinaryIO | None) -> ImageFile.ImageFile | None:
    """Open the image from its file again, at the same frame; None if the file does not match."""
    if file is None:
        return None
    try:
        file.seek(0)
        again = Image.open(file)
        if again.format != image.format:
            return None
        frame = image.tell()
        if again.tell() != frame:
            again.seek(frame)
        without_odd_metadata(again)
    except PILLOW_ERRORS:
        return None
    return again if again.size == image.size else None


def is_unchanged(image: Image.Image, file: BinaryIO) -> bool:
    """Whether the pixels of a loaded image are still those that Pillow reads from its file."""
    again = reopened(image, file)
    if again is None or again.info.get("transparency") != image.info.get("transparency"):
        return False
    try:
        again.load()
    except PILLOW_ERRORS:
        return False
    if (again.mode, again.size) != (image.mode, image.size):
        return False
    step = max(1, _BAND_PIXELS // max(image.width, 1))
    for top in range(0, image.height, step):
        box = (0, top, image.width, min(top + step, image.height))
        if not np.array_equal(np.asarray(image.crop(box)), np.asarray(again.crop(box))):
            return False
    return True


def _by_name(image: Image.Image, stack: ExitStack) -> BinaryIO | None:
    own: Any = getattr(image, "fp", None) or getattr(image, "_fp", None)
    for name in (getattr(image, "filename", None), getattr(own, "name", None)):
        if name and isinstance(name, (str, Path)):
            try:
                file = stack.enter_context(open_path(name))
            except InputError:
                continue
            if file.seekable():
                return file
    return None


def _by_object(image: Image.Image) -> BinaryIO | None:
    """A copy of the image's file object, whose position does not change."""
    for name in ("fp", "_fp"):
        own: Any = getattr(image, name, None)
        try:
            place = own.tell()
            own.seek(0)
            content = own.read()
            own.seek(place)
        except (AttributeError, TypeError, OSError, ValueError):
            continue  # none, closed, or not seekable
        if isinstance(content, bytes):
            return io.BytesIO(content)
    return None
