"""A picture: what is coded, what travels with it, and the forms in which it leaves the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from bitstream import UsageError
from bitstream.arrays import Uint8Array
from codec.system.missing_extra import extra_needed_by

if TYPE_CHECKING:
    import torch
    from PIL import Image

ReturnType = Literal["pil", "numpy", "torch"]
EXIF_PREFIX = b"Exif\x00\x00"
"""Stands before a TIFF stream of EXIF in JPEG, and in what Pillow calls "exif"."""


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

    pixels: Uint8Array
    alpha: Uint8Array | None = None
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


def check_return_type(as_: object) -> None:
    """Raise UsageError unless ``as_`` is a form that ``in_form`` knows and can make here."""
    if as_ not in ("pil", "numpy", "torch"):
        raise UsageError(f"as_={as_!r} was given, expected 'pil', 'numpy' or 'torch'")
    if as_ == "torch":
        with extra_needed_by("as_='torch'"):
            import torch  # noqa: F401 - before anything is decoded


def in_form(picture: Picture, as_: ReturnType) -> Image.Image | Uint8Array | torch.Tensor:
    """Return a picture as ``codec.decompress`` does."""
    if as_ == "numpy":
        return to_numpy(picture)
    return to_torch(picture) if as_ == "torch" else to_pil(picture)


def to_pil(picture: Picture) -> Image.Image:
    """Return a Pillow image of mode L, LA, RGB or RGBA, its metadata in ``info``."""
    from PIL import Image

    image = Image.fromarray(to_numpy(picture))
    image.info.update(pillow_info(picture.icc, picture.exif, picture.xmp))
    return image


def pillow_info(icc: bytes | None, exif: bytes | None, xmp: bytes | None) -> dict[str, bytes]:
    """Return metadata under the names that Pillow gives them in an image's ``info``."""
    exif = None if exif is None else EXIF_PREFIX + exif
    held = {"icc_profile": icc, "exif": exif, "xmp": xmp}
    return {name: value for name, value in held.items() if value is not None}


def to_numpy(picture: Picture) -> Uint8Array:
    """Return uint8 (height, width) for gray, else (height, width, 2 | 3 | 4), alpha last."""
    pixels = picture.pixels
    if picture.alpha is not None:
        return np.concatenate([pixels, picture.alpha[..., None]], axis=2)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def to_torch(picture: Picture) -> torch.Tensor:
    """Return a uint8 tensor (channels, height, width) on the CPU, alpha last where there is one."""
    import torch

    array = to_numpy(picture)
    if array.ndim == 2:
        array = array[..., None]
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
