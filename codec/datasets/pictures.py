"""Finds and reads the pictures for measurements: files, folders and `.tar` archives, in order.

A rate-distortion curve compares 8-bit RGB, so other pictures (with transparency, 16 bits or CMYK)
are refused by name instead of being converted silently.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bitstream.arrays import Uint8Array
from bitstream.errors import InputError
from codec.pictures.source_depth import source_bit_depth
from codec.system.source import read_all

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm", ".jp2"}
)
"""Suffixes of the files that count as pictures inside folders and archives."""


@dataclass(frozen=True)
class SourceImage:
    """One picture, not yet read: a file, or a member of a tar archive.

    place   (offset, size in bytes) of the member in the archive, so that it is found directly
    """

    name: str
    path: Path
    place: tuple[int, int] | None = None

    def data(self) -> bytes:
        """Read the raw file. Raises `OSError`, and `InputError` if it is too large or endless."""
        if self.place is None:
            with self.path.open("rb") as file:
                return read_all(file)
        offset, size = self.place
        with self.path.open("rb") as archive:
            archive.seek(offset)
            return archive.read(size)

    def pixels(self) -> Uint8Array:
        """Read the picture: uint8 (h, w, 3), orientation applied.

        Raises `InputError` when it cannot be read or is not an 8-bit RGB or grey picture.
        """
        try:
            data = self.data()
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error}") from error
        return _rgb_pixels(data, self.name)


def _rgb_pixels(data: bytes, name: str) -> Uint8Array:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            bits = source_bit_depth(opened, io.BytesIO(data))
            if bits > 8:  # Pillow would silently reduce colour to 8 bits
                raise InputError(
                    f"{name}: has {bits} bits per channel; a rate-distortion curve compares 8-bit "
                    "RGB: convert the picture first, or leave it out"
                )
            image = ImageOps.exif_transpose(opened)
            mode = image.mode
            if image.has_transparency_data:
                rgba = image.convert("RGBA")
                if rgba.getchannel("A").getextrema() != (255, 255):
                    raise InputError(
                        f"{name}: has an alpha channel; a rate-distortion curve compares RGB "
                        "only: flatten the picture first, or leave it out"
                    )
                image = rgba.convert("RGB")
            elif mode in {"1", "L", "P", "RGB"}:
                image = image.convert("RGB")
            else:
                raise InputError(
                    f"{name}: has pixel mode {mode}; a rate-distortion curve compares 8-bit RGB: "
                    "convert the picture first, or leave it out"
                )
            return np.asarray(image, dtype=np.uint8)
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a picture that Pillow can read") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: cannot be decoded: {error}") from error


def _tar_members(path: Path) -> Iterator[SourceImage]:
    try:
        with tarfile.open(path, "r:") as archive:
            members = [member for member in archive if member.isreg() and not member.issparse()]
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path.name}: not a readable tar archive: {error}") from error
    for member in sorted(members, key=lambda member: member.name):
        if Path(member.name).suffix.lower() in SUFFIXES:
            yield SourceImage(member.name, path, (member.offset_data, member.size))


def find_images(paths: Sequence[Path]) -> list[SourceImage]:
    """List the pictures in `paths`: files as given; folders (recursively) and tars, sorted by name.

    Nothing is decoded yet.  Raises `InputError` when a path does not exist or nothing is found.
    """
    found: list[SourceImage] = []
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and file.suffix.lower() in SUFFIXES:
                    found.append(SourceImage(file.relative_to(path).as_posix(), file))
        elif not path.exists():
            raise InputError(f"{path}: does not exist; give pictures, folders or .tar archives")
        elif path.suffix.lower() == ".tar":
            found.extend(_tar_members(path))
        else:
            found.append(SourceImage(path.name, path))
    if not found:
        raise InputError(
            f"no picture in {', '.join(map(str, paths))}; looked for " + " ".join(sorted(SUFFIXES))
        )
    return found
