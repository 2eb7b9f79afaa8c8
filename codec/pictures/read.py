"""Reads every kind of image into a `Picture`.

path, bytes, file ──► Pillow image ──► Picture
                      array ─────────►
"""

from __future__ import annotations

import io
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from bitstream import SIGNATURE, CalotypeError, InputError, UsageError, limits
from bitstream.foreign import attribute_of, has, shown
from codec.pictures import png_chunks
from codec.pictures.convert import Planes, planes_from_deep, planes_from_image
from codec.pictures.deep_files import read_deep_colours
from codec.pictures.depth import to_eight_bits
from codec.pictures.exif import ORIENTATION
from codec.pictures.from_arrays import as_array, planes_from_array
from codec.pictures.further_pictures import other_pictures
from codec.pictures.orientation import apply_orientation as turn
from codec.pictures.orientation import read_orientation, reset_orientation
from codec.pictures.original import file_of, is_unchanged, loadable, reopened
from codec.pictures.picture import Picture
from codec.pictures.pillow_errors import PILLOW_ERRORS
from codec.pictures.side_data import side_data_of
from codec.pictures.source_depth import may_be_deep, misread_by_pillow, source_bit_depth
from codec.system.source import open_path, opened, read_all

if TYPE_CHECKING:
    import mmap

    import numpy.typing as npt
    import torch

