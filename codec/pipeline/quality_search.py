"""The search for the quality that meets a target, on complete files.

Sizes and scores (PSNR and SSIMULACRA2) grow with quality, so the answer is where one of them
crosses the target.  The search keeps a bracket and chooses the next trial by false position;
if the same end stays twice, its residual is halved, so that both ends move (the Illinois
algorithm: Dowell and Jarratt, BIT 11, 1971).

With an effort at which the model searches for symbols, a file takes many times as long.  The
quality is then found with one-pass files, followed by a few files at full effort: the change that
the effort makes, in the logarithm of the size or in the score, hardly depends on the quality, so
the curve of the one-pass files, shifted by that change, predicts the next quality to try.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitstream import UsageError, container_from_bytes, container_to_bytes
from bitstream.arrays import Float64Array, SampleArray
from codec.models.base import LoadedModel
from codec.options import CompressOptions
from codec.pictures import similarity
from codec.pictures.picture import Picture
from codec.pipeline import encode
from codec.pipeline.decode import decompress_container
from codec.pipeline.emphasis import check_roi, emphasise
from codec.system.missing_extra import missing

MAX_TRIALS = 10
MAX_EFFORT_TRIALS = 4
_LOWEST, _HIGHEST = 100, 10_000  # quality in hundredths, as the header stores it
_MAX_BYTES = 2**62
_CLOSE_SIZE = 0.001  # stop when at most this share of the budget is unused


@dataclass(frozen=True)
class Score:
    """A measure of similarity that can be a target.

    title           name in messages
    unit            unit in messages: " dB", or nothing
    measure         from original and decoded pixels (h, w, 1 or 3) of the same shape, and their bit
                    depth, to a score that is larger the more alike they are
    residual        from a file's score and the target to a number that is 0 at the target, rises
                    with the score, and is nearly linear in the quality
    close           the search ends at a file whose residual is less than this above 0
    smallest_side   in pixels: smaller pictures have no score
    modules         modules of `EXTRAS` that it imports
    """

    title: str
    unit: str
    measure: Callable[[SampleArray, SampleArray, int], float]
    residual: Callable[[float, float], float]
    close: float
    smallest_side: int = 1
    modules: tuple[str, ...] = ()

    def check(self, picture: Picture) -> None:
        """Raise UsageError for too small a picture, MissingExtraError for a missing library.

        Options may have been checked on another machine, so libraries are checked here.
        """
        for module in self.modules:
            error = missing(self.title, module)
            if error is not None:
                raise error
        if min(picture.height, picture.width) < self.smallest_side:
            raise UsageError(
                f"the image has {picture.width}×{picture.height} pixels, but {self.title} needs "
                f"{self.smallest_side} on each side: give another target, or a quality"
            )


def _decibels_above(reached: float, goal: float) -> float:
    return reached - goal


def _share_of_loss_above(reached: float, goal: float) -> float:
    # One more in quality removes about 3 % of the score's distance from 100.  So the logarithm of
    # the distance is nearly linear; measured from 101, it is finite at 100.
    return math.log((101 - goal) / (101 - reached))


# At usual qualities, both values of `close` correspond to about a thousandth of the bytes.
PSNR = Score("PSNR", " dB", similarity.psnr_db, _decibels_above, close=0.005)
SSIMULACRA2 = Score(
    "SSIMULACRA2",
    "",
    similarity.ssimulacra2,
    _share_of_loss_above,
    close=0.001,
    smallest_side=similarity.SSIMULACRA2_SMALLEST_SIDE,
    modules=("ssimulacra2",),
)


@dataclass(frozen=True)
class Trial:
    """One file that was written.

    quality   1 .. 100; outside a region of interest, if there is one
    data      all of its bytes
    score     score of its decoded colours, if a score was the target; PSNR in dB
    trials    how many files were written to find this one
    """

    quality: float
    data: bytes
    score: float | None = None
    trials: int = 1


def meet(
    options: CompressOptions,
    picture: Picture,
    model: LoadedModel,
    progress: Callable[[float], None] = lambda share: None,
) -> Trial:
    """Return the file that the options ask for.

    progress   called with an estimate of the share of the work that is done, up to 1

    Raises UsageError if no quality meets the target, or the picture is too small for its score.
    """
    score, goal = (SSIMULACRA2, options.ssimulacra2)
    if goal is None:
        score, goal = (PSNR, options.psnr)
    score.check(picture)
    roi = options.roi
    if roi is not None:
        check_roi(roi, picture)

    def writer(effort: int, progress: Callable[[float], None]) -> Callable[[float], bytes]:
        def write(quality: float) -> bytes:
            source = picture
            if roi is not None:
                source, quality = emphasise(
                    picture, model, roi, quality, noise_seed=options.noise_seed
                )
            return container_to_bytes(
                encode.compress_picture(
                    source,
                    model,
                    quality=quality,
                    effort=effort,
                    noise_seed=options.noise_seed,
                    progress=progress,
                )
            )

        return write

    def reached(data: bytes) -> float:
        # Decoded from the bytes, so that the score is that of the file.
        decoded = decompress_container(container_from_bytes(data), model)
        return score.measure(picture.pixels, decoded.pixels, picture.bit_depth)

    limit_bytes = options.size
    if options.bpp is not None:
        # No file is as large as the cap; it keeps int() finite for huge values of bpp.
        limit_bytes = int(min(options.bpp * picture.width * picture.height / 8, _MAX_BYTES))
    if limit_bytes is None and goal is None:
        quality = round(options.asked_quality, 2)
        return Trial(quality, writer(options.effort, progress)(quality))
    has_best = encode.searches(model, options.effort)
    # Files at full effort take most of the time.
    fast_share = 0.1 if has_best else 1.0
    write_fast = writer(1, _in_turn(progress, MAX_TRIALS, 0, fast_share))
    write_best = None
    if has_best:
        write_best = writer(
            options.effort, _in_turn(progress, MAX_EFFORT_TRIALS, fast_share, 1 - fast_share)
        )
    if goal is not None:
        return smallest_reaching(write_fast, score, reached, goal, write_best)
    return largest_within(
        write_fast,
        max(limit_bytes or 1, 1),
        write_best,
        has_metadata=any((picture.icc, picture.exif, picture.xmp, picture.ancillary)),
    )


def _in_turn(
    progress: Callable[[float], None], trials: int, start: float, width: float
) -> Callable[[float], None]:
    """Map the progress of up to ``trials`` successive files to ``start`` .. ``start + width``."""
    finished = 0

    def report(share: float) -> None:
        nonlocal finished
        progress(start + width * min(1, (finished + share) / trials))
        finished += share >= 1

    return report


def largest_within(
    compress: Callable[[float], bytes],
    limit_bytes: int,
    compress_best: Callable[[float], bytes] | None = None,
    *,
    has_metadata: bool = False,
) -> Trial:
    """Return the file of the largest quality found that has at most ``limit_bytes`` bytes.

    compress        from a quality to a complete file
    compress_best   the same with more effort; the result is one of its files if one fits
    has_metadata    whether the files contain metadata, which the error message then mentions

    Writes at most ``MAX_TRIALS`` files, and ``MAX_EFFORT_TRIALS`` with more effort.  Raises
    UsageError if even quality 1 is too large.
    """

    def gap(data: bytes) -> tuple[float, None]:
        return math.log(len(data) / limit_bytes), None

    def complaint(trial: Trial) -> str:
        message = (
            f"at quality 1 the file has {len(trial.data)} bytes, but the target is "
            f"{limit_bytes}: give a larger target, or a smaller image"
        )
        if has_metadata:
            message += "; metadata count as well, and --strip (strip=True) leaves them out"
        return message

    return _search(compress, compress_best, gap, complaint, side=1, tolerance=_CLOSE_SIZE)


def smallest_reaching(
    compress: Callable[[float], bytes],
    score: Score,
    reached: Callable[[bytes], float],
    goal: float,
    compress_best: Callable[[float], bytes] | None = None,
) -> Trial:
    """Return the file of the smallest quality found whose score is at least ``goal``.

    compress        from a quality to a complete file
    score           the kind of score
    reached         from a file to the score of its decoded pixels
    compress_best   ``compress`` with more effort; the result is one of its files if one reaches
                    the goal and is no larger

    Writes at most ``MAX_TRIALS`` files, and ``MAX_EFFORT_TRIALS`` with more effort.  Raises
    UsageError if quality 100 does not reach it.
    """

    def gap(data: bytes) -> tuple[float, float]:
        found = reached(data)
        return score.residual(found, goal), found

    def complaint(trial: Trial) -> str:
        return (
            f"at quality 100 the {score.title} is {trial.score:.2f}{score.unit}, but the target "
            f"is {goal:g}{score.unit}: give a smaller target, or instead --max-error N "
            "(max_error=N) or --lossless (lossless=True)"
        )

    return _search(compress, compress_best, gap, complaint, side=-1, tolerance=score.close)


_Point = tuple[float, Trial]


def _search(
    compress: Callable[[float], bytes],
    compress_best: Callable[[float], bytes] | None,
    gap: Callable[[bytes], tuple[float, float | None]],
    complaint: Callable[[Trial], str],
    *,
    side: int,
    tolerance: float,
) -> Trial:
    """The file of the quality that just meets a target.

    gap         from a file to its residual, which rises with quality, and its score if measured
    complaint   error message if even the file at the end of the range misses the target
    side        1: residuals ≤ 0 meet the target, and the highest such quality is wanted; −1:
                residuals ≥ 0 meet it, and the lowest such quality is wanted
    tolerance   the search ends at a residual this close to 0
    """

    def attempt(hundredths: int, write: Callable[[float], bytes] = compress) -> _Point:
        quality = hundredths / 100
        data = write(quality)
        residual, score = gap(data)
        return residual, Trial(quality, data, score)

    def is_met(point: _Point) -> bool:
        return side * point[0] <= 0

    safe, other = (_LOWEST, _HIGHEST) if side > 0 else (_HIGHEST, _LOWEST)
    first = attempt(safe)
    if not is_met(first):
        best = first if compress_best is None else attempt(safe, compress_best)
        if is_met(best):
            return replace(best[1], trials=2)
        raise UsageError(complaint(first[1]))
    points = [first, attempt(other)]
    if not is_met(points[1]):
        points = _narrow(attempt, points[::side], side, tolerance)
    chosen = max(filter(is_met, points), key=lambda point: side * point[1].quality)[1]
    if compress_best is None:
        return replace(chosen, trials=len(points))
    write_best = compress_best
    best_points = _follow(
        lambda hundredths: attempt(hundredths, write_best),
        points,
        chosen.quality,
        aim=-side * tolerance / 2,
        close=lambda residual: -tolerance <= side * residual <= 0,
    )
    # Compared by size, because at full effort the higher quality may give the smaller file.
    found = [trial for residual, trial in best_points if is_met((residual, trial))]
    best_trial = max(found, key=lambda trial: side * len(trial.data), default=chosen)
    if side > 0 or len(best_trial.data) <= len(chosen.data):
        chosen = best_trial
    return replace(chosen, trials=len(points) + len(best_points))


def _narrow(
    attempt: Callable[[int], _Point], points: list[_Point], side: int, tolerance: float
) -> list[_Point]:
    """Narrow the bracket by the Illinois algorithm; return all points.

    points            those at the lowest and the highest quality
    side, tolerance   as in `_search`
    """
    low, high = points
    low_gap, high_gap = low[0], high[0]  # residuals, which the Illinois rule may halve
    points, previous = [low, high], ""
    while len(points) < MAX_TRIALS and abs((low if side > 0 else high)[0]) > tolerance:
        left, right = round(low[1].quality * 100), round(high[1].quality * 100)
        if right - left <= 1:
            break
        # Without a finite, positive slope, bisect.
        span = high_gap - low_gap
        share = -low_gap / span if math.isfinite(span) and span > 0 else 0.5
        middle = min(max(left + round(share * (right - left)), left + 1), right - 1)
        point = attempt(middle)
        points.append(point)
        # The point replaces the end on its own side of the target.
        if (side * point[0] <= 0) == (side > 0):
            low, low_gap = point, point[0]
            high_gap = high_gap / 2 if previous == "low" else high_gap
            previous = "low"
        else:
            high, high_gap = point, point[0]
            low_gap = low_gap / 2 if previous == "high" else low_gap
            previous = "high"
    return points


def _follow(
    attempt: Callable[[int], _Point],
    known: Sequence[_Point],
    quality: float,
    *,
    aim: float,
    close: Callable[[float], bool],
) -> list[_Point]:
    """At most `MAX_EFFORT_TRIALS` points of another curve that approach the residual `aim`.

    attempt   gives a point of that curve, which is assumed to be `known` shifted by a constant
    quality   quality of the first point
    """
    found: list[_Point] = []
    hundredths = round(quality * 100)
    tried: set[int] = set()
    while len(found) < MAX_EFFORT_TRIALS and hundredths not in tried:
        tried.add(hundredths)
        found.append(attempt(hundredths))
        gap = found[-1][0]
        if close(gap) or not math.isfinite(gap):
            break
        shift = gap - float(np.interp(hundredths, *_curve(known)))
        moved = [(value + shift, trial) for value, trial in known]
        # The quality at which the shifted curve has the residual `aim`, or its nearest end.
        qualities, gaps = _curve([*moved, *found])
        hundredths = round(float(np.interp(aim, gaps, qualities)))
    return found


def _curve(points: Sequence[_Point]) -> tuple[Float64Array, Float64Array]:
    """Qualities in hundredths, ascending, and residuals made non-decreasing."""
    rising = sorted((round(p[1].quality * 100), p[0]) for p in points if math.isfinite(p[0]))
    qualities, gaps = np.array(rising, dtype=np.float64).T
    return qualities, np.maximum.accumulate(gaps)
