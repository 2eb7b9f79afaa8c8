"""Comparison of two pictures: how far they are apart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import SampleArray
from bitstream.errors import UsageError
from codec.pictures import similarity
from codec.pictures.depth import peak_of, rescale, to_eight_bits
from codec.pictures.picture import Picture
from codec.rate_distortion.metrics import METRICS, find_metrics

DIFFERENCE_SCALE = 4
"""How many levels of a difference picture stand for a difference of one level."""


@dataclass(frozen=True)
class Comparison:
    """Distances of two pictures of one size; symmetric except for SSIMULACRA2.

    PSNR and the largest error are measured at the larger bit depth of the two, the others on values
    rounded to 8 bits.

    identical      whether every pixel is the same, including alpha
    psnr_db        PSNR of the stored colours, transparent or not; infinite for equal ones
    ms_ssim        0..1; None if it was not requested, or a side is under 161 pixels
    ssimulacra2    100 for equal pictures, 70 and more is high quality, below 0 is very low; the
                   first picture is the original.  None if it was not requested, or a side is under
                   8 pixels
    alpha_psnr_db  PSNR of the alpha planes; a picture without one counts as opaque; None if neither
                   has one
    max_error      the largest difference of two colour values, in levels of the larger depth
    """

    width: int
    height: int
    identical: bool
    psnr_db: float
    ms_ssim: float | None
    ssimulacra2: float | None
    alpha_psnr_db: float | None
    max_error: int


def compare_pictures(
    original: Picture, other: Picture, wanted: Collection[str] = METRICS
) -> Comparison:
    """Measure two pictures of one size; grey is compared with colour as equal R, G and B.

    wanted   names in `METRICS`; PSNR is always measured

    Raises `UsageError` for pictures of different sizes and for unknown names, `MissingExtraError`
    if a library is missing.
    """
    metrics = find_metrics(wanted)
    check_sizes(original, other)
    pictures = (original, other)
    depth = max(picture.bit_depth for picture in pictures)
    first, second = (_rgb(_at_depth(one.pixels, one.bit_depth, depth)) for one in pictures)
    psnr = similarity.psnr_db(first, second, depth)
    alpha_psnr_db = None
    if original.alpha is not None or other.alpha is not None:
        opacity, other_opacity = (
            _at_depth(_alpha(one), one.bit_depth, depth)[..., None] for one in pictures
        )
        alpha_psnr_db = similarity.psnr_db(opacity, other_opacity, depth)
    shallow = [to_eight_bits(pixels, depth) for pixels in (first, second)]
    measured = {
        metric.name: metric.measure(*shallow) for metric in metrics if metric.name != "psnr"
    }
    return Comparison(
        width=original.width,
        height=original.height,
        identical=psnr == np.inf and alpha_psnr_db in (None, np.inf),
        psnr_db=psnr,
        ms_ssim=measured.get("ms-ssim"),
        ssimulacra2=measured.get("ssimulacra2"),
        alpha_psnr_db=alpha_psnr_db,
        max_error=int((np.maximum(first, second) - np.minimum(first, second)).max()),
    )


def difference_picture(original: Picture, other: Picture) -> Picture:
    """The difference picture of two pictures: 128 + `DIFFERENCE_SCALE` · (other − original).

    It takes the stored colours, rounded to 8 bits, and grey as equal R, G and B. The result is
    clipped to 0 .. 255; alpha is ignored. Raises `UsageError` for pictures of different sizes.
    """
    check_sizes(original, other)
    first, second = (_rgb(to_eight_bits(one.pixels, one.bit_depth)) for one in (original, other))
    difference = (second.astype(np.int16) - first) * np.int16(DIFFERENCE_SCALE) + np.int16(128)
    return Picture(np.clip(difference, 0, 255).astype(np.uint8))


def check_sizes(original: Picture, other: Picture) -> None:
    """Raise `UsageError` for pictures of different sizes."""
    if (original.width, original.height) != (other.width, other.height):
        raise UsageError(
            f"the images have {original.width}×{original.height} and "
            f"{other.width}×{other.height} pixels, expected equal sizes: scale or cut one first"
        )


def _at_depth(samples: SampleArray, depth: int, new_depth: int) -> SampleArray:
    return samples if depth == new_depth else rescale(samples, depth, new_depth)


def _rgb(pixels: SampleArray) -> SampleArray:
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def _alpha(picture: Picture) -> SampleArray:
    if picture.alpha is None:
        opaque = peak_of(picture.bit_depth)
        return np.full(picture.pixels.shape[:2], opaque, picture.pixels.dtype)
    return picture.alpha
