"""What stands beside the pixels in an image file: metadata, and further pictures.

The pixels alone decide whether a file is readable.  Metadata that cannot be read or kept are left
out with a notice.
"""

from __future__ import annotations

import copy
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image, ImageFile, TiffImagePlugin

from bitstream import InputError
from codec.pictures.exif import DESCRIPTIVE_TAGS, ORIENTATION, without_prefix
from codec.pictures.passed_over import RAW_APP1, passed_over
from codec.pictures.pillow_errors import PILLOW_ERRORS
from codec.pictures.side_chunks import Chunks, chunks_of

_WIDTH, _HEIGHT, _SAMPLES, _SUB_DIRECTORIES = 256, 257, 277, 330  # tags of TIFF
_MAX_SUB_DIRECTORIES = 16
_PSD_CHANNELS = 12  # where a PSD says how many it has
_IPTC_RESOURCE = 0x0404  # of Photoshop's resources in a JPEG file
_GAIN_MAP = b"hdrgm:Version"  # XMP of a JPEG that holds another one with the brighter parts
# What programs write into every PNG, and what is kept as EXIF or XMP or has its own notice.
_OF_PROGRAMS = re.compile(
    r"Software$|date:|Thumb::|exif:|png:|XML:com\.adobe\.xmp$|Raw profile type (exif|APP1)$"
    r"|(exif|icc_profile|xmp)$"
)
_MAX_NAMES, _MAX_NAME_LENGTH = 5, 40


