"""Reading: from every kind of image to a `Picture`.

path, bytes, file ──► Pillow image ──► Picture
                      array ─────────►
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from bitstream import CalotypeError, InputError, UsageError, limits
from codec.pictures.convert import Planes, planes_from_array, planes_from_deep, planes_from_image
from codec.pictures.deep_files import png_significant_bits, read_deep_colours
from codec.pictures.depth import to_eight_bits
from codec.pictures.orientation import apply_orientation as turn
from codec.pictures.orientation import read_orientation, reset_orientation
from codec.pictures.picture import EXIF_PREFIX, Picture
from codec.pictures.source_depth import source_bit_depth
from codec.system.source import opened_seekable

# Pillow decodes these by other programs, or not at all.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
# What Pillow's plug-ins raise on damaged files; third-party ones join in.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


_EIGHT_BIT_MODES = frozenset({"L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
# Description, make, model, software, date, artist, copyright, EXIF and GPS directories.
_DESCRIPTIVE_TAGS = frozenset({270, 271, 272, 305, 306, 315, 33432, 0x8769, 0x8825})

ImageSource = (
    Picture
    | Image.Image
    | npt.NDArray[Any]
    | str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | io.IOBase
)


def picture_from(
    image: ImageSource,
    *,
    reduce_depth: bool = False,
    keep_depth: bool = False,
    strip: bool = False,
    apply_orientation: bool = False,
) -> Picture:
    """Return the picture of an image.

    image               Pillow image of any mode; array (height, width[, 1..4]) of uint8, or with
                        ``reduce_depth`` of uint16 (0 .. 65535) or floats (0 .. 1), or with
                        ``keep_depth`` of uint16; path; bytes of an image file; or binary file
                        object
    reduce_depth        allow more than 8 bits per channel, and reduce them.  Arrays and gray files
                        are rounded to 8 bits (`convert.py`).  Pillow reduces colour files, and gray
                        files with alpha, when it reads them: of PNG and TIFF it cuts off the lowest
                        bits
    keep_depth          allow more than 8 bits per channel, and keep them: of arrays and of Pillow
                        images of integers, whose full range is 16 bits, of gray files, and of PNG,
                        TIFF and binary PPM in colour. Files that say so have 10 or 12 bits
    strip               leave ICC, EXIF and XMP out
    apply_orientation   turn the pixels as EXIF or XMP say, and set the tag to upright.  Otherwise
                        pixels and tag stay as they are

    Colours of fully transparent pixels are kept.  Of an animation the current frame is taken, with
    a notice.  Raises InputError for what cannot be read or would lose bits or has too
    many pixels, UsageError for arguments of another kind.
    """
    if isinstance(image, Picture):
        picture = _eight_bits(image) if reduce_depth else image
    elif isinstance(image, np.ndarray):
        height, width = (*image.shape, 0, 0)[:2]
        check_size(width, height)
        planes = planes_from_array(image, reduce_depth, keep_depth)
        picture = Picture(
            planes.pixels, planes.alpha, notices=planes.notices, bit_depth=planes.bit_depth
        )
    else:
        picture = _from_pillow_source(image, reduce_depth, keep_depth)
    if apply_orientation:
        picture = _upright(picture)
    if strip:
        return replace(picture, icc=None, exif=None, xmp=None)
    return picture


def _eight_bits(picture: Picture) -> Picture:
    depth, alpha = picture.bit_depth, picture.alpha
    if depth <= 8:
        return picture
    return replace(
        picture,
        pixels=to_eight_bits(picture.pixels, depth),
        alpha=None if alpha is None else to_eight_bits(alpha, depth),
        notices=(*picture.notices, f"{depth} bits per channel were reduced to 8"),
        bit_depth=8,
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
        name = str(getattr(source, "filename", None) or "the image")
        with _file_of(source) as file:
            return _from_pillow(source, file, name, reduce_depth, keep_depth)
    with _opened(source) as (file, name):
        try:
            # Closed, and not only let go: the picture is a copy, and nothing else keeps its source.
            with closing(Image.open(file)) as image:
                return _from_pillow(image, file, name, reduce_depth, keep_depth, is_file=True)
        except UnidentifiedImageError as error:
            if not file.seek(0, io.SEEK_END):
                raise InputError(f"{name} is empty, expected an image") from error
            raise InputError(
                f"{name} is not an image in a format that this Pillow reads: convert it to PNG"
            ) from error
        except CalotypeError:
            raise  # some are ValueErrors as well
        except Image.DecompressionBombError as error:
            raise _too_large_for_pillow(name, error) from error
        except _PILLOW_ERRORS as error:
            raise _unreadable(name, error) from error


@contextmanager
def _opened(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """Give a seekable file and a name for messages."""
    if isinstance(source, (str, os.PathLike)):
        with opened_seekable(source) as file:
            yield file, str(Path(source))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source), "the image"
    elif hasattr(source, "read"):
        # Pillow begins at the start of a file; ours begins where the file stands.
        data = source.read()
        if not isinstance(data, bytes):
            raise UsageError(
                f"the file gave {type(data).__name__}, expected bytes: open it with 'rb'"
            )
        yield io.BytesIO(data), str(getattr(source, "name", "the file"))
    else:
        raise UsageError(
            f"an image of type {type(source).__name__}, expected a Pillow image, a NumPy array "
            "(height, width, channels), a path, bytes, or a binary file"
        )


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

    is_file   whether the image is what the file holds, and nobody can have changed it
    """
    if image.format in _REFUSED_FORMATS:
        raise InputError(f"{name} is {image.format}, not a picture: convert it to PNG")
    check_size(*image.size)
    notices = []
    frames, frame = getattr(image, "n_frames", 1), image.tell()
    if frames > 1:
        notices.append(f"frame {frame + 1} of {frames} was taken: a .calo file holds one image")
    bits = source_bit_depth(image, file)
    cut = bits > 8 and image.mode in _EIGHT_BIT_MODES
    whole: Planes | None = None
    try:
        if cut and keep_depth and not reduce_depth and is_file and file is not None:
            whole = _deep_colours(image, file, name, bits)
        if cut and whole is None:
            if not reduce_depth:
                raise InputError(_cut_message(image, name, bits, keep_depth, is_file))
            notices.append(f"{bits} bits per channel were reduced to 8")
        if whole is None:
            image.load()
            bits = _stated_bits(image, file, bits)
            planes = planes_from_image(image, name, reduce_depth, keep_depth, bits)
        else:
            planes = whole
    except CalotypeError:
        raise  # some are ValueErrors as well
    except _PILLOW_ERRORS as error:
        raise _unreadable(name, error) from error
    info = image.info
    return Picture(
        planes.pixels,
        planes.alpha,
        icc=None if planes.icc_is_void else info.get("icc_profile") or None,
        exif=_exif_of(image),
        xmp=_xmp_of(info),
        notices=(*notices, *planes.notices),
        bit_depth=planes.bit_depth,
    )


