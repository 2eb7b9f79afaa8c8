"""Sheets of small images as files: their size, and the error of what they decode to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitstream.container import container_from_bytes, container_to_bytes
from codec.datasets.arrays import Images
from codec.models.base import LoadedModel
from codec.models.sheets import sheet_of
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture


@dataclass(frozen=True)
class MeasuredSheet:
    """A sheet of images at one quality: bytes of the whole file, and its decoded error.

    mse  mean squared error in levels 0 .. 255
    """

    quality: float
    rate_bpp: float
    mse: float

    @property
    def psnr_db(self) -> float:
        """PSNR of the sheet's mean squared error, 8 bits."""
        return 10 * math.log10(255**2 / max(self.mse, 1e-9))


def measure_sheet(coder: LoadedModel, sheet: Images, quality: float) -> MeasuredSheet:
    """Code a sheet of images, uint8 (H, W, 1 or 3), and decode it again."""
    data = container_to_bytes(compress_picture(Picture(sheet), coder, quality=quality))
    decoded = decompress_container(container_from_bytes(data), coder).pixels
    error = float(np.mean((decoded.astype(np.float64) - sheet) ** 2))
    return MeasuredSheet(quality, 8 * len(data) / (sheet.shape[0] * sheet.shape[1]), error)


def square_sheet(images: Images, side: int) -> Images:
    """The first images, uint8 (n, C, s, s), as a sheet of at most side × side of them."""
    side = min(side, math.isqrt(len(images)))
    return sheet_of(images[: side**2], side, side)[..., : images.shape[1]]
