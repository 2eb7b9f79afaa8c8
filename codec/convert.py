"""From Pillow's modes and from arrays to 8-bit gray or RGB planes, and alpha."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from bitstream import InputError, UsageError


@dataclass(frozen=True)
class Planes:
    """Pixels without metadata.

    pixels        uint8 (height, width, 1 | 3)
    alpha         uint8 (height, width) or None
    notices       what was converted
    icc_is_void   whether the source's ICC profile does not describe these pixels any more
    """

    pixels: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None = None
    notices: tuple[str, ...] = ()
    icc_is_void: bool = False


def planes_from_array(array: npt.NDArray[Any], reduce_depth: bool) -> Planes:
    """Return the planes of an array (height, width) or (height, width, 1 .. 4).

    uint8, or with ``reduce_depth`` uint16 over its full range or floats in 0 .. 1.  Raises
    InputError for values that would lose bits, UsageError for other shapes and types.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or array.size == 0:
        raise UsageError(
            f"an array of shape {array.shape}, expected (height, width) or "
            "(height, width, 1 .. 4): gray, gray and alpha, RGB, or RGBA"
        )
    return _split(_eight_bits(array, "the array", reduce_depth))


def planes_from_image(image: Image.Image, name: str, reduce_depth: bool) -> Planes:
    """Return the planes of a loaded Pillow image of any mode.

    Raises InputError for modes of more than 8 bits unless ``reduce_depth``.
    """
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _deep(image, name, reduce_depth)
    if mode == "CMYK":
        return _from_cmyk(image)
    if mode in ("YCbCr", "LAB", "HSV"):
        notice = f"{mode} was converted to RGB"
        return _split(_array(image.convert("RGB")), (notice,), icc_is_void=mode == "LAB")
    return _split(_array(_plain(image, name)))


def _plain(image: Image.Image, name: str) -> Image.Image:
    """Return an image of mode L, LA, RGB or RGBA with the same 8-bit colours."""
    mode = image.mode
    key = image.info.get("transparency")
    if key is not None and mode in ("1", "L", "RGB"):
        values = key if isinstance(key, tuple) else (key,)
        if any(not isinstance(v, int) or v > 255 for v in values):
            raise InputError(
                f"{name} has a transparent colour {key} of more than 8 bits: "
                "convert the image to RGBA first"
            )
        return image.convert("RGBA" if mode == "RGB" else "LA")
    if mode == "P":
        palette = image.palette
        clear = key is not None or (palette is not None and palette.mode == "RGBA")
        return image.convert("RGBA" if clear else "RGB")
    target = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB"}.get(mode, mode)
    if target not in ("L", "LA", "RGB", "RGBA"):
        raise InputError(
            f"{name} has Pillow's mode {mode}, which is not supported: convert it to RGB"
        )
    return image if target == mode else image.convert(target)


def _from_cmyk(image: Image.Image) -> Planes:
    icc = image.info.get("icc_profile")
    if icc:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            notice = "CMYK was converted to sRGB through its ICC profile, which was left out"
            return _split(_array(converted), (notice,), icc_is_void=True)
    notice = "CMYK was converted to RGB without colour management"
    if icc:
        notice += "; its ICC profile could not be used and was left out"
    return _split(_array(image.convert("RGB")), (notice,), icc_is_void=True)


def _deep(image: Image.Image, name: str, reduce_depth: bool) -> Planes:
    values = np.asarray(image)
    if image.mode == "I":
        low, high = int(values.min()), int(values.max())
        if reduce_depth and (low < 0 or high > 65535):
            raise InputError(
                f"{name} has integers {low} .. {high}, expected 0 .. 65535: scale them first"
            )
        if low >= 0 and high <= 65535:
            values = values.astype(np.uint16)
    planes = _split(_eight_bits(values[..., None], name, reduce_depth))
    key = image.info.get("transparency")
    alpha = None
    if isinstance(key, int):
        alpha = np.where(values == key, 0, 255).astype(np.uint8)
    return Planes(planes.pixels, alpha, (f"mode {image.mode} was reduced to 8 bits",))


def _eight_bits(array: npt.NDArray[Any], name: str, reduce_depth: bool) -> npt.NDArray[np.uint8]:
    kind = array.dtype
    if kind == np.uint8:
        return array
    deep = kind.kind == "f" or (kind.kind in "ui" and kind.itemsize > 1)
    if not deep:
        raise UsageError(f"{name} has values of type {kind}, expected uint8")
    if not reduce_depth:
        raise InputError(
            f"{name} has values of type {kind}, expected 8 bits: pass --reduce-depth "
            "(reduce_depth=True) to code it at 8 bits"
        )
    if kind.kind == "u" and kind.itemsize == 2:
        # 65535 = 257 · 255, so this rounds to the nearest of the 256 levels.
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if kind.kind == "f":
        # Written so that NaN fails as well.
        if not bool(((array >= 0) & (array <= 1)).all()):
            raise InputError(f"{name} has values outside 0 .. 1: scale them to that range first")
        levels: npt.NDArray[np.float64] = array.astype(np.float64) * 255 + 0.5
        return levels.astype(np.uint8)  # rounds towards zero
    raise InputError(
        f"{name} has values of type {kind}, expected uint8, uint16, or floats in 0 .. 1: "
        "convert them first"
    )


def _array(image: Image.Image) -> npt.NDArray[np.uint8]:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _split(
    array: npt.NDArray[np.uint8], notices: tuple[str, ...] = (), *, icc_is_void: bool = False
) -> Planes:
    """Part (height, width, 1 .. 4) into colour and alpha."""
    colours = 3 if array.shape[2] >= 3 else 1
    alpha = array[..., colours] if array.shape[2] > colours else None
    return Planes(
        np.ascontiguousarray(array[..., :colours]),
        None if alpha is None else np.ascontiguousarray(alpha),
        notices,
        icc_is_void,
    )
