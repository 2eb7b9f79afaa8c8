"""Data sets of small images of equal size: IDX files, MNIST's folder, `.npy` and `.npz` files,
pictures.

Nothing is converted silently: types other than uint8 (or floats in 0..1, if allowed), other sizes,
and colour instead of grey are errors.  Importing this module loads only NumPy and Pillow.
"""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from bitstream.arrays import SampleArray
from bitstream.errors import InputError, UsageError
from codec.datasets.pictures import find_images

Images = NDArray[np.uint8]

PARTS = ("train", "test")
MAX_BYTES = 2**31
"""Largest data set that is read, in bytes; headers are checked against it before allocation."""

_IDX_NAMES = {"train": "train-images", "test": "t10k-images"}
_IDX_SUFFIXES = ("-idx3-ubyte", ".idx3-ubyte")
_UNSIGNED_BYTE = 0x08  # the third byte of an IDX file: type of the values


def read_images(
    path: Path, *, shape: tuple[int, int, int] | None = None, part: str = "test"
) -> Images:
    """Read a data set: uint8 (n, C, H, W), 0 is black.

    path   an IDX file (gzipped or not); a folder with MNIST's files under their usual names; an
           `.npy` file, or an `.npz` file with an array `images`, `x_train` or `x_test` or with a
           single array, (n, H, W), (n, C, H, W) or (n, H, W, C); a folder or `.tar` of pictures,
           perhaps in `train/` and `test/`
    shape  (C, H, W) that the images must have; None accepts any
    part   "train" or "test", if `path` contains both

    Raises `InputError` if the data set cannot be read or has another shape, `UsageError` for an
    unknown part.
    """
    return _read(path, shape, part, floats=False)


def read_samples(
    path: Path, *, shape: tuple[int, int, int] | None = None, part: str = "test"
) -> SampleArray:
    """As `read_images`, but also returns arrays of floats in 0..1 unchanged: 0 is black."""
    return _read(path, shape, part, floats=True)


def _read(
    path: Path, shape: tuple[int, int, int] | None, part: str, *, floats: bool
) -> SampleArray:
    images: SampleArray
    if part not in PARTS:
        raise UsageError(f"part {part!r} is unknown; expected 'train' or 'test'")
    path = Path(path)
    if path.is_dir():
        file = _mnist_file(path, part)
        images = _idx_images(file) if file is not None else _read_pictures(path, shape, part)
    elif not path.exists():
        raise InputError(
            f"{path}: does not exist; give an IDX, .npy or .npz file, or a folder of images"
        )
    elif path.suffix.lower() in (".npz", ".npy"):
        images = _read_arrays(path, shape, part, floats=floats)
    elif _looks_like_idx(path):
        images = _idx_images(path)
    else:
        images = _read_pictures(path, shape, part)
    if not images.size:
        raise InputError(f"{path}: holds no images")
    if shape is not None and images.shape[1:] != shape:
        raise InputError(
            f"{path}: its images have the shape {images.shape[1:]}, expected {shape} "
            "(channels, height, width)"
        )
    return images


def has_part(path: Path, part: str) -> bool:
    """Whether a folder has files, or a folder of pictures, for this part of the data alone."""
    return path.is_dir() and (_mnist_file(path, part) is not None or (path / part).is_dir())


def _mnist_file(folder: Path, part: str) -> Path | None:
    for suffix in _IDX_SUFFIXES:
        for ending in ("", ".gz"):
            file = folder / f"{_IDX_NAMES[part]}{suffix}{ending}"
            if file.is_file():
                return file
    return None


@contextmanager
def _open_idx(path: Path) -> Iterator[IO[bytes]]:
    """Unpack gzip, up to twice, because downloads of MNIST are sometimes compressed again."""
    with ExitStack() as stack:
        layers = 0
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        while True:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped or layers == 2:
                break
            unpacked = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
            file, layers = cast("IO[bytes]", unpacked), layers + 1
        yield file


def _looks_like_idx(path: Path) -> bool:
    try:
        with _open_idx(path) as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return path.suffix.lower() in (".gz", ".idx") or "ubyte" in path.name
    return len(head) < 4 or head[:2] == b"\0\0"


def _idx_images(path: Path) -> Images:
    values = read_idx(path, "images", (3, 4))
    return values if values.ndim == 4 else values[:, None]


def read_idx(path: Path, what: str, dimensions: tuple[int, ...]) -> Images:
    """Read MNIST's format: 0, 0, type, number of dimensions, sizes (big-endian), values.

    what         name of the values in messages, such as "images"
    dimensions   the allowed numbers of dimensions

    Raises `InputError` if it is not such a file of unsigned bytes.
    """
    try:
        with _open_idx(path) as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0":
                raise InputError(f"{path}: not an IDX file")
            if head[2] != _UNSIGNED_BYTE or head[3] not in dimensions:
                raise InputError(
                    f"{path}: an IDX file of type 0x{head[2]:02x} with {head[3]} dimensions; "
                    f"expected {what}: type 0x08 (unsigned bytes) with "
                    f"{' or '.join(map(str, dimensions))} dimensions"
                )
            sizes = np.frombuffer(_exactly(file, 4 * head[3], path), ">u4")
            shape = tuple(int(size) for size in sizes)
            expected = _checked_size(shape, path)
            values = np.frombuffer(_exactly(file, expected, path), np.uint8)
            if file.read(1):
                raise InputError(f"{path}: has bytes after its {shape[0]} {what}")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return values.reshape(shape)


