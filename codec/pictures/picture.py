"""Pictures: from every kind of image to what the codec codes, and back.

path, bytes, file ──► Pillow image ──► Picture ──► Pillow image, array, tensor
                      array ─────────►
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from bitstream import CalotypeError, InputError, UsageError, limits
from codec.pictures.convert import Planes, planes_from_array, planes_from_image
from codec.pictures.depth import source_bit_depth
from codec.pictures.orientation import apply_orientation as turn
from codec.pictures.orientation import read_orientation, reset_orientation

if TYPE_CHECKING:
    import torch

_EXIF_PREFIX = b"Exif\x00\x00"
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


@dataclass(frozen=True)
class Picture:
    """What is coded, and what travels with it.

    pixels    uint8 (height, width, channels), channels 1 (gray) or 3 (RGB)
    alpha     uint8 (height, width), or None for an opaque picture; 0 is transparent
    icc, xmp  bytes as the source held them, or None
    exif      a TIFF stream, without the ``Exif\\0\\0`` of JPEG, or None
    notices   sentences on what was converted or left out

    Raises UsageError for other shapes and types.
    """

    pixels: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
            raise UsageError(
                f"pixels of type {pixels.dtype} and shape {pixels.shape}, "
                "expected uint8 (height, width, 1 or 3)"
            )
        if pixels.size == 0:
            raise UsageError(f"pixels of shape {pixels.shape}, expected at least one pixel")
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]):
            raise UsageError(
                f"alpha of type {alpha.dtype} and shape {alpha.shape}, "
                f"expected uint8 {pixels.shape[:2]}"
            )

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[2])


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
    strip: bool = False,
    apply_orientation: bool = False,
) -> Picture:
    """Return the picture of an image.

    image               Pillow image of any mode; array (height, width[, 1..4]) of uint8, or with
                        ``reduce_depth`` of uint16 (0 .. 65535) or floats (0 .. 1); path; bytes of
                        an image file; or binary file object
    reduce_depth        allow more than 8 bits per channel, rounded to 8
    strip               leave ICC, EXIF and XMP out
    apply_orientation   turn the pixels as EXIF or XMP say, and set the tag to upright.  Otherwise
                        pixels and tag stay as they are

    Colours of fully transparent pixels are kept.  Of an animation the current frame is taken, with
    a notice.  Raises InputError for what cannot be read or would lose bits or has too
    many pixels, UsageError for arguments of another kind.
    """
    if isinstance(image, Picture):
        picture = image
    elif isinstance(image, np.ndarray):
        height, width = (*image.shape, 0, 0)[:2]
        check_size(width, height)
        picture = _picture(planes_from_array(image, reduce_depth))
    else:
        picture = _from_pillow_source(image, reduce_depth)
    if apply_orientation:
        picture = _upright(picture)
    if strip:
        return Picture(picture.pixels, picture.alpha, notices=picture.notices)
    return picture


def to_pil(picture: Picture) -> Image.Image:
    """Return a Pillow image of mode L, LA, RGB or RGBA, its metadata in ``info``."""
    image = Image.fromarray(to_numpy(picture))
    if picture.icc is not None:
        image.info["icc_profile"] = picture.icc
    if picture.exif is not None:
        image.info["exif"] = _EXIF_PREFIX + picture.exif
    if picture.xmp is not None:
        image.info["xmp"] = picture.xmp
    return image


def to_numpy(picture: Picture) -> npt.NDArray[np.uint8]:
    """Return uint8 (height, width) for gray, else (height, width, 2 | 3 | 4), alpha last."""
    pixels = picture.pixels
    if picture.alpha is not None:
        return np.concatenate([pixels, picture.alpha[..., None]], axis=2)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def to_torch(picture: Picture) -> "torch.Tensor":
    """Return a uint8 tensor (channels, height, width) on the CPU, alpha last where there is one."""
    import torch

    array = to_numpy(picture)
    if array.ndim == 2:
        array = array[..., None]
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


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


def _from_pillow_source(source: Any, reduce_depth: bool) -> Picture:
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", None) or "the image")
        with _file_of(source) as file:
            return _from_pillow(source, file, name, reduce_depth)
    with _opened(source) as (file, name):
        try:
            # Closed, and not only let go: the picture is a copy, and nothing else keeps its source.
            with closing(Image.open(file)) as image:
                return _from_pillow(image, file, name, reduce_depth)
        except UnidentifiedImageError as error:
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
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source), "the image"
        return
    if isinstance(source, (str, os.PathLike)):
        with _open(Path(source)) as file:
            yield file, str(Path(source))
        return
    read = getattr(source, "read", None)
    if read is None:
        raise UsageError(
            f"an image of type {type(source).__name__}, expected a Pillow image, a NumPy array "
            "(height, width, channels), a path, bytes, or a binary file"
        )
    data = read()
    if not isinstance(data, bytes):
        raise UsageError(f"the file gave {type(data).__name__}, expected bytes: open it with 'rb'")
    yield io.BytesIO(data), str(getattr(source, "name", "the file"))


def _open(path: Path) -> BinaryIO:
    """Open a file; one that cannot be moved in, as a pipe, is read first."""
    try:
        file = path.open("rb")
        if file.seekable():
            return file
        with file:
            return io.BytesIO(file.read())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _from_pillow(
    image: Image.Image, file: BinaryIO | None, name: str, reduce_depth: bool
) -> Picture:
    if image.format in _REFUSED_FORMATS:
        raise InputError(f"{name} is {image.format}, not a picture: convert it to PNG")
    check_size(*image.size)
    notices = []
    frames, frame = getattr(image, "n_frames", 1), image.tell()
    if frames > 1:
        notices.append(f"frame {frame + 1} of {frames} was taken: a .calo file holds one image")
    bits = source_bit_depth(image, file)
    if bits > 8 and image.mode in _EIGHT_BIT_MODES:
        if not reduce_depth:
            raise InputError(
                f"{name} has {bits} bits per channel, expected 8: pass --reduce-depth "
                "(reduce_depth=True) to code it at 8 bits"
            )
        notices.append(f"{bits} bits per channel were reduced to 8")
    try:
        image.load()
        planes = planes_from_image(image, name, reduce_depth)
    except CalotypeError:
        raise  # some are ValueErrors as well
    except _PILLOW_ERRORS as error:
        raise _unreadable(name, error) from error
    info = image.info
    return _picture(
        planes,
        icc=None if planes.icc_is_void else info.get("icc_profile") or None,
        exif=_exif_of(image),
        xmp=_xmp_of(info),
        notices=tuple(notices),
    )


_EIGHT_BIT_MODES = frozenset({"L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})


def _picture(
    planes: Planes,
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    notices: tuple[str, ...] = (),
) -> Picture:
    return Picture(planes.pixels, planes.alpha, icc, exif, xmp, notices + planes.notices)


@contextmanager
def _file_of(image: Image.Image) -> Iterator[BinaryIO | None]:
    """Give the file that an image was opened from, where it can still be had."""
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
    return exif.removeprefix(_EXIF_PREFIX) or None


# Description, make, model, software, date, artist, copyright, EXIF and GPS directories.
_DESCRIPTIVE_TAGS = frozenset({270, 271, 272, 305, 306, 315, 33432, 0x8769, 0x8825})


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
    alpha = picture.alpha
    return Picture(
        turn(picture.pixels, orientation),
        None if alpha is None else turn(alpha, orientation),
        picture.icc,
        exif,
        xmp,
        picture.notices,
    )


def _too_large_for_pillow(name: str, error: BaseException) -> InputError:
    """What to say of an image that Pillow refuses to open because of its number of pixels."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and 2 * limit < limits.MAX_PIXELS:
        return InputError(
            f"{name} is larger than Pillow opens without being told to ({error}): if you trust the "
            f"file, set PIL.Image.MAX_IMAGE_PIXELS, up to the {limits.MAX_PIXELS} pixels that a "
            ".calo file may have"
        )
    return InputError(
        f"{name} has too many pixels ({error}), but the limit of a .calo file is "
        f"{limits.MAX_PIXELS}: cut it into parts"
    )


def _unreadable(name: str, error: BaseException) -> InputError:
    return InputError(f"{name} cannot be decoded ({error}): it is damaged or incomplete")
