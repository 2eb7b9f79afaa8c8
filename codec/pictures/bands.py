"""Pictures in bands of rows, so that a large one is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Uint8Array
from codec.pictures.picture import Picture

Band = tuple[Uint8Array, Uint8Array | None]
"""Pixels uint8 (rows, width, channels), and alpha uint8 (rows, width) or None."""

_BAND_PIXELS = 2**22


@dataclass(frozen=True)
class Bands:
    """A picture that is made while it is read: see `codec.pictures.picture.Picture` for the fields.

    bands   from the top, `height` rows together. They can be read once, and reading them raises
            what decoding raises
    """

    width: int
    height: int
    channels: int
    has_alpha: bool
    bands: Iterator[Band]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notices: tuple[str, ...] = ()

    def picture(self) -> Picture:
        """Read all bands, and return them as one picture."""
        pixels = np.empty((self.height, self.width, self.channels), dtype=np.uint8)
        alpha = np.empty((self.height, self.width), dtype=np.uint8) if self.has_alpha else None
        top = 0
        for colours, opacity in self.bands:
            rows = slice(top, top + len(colours))
            pixels[rows] = colours
            if alpha is not None and opacity is not None:
                alpha[rows] = opacity
            top = rows.stop
        return Picture(pixels, alpha, self.icc, self.exif, self.xmp, self.notices)


def bands_of(picture: Picture) -> Bands:
    """A picture in bands, which are views of it."""

    def bands() -> Iterator[Band]:
        rows = max(1, _BAND_PIXELS // picture.width)
        for top in range(0, picture.height, rows):
            own = slice(top, top + rows)
            yield picture.pixels[own], None if picture.alpha is None else picture.alpha[own]

    return Bands(
        picture.width,
        picture.height,
        picture.channels,
        picture.alpha is not None,
        bands(),
        picture.icc,
        picture.exif,
        picture.xmp,
        picture.notices,
    )