def _exactly(file: IO[bytes], count: int, path: Path) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise InputError(f"{path}: ends too early: {len(data)} bytes where {count} are announced")
    return data


def _checked_size(shape: tuple[int, ...], path: Path) -> int:
    size = math.prod(shape)
    if size > MAX_BYTES:
        raise InputError(f"{path}: announces {size} bytes, more than {MAX_BYTES}")
    return size


def _read_arrays(
    path: Path, shape: tuple[int, int, int] | None, part: str, *, floats: bool
) -> SampleArray:
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                _check_npy(file, path, path.stem, floats=floats)
                file.seek(0)
                array = np.load(file, allow_pickle=False)
        else:
            with zipfile.ZipFile(path) as archive:
                name = _array_name(path, archive.namelist(), part)
                with archive.open(name) as member:
                    _check_npy(member, path, name.removesuffix(".npy"), floats=floats)
                with archive.open(name) as member:
                    array = np.load(member, allow_pickle=False)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        # Damaged files make zipfile, its decompressors and NumPy raise errors of any class.
        raise InputError(f"{path}: cannot be read: {error}") from error
    if array.dtype != np.uint8 and array.size:
        low, high = float(array.min()), float(array.max())  # NaN if any value is
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"{path}: floats from {low:g} to {high:g}; expected values in 0..1, 0 is black"
            )
    if array.ndim == 3:
        return cast("SampleArray", array[:, None])
    wanted = (1, 3) if shape is None else (shape[0],)
    if array.shape[3] in wanted and array.shape[1] not in wanted:
        array = np.ascontiguousarray(np.moveaxis(array, 3, 1))
    return cast("SampleArray", array)


def _array_name(path: Path, members: list[str], part: str) -> str:
    """The member of an archive with the images: one with a usual name, or the only array."""
    names = ("images", f"x_{part}", f"{part}_images")
    arrays = sorted({member for member in members if member.endswith(".npy")})
    usual = [f"{name}.npy" for name in names if f"{name}.npy" in arrays]
    if not usual and len(arrays) != 1:
        held = ", ".join(array.removesuffix(".npy") for array in arrays[:8]) or "no arrays"
        raise InputError(
            f"{path}: holds {held}; expected an array named {' or '.join(names)}, or one array"
        )
    return (usual or arrays)[0]


def _check_npy(file: IO[bytes], path: Path, name: str, *, floats: bool) -> None:
    npy: Any = np.lib.format  # its functions have no types
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"array {name} has the unknown version {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    fits = dtype == np.uint8 or (floats and dtype.kind == "f")
    if not fits or len(shape) not in (3, 4):
        raise InputError(
            f"{path}: array {name} has the type {dtype} and the shape {shape}; expected uint8 "
            f"{'or floats in 0..1 ' if floats else ''}"
            "(n, height, width), (n, channels, height, width) or (n, height, width, channels)"
        )
    _checked_size((*shape, dtype.itemsize), path)


def _read_pictures(path: Path, shape: tuple[int, int, int] | None, part: str) -> Images:
    folder = path / part if (path / part).is_dir() else path
    pictures: list[Images] = []
    room = MAX_BYTES
    for source in find_images([folder]):
        pixels = source.pixels()
        if shape is not None and pixels.shape[:2] != shape[1:]:
            raise InputError(
                f"{source.name}: is {pixels.shape[1]}×{pixels.shape[0]} pixels, expected "
                f"{shape[2]}×{shape[1]}: resize the pictures first, nothing is resized silently"
            )
        if pictures and pixels.shape != pictures[0].shape:
            raise InputError(
                f"{source.name}: is {pixels.shape[1]}×{pixels.shape[0]} pixels, the pictures "
                f"before it {pictures[0].shape[1]}×{pictures[0].shape[0]}: a data set has one size"
            )
        if shape is not None and shape[0] == 1 and not _is_gray(pixels):
            raise InputError(f"{source.name}: is a colour picture, expected grey")
        room -= pixels.nbytes
        if room < 0:
            raise InputError(f"{path}: holds more than {MAX_BYTES} bytes of pixels")
        pictures.append(pixels)
    images = np.stack(pictures)
    channels = shape[0] if shape is not None else (1 if _is_gray(images) else 3)
    return np.ascontiguousarray(np.moveaxis(images, 3, 1)[:, :channels])


def _is_gray(pixels: Images) -> bool:
    return bool((pixels == pixels[..., :1]).all())