# Pillow decodes these with external programs, or not at all.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
_EIGHT_BIT_MODES = frozenset({"L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})

ImageSource: TypeAlias = (
    "Picture | Image.Image | npt.NDArray[Any] | torch.Tensor | str | os.PathLike[str] | bytes"
    " | bytearray | memoryview | mmap.mmap | BinaryIO | io.IOBase"
)


def picture_from(
    image: ImageSource,
    *,
    reduce_depth: bool = False,
    keep_depth: bool = False,
    strip: bool = False,
    apply_orientation: bool = False,
    bit_depth: int | None = None,
) -> Picture:
    """Return the picture of an image.

    image               Pillow image of any mode; array or tensor, as `from_arrays` takes them;
                        path; bytes of an image file; or binary file object
    reduce_depth        allow more than 8 bits per channel, and round them to 8.  Pillow itself
                        reduces colour of JPEG 2000, AVIF, SGI and DDS, and of TIFF with separate
                        planes, and may cut off the lowest bits
    keep_depth          allow more than 8 bits per channel, and keep them, for: arrays and integer
                        Pillow images, whose full range is 16 bits; grey files; and colour in PNG,
                        TIFF and binary PPM. The depth is 10 or 12 bits if the file says so
    strip               leave ICC, EXIF, XMP, density and colour out; the pixels are turned upright
                        first, as EXIF or XMP say
    bit_depth           for an array or a tensor, as `from_arrays.planes_from_array` takes it
    apply_orientation   turn the pixels as EXIF or XMP say, and set the tag to upright.  Otherwise
                        pixels and tag stay as they are

    Colours of fully transparent pixels are kept.  For an animation, the current frame is taken,
    with a notice.  Raises InputError for images that cannot be read, would lose bits or have too
    many pixels, UsageError for arguments of other kinds.
    """
    if isinstance(image, Picture) and bit_depth is None:
        picture = _eight_bits(image) if reduce_depth else image
    elif not isinstance(image, Image.Image) and (array := as_array(image)) is not None:
        height, width = (*array.shape, 0, 0)[:2]
        check_size(width, height)
        planes = planes_from_array(array, reduce_depth, keep_depth, bit_depth)
        picture = Picture(
            planes.pixels, planes.alpha, notices=planes.notices, bit_depth=planes.bit_depth
        )
        picture = _eight_bits(picture) if reduce_depth else picture
    elif bit_depth is not None:
        raise UsageError(
            f"bit_depth {bit_depth} was given for an image of type {type(image).__name__}: leave "
            "it out, since only arrays and tensors do not say it"
        )
    else:
        picture = _from_pillow_source(image, reduce_depth, keep_depth)
    if apply_orientation or strip:
        turned = _upright(picture)
        if strip and not apply_orientation and turned is not picture:
            notice = "the pixels were turned upright, since the file keeps no orientation"
            turned = replace(turned, notices=(*turned.notices, notice))
        picture = turned
    if strip:
        return replace(picture, icc=None, exif=None, xmp=None, ancillary=())
    _check_metadata(picture)
    return picture


def _eight_bits(picture: Picture) -> Picture:
    if picture.bit_depth <= 8:
        return picture
    planes = _reduced(Planes(picture.pixels, picture.alpha, bit_depth=picture.bit_depth))
    return replace(
        picture,
        pixels=planes.pixels,
        alpha=planes.alpha,
        notices=(*picture.notices, *planes.notices),
        bit_depth=8,
    )


def _check_metadata(picture: Picture) -> None:
    held = [picture.icc, picture.exif, picture.xmp, *(payload for _, payload in picture.ancillary)]
    size = sum(len(one) for one in held if one is not None)
    if size > limits.MAX_METADATA_BYTES:
        raise InputError(
            f"the image has {size} bytes of metadata, but the limit of a .calo file is "
            f"{limits.MAX_METADATA_BYTES}: pass --strip (strip=True) to leave them out"
        )


def check_size(width: int, height: int) -> None:
    """Raise InputError if no .calo file may hold an image of this size."""
    if max(width, height) > limits.MAX_SIDE or width * height > limits.MAX_PIXELS:
        raise InputError(
            f"an image of {width}×{height} pixels, but the limit is {limits.MAX_SIDE} on a side "
            f"and {limits.MAX_PIXELS} in all: cut it into parts"
        )


def has_image_suffix(path: Path) -> bool:
    """Whether a path has the suffix of a format that ``picture_from`` reads."""
    name = Image.registered_extensions().get(path.suffix.lower())
    return name in Image.OPEN and name not in _REFUSED_FORMATS


def _from_pillow_source(source: Any, reduce_depth: bool, keep_depth: bool) -> Picture:
    if isinstance(source, Image.Image):
        name = str(attribute_of(source, "filename") or "the image")
        try:
            with file_of(source) as file:
                return _from_pillow(source, file, name, reduce_depth, keep_depth)
        except CalotypeError:
            raise  # some are ValueErrors as well
        except PILLOW_ERRORS as error:
            raise InputError(
                f"{name} cannot be decoded ({error}): it is damaged, incomplete or closed"
            ) from error
    with _opened(source) as (file, name):
        try:
            return _from_file(file, name, reduce_depth, keep_depth)
        except UnidentifiedImageError as error:
            file.seek(0)
            first = file.read(len(SIGNATURE))
            if not first:
                raise InputError(f"{name} is empty, expected an image") from error
            if first == SIGNATURE:
                raise InputError(
                    f"{name} is a .calo file, expected an image: decompress it first"
                ) from error
            raise InputError(
                f"{name} is not an image in a format that this Pillow reads: convert it to PNG"
            ) from error
        except CalotypeError:
            raise  # some are ValueErrors as well
        except Image.DecompressionBombError as error:
            raise _too_large_for_pillow(name, error) from error
        except PILLOW_ERRORS as error:
            raise _unreadable(name, error) from error


def _from_file(file: BinaryIO, name: str, reduce_depth: bool, keep_depth: bool) -> Picture:
    def picture_in(file: BinaryIO) -> Picture:
        image = Image.open(file)
        try:
            return _from_pillow(image, file, name, reduce_depth, keep_depth, is_file=True)
        finally:
            # Frees its pixels, but leaves its file open.
            Image.Image.close(image)

    try:
        return picture_in(file)
    except CalotypeError:
        raise  # some are ValueErrors as well
    except PILLOW_ERRORS as error:
        file.seek(0)
        if file.read(len(png_chunks.SIGNATURE)) != png_chunks.SIGNATURE:
            raise
        file.seek(0)
        content = read_all(file)
        reason = str(error)
    # The failure may be in a chunk that is not part of the picture.
    what = "text and damaged metadata"
    try:
        bare = png_chunks.without_odd_chunks(content, pixels_alone=False)
        picture = picture_in(io.BytesIO(bare))
    except PILLOW_ERRORS:
        what = "all metadata"
        bare = png_chunks.without_odd_chunks(content, pixels_alone=True)
        picture = picture_in(io.BytesIO(bare))
    notice = f"{what} of the PNG were left out: they cannot be read ({reason})"
    return replace(picture, notices=(*picture.notices, notice))


@contextmanager
def _opened(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """Give a seekable file and a name for messages."""
    if isinstance(source, (str, os.PathLike)):
        # Pass the file itself, because then libtiff reads it without a copy.
        with open_path(source) as file:
            if file.seekable():
                yield file, str(Path(source))
            else:  # a pipe, which can be read only once
                with opened(file) as piped:
                    yield io.BytesIO(read_all(piped)), str(Path(source))
            return
    if not isinstance(source, (bytes, bytearray, memoryview)) and not has(source, "read"):
        raise UsageError(
            f"an image of type {type(source).__name__}, expected a Pillow image, a NumPy array "
            "(height, width, channels), a path, bytes, or a binary file"
        )
    with opened(source) as file:
        # Pillow reads a file from its start, whereas we read from its current position.
        name = "the image" if isinstance(file, io.BytesIO) else file.name
        yield io.BytesIO(read_all(file)), name


def _from_pillow(
    image: Image.Image,
    file: BinaryIO | None,
    name: str,
    reduce_depth: bool,
    keep_depth: bool,
    *,
    is_file: bool = False,
) -> Picture:
    """The picture of an image.

    file      the file from which the image was opened, if known
    is_file   whether we opened the image ourselves, so nobody can have changed it
    """
    if image.format in _REFUSED_FORMATS:
        raise InputError(f"{name} is {image.format}, not a picture: convert it to PNG")
    check_size(*image.size)
    with loadable(image) as notices:
        picture = _picture_of(image, file, name, reduce_depth, keep_depth, is_file=is_file)
    return replace(picture, notices=(*picture.notices, *notices))


def _picture_of(
    image: Image.Image,
    file: BinaryIO | None,
    name: str,
    reduce_depth: bool,
    keep_depth: bool,
    *,
    is_file: bool,
) -> Picture:
    """As `_from_pillow`, after the checks and inside `loadable`."""
    original = reopened(image, file)
    if original is None:
        file = None
    notices = list(other_pictures(image, original, file, name))
    png = {}
    if image.format == "PNG" and file is not None:
        png = png_chunks.chunks_before_pixels(file)
    bits = source_bit_depth(image, file)
    fault = misread_by_pillow(image if original is None else original, bits)
    if fault is not None:
        raise InputError(f"{name} has {fault}: convert it to PNG")
    cut = bits > 8 and image.mode in _EIGHT_BIT_MODES
    planes: Planes | None = None
    if cut and (reduce_depth or keep_depth) and file is not None:
        planes = _deep_colours(image, file, name, png, bits, is_file=is_file)
    if cut and planes is None:
        if not reduce_depth:
            raise InputError(_cut_message(name, bits, keep_depth))
        notices.append(f"{bits} bits per channel were reduced to 8, by Pillow")
    if planes is None:
        image.load()
        if file is None and may_be_deep(image) and image.mode in _EIGHT_BIT_MODES:
            notices.append(
                f"Pillow reads {image.format} at 8 bits, and whether the file has more is not "
                "known any more: give its path or bytes"
            )
        stated = _stated_bits(image, png, bits)
        key = _transparent_key(image, name, png)
        if not png and _is_of_another_scale(image, key):
            notices.append(
                f"which grey is transparent is not known any more: Pillow says {key}, which may be "
                "of 2 or 4 bits, so give the path or bytes of the file"
            )
        if _is_part_of_tiff(image):
            notices.append(
                "whether 0 is black or white, and which value is the other, is not known of a copy "
                "of a TIFF: give the path or bytes of the file, or the image that was opened"
            )
        if _is_signed_fits(image):
            raise InputError(
                f"{name} has signed samples of 16 bits, which Pillow reads as unsigned ones: "
                "convert it to PNG"
            )
        planes = planes_from_image(image, name, reduce_depth, keep_depth, stated, key)
    elif reduce_depth:
        planes = _reduced(planes)
    side = side_data_of(image, png, file, icc_is_void=planes.icc_is_void)
    xmp = side.xmp
    if image.format == "TIFF" and original is not None and _states_orientation(original):
        # Pillow has turned the pixels and dropped the tag, which takes precedence over XMP.
        _, xmp = reset_orientation(None, xmp)
    return Picture(
        planes.pixels,
        planes.alpha,
        icc=side.icc,
        exif=side.exif,
        xmp=xmp,
        notices=(*notices, *planes.notices, *side.notices),
        bit_depth=planes.bit_depth,
        ancillary=side.ancillary,
    )


def _is_part_of_tiff(image: Image.Image) -> bool:
    """Whether an image was copied or cut out of a TIFF whose samples need its tags."""
    is_deep = image.mode == "F" or image.mode.startswith("I;16")
    return is_deep and image.format is None and "compression" in image.info


def _is_signed_fits(image: Image.Image) -> bool:
    """Whether a FITS image has stored samples below 0, as also with BZERO in the middle."""
    extremes: Any = image.getextrema() if (image.format, image.mode) == ("FITS", "I;16") else (0, 0)
    return bool(extremes[1] >= 2**15)


def _states_orientation(original: Image.Image) -> bool:
    """Whether the EXIF of a TIFF states an orientation."""
    try:
        return original.getexif().get(ORIENTATION) in range(1, 9)
    except PILLOW_ERRORS:
        return False


def _deep_colours(
    image: Image.Image,
    file: BinaryIO,
    name: str,
    png: dict[bytes, bytes],
    bits: int,
    *,
    is_file: bool,
) -> Planes | None:
    """The planes of a colour file of more than 8 bits; None if it cannot be read at full depth."""
    image.load()  # reads the metadata that follow the pixels
    if not is_file and not is_unchanged(image, file):
        return None
    fresh = reopened(image, file)
    samples = None if fresh is None else read_deep_colours(fresh, file, name)
    if samples is None:
        return None
    return planes_from_deep(samples, _stated_key(image, name), _stated_bits(image, png, bits))


def _reduced(planes: Planes) -> Planes:
    depth = planes.bit_depth
    return replace(
        planes,
        pixels=to_eight_bits(planes.pixels, depth),
        alpha=None if planes.alpha is None else to_eight_bits(planes.alpha, depth),
        notices=(*planes.notices, f"{depth} bits per channel were reduced to 8"),
        bit_depth=8,
    )


def _stated_bits(image: Image.Image, png: dict[bytes, bytes], bits: int) -> int:
    """The significant bits per sample that a file states; ``bits`` are those that it stores."""
    if image.format == "PNG" and bits > 8:
        return png_chunks.significant_bits(png) or bits
    # Images that were not opened from a file have the full range of their mode.
    return bits if bits > 8 else 16


def _stated_key(image: Image.Image, name: str) -> int | tuple[int, ...] | None:
    """The transparent grey or colour in an image's ``info``, from Pillow or the caller."""
    key: Any = image.info.get("transparency")
    if key is None or isinstance(key, (str, bytes)):  # PNG text, or alpha of a palette
        return None
    try:
        if isinstance(key, (list, tuple, np.ndarray)):
            return tuple(operator.index(value) for value in key)
        return operator.index(key)
    except TypeError as error:
        raise InputError(
            f"{name} has a transparent colour {shown(key)}, expected integers: convert the image "
            "to RGBA first"
        ) from error


def _is_of_another_scale(image: Image.Image, key: int | tuple[int, ...] | None) -> bool:
    """Whether a transparent grey may have 2 or 4 bits while the pixels have 8.

    In that case all pixels are among 0, 17, 34 .. 255, which do not include the key.
    """
    if image.mode != "L" or not isinstance(key, int) or not 0 < key < 16:
        return False
    return not any(count for value, count in enumerate(image.histogram()) if value % 17)


def _transparent_key(
    image: Image.Image, name: str, png: dict[bytes, bytes]
) -> int | tuple[int, ...] | None:
    """The transparent grey or colour, at the scale of the image's samples.

    Pillow scales grey of 1, 2 and 4 bits to 8, but leaves the key of a PNG as in the file.
    If a key has more bits than the samples, only the lower ones count (PNG, clause 11.3.1.1).
    """
    key = _stated_key(image, name)
    if key is None or image.mode not in ("1", "L", "RGB"):
        return key if isinstance(key, int) else None
    stored = png.get(b"tRNS")
    if stored is None:
        return key
    depth = png_chunks.bit_depth(png)
    if image.mode == "1":
        # Read from the chunk, because Pillow turns every key but 0 into 255.
        return 255 * (int.from_bytes(stored[:2], "big") & 1)
    if depth > 8:
        return key
    mask = (1 << depth) - 1
    if isinstance(key, tuple):
        return tuple(value & mask for value in key)
    return (key & mask) * 255 // mask


def _cut_message(name: str, bits: int, keep_depth: bool) -> str:
    reduce = "pass --reduce-depth (reduce_depth=True) to code it at 8 bits"
    if not keep_depth:
        return f"{name} has {bits} bits per channel, expected 8: {reduce}"
    return (
        f"{name} has {bits} bits per channel, of which Pillow reads 8: {reduce}, or convert it to "
        "PNG of 16 bits for a model that keeps the depth"
    )


def _upright(picture: Picture) -> Picture:
    orientation = read_orientation(picture.exif, picture.xmp)
    if orientation == 1:
        return picture
    exif, xmp = reset_orientation(picture.exif, picture.xmp)
    alpha = None if picture.alpha is None else turn(picture.alpha, orientation)
    pixels = turn(picture.pixels, orientation)
    return replace(picture, pixels=pixels, alpha=alpha, exif=exif, xmp=xmp)


def _too_large_for_pillow(name: str, error: BaseException) -> InputError:
    """The error for an image that Pillow refuses to open because it has too many pixels."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and 2 * limit < limits.MAX_PIXELS:
        return InputError(
            f"{name} is larger than Pillow opens by default ({error}): if you trust the "
            f"file, set PIL.Image.MAX_IMAGE_PIXELS, up to the {limits.MAX_PIXELS} pixels that a "
            ".calo file may have"
        )
    return InputError(
        f"{name} has too many pixels ({error}), but the limit of a .calo file is "
        f"{limits.MAX_PIXELS}: cut it into parts"
    )


def _unreadable(name: str, error: BaseException) -> InputError:
    return InputError(f"{name} cannot be decoded ({error}): it is damaged or incomplete")
