"""Other pictures in an image's file: frames, layers, sizes, and subdirectories of a TIFF.

A .calo file holds one picture, so a notice tells of the others.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from bitstream import InputError
from codec.pictures.pillow_errors import PILLOW_ERRORS
from codec.pictures.tiff_directories import directories

_NEXT_PNM = re.compile(rb"\s*P[1-7Ff]\s")


def other_pictures(
    image: Image.Image, original: ImageFile.ImageFile | None, file: BinaryIO | None, name: str
) -> tuple[str, ...]:
    """Return notices of the other pictures in the file of an image.

    original   the image opened again, which may be moved to another frame; None if not possible
    file       the file of the original

    Raises InputError if the image is only the preview of a picture that Pillow cannot read.
    """
    if original is None or file is None:
        # Only what the image already knows: the property `n_frames` would seek in it.
        frames = vars(image).get("n_frames") or 1
        notices = _sizes(image, None)
        return notices if frames < 2 else (*notices, _frame_notice(image.tell(), frames))
    try:
        frame = image.tell()
        if image.format == "PSD":
            layers = int(getattr(original, "n_frames", 0))
            if frame > 1 or layers > 1:
                taken = "the merged picture" if frame <= 1 else f"layer {frame}"
                return (f"{taken} was taken of a file with {layers} layers",)
            return ()
        notices = _sizes(image, file)
        if image.format == "PPM" and _is_followed(original, file):
            notices += ("the first picture of the file was taken: a .calo file holds one image",)
        if image.format == "TIFF":
            notices += _below_pages(image, file, name)
        frames = int(getattr(original, "n_frames", 1))
    except PILLOW_ERRORS:
        return ("how many pictures the file holds cannot be read: the first was taken",)
    return notices if frames < 2 else (*notices, _frame_notice(frame, frames))


def _frame_notice(frame: int, frames: int) -> str:
    return f"frame {frame + 1} of {frames} was taken: a .calo file holds one image"


def _sizes(image: Image.Image, file: BinaryIO | None) -> tuple[str, ...]:
    """A notice for icons and cursors, which hold one picture in several sizes."""
    if image.format not in ("ICO", "ICNS", "CUR"):
        return ()
    count = len(image.info.get("sizes") or ())
    if image.format != "ICNS" and file is not None:  # pictures of one size may differ in depth
        file.seek(4)
        count = int.from_bytes(file.read(2), "little")
    if count < 2:
        return ()
    width, height = image.size
    return (
        f"the picture of {width}×{height} pixels was taken, of {count}: a .calo file holds one "
        "image",
    )


def _is_followed(original: ImageFile.ImageFile, file: BinaryIO) -> bool:
    """Whether another picture follows in a PNM file; only binary files can hold several."""
    tile: Any = original.tile[0]
    if tile.codec_name == "ppm_plain":
        return False
    if original.mode == "1":
        row_bytes = -(-original.width // 8)
    else:
        most = tile.args[1] if tile.codec_name == "ppm" else 255
        is_wide = most > 255 or tile.args == "I;16B"
        sample_bytes = 4 if original.mode == "F" else 1 + is_wide
        row_bytes = original.width * len(original.getbands()) * sample_bytes
    file.seek(tile.offset + original.height * row_bytes)
    return _NEXT_PNM.match(file.read(16)) is not None


def _below_pages(image: Image.Image, file: BinaryIO, name: str) -> tuple[str, ...]:
    """A notice for subdirectories of a TIFF, where raw photographs and pyramids are stored."""
    found = list(directories(file))
    below = [one for one in found if not one.is_page]
    if not below:
        return ()
    largest = max(below, key=lambda one: one.width * one.height)
    width, height = image.size
    # Pages are Pillow's frames, and may have their own pyramids.
    pages = [one.width * one.height for one in found if one.is_page]
    if largest.width * largest.height > max(width * height, *pages):
        raise InputError(
            f"{name} holds a picture of {largest.width}×{largest.height} pixels that Pillow does "
            f"not read, and a preview of {width}×{height}: develop the raw photograph to TIFF or "
            "PNG first"
        )
    return (f"further pictures below the first ({len(below)}) were left out",)