@dataclass(frozen=True)
class SideData:
    """Metadata as `codec.pictures.picture.Picture` holds them, and notices of what is missing."""

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
    icc_is_void   whether the ICC profile does not describe the pixels any more
    """
    notices: list[str] = []
    more: dict[str, bytes] = {}
    with suppress(*PILLOW_ERRORS):
        more = passed_over(image, file)
    icc = None if icc_is_void else image.info.get("icc_profile") or more.get("icc")
    # Pillow takes a damaged profile of a PNG for none.
    is_damaged = icc is None and b"iCCP" in png and not icc_is_void
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
    resources = image.info.get("photoshop")
    if "iptc" in more or (isinstance(resources, dict) and _IPTC_RESOURCE in resources):
        notices.append("the IPTC metadata were left out: a .calo file holds ICC, EXIF and XMP")
    if xmp is not None and _GAIN_MAP in xmp:
        notices.append("the gain map for HDR was left out: a .calo file holds one image")
    if image.format == "PNG" and RAW_APP1 in image.info and not more:
        notices.append("the metadata in a raw profile (APP1) were left out: they cannot be read")
    extra = _extra_channels(image, file)
    if extra:
        notices.append(
            f"further channels of the {image.format} were left out ({extra}): a .calo file holds "
            "gray or colours, and alpha"
        )
    names = _names_of_text(image)
    if names:
        notices.append(f"text was left out ({names}): a .calo file holds ICC, EXIF and XMP")
    if b"mDCV" in png or b"cLLI" in png:
        notices.append("the light levels of HDR (mDCV, cLLI) were left out")
    return SideData(icc, exif, xmp, chunks_of(image, png, file), tuple(notices))


def _extra_channels(image: Image.Image, file: BinaryIO | None) -> int:
    """How many channels of a TIFF or PSD Pillow does not read: masks, spot colours, alphas."""
    tags: Any = getattr(image, "tag_v2", {})
    samples = tags.get(_SAMPLES) if image.format == "TIFF" else None
    if image.format == "PSD" and file is not None:
        file.seek(_PSD_CHANNELS)
        samples = int.from_bytes(file.read(2), "big")
    return max(0, samples - len(image.getbands())) if isinstance(samples, int) else 0


def _names_of_text(image: Image.Image) -> str:
    """Names of the text that people write into a PNG, JPEG or GIF, for a notice."""
    texts: dict[str, object] = {}
    with suppress(*PILLOW_ERRORS):
        texts = dict(getattr(image, "text", {}))
    names = [str(name) for name in texts if not _OF_PROGRAMS.match(str(name))]
    if image.format in ("JPEG", "MPO", "GIF") and image.info.get("comment"):
        names.append("comment")
    more = ["…"] if len(names) > _MAX_NAMES else []
    return ", ".join([name[:_MAX_NAME_LENGTH] for name in names[:_MAX_NAMES]] + more)


def _exif_of(image: Image.Image, notices: list[str]) -> bytes | None:
    """Return EXIF as a TIFF stream.  Bytes are kept where the format kept them apart."""
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
                    tags[ORIENTATION] = orientation[0]  # for which Pillow has not turned the pixels
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


def other_pictures(
    image: Image.Image, original: ImageFile.ImageFile | None, file: BinaryIO | None, name: str
) -> tuple[str, ...]:
    """Return notices of the further pictures in the file of an image.

    original   the image opened again, which may be moved to another frame; None if that cannot be
    file       of the original

    Raises InputError where the image is the preview of a picture that Pillow does not read.
    """
    if original is None:
        # What the image knows by itself: asking for more would seek in it.
        frames = vars(image).get("n_frames") or 1
        return () if frames < 2 else (_frame_notice(image.tell(), frames),)
    try:
        frame = image.tell()
        if image.format == "PSD":
            layers = int(getattr(original, "n_frames", 0))
            if frame > 1 or layers > 1:
                taken = "the merged picture" if frame <= 1 else f"layer {frame}"
                return (f"{taken} was taken of a file with {layers} layers",)
            return ()
        notices = _sizes(image)
        if file is not None:
            notices += _sub_directories(image, original, file, name)
        frames = int(getattr(original, "n_frames", 1))
    except PILLOW_ERRORS:
        return ("how many pictures the file holds cannot be read: the first was taken",)
    return notices if frames < 2 else (*notices, _frame_notice(frame, frames))


def _frame_notice(frame: int, frames: int) -> str:
    return f"frame {frame + 1} of {frames} was taken: a .calo file holds one image"


def _sizes(image: Image.Image) -> tuple[str, ...]:
    """Of icons, which hold one picture in several sizes."""
    sizes = image.info.get("sizes")
    if image.format not in ("ICO", "ICNS") or not sizes or len(sizes) < 2:
        return ()
    width, height = image.size
    return (
        f"the picture of {width}×{height} pixels was taken, of {len(sizes)}: a .calo file holds "
        "one image",
    )


def _sub_directories(
    image: Image.Image, original: ImageFile.ImageFile, file: BinaryIO, name: str
) -> tuple[str, ...]:
    """Of TIFF, in which raw photographs and pyramids lie below the first picture."""
    tags: Any = getattr(original, "tag_v2", None)
    if tags is None or _SUB_DIRECTORIES not in tags:
        return ()
    places = tags[_SUB_DIRECTORIES]
    places = places if isinstance(places, tuple) else (places,)
    largest = max(_size_at(tags, file, place) for place in places[:_MAX_SUB_DIRECTORIES])
    width, height = image.size
    if largest[0] > width * height:
        raise InputError(
            f"{name} holds a picture of {largest[1]}×{largest[2]} pixels that Pillow does "
            f"not read, and a preview of {width}×{height}: develop the raw photograph to TIFF or "
            "PNG first"
        )
    return (f"further pictures below the first ({len(places)}) were left out",)


def _size_at(tags: Any, file: BinaryIO, place: object) -> tuple[int, int, int]:
    """Pixels, width and height of the directory at a place; zeros if there is none."""
    if not isinstance(place, int):
        return 0, 0, 0
    head = b"II*\0" if tags.prefix == b"II" else b"MM\0*"
    directory = TiffImagePlugin.ImageFileDirectory_v2(head + bytes(4))
    try:
        file.seek(place)
        directory.load(file)
        width, height = int(directory.get(_WIDTH, 0)), int(directory.get(_HEIGHT, 0))
    except PILLOW_ERRORS:
        return 0, 0, 0
    return width * height, width, height
