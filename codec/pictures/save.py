"""Saves pictures as image files, with the metadata that each format can hold.

PNG, PPM and TIFF are written while the picture is decoded. Other formats need the whole picture.
"""

import dataclasses
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from bitstream import OutputError, UsageError, limits
from bitstream.foreign import shown
from codec.pictures.bands import Band, Bands, bands_of
from codec.pictures.depth import peak_of
from codec.pictures.exif import EXIF_PREFIX, ORIENTATION, byte_order
from codec.pictures.orientation import apply_orientation, read_orientation, reset_orientation
from codec.pictures.picture import Picture, to_numpy
from codec.pictures.pillow_errors import PILLOW_ERRORS
from codec.pictures.png_writer import write_png
from codec.pictures.side_chunks import dots_per_inch, known_chunks, pixel_aspect
from codec.pictures.tiff_writer import write_tiff


@dataclass(frozen=True)
class _Format:
    """What a format can hold, and Pillow's options for the best quality.

    density    whether it holds dots per inch
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
    density: bool = False
    deep: bool = False
    max_side: int = limits.MAX_SIDE


_FORMATS = {
    "PNG": _Format((".png", ".apng"), True, True, True, True, True, density=True, deep=True),
    "JPEG": _Format(
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        icc=True,
        exif=True,
        xmp=True,
        options={"quality": 95, "subsampling": 0},
        density=True,
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
        density=True,
        deep=True,
    ),
    "AVIF": _Format(
        (".avif",), True, False, True, True, True, {"quality": 95, "subsampling": "4:4:4"}
    ),
    "JPEG2000": _Format((".jp2",), True, True),
    "PPM": _Format((".ppm", ".pgm", ".pnm"), deep=True),
    "BMP": _Format((".bmp",), density=True),
    "TGA": _Format((".tga",), True, True, max_side=65535),
    "QOI": _Format((".qoi",), True),
}


_TITLES = {"exif": "EXIF", "xmp": "XMP", "icc_profile": "ICC profile"}
_WITH_QUALITY = ("JPEG", "WEBP", "AVIF")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def format_of_suffix(suffix: str) -> str:
    """Return Pillow's name of the format for a suffix such as ``.png``; raises UsageError."""
    for name, entry in _FORMATS.items():
        if _is_text(suffix) and suffix.lower() in entry.suffixes:
            return name
    known = " ".join(entry.suffixes[0] for entry in _FORMATS.values())
    raise UsageError(f"the suffix {shown(suffix)} was given for an output, expected one of {known}")


def known_suffixes() -> frozenset[str]:
    """Return all suffixes that `format_of_suffix` knows."""
    return frozenset(suffix for entry in _FORMATS.values() for suffix in entry.suffixes)


def check_output_quality(quality: object, format: str) -> None:  # noqa: A002
    """Raise UsageError unless it is None, or 1 .. 100 for a format that has a quality."""
    if quality is None:
        return
    if not isinstance(quality, (int, np.integer)) or not 1 <= quality <= 100:
        raise UsageError(
            f"output quality {shown(quality)} was given, expected an integer, 1 .. 100"
        )
    if not _is_text(format) or format not in _WITH_QUALITY:
        raise UsageError(
            f"an output quality was given for {format}, which is lossless: leave it out, or choose "
            ".jpg, .webp or .avif"
        )


def upright_for(bands: Bands, format: str) -> Bands:  # noqa: A002
    """The bands as they are, or turned upright for a format that cannot hold the orientation.

    To turn them, the whole picture is decoded when the bands are read.
    """
    entry = _FORMATS.get(format) if _is_text(format) else None
    orientation = read_orientation(bands.exif, bands.xmp)
    if entry is None or entry.exif or orientation == 1:
        return bands
    exif, xmp = reset_orientation(bands.exif, bands.xmp)

    def read() -> Iterator[Band]:
        picture = bands.picture()
        alpha = None if picture.alpha is None else apply_orientation(picture.alpha, orientation)
        pixels = apply_orientation(picture.pixels, orientation)
        yield from bands_of(dataclasses.replace(picture, pixels=pixels, alpha=alpha)).bands

    width, height = bands.width, bands.height
    if orientation >= 5:
        width, height = height, width
    notice = f"the pixels were turned upright: {format} cannot hold the orientation"
    return dataclasses.replace(
        bands,
        width=width,
        height=height,
        bands=read(),
        exif=exif,
        xmp=xmp,
        notices=(*bands.notices, notice),
    )


def save_bands(
    bands: Bands,
    fo: BinaryIO,
    format: str,  # noqa: A002
    quality: int | None = None,
) -> tuple[str, ...]:
    """Save a picture in Pillow's format of that name; return notices on what was left out.

    quality   1 .. 100, for JPEG, WebP and AVIF; None is 95 for JPEG and AVIF, and lossless for WebP

    For bit depths 10 and 12, PNG and PPM keep the values and the depth, and TIFF the values scaled
    to 16 bits.

    Raises UsageError for unknown formats, for one without alpha if a pixel is not opaque, and
    for an 8-bit format if the picture has more; OutputError if the format cannot hold the pixels.
    Also raises what reading the bands raises: by then, PNG, PPM and TIFF are partly written; for
    other formats nothing is.
    """
    entry = _FORMATS.get(format) if _is_text(format) else None
    if entry is None:
        raise UsageError(f"format {shown(format)} was given, expected one of {', '.join(_FORMATS)}")
    check_output_quality(quality, format)
    if bands.bit_depth > 8 and not entry.deep:
        others = ".png or .tiff" if bands.has_alpha else ".png, .tiff or .ppm"
        raise UsageError(
            f"the picture has {bands.bit_depth} bits per channel, and {format} would hold 8: "
            f"choose a {others} output, or pass --reduce-depth (reduce_depth=True) to round "
            "them to 8"
        )
    if max(bands.width, bands.height) > entry.max_side:
        raise OutputError(
            f"a picture of {bands.width}×{bands.height} pixels, and {format} can hold "
            f"{entry.max_side} on a side: choose a .png or .tiff output"
        )
    if bands.has_alpha and not entry.alpha:
        bands = dataclasses.replace(bands, has_alpha=False, bands=_opaque(bands, format))
    metadata, notices = _metadata(bands, entry, format)
    if format == "PNG":
        write_png(fo, bands)
    elif format == "PPM":
        _write_ppm(fo, bands)
    elif format == "TIFF":
        write_tiff(fo, bands)
    else:
        options = {**entry.options, **metadata}
        if quality is not None:
            options |= {"quality": quality, "lossless": False}
        notices += _save_by_pillow(_to_image(bands), fo, format, options)
    return notices


