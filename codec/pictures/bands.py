"""Pictures in bands of rows, so that a large one need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from bitstream.arrays import SampleArray
from codec.pictures.depth import to_eight_bits
from codec.pictures.picture import Picture, sample_type

Band = tuple[SampleArray, SampleArray | None]
"""Pixels (rows, width, channels), and alpha (rows, width) of the same type, or None."""

_BAND_PIXELS = 2**22


@dataclass(frozen=True)
class Bands:
    """A picture that is computed while it is read; see `codec.pictures.picture.Picture`.

    bands   from the top, `height` rows in all. They can be read only once, and reading them raises
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
    bit_depth: int = 8
    ancillary: tuple[tuple[bytes, bytes], ...] = ()

    def picture(self) -> Picture:
        """Read all bands, and return them as one picture."""
        kind = sample_type(self.bit_depth)
        pixels = np.empty((self.height, self.width, self.channels), dtype=kind)
        alpha = np.empty((self.height, self.width), dtype=kind) if self.has_alpha else None
        top = 0
        for colours, opacity in self.bands:
            rows = slice(top, top + len(colours))
            pixels[rows] = colours
            if alpha is not None and opacity is not None:
                alpha[rows] = opacity
            top = rows.stop
        return Picture(
            pixels,
            alpha,
            self.icc,
            self.exif,
            self.xmp,
            self.notices,
            self.bit_depth,
            self.ancillary,
        )


def eight_bit_bands(bands: Bands) -> Bands:
    """The same bands, with samples of more than 8 bits rounded to 8."""
    if bands.bit_depth <= 8:
        return bands

    def read() -> Iterator[Band]:
        for pixels, alpha in bands.bands:
            opacity = None if alpha is None else to_eight_bits(alpha, bands.bit_depth)
            yield to_eight_bits(pixels, bands.bit_depth), opacity

    return replace(bands, bands=read(), bit_depth=8)


def reporting(bands: Bands, progress: Callable[[float], None]) -> Bands:
    """The same bands, calling `progress` with the share of rows that have been read, up to 1."""

    def read() -> Iterator[Band]:
        done = 0
        for pixels, alpha in bands.bands:
            done += len(pixels)
            progress(done / bands.height)
            yield pixels, alpha

    return replace(bands, bands=read())


def bands_of(picture: Picture) -> Bands:
    """A picture as bands, which are views of it."""

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
        picture.bit_depth,
        picture.ancillary,
    )
