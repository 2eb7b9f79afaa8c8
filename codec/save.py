"""Pictures to image files, with the metadata that each format can hold."""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bitstream import OutputError, UsageError

from .image import Picture, to_pil

_XMP_TAG = 700  # in TIFF


@dataclass(frozen=True)
class _Format:
    """What a format can hold, and the options that make its file as good as it can be."""

    suffixes: tuple[str, ...]
    alpha: bool = False
    gray_alpha: bool = False
    icc: bool = False
    exif: bool = False
    xmp: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_FORMATS = {
    "PNG": _Format((".png", ".apng"), True, True, True, True, True),
    "JPEG": _Format(
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        icc=True,
        exif=True,
        xmp=True,
        options={"quality": 95, "subsampling": 0},
    ),
    "WEBP": _Format(
        (".webp",), True, False, True, True, True, {"lossless": True, "exact": True, "method": 4}
    ),
    "TIFF": _Format(
        (".tif", ".tiff"), True, True, True, True, True, {"compression": "tiff_adobe_deflate"}
    ),
    "AVIF": _Format(
        (".avif",), True, False, True, True, True, {"quality": 95, "subsampling": "4:4:4"}
    ),
    "JPEG2000": _Format((".jp2",), True, True),
    "PPM": _Format((".ppm", ".pgm", ".pnm")),
    "BMP": _Format((".bmp",)),
    "TGA": _Format((".tga",), True, True),
    "QOI": _Format((".qoi",), True),
}


def format_of_suffix(suffix: str) -> str:
    """Return Pillow's name of the format for a suffix such as ``.png``; raises UsageError."""
    for name, entry in _FORMATS.items():
        if suffix.lower() in entry.suffixes:
            return name
    known = " ".join(entry.suffixes[0] for entry in _FORMATS.values())
    raise UsageError(f"an output with the suffix {suffix!r}, expected one of {known}")


def save_picture(picture: Picture, fo: BinaryIO, format: str) -> tuple[str, ...]:  # noqa: A002
    """Save a picture in Pillow's format of that name; return notices on what was left out.

    Raises UsageError for a format without alpha where the picture has some, and for unknown
    formats; OutputError where the format cannot hold the picture.
    """
    entry = _FORMATS.get(format)
    if entry is None:
        raise UsageError(f"format {format!r} was given, expected one of {', '.join(_FORMATS)}")
    if picture.alpha is not None and not entry.alpha:
        raise UsageError(
            f"the picture has transparency, and {format} cannot hold it: "
            "choose a .png, .webp, .tiff or .avif output"
        )
    image = to_pil(picture)
    if image.mode == "LA" and not entry.gray_alpha:
        image = image.convert("RGBA")
    if image.mode == "L" and format == "QOI":
        image = image.convert("RGB")
    options, notices = _metadata(image, entry, format)
    # Some formats seek, and pipes cannot; a failure leaves nothing in the output.
    buffer = io.BytesIO()
    try:
        image.save(buffer, format, **entry.options, **options)
    except (
        OSError,
        ValueError,
        OverflowError,
        SyntaxError,
        LookupError,
        TypeError,
        RuntimeError,
        struct.error,
    ) as error:
        raise OutputError(
            f"Pillow cannot save this picture as {format} ({error}): choose another format"
        ) from error
    fo.write(buffer.getbuffer())
    return notices


def _metadata(
    image: Image.Image, entry: _Format, name: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    options: dict[str, Any] = {}
    notices = []
    held = (
        ("ICC profile", "icc_profile", entry.icc),
        ("EXIF", "exif", entry.exif),
        ("XMP", "xmp", entry.xmp),
    )
    for title, key, can in held:
        # Pillow's writers look into ``info`` as well: what is not asked for shall not be there.
        value = image.info.pop(key, None)
        if value is None:
            continue
        if can:
            options[key] = value
        else:
            notices.append(f"the {title} was left out: {name} cannot hold it")
    if "xmp" in options and name == "PNG":
        info = PngInfo()
        text = options.pop("xmp").decode("utf-8", "replace")
        info.add_itxt("XML:com.adobe.xmp", text)
        options["pnginfo"] = info
    if "xmp" in options and name == "TIFF":
        options["tiffinfo"] = _tiff_tags(options.pop("exif", None), options.pop("xmp"))
    return options, tuple(notices)


def _tiff_tags(exif: bytes | None, xmp: bytes) -> Image.Exif:
    tags = Image.Exif()
    if exif is not None:
        tags.load(exif)
    tags[_XMP_TAG] = xmp
    return tags