def _deep_colours(image: Image.Image, file: BinaryIO, name: str, bits: int) -> Planes | None:
    """The planes of a colour file of more than 8 bits, or None where it cannot be read whole."""
    bits = _stated_bits(image, file, bits)
    samples = None
    if isinstance(image, ImageFile.ImageFile):
        samples = read_deep_colours(image, file, name)
    if samples is None:
        return None
    return planes_from_deep(samples, image.info.get("transparency"), bits)


def _stated_bits(image: Image.Image, file: BinaryIO | None, bits: int) -> int:
    """The bits of each sample that a file says it has; ``bits`` are those that it holds."""
    if image.format == "PNG" and file is not None and bits > 8:
        return png_significant_bits(file) or bits
    # What Pillow opened from no file has the full range of its mode.
    return bits if bits > 8 else 16


def _cut_message(image: Image.Image, name: str, bits: int, keep_depth: bool, is_file: bool) -> str:
    reduce = "pass --reduce-depth (reduce_depth=True) to code it at 8 bits"
    if not keep_depth:
        return f"{name} has {bits} bits per channel, expected 8: {reduce}"
    whole = "convert it to PNG of 16 bits"
    if not is_file and image.format in ("PNG", "TIFF", "PPM"):
        whole = "give the path of the file in place of the image"
    return (
        f"{name} has {bits} bits per channel, of which Pillow reads 8: {reduce}, or {whole} for a "
        "model that keeps the depth"
    )


@contextmanager
def _file_of(image: Image.Image) -> Iterator[BinaryIO | None]:
    """Give the file that an image was opened from, where it can still be opened."""
    with ExitStack() as stack:
        file: BinaryIO | None = None
        path = getattr(image, "filename", None)
        if path:
            try:
                file = stack.enter_context(Path(path).open("rb"))
            except OSError:
                file = None
        yield file if file is not None and file.seekable() else None


def _exif_of(image: Image.Image) -> bytes | None:
    """Return EXIF as a TIFF stream.  Bytes are kept where the format kept them apart."""
    exif = image.info.get("exif")
    if not isinstance(exif, bytes):
        tags = image.getexif()
        if image.format == "TIFF":
            # The tags of the image itself (strips, compression) do not describe our file.
            for tag in set(tags) - _DESCRIPTIVE_TAGS:
                del tags[tag]
        exif = tags.tobytes() if len(tags) else None
    if exif is None:
        return None
    return exif.removeprefix(EXIF_PREFIX) or None


def _xmp_of(info: dict[Any, Any]) -> bytes | None:
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        return xmp.encode()
    return xmp if isinstance(xmp, bytes) else None


def _upright(picture: Picture) -> Picture:
    orientation = read_orientation(picture.exif, picture.xmp)
    if orientation == 1:
        return picture
    exif, xmp = reset_orientation(picture.exif, picture.xmp)
    alpha = None if picture.alpha is None else turn(picture.alpha, orientation)
    pixels = turn(picture.pixels, orientation)
    return replace(picture, pixels=pixels, alpha=alpha, exif=exif, xmp=xmp)


def _too_large_for_pillow(name: str, error: BaseException) -> InputError:
    """What to say of an image that Pillow refuses to open because of its number of pixels."""
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
