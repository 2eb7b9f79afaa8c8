"""The choice of the reference at each β, from pilot data alone; the curve is then measured afresh.

    pilot images       L from either reference; from the prior it is that of the *scout*, a pass of
                       the adaptive pilot over these few images.  Both are upper bounds on average,
                       so the lower one is tighter
    pilot simulations  the gap of the bridges' certificate; if it is too wide, also that of the
                       annealing from the prior

No pilot data enter the curve, so the choice cannot bias it: the smaller of two noisy estimates
would be too small.  Simulated images have the modes that the model prefers, so a mode that local
fits miss on real images need not be missed there.  Therefore the scout always runs, and a point is
flagged if the scout's L is clearly below that of a local reference that is kept, because it was
requested or is lower on average.  The annealing with all temperatures, planned on many images, is
tried only at β where the bridges are in doubt.

A wide gap, or a lower L from the scout, may mean that posteriors have several modes of which the
references cover only one.  So before the prior is preferred, bridges with more modes are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array
from codec.rate_distortion.annealing.bridge import BridgePlan
from codec.rate_distortion.annealing.summary import LARGEST_GAP_NATS, pooled_gap
from codec.rate_distortion.estimates import student_quantile_975

CHECK_IMAGES = 8
CHECK_SHARE, FEWEST_CHECKED = 5, 4
"""At most one in `CHECK_SHARE` images is checked, but at least `FEWEST_CHECKED`."""

TOLERANCE_NATS = LARGEST_GAP_NATS
"""How much too high a certified curve may be."""

MOST_GAUSSIANS, MODES = 8, 2
"""Modes are doubled until a reference has `MOST_GAUSSIANS` Gaussians, but at least to `MODES`."""

LEFT_SHARE = 0.75
"""More modes are worth their cost if at most this share of the doubt is left."""

LARGEST_DOUBT_NATS = 10.0
"""Gaps are clipped to this.  A simulation whose mode was missed may have a gap of hundreds of nats;
for the number of modes it matters how many were missed, not by how much."""

MISSED_NATS = 7.0
"""An unbiased estimate of Z is e⁷ times too large with probability below 1/1000 (Markov)."""

Rival = Callable[[Sequence[int]], tuple[Float64Array, Float64Array]]
"""Indexes of b values of β to L of the pilot images (n, b) and gaps (m, b), both by annealing from
the prior with all temperatures."""


def check_images(count: int) -> int:
    """How many of `count` images are pilot images of the choice."""
    return min(count, max(FEWEST_CHECKED, min(CHECK_IMAGES, count // CHECK_SHARE)))


def pilot_simulations(points: int) -> tuple[int, list[int]]:
    """How many images are simulated, and at which of `points` β; neighbours are pooled."""
    if points < 20:
        return 6 if points < 10 else 3, list(range(points))
    return 1, sorted({*range(1, points, 2), points - 1})


@dataclass(frozen=True)
class Trial:
    """What pilot data say about the bridges with `modes` modes, at B values of β.

    plans   plans of the bridges
    beta    (B,)
    local   L of the pilot images, (n, B)
    gap     upper − lower of the bridges on pilot simulations, (m, B); None if nothing was simulated
    """

    modes: int
    plans: tuple[BridgePlan, ...]
    beta: Float64Array
    local: Float64Array
    gap: Float64Array | None

    def doubt_nats(self, prior: Float64Array) -> float:
        """Sum over β of the evidence against these bridges: a wide gap, or an L above that of the
        scout from the prior, (n, B); 0 without evidence.
        """
        difference = self.local - prior
        doubt = np.where(_missed(difference) > 0, difference.mean(0).clip(0), 0.0)
        if self.gap is not None:
            wide = ~(pooled_gap(self.gap, self.beta) <= LARGEST_GAP_NATS)
            gap = np.nan_to_num(self.gap, nan=LARGEST_DOUBT_NATS).clip(0, LARGEST_DOUBT_NATS)
            doubt = np.maximum(doubt, np.where(wide, gap.mean(0), 0.0))
        return float(doubt.sum())


def fewest_modes(
    trial: Callable[[int], Trial], prior: Float64Array, *, components: int = 1
) -> Trial:
    """The trial with the fewest modes that leaves no doubt, or that more modes hardly improve.

    components   number of components of the prior; each of them has that many modes
    """
    best = trial(1)
    left, modes = best.doubt_nats(prior), 2
    while left > 0 and modes <= max(MODES, MOST_GAUSSIANS // components):
        more = trial(modes)
        doubt = more.doubt_nats(prior)
        if doubt <= LEFT_SHARE * left:
            best, left = more, doubt
        modes *= 2
    return best


@dataclass(frozen=True)
class Choice:
    """For each β > 0: whether the reference is local, and by how many nats the annealing from the
    prior was clearly lower on pilot images (else 0)."""

    local: tuple[bool, ...]
    missed: Float64Array


def choose(trial: Trial, prior: Float64Array, rival: Rival, *, forced: bool = False) -> Choice:
    """Choose for each of B values of β.

    trial    the bridges' trial
    prior    L of the pilot images by the scout, (n, B)
    rival    called for the β at which the bridges' gap is too wide
    forced   take the local reference everywhere, and only flag points
    """
    local, gap = trial.local, trial.gap
    difference = local - prior
    missed = _missed(difference)
    keep = (missed == 0) | (difference.mean(0) <= 0) | forced
    if gap is not None and not forced:
        pooled = pooled_gap(gap, trial.beta)
        wide = np.flatnonzero(keep & ~(pooled <= LARGEST_GAP_NATS))
        if len(wide):
            other, other_gap = rival([int(index) for index in wide])
            higher, lower = _apart(local[:, wide] - other)
            narrower = pooled[wide] <= pooled_gap(other_gap, trial.beta[wide])
            keep[wide] = lower | (narrower & ~higher)
    return Choice(tuple(bool(one) for one in keep), np.where(keep, missed, 0.0))


def _missed(difference: Float64Array) -> Float64Array:
    """By how many nats the prior is clearly lower on images (n, B), (B,); 0 where it is not.

    It is if the mean is clearly above 0, if a single image is by `MISSED_NATS`, or if several are
    together. The product of the images' estimates of Z, too, is e⁷ times too large with probability
    below 1/1000, and there are 2ⁿ sets of images to choose from. Student's t does not see what
    happens on few images: they raise the deviation as much as the mean.
    """
    higher, _ = _apart(difference)
    furthest, together = difference.max(0), difference.clip(0).sum(0)
    limit = MISSED_NATS + len(difference) * np.log(2)
    missed = np.where(higher, difference.mean(0), 0.0)
    missed = np.maximum(missed, np.where(furthest > MISSED_NATS, furthest, 0.0))
    found: Float64Array = np.maximum(
        missed, np.where(together > limit, together / len(difference), 0.0)
    )
    return found


def _apart(difference: Float64Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Where the mean of (n, B) is clearly above 0, and where below: 95 %, Student's t."""
    mean, count = difference.mean(0), len(difference)
    clear = np.full(mean.shape, TOLERANCE_NATS if count > 1 else MISSED_NATS)
    if count > 1:
        error = difference.std(0, ddof=1) / np.sqrt(count)
        clear = np.maximum(clear, student_quantile_975(count - 1) * error)
    return mean > clear, -mean > clear
