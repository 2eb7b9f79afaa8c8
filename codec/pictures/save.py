"""Pictures to image files, with the metadata that each format can hold.

PNG and PPM are written while the picture is decoded. Other formats need it as a whole.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from bitstream import OutputError, UsageError, limits
from codec.pictures.bands import Bands
from codec.pictures.deep_tiff import write_deep_tiff
from codec.pictures.depth import peak_of
from codec.pictures.picture import EXIF_PREFIX, Picture, to_numpy
from codec.pictures.png_writer import write_png

_XMP_TAG = 700  # in TIFF


@dataclass(frozen=True)
class _Format:
    """What a format can hold, and the options that make its file as good as it can be.

    deep       whether it holds more than 8 bits per channel
    max_side   pixels; larger pictures are refused before they are decoded
    """

    suffixes: tuple[str, ...]
    alpha: bool = False
    gray_alpha: bool = False
    icc: bool = False
    exif: bool = False
    xmp: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    deep: bool = False
    max_side: int = limits.MAX_SIDE


_FORMATS = {
    "PNG": _Format((".png", ".apng"), True, True, True, True, True, deep=True),
    "JPEG": _Format(
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        icc=True,
        exif=True,
        xmp=True,
        options={"quality": 95, "subsampling": 0},
        max_side=65500,
    ),
    "WEBP": _Format(
        (".webp",),
        alpha=True,
        icc=True,
        exif=True,
        xmp=True,
        options={"lossless": True, "exact": True, "method": 4},
        max_side=16383,
    ),
    "TIFF": _Format(
        (".tif", ".tiff"),
        True,
        True,
        True,
        True,
        True,
        {"compression": "tiff_adobe_deflate"},
        deep=True,
    ),
    "AVIF": _Format(
        (".avif",), True, False, True, True, True, {"quality": 95, "subsampling": "4:4:4"}
    ),
    "JPEG2000": _Format((".jp2",), True, True),
    "PPM": _Format((".ppm", ".pgm", ".pnm"), deep=True),
    "BMP": _Format((".bmp",)),
    "TGA": _Format((".tga",), True, True, max_side=65535),
    "QOI": _Format((".qoi",), True),
}


def format_of_suffix(suffix: str) -> str:
    """Return Pillow's name of the format for a suffix such as ``.png``; raises UsageError."""
    for name, entry in _FORMATS.items():
        if suffix.lower() in entry.suffixes:
            return name
    known = " ".join(entry.suffixes[0] for entry in _FORMATS.values())
    raise UsageError(f"an output with the suffix {suffix!r}, expected one of {known}")


def save_bands(bands: Bands, fo: BinaryIO, format: str) -> tuple[str, ...]:  # noqa: A002
    """Save a picture in Pillow's format of that name; return notices on what was left out.

    Of bit depths 10 and 12 PNG holds the values and the depth, PPM as well, and TIFF those values
    spread over 16 bits.

    Raises UsageError for unknown formats, for one without alpha where the picture has some, and for
    one of 8 bits where the picture has more; OutputError where the format cannot hold the picture.
    Also raises what reading the bands raises: PNG and PPM are partly written by then, of other
    formats nothing is.
    """
    entry = _FORMATS.get(format)
    if entry is None:
        raise UsageError(f"format {format!r} was given, expected one of {', '.join(_FORMATS)}")
    if bands.has_alpha and not entry.alpha:
        others = ".png, .webp, .tiff or .avif" if bands.bit_depth <= 8 else ".png or .tiff"
        raise UsageError(
            f"the picture has transparency, and {format} cannot hold it: choose a {others} output"
        )
    if bands.bit_depth > 8 and not entry.deep:
        others = ".png or .tiff" if bands.has_alpha else ".png, .tiff or .ppm"
        raise UsageError(
            f"the picture has {bands.bit_depth} bits per channel, and {format} would hold 8: "
            f"choose a {others} output, or code the original with --reduce-depth"
        )
    if max(bands.width, bands.height) > entry.max_side:
        raise OutputError(
            f"a picture of {bands.width}×{bands.height} pixels, and {format} can hold "
            f"{entry.max_side} on a side: choose a .png or .tiff output"
        )
    metadata, notices = _metadata(bands, entry, format)
    if format == "PNG":
        write_png(fo, bands)
    elif format == "PPM":
        _write_ppm(fo, bands)
    elif bands.bit_depth > 8:
        write_deep_tiff(fo, bands, {**entry.options, **metadata})
    else:
        _save_by_pillow(_to_image(bands), fo, format, {**entry.options, **metadata})
    return notices


def _write_ppm(fo: BinaryIO, bands: Bands) -> None:
    kind = "P6" if bands.channels == 3 else "P5"
    fo.write(f"{kind}\n{bands.width} {bands.height}\n{peak_of(bands.bit_depth)}\n".encode())
    big_endian = np.dtype("u1" if bands.bit_depth <= 8 else ">u2")
    for pixels, _ in bands.bands:
        fo.write(np.ascontiguousarray(pixels, big_endian).data)


def _to_image(bands: Bands) -> Image.Image:
    """Return a Pillow image, band by band: two whole copies would not fit into memory."""
    mode = {1: "L", 3: "RGB"}[bands.channels] + ("A" if bands.has_alpha else "")
    image = Image.new(mode, (bands.width, bands.height))
    top = 0
    for pixels, alpha in bands.bands:
        image.paste(Image.fromarray(to_numpy(Picture(pixels, alpha))), (0, top))
        top += len(pixels)
    return image


def _save_by_pillow(image: Image.Image, fo: BinaryIO, name: str, options: dict[str, Any]) -> None:
    if image.mode == "LA" and not _FORMATS[name].gray_alpha:
        image = image.convert("RGBA")
    if image.mode == "L" and name == "QOI":
        image = image.convert("RGB")
    # Some formats seek, and pipes cannot; a failure leaves nothing in the output.
    buffer = io.BytesIO()
    try:
        image.save(buffer, name, **options)
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
            f"Pillow cannot save this picture as {name} ({error}): choose another format"
        ) from error
    fo.write(buffer.getbuffer())


def _metadata(bands: Bands, entry: _Format, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the options that hand metadata to Pillow's writer, and notices of what it lacks."""
    options: dict[str, Any] = {}
    notices = []
    held = (
        ("ICC profile", "icc_profile", bands.icc, entry.icc),
        ("EXIF", "exif", bands.exif, entry.exif),
        ("XMP", "xmp", bands.xmp, entry.xmp),
    )
    for title, key, value, can in held:
        if value is None:
            continue
        if can:
            options[key] = EXIF_PREFIX + value if key == "exif" else value
        else:
            notices.append(f"the {title} was left out: {name} cannot hold it")
    if "xmp" in options and name == "TIFF":
        options["tiffinfo"] = _tiff_tags(options.pop("exif", None), options.pop("xmp"))
    return options, tuple(notices)


def _tiff_tags(exif: bytes | None, xmp: bytes) -> Image.Exif:
    tags = Image.Exif()
    if exif is not None:
        tags.load(exif)
    tags[_XMP_TAG] = xmp
    return tags
