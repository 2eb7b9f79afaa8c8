"""From Pillow's modes to grey or RGB planes, of 8 bits or more, and alpha."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from bitstream import InputError, UsageError
from bitstream.arrays import Float64Array, SampleArray, Uint8Array, Uint16Array
from codec.pictures.deep_files import at_source_depth
from codec.pictures.depth import peak_of, rescale

# Converted at once: a whole large image in another mode or type might not fit in memory.
_BAND_PIXELS = 2**20
# TIFF tags, and their values for: 0 is white; unsigned samples, the default; premultiplied alpha.
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0

_SAMPLE_FORMAT, _UNSIGNED = 339, 1
_EXTRA_SAMPLES, _PREMULTIPLIED = 338, 1


@dataclass(frozen=True)
class Planes:
    """Pixels without metadata.

    pixels        (height, width, 1 | 3): uint8, or uint16 for a bit depth above 8
    alpha         (height, width) of the same type, or None
    notices       what was converted
    icc_is_void   whether the source's ICC profile no longer describes these pixels
    bit_depth     8, 10, 12 or 16
    """

    pixels: SampleArray
    alpha: SampleArray | None = None
    notices: tuple[str, ...] = ()
    icc_is_void: bool = False
    bit_depth: int = 8


def planes_from_deep(samples: Uint16Array, key: object, bits: int) -> Planes:
    """Return the planes of a colour file whose samples were read at full depth.

    samples   (height, width, 2 .. 4), scaled to 16 bits
    key       the transparent colour, three channels, or None
    bits      bits per sample that the file states
    """
    planes = split_channels(samples)
    alpha = planes.alpha
    if alpha is None and isinstance(key, tuple):
        clear = (planes.pixels == np.array(key, np.int64)).all(axis=2)
        alpha = np.where(clear, 0, 65535).astype(np.uint16)
    pixels, alpha, depth = at_source_depth(planes.pixels, alpha, bits)
    return Planes(pixels, alpha, bit_depth=depth)


def planes_from_image(
    image: Image.Image,
    name: str,
    reduce_depth: bool,
    keep_depth: bool = False,
    bits: int = 16,
    key: int | tuple[int, ...] | None = None,
) -> Planes:
    """Return the planes of a loaded Pillow image of any mode.

    bits   bits per sample of the source, if the mode has more than 8
    key    the transparent grey or colour, at the scale of the image's samples

    Raises InputError for modes of more than 8 bits unless ``reduce_depth`` or ``keep_depth`` is
    set; ``keep_depth`` takes integers in 0 .. 65535.
    """
    mode = image.mode
    if keep_depth and not reduce_depth and (mode.startswith("I;16") or mode == "I"):
        return _kept(image, name, bits, key)
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _deep(image, name, reduce_depth, bits, key)
    if mode == "CMYK":
        return _from_cmyk(image)
    if mode in ("YCbCr", "LAB", "HSV"):
        pixels, alpha = _in_bands(image, lambda band: band.convert("RGB"))
        return Planes(pixels, alpha, (f"{mode} was converted to RGB",), mode == "LAB")
    target = _plain_mode(image, name)
    pixels, alpha = _in_bands(image, lambda b: b if target == mode else b.convert(target))
    if key is not None and mode in ("1", "L", "RGB"):
        alpha = _alpha_of_key(pixels, key, name)
    notices: tuple[str, ...] = ()
    if alpha is not None and _is_premultiplied(image) and int(alpha.min()) < 255:
        notices = ("the colours were multiplied by alpha: they were divided by it, and rounded",)
    return Planes(pixels, alpha, notices)


def _is_premultiplied(image: Image.Image) -> bool:
    """Whether the source has premultiplied alpha, even if Pillow has divided by it (some TIFF)."""
    tags: Any = getattr(image, "tag_v2", {})
    return image.mode in ("La", "RGBa") or tags.get(_EXTRA_SAMPLES, (0,))[:1] == (_PREMULTIPLIED,)


def _alpha_of_key(pixels: Uint8Array, key: int | tuple[int, ...], name: str) -> Uint8Array:
    """The alpha plane (height, width) of a picture with one transparent colour."""
    values = key if isinstance(key, tuple) else (key,)
    if len(values) != pixels.shape[2] or not all(0 <= value <= 255 for value in values):
        raise InputError(
            f"{name} has a transparent colour {key}, expected {pixels.shape[2]} values of 8 bits: "
            "convert the image to RGBA first"
        )
    alpha = np.empty(pixels.shape[:2], np.uint8)
    for rows in bands_of_rows(*pixels.shape[:2]):
        alpha[rows] = np.where((pixels[rows] == values).all(axis=2), 0, 255)
    return alpha


def _plain_mode(image: Image.Image, name: str) -> str:
    """Return which of L, LA, RGB and RGBA can hold the same 8-bit colours."""
    mode = image.mode
    if mode == "P":
        palette = image.palette
        clear = "transparency" in image.info or (palette is not None and palette.mode == "RGBA")
        return "RGBA" if clear else "RGB"
    target = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB"}.get(mode, mode)
    if target not in ("L", "LA", "RGB", "RGBA"):
        raise InputError(
            f"{name} has Pillow's mode {mode}, which is not supported: convert it to RGB"
        )
    return target


def _from_cmyk(image: Image.Image) -> Planes:
    icc = image.info.get("icc_profile")
    if icc:
        try:
            transform = ImageCms.buildTransform(
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                "CMYK",
                "RGB",
            )
            # mypy: without ``inPlace`` an image is returned.
            converted = _in_bands(image, lambda band: ImageCms.applyTransform(band, transform))  # type: ignore[arg-type, return-value]
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
        else:
            notice = "CMYK was converted to sRGB through its ICC profile, which was left out"
            return Planes(*converted, (notice,), icc_is_void=True)
    notice = "CMYK was converted to RGB without colour management"
    if icc:
        notice += "; its ICC profile could not be used and was left out"
    planes = _in_bands(image, lambda band: band.convert("RGB"))
    return Planes(*planes, (notice,), icc_is_void=True)


def _kept(image: Image.Image, name: str, bits: int, key: int | tuple[int, ...] | None) -> Planes:
    """The planes of a grey image of more than 8 bits, at full depth."""
    values = np.asarray(image)
    low, high = _extremes(image, values)
    if low < 0 or high > 65535:
        raise InputError(
            f"{name} has integers {low} .. {high}, expected 0 .. 65535: scale them first"
        )
    alpha = None
    if isinstance(key, int):
        alpha = np.where(values == key, 0, 65535).astype(np.uint16)
    samples = _at_16_bits(values.astype(np.uint16), image, bits)
    pixels, alpha, depth = at_source_depth(samples[..., None], alpha, bits)
    return Planes(pixels, alpha, bit_depth=depth)


def _extremes(image: Image.Image, values: npt.NDArray[Any]) -> tuple[int, int]:
    """The least and the largest of an image's integers; for a TIFF, with the file's signedness.

    Pillow reads unsigned 32-bit integers as signed ones.
    """
    if image.format == "TIFF" and values.dtype == np.int32:
        form = getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, _UNSIGNED)
        if form in (_UNSIGNED, (_UNSIGNED,)):
            values = values.view(np.uint32)
    return int(values.min()), int(values.max())


def _at_16_bits(values: npt.NDArray[Any], image: Image.Image, bits: int) -> npt.NDArray[Any]:
    """Values scaled to 16 bits with 0 as black, which Pillow does not ensure for TIFF.

    Pillow leaves 12-bit samples at their own scale, and if 0 is white it inverts only 8-bit
    samples. For floats, white is 1.
    """
    is_float = image.mode == "F"
    if image.format != "TIFF" or not (is_float or image.mode.startswith("I;16")):
        return values
    if not is_float and 8 < bits < 16:
        values = rescale(np.minimum(values, peak_of(bits)), bits, 16)
    white = 1 if is_float else 65535
    return white - values if _is_white_zero(image) else values


def _is_white_zero(image: Image.Image) -> bool:
    """Whether 0 is white in a TIFF, which is also the case if the tag is missing."""
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None:
        return False
    value = tags.get(_PHOTOMETRIC)
    if value is None and (stored := getattr(tags, "_tagdata", {}).get(_PHOTOMETRIC)):
        # Pillow returns nothing if the tag has several values instead of one.
        value = int.from_bytes(stored[:2], "little" if tags.prefix == b"II" else "big")
    return value in (None, _WHITE_IS_ZERO)


def _deep(
    image: Image.Image,
    name: str,
    reduce_depth: bool,
    bits: int,
    key: int | tuple[int, ...] | None,
) -> Planes:
    extremes: Any = image.getextrema() if image.mode == "I" else (0, 0)
    low, high = extremes
    if low < 0:
        low, high = _extremes(image, np.asarray(image))
    fits = low >= 0 and high <= 65535
    if reduce_depth and not fits:
        raise InputError(
            f"{name} has integers {low} .. {high}, expected 0 .. 65535: scale them first"
        )
    pixels = np.empty((image.height, image.width, 1), np.uint8)
    alpha = np.empty(pixels.shape[:2], np.uint8) if isinstance(key, int) else None
    for rows, band in _bands(image):
        values = np.asarray(band)
        if image.mode == "I" and fits:
            values = values.astype(np.uint16)
        values = _at_16_bits(values, image, bits)
        pixels[rows] = _eight_bits(values[..., None], name, reduce_depth)
        if alpha is not None:
            alpha[rows] = np.where(values == key, 0, 255)
    return Planes(pixels, alpha, (f"mode {image.mode} was reduced to 8 bits",))


def _eight_bits(array: npt.NDArray[Any], name: str, reduce_depth: bool) -> Uint8Array:
    kind = array.dtype
    if kind == np.uint8:
        return array
    deep = kind.kind == "f" or (kind.kind in "ui" and kind.itemsize > 1)
    if not deep:
        raise UsageError(f"{name} has values of type {kind}, expected uint8")
    if kind.kind != "f" and (kind.kind, kind.itemsize) != ("u", 2):
        raise InputError(
            f"{name} has values of type {kind}, expected uint8, uint16, or floats in 0 .. 1: "
            "convert them first"
        )
    if not reduce_depth:
        raise InputError(
            f"{name} has values of type {kind}, expected 8 bits: pass --reduce-depth "
            "(reduce_depth=True) to code it at 8 bits"
        )
    reduced = np.empty(array.shape, np.uint8)
    for rows in bands_of_rows(*array.shape[:2]):
        reduced[rows] = _reduced(array[rows], name)
    return reduced


def _reduced(array: npt.NDArray[Any], name: str) -> Uint8Array:
    """Return uint16 or floats as the nearest of 256 levels."""
    if array.dtype.kind == "u":
        # 65535 = 257 · 255, so this rounds to the nearest.
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    # Written so that NaN fails as well.
    if not bool(((array >= 0) & (array <= 1)).all()):
        raise InputError(f"{name} has values outside 0 .. 1: scale them to that range first")
    levels: Float64Array = array.astype(np.float64) * 255 + 0.5
    return levels.astype(np.uint8)  # rounds towards zero


def _in_bands(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image]
) -> tuple[Uint8Array, Uint8Array | None]:
    """Return colour and alpha of an image; ``convert`` turns a band to L, LA, RGB or RGBA."""
    pixels, alpha = None, None
    for rows, band in _bands(image):
        part = split_channels(_array(convert(band)))
        if pixels is None:
            pixels = np.empty((image.height, image.width, part.pixels.shape[2]), np.uint8)
            alpha = None if part.alpha is None else np.empty(pixels.shape[:2], np.uint8)
        pixels[rows] = part.pixels
        if alpha is not None:
            alpha[rows] = part.alpha
    if pixels is None:
        raise InputError(f"an image of {image.width}×{image.height} pixels, expected one or more")
    return pixels, alpha


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield an image in bands of rows, from the top."""
    for rows in bands_of_rows(image.height, image.width):
        yield rows, image.crop((0, rows.start, image.width, rows.stop))


def bands_of_rows(height: int, width: int) -> Iterator[slice]:
    """Split the rows of a picture into pieces small enough to be copied in another type."""
    step = max(1, _BAND_PIXELS // max(width, 1))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _array(image: Image.Image) -> Uint8Array:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def split_channels(array: SampleArray) -> Planes:
    """Split (height, width, 1 .. 4) into colour and alpha."""
    colours = 3 if array.shape[2] >= 3 else 1
    alpha = array[..., colours] if array.shape[2] > colours else None
    return Planes(
        np.ascontiguousarray(array[..., :colours]),
        None if alpha is None else np.ascontiguousarray(alpha),
    )
