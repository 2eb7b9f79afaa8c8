"""Two pictures side by side: how far apart are they?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitstream.errors import UsageError
from codec.pictures.picture import Picture
from codec.rate_distortion.metrics import METRICS, find_metrics, psnr_db


@dataclass(frozen=True)
class Comparison:
    """Distances of two pictures of one size, on 8-bit values; symmetric but for SSIMULACRA2.

    identical      whether every pixel is the same, alpha too
    psnr_db        of the colours, as they are stored, transparent or not; infinite for equal ones
    ms_ssim        0..1; None where it was not asked for, or a side is under 161 pixels
    ssimulacra2    100 for equal pictures, 70 and more is high quality, below 0 is very low; the
                   first picture is the original.  None as above, or a side is under 8 pixels
    alpha_psnr_db  of the alpha planes, a picture without one being opaque; None where neither has
    """

    width: int
    height: int
    identical: bool
    psnr_db: float
    ms_ssim: float | None
    ssimulacra2: float | None
    alpha_psnr_db: float | None


def compare_pictures(
    original: Picture, other: Picture, wanted: Collection[str] = METRICS
) -> Comparison:
    """Measure two pictures of one size; gray is compared with colours as equal R, G and B.

    wanted   names in `METRICS`; PSNR is measured in any case

    Raises `UsageError` for pictures of different sizes and for unknown names, `MissingExtraError`
    where a library is missing.
    """
    metrics = find_metrics(wanted)
    if (original.width, original.height) != (other.width, other.height):
        raise UsageError(
            f"the images have {original.width}×{original.height} and "
            f"{other.width}×{other.height} pixels, expected equal sizes: scale or cut one first"
        )
    first, second = (_rgb(picture.pixels) for picture in (original, other))
    alpha_psnr_db = None
    if original.alpha is not None or other.alpha is not None:
        alpha_psnr_db = psnr_db(*(_rgb(_alpha(one)[..., None]) for one in (original, other)))
    measured = {metric.name: metric.measure(first, second) for metric in metrics}
    psnr = measured["psnr"]
    assert psnr is not None  # it has a value for pictures of every size
    return Comparison(
        width=original.width,
        height=original.height,
        identical=psnr == np.inf and alpha_psnr_db in (None, np.inf),
        psnr_db=psnr,
        ms_ssim=measured.get("ms-ssim"),
        ssimulacra2=measured.get("ssimulacra2"),
        alpha_psnr_db=alpha_psnr_db,
    )


def _rgb(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def _alpha(picture: Picture) -> npt.NDArray[np.uint8]:
    if picture.alpha is None:
        return np.full(picture.pixels.shape[:2], 255, np.uint8)
    return picture.alpha
