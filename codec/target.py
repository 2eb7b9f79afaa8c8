"""The quality that meets a target, found on real bytes.

Size and PSNR both grow with quality, so the answer is where one of them crosses the target.  The
search keeps a bracket and places the next trial by false position; when the same end stays twice,
its residual is halved (the Illinois algorithm: Dowell and Jarratt, BIT 11, 1971), so that both
ends move.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitstream import UsageError, container_from_bytes, container_to_bytes

from . import pipeline
from .image import Picture
from .models.base import LoadedModel
from .options import CompressOptions

MAX_TRIALS = 10
_LOWEST, _HIGHEST = 100, 10_000  # quality in hundredths, as the header stores it
_CLOSE_SIZE = 0.001  # stop when this share of the budget, or less, is left over
_CLOSE_DB = 0.005


@dataclass(frozen=True)
class Trial:
    """One file that was written.

    quality   1 .. 100
    data      all of its bytes
    psnr_db   of its decoded 8-bit colours, where it was measured
    trials    how many files were written to find this one
    """

    quality: float
    data: bytes
    psnr_db: float | None = None
    trials: int = 1


def meet(options: CompressOptions, picture: Picture, model: LoadedModel) -> Trial:
    """Return the file that the options ask for."""

    def write(quality: float) -> bytes:
        return container_to_bytes(
            pipeline.compress_picture(
                picture,
                model,
                quality=quality,
                effort=options.effort,
                noise_seed=options.noise_seed,
            )
        )

    def psnr_db(data: bytes) -> float:
        # Decoded from the bytes, so that the figure is that of the file.
        decoded = pipeline.decompress_container(container_from_bytes(data), model)
        return _psnr_db(picture.pixels, decoded.pixels)

    if options.psnr is not None:
        return smallest_reaching(write, psnr_db, options.psnr)
    limit_bytes = options.size
    if options.bpp is not None:
        limit_bytes = int(options.bpp * picture.width * picture.height / 8)
    if limit_bytes is not None:
        return largest_within(write, max(limit_bytes, 1))
    quality = round(options.asked_quality, 2)
    return Trial(quality, write(quality))


def _psnr_db(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """PSNR over all samples of all channels, peak 255."""
    mse = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2, dtype=np.float64))
    return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))


def largest_within(compress: Callable[[float], bytes], limit_bytes: int) -> Trial:
    """Return the file of the largest quality found that has at most ``limit_bytes`` bytes.

    compress   from a quality to a complete file

    Writes at most ``MAX_TRIALS`` files.  Raises UsageError if even quality 1 is too large.
    """

    def attempt(hundredths: int) -> tuple[float, Trial]:
        quality = hundredths / 100
        data = compress(quality)
        return math.log(len(data) / limit_bytes), Trial(quality, data)

    low, high = attempt(_LOWEST), None
    if low[0] > 0:
        raise UsageError(
            f"at quality 1 the file has {len(low[1].data)} bytes, but the target is "
            f"{limit_bytes}: give a larger target, or a smaller image; metadata count as well "
            "(--strip leaves them out)"
        )
    high = attempt(_HIGHEST)
    if high[0] <= 0:
        return _counted(high[1], 2)
    low, high, trials = _narrow(
        attempt, low, high, goes_low=lambda gap: gap <= 0, close=lambda low, _: low >= -_CLOSE_SIZE
    )
    return _counted(low[1], trials)


def smallest_reaching(
    compress: Callable[[float], bytes], psnr_db: Callable[[bytes], float], goal_db: float
) -> Trial:
    """Return the file of the smallest quality found whose PSNR is at least ``goal_db``.

    compress   from a quality to a complete file
    psnr_db    of the decoded 8-bit pixels of a file, in decibels

    Writes at most ``MAX_TRIALS`` files.  Raises UsageError if quality 100 does not reach it.
    """

    def attempt(hundredths: int) -> tuple[float, Trial]:
        quality = hundredths / 100
        data = compress(quality)
        reached_db = psnr_db(data)
        return reached_db - goal_db, Trial(quality, data, reached_db)

    high = attempt(_HIGHEST)
    if high[0] < 0:
        raise UsageError(
            f"at quality 100 the PSNR is {high[1].psnr_db:.2f} dB, but the target is "
            f"{goal_db:g} dB: give a smaller target"
        )
    low = attempt(_LOWEST)
    if low[0] >= 0:
        return _counted(low[1], 2)
    low, high, trials = _narrow(
        attempt, low, high, goes_low=lambda gap: gap < 0, close=lambda _, high: high <= _CLOSE_DB
    )
    return _counted(high[1], trials)


_Point = tuple[float, Trial]


def _narrow(
    attempt: Callable[[int], _Point],
    low: _Point,
    high: _Point,
    *,
    goes_low: Callable[[float], bool],
    close: Callable[[float, float], bool],
) -> tuple[_Point, _Point, int]:
    """Move both ends together; ``goes_low`` tells which end a trial replaces."""
    trials = 2
    low_gap, high_gap = low[0], high[0]  # residuals, which the Illinois rule may halve
    previous = ""
    while trials < MAX_TRIALS and not close(low[0], high[0]):
        left, right = round(low[1].quality * 100), round(high[1].quality * 100)
        if right - left <= 1:
            break
        # A reading at the end that is exactly on target, or infinite, gives no slope.
        span = high_gap - low_gap
        share = -low_gap / span if math.isfinite(span) and span > 0 else 0.5
        middle = min(max(left + round(share * (right - left)), left + 1), right - 1)
        point = attempt(middle)
        trials += 1
        if goes_low(point[0]):
            low, low_gap = point, point[0]
            high_gap = high_gap / 2 if previous == "low" else high_gap
            previous = "low"
        else:
            high, high_gap = point, point[0]
            low_gap = low_gap / 2 if previous == "high" else low_gap
            previous = "high"
    return low, high, trials


def _counted(trial: Trial, trials: int) -> Trial:
    return Trial(trial.quality, trial.data, trial.psnr_db, trials)
