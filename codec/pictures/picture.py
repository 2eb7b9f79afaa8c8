"""A picture with its metadata, and its conversion to the types that the library returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from bitstream import UsageError, limits
from bitstream.arrays import SampleArray
from bitstream.foreign import shown
from codec.pictures.depth import rescale
from codec.pictures.exif import EXIF_PREFIX
from codec.pictures.side_chunks import info_of
from codec.system.missing_extra import extra_needed_by

if TYPE_CHECKING:
    import torch
    from PIL import Image

ReturnType = Literal["pil", "numpy", "torch"]


@dataclass(frozen=True)
class Picture:
    """Pixels and metadata of an image.

    pixels     (height, width, channels), channels 1 (grey) or 3 (RGB): uint8, or uint16 if the
               bit depth is above 8
    alpha      (height, width) of the same type, or None for an opaque picture; 0 is transparent
    icc, xmp   bytes as in the source, or None
    exif       a TIFF stream, without the ``Exif\\0\\0`` of JPEG, or None
    notices    sentences on what was converted or left out
    bit_depth  8, 10, 12 or 16: pixels and alpha are 0 .. 2^bit_depth − 1
    ancillary  other ancillary chunks of the file format, (type, payload): `side_chunks` reads
               density and colour from them

    Raises UsageError for other shapes, types and values.
    """

    pixels: SampleArray
    alpha: SampleArray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notices: tuple[str, ...] = ()
    bit_depth: int = 8
    ancillary: tuple[tuple[bytes, bytes], ...] = ()

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if self.bit_depth not in limits.BIT_DEPTHS:
            raise UsageError(
                f"a bit depth of {self.bit_depth}, expected one of "
                f"{', '.join(map(str, limits.BIT_DEPTHS))}"
            )
        kind = sample_type(self.bit_depth)
        if pixels.dtype != kind or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
            raise UsageError(
                f"pixels of type {pixels.dtype} and shape {pixels.shape}, "
                f"expected {kind} (height, width, 1 or 3)"
            )
        if pixels.size == 0:
            raise UsageError(f"pixels of shape {pixels.shape}, expected at least one pixel")
        if alpha is not None and (alpha.dtype != kind or alpha.shape != pixels.shape[:2]):
            raise UsageError(
                f"alpha of type {alpha.dtype} and shape {alpha.shape}, "
                f"expected {kind} {pixels.shape[:2]}"
            )
        peak = (1 << self.bit_depth) - 1
        for samples in (pixels, alpha):
            if samples is not None and 8 < self.bit_depth < 16 and int(samples.max()) > peak:
                raise UsageError(
                    f"samples up to {int(samples.max())}, expected 0 .. {peak} of "
                    f"{self.bit_depth} bits"
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


def sample_type(bit_depth: int) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    """The type of samples of a bit depth: uint8 up to 8 bits, uint16 above."""
    return np.dtype(np.uint8) if bit_depth <= 8 else np.dtype(np.uint16)


def check_return_type(as_: object) -> None:
    """Raise UsageError unless ``in_form`` knows ``as_`` and its library is installed."""
    if not isinstance(as_, str) or as_ not in ("pil", "numpy", "torch"):
        raise UsageError(f"as_ {shown(as_)} was given, expected 'pil', 'numpy' or 'torch'")
    if as_ == "torch":
        with extra_needed_by("as_='torch'"):
            import torch  # noqa: F401 - fail before anything is decoded


def in_form(picture: Picture, as_: ReturnType) -> Image.Image | SampleArray | torch.Tensor:
    """Return a picture in the form ``as_`` of ``codec.decompress``."""
    if as_ == "numpy":
        return to_numpy(picture)
    return to_torch(picture) if as_ == "torch" else to_pil(picture)


def to_pil(picture: Picture) -> Image.Image:
    """Return a Pillow image of mode L, LA, RGB or RGBA, with its metadata in ``info``.

    Grey of more than 8 bits gets the mode I;16, with white at 65535 whatever the bit depth.
    Raises UsageError for colours or transparency of more than 8 bits, for which Pillow has no mode.
    """
    from PIL import Image

    array = to_numpy(picture)
    if picture.bit_depth > 8:
        check_pillow_holds(picture.bit_depth, picture.channels, picture.alpha is not None)
        array = rescale(array, picture.bit_depth, 16)
    image = Image.fromarray(array)
    image.info.update(pillow_info(picture))
    return image


def check_pillow_holds(bit_depth: int, channels: int, has_alpha: bool) -> None:
    """Raise UsageError for pictures that no Pillow mode can hold."""
    if bit_depth > 8 and (channels > 1 or has_alpha):
        kind = "colours" if channels > 1 else "transparency"
        raise UsageError(
            f"the image has {kind} of {bit_depth} bits per channel, and Pillow has no mode for "
            "it: take as_='numpy', pass reduce_depth=True to round them to 8, or write a .png or "
            ".tiff file with 'calotype decompress'"
        )


class HasMetadata(Protocol):
    """A picture, or another object with its metadata."""

    @property
    def icc(self) -> bytes | None: ...
    @property
    def exif(self) -> bytes | None: ...
    @property
    def xmp(self) -> bytes | None: ...
    @property
    def ancillary(self) -> tuple[tuple[bytes, bytes], ...]: ...


def pillow_info(held: HasMetadata) -> dict[str, object]:
    """Return metadata under the names that Pillow gives them in an image's ``info``."""
    exif = None if held.exif is None else EXIF_PREFIX + held.exif
    named = {"icc_profile": held.icc, "exif": exif, "xmp": held.xmp, **info_of(held.ancillary)}
    return {name: value for name, value in named.items() if value is not None}


def to_numpy(picture: Picture) -> SampleArray:
    """Return (height, width) for grey, else (height, width, 2 | 3 | 4), alpha last.

    The type is uint8, or uint16 with 0 .. 2^bit_depth − 1 if the bit depth is above 8.
    """
    pixels = picture.pixels
    if picture.alpha is not None:
        return np.concatenate([pixels, picture.alpha[..., None]], axis=2)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def to_torch(picture: Picture) -> torch.Tensor:
    """Return a tensor (channels, height, width) on the CPU, with alpha, if any, last.

    The type is uint8, or int32 with 0 .. 2^bit_depth − 1 if the bit depth is above 8, because torch
    supports few operations on uint16.
    """
    import torch

    array = to_numpy(picture)
    if array.ndim == 2:
        array = array[..., None]
    if picture.bit_depth > 8:
        return torch.from_numpy(array.transpose(2, 0, 1).astype(np.int32, order="C"))
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