def _opaque(bands: Bands, format: str) -> Iterator[Band]:  # noqa: A002
    """The bands without their alpha; raises UsageError at the first that is not opaque."""
    for pixels, alpha in bands.bands:
        if alpha is not None and alpha.min() < peak_of(bands.bit_depth):
            others = ".png, .webp, .tiff or .avif" if bands.bit_depth <= 8 else ".png or .tiff"
            raise UsageError(
                f"the picture has transparency, and {format} cannot hold it: choose a {others} "
                "output"
            )
        yield pixels, None


def _write_ppm(fo: BinaryIO, bands: Bands) -> None:
    kind = "P6" if bands.channels == 3 else "P5"
    header = f"{kind}\n{bands.width} {bands.height}\n{peak_of(bands.bit_depth)}\n".encode()
    big_endian = np.dtype("u1" if bands.bit_depth <= 8 else ">u2")
    for pixels, _ in bands.bands:
        fo.write(header)  # after the first band was read, because that may fail
        header = b""
        fo.write(np.ascontiguousarray(pixels, big_endian).data)


def _to_image(bands: Bands) -> Image.Image:
    """Return a Pillow image, filled band by band to avoid a second whole copy in memory."""
    mode = {1: "L", 3: "RGB"}[bands.channels] + ("A" if bands.has_alpha else "")
    image = Image.new(mode, (bands.width, bands.height))
    top = 0
    for pixels, alpha in bands.bands:
        image.paste(Image.fromarray(to_numpy(Picture(pixels, alpha))), (0, top))
        top += len(pixels)
    return image


def _save_by_pillow(
    image: Image.Image, fo: BinaryIO, name: str, options: dict[str, Any]
) -> tuple[str, ...]:
    """Save an image without the metadata that the format cannot hold; return notices of them."""
    if image.mode == "LA" and not _FORMATS[name].gray_alpha:
        image = image.convert("RGBA")
    if image.mode == "L" and name == "QOI":
        image = image.convert("RGB")
    notices: tuple[str, ...] = ()
    in_turn = [key for key in _TITLES if key in options]
    while True:
        # A buffer, because some writers seek and pipes cannot, and a failure must write nothing.
        buffer = io.BytesIO()
        try:
            image.save(buffer, name, **options)
        except (*PILLOW_ERRORS, OverflowError) as error:
            if not in_turn:
                raise OutputError(
                    f"Pillow cannot save this picture as {name} ({error}): choose another format"
                ) from error
            # The message may not say which metadata failed: then drop the first.
            key = next((key for key in in_turn if _TITLES[key][:3] in str(error)), in_turn[0])
            in_turn.remove(key)
            stated = _stated_orientation(options)
            del options[key]
            if "exif" not in options and _stated_orientation(options) != stated:
                options["exif"] = _exif_of(stated)
            notices += (f"the {_TITLES[key]} was left out: {name} cannot hold it ({error})",)
        else:
            fo.write(buffer.getbuffer())
            return notices


def _stated_orientation(options: dict[str, Any]) -> int:
    """The orientation in the metadata of Pillow's options."""
    return read_orientation(options.get("exif", b"")[len(EXIF_PREFIX) :], options.get("xmp"))


def _exif_of(orientation: int) -> bytes:
    """An EXIF stream with only an orientation."""
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def _metadata(bands: Bands, entry: _Format, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the options that pass metadata to Pillow's writer, and notices of what is lost."""
    options: dict[str, Any] = {}
    notices = []
    held = (
        ("icc_profile", bands.icc, entry.icc),
        ("exif", bands.exif, entry.exif),
        ("xmp", bands.xmp, entry.xmp),
    )
    for key, value, can in held:
        if value is None:
            continue
        if can:
            options[key] = EXIF_PREFIX + value if key == "exif" else value
        else:
            notices.append(f"the {_TITLES[key]} was left out: {name} cannot hold it")
    if name == "TIFF" and bands.exif is not None and byte_order(bands.exif) is None:
        notices.append("the EXIF was left out: it is damaged")
    dpi, chunks = dots_per_inch(bands.ancillary), known_chunks(bands.ancillary)
    if dpi is not None and entry.density:
        options["dpi"] = tuple(min(65535, max(1, round(value))) for value in dpi)
    if name == "TIFF":  # it has tags for these
        chunks.pop(b"chrm", None)
        if pixel_aspect(bands.ancillary) is not None:
            del chunks[b"phys"]
    if b"phys" in chunks and name != "PNG" and "dpi" not in options:
        notices.append(f"the density of the pixels was left out: {name} cannot hold it")
    if chunks.keys() - {b"phys"} and name != "PNG":
        notices.append(
            f"the description of the colours (gamma, primaries) was left out: {name} cannot hold "
            "it, and shows them as sRGB"
        )
    return options, tuple(notices)
