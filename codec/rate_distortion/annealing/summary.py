"""From samples to a curve: envelope, intervals and checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitstream.arrays import Array, BoolArray, Float64Array
from bitstream.errors import UsageError
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.estimates import student_quantile_975
from codec.rate_distortion.model_curve import (
    FEW_CHAINS,
    ONE_IMAGE,
    RDCurve,
    UntrustedCurveError,
    failed_checks,
)

LARGEST_GAP_NATS = 0.5
SMALLEST_ESS = 0.2
JUDGED_CHAINS = 8
"""With fewer chains no point is certified: the effective sample size of m chains is at least 1/m of
them, so it hardly falls below `SMALLEST_ESS`."""

FEWEST_CHAINS, MOST_POOR_IMAGES = 2.0, 0.05
"""Few images may have fewer effective chains than this, or than the share `SMALLEST_ESS` of few
chains. The mean does not see some images that are many nats too high."""

SMALLEST_ACCEPTANCE = 0.4
LARGEST_SLOPE_ERROR_NATS = 0.5
LARGEST_EXCESS_NATS = 0.25
"""L is about twice as far off as the weights of the chains show, and further off with a dozen
temperatures, because chains of common descent are alike."""

LARGEST_ROUNDING_NATS = 0.1
CLEARLY_NEGATIVE = 6.0
"""Standard errors. The upper bound lies above the lower one in expectation; if it does not, the
prior's samples and its log_prob do not belong together, or the decoder changes."""
_FEWEST_GAPS = 6
_ROUNDED_GAP_NATS = 0.05
BOOTSTRAP = 1000
ROWS = "log_partition", "distortion", "ess_fraction", "excess"
"""The fields of `CurveSamples` that have a row for each image."""

POOLED_NEIGHBOURS = 2
POOLED_RATIO = 6.0
"""The gap at a β is averaged with those at this many neighbours on either side, if β differs by at
most this factor: their annealing problems are nearly the same, and the mean is less noisy."""


@dataclass(frozen=True)
class CurveSamples:
    """The measurements of n images at B values of β, float64.

    log_partition, distortion, ess_fraction  (n, B)
    acceptance                               (B,)
    gap                                      (m, B), upper − lower of simulated images, or None
    no_certificate                           why `gap` is None
    missed                                   (B,), by how many nats annealing from the prior was
                                             clearly lower on pilot images, else 0; or None
    unseen                                   (B,), by how many nats codes of the prior show that L
                                             is too high, else 0; or None
    excess                                   (n, B), by how many nats L is too high, by the weights
                                             of the chains; or None

    The other fields are as in `RDCurve`.
    """

    beta: Float64Array
    log_partition: Float64Array
    distortion: Float64Array
    ess_fraction: Float64Array
    acceptance: Float64Array
    gap: Float64Array | None
    no_certificate: str | None
    distortion_name: str
    convention: str
    chains: int
    temperatures: int
    seed: int
    gradients: int
    reference: tuple[str, ...] = ()
    jacobian_products: int = 0
    no_local_reference: str = ""
    missed: Float64Array | None = None
    modes: int = 1
    excess: Float64Array | None = None
    unseen: Float64Array | None = None

    def of_images(self, images: slice | Sequence[int] | Array) -> CurveSamples:
        """The samples of some of the images: a slice, indexes, or bool (n,)."""
        rows = {
            name: values[images] for name in ROWS if (values := getattr(self, name)) is not None
        }
        return replace(self, **rows)


def joined_rows(parts: Sequence[CurveSamples]) -> dict[str, Float64Array | None]:
    """The fields `ROWS` of several parts with images of their own; None if a part lacks one."""
    columns = {name: [getattr(part, name) for part in parts] for name in ROWS}
    return {
        name: None if any(one is None for one in values) else np.concatenate(values)
        for name, values in columns.items()
    }


def envelope(
    beta: Float64Array,
    log_partition: Float64Array,
    distortion: Float64Array,
    trusted: BoolArray | None = None,
) -> Float64Array:
    """sup_β [L(β) − β D], at least 0: L (…, B) and D (…, P) to (…, P).

    trusted   bool (B,): the other β count for their own D only, and P must be B. An L that is too
              high would raise the rates of all others
    """
    rates = []
    for at in range(distortion.shape[-1]):  # one at a time, because there may be many β
        tangents = log_partition - distortion[..., at, None] * beta
        if trusted is not None:
            kept = trusted.copy()
            kept[at] = True
            tangents = tangents[..., kept]
        rates.append(np.maximum(tangents.max(-1), 0.0))
    return np.stack(rates, -1)


def rate_interval_at(samples: CurveSamples, distortion: float) -> tuple[float, float]:
    """95 % interval of R_p at a fixed distortion, images drawn with replacement, in nats.

    Unlike the interval at a slope it includes that D, too, differs from image to image, so it says
    how far apart two curves have to be at the same D. β that failed a check are left out. The upper
    end is infinite if the distortion is below what the largest β reached in over 2.5 % of the
    draws: the tangents then say only how large the rate is at least.

    Raises `UsageError` for a distortion that is not finite, or fewer than two images.
    """
    if not math.isfinite(distortion):
        raise UsageError(f"the interval at a distortion of {distortion} was asked for")
    images = len(samples.log_partition)
    if images < 2:
        raise UsageError("an interval over images needs at least 2")
    gap = pooled_gap(samples.gap, samples.beta, samples.reference)
    trusted = _trusted(_failures(samples, gap))
    kept = trusted if trusted.any() else np.ones(len(trusted), bool)
    counts = _draws(samples)
    log_partition = counts @ samples.log_partition[:, kept] / images
    reached = (counts @ samples.distortion[:, kept] / images).min(1)
    tangents = log_partition - distortion * samples.beta[kept]
    rates = np.maximum(tangents.max(1), 0.0)
    low = np.percentile(rates, 2.5, method="nearest")
    at_most = np.where(reached <= distortion, rates, np.inf)
    high = np.percentile(np.sort(at_most), 97.5, method="nearest")
    return float(low), float(high)


def _draws(samples: CurveSamples) -> Float64Array:
    """How often each image is in each of the bootstrap's draws, (`BOOTSTRAP`, n)."""
    images = len(samples.log_partition)
    generator = np.random.default_rng(np.random.SeedSequence((samples.seed, 3)))
    drawn: Float64Array = generator.multinomial(
        images, np.full(images, 1 / images), size=BOOTSTRAP
    ).astype(np.float64)
    return drawn


def bootstrap_interval(
    samples: CurveSamples, trusted: BoolArray | None = None
) -> tuple[Float64Array, Float64Array]:
    """95 % interval of the rate at each β, images drawn with replacement.

    L, D and the envelope are computed again for each draw, so a point moves along the curve as well
    as across it: the interval is for the rate at which the slope is −β.  (At a fixed distortion
    near the smallest that the model reaches, no finite interval is valid.)  Each image has its own
    chains with their own random numbers, so the interval includes the spread of the images and that
    of the sampler.  Percentiles (Efron) are widened to the Student's t interval for this number of
    images.  NaN for fewer than two images.  `trusted` is as in `envelope`.
    """
    images, points = samples.log_partition.shape
    if images < 2:
        return np.full(points, np.nan), np.full(points, np.nan)
    counts = _draws(samples)
    centre = envelope(
        samples.beta, samples.log_partition.mean(0), samples.distortion.mean(0), trusted
    )
    rates = envelope(
        samples.beta,
        counts @ samples.log_partition / images,
        counts @ samples.distortion / images,
        trusted,
    )
    low, high = np.percentile(rates, [2.5, 97.5], axis=0)
    widen = student_quantile_975(images - 1) / 1.959964 * math.sqrt(images / (images - 1))
    return (
        np.maximum(centre + widen * np.minimum(low - centre, 0), 0.0),
        centre + widen * np.maximum(high - centre, 0),
    )


def pooled_gap(
    gap: Float64Array | None, beta: Float64Array, reference: Sequence[str] = ()
) -> Float64Array:
    """Mean gap at each β, (m, B) to (B,), pooled with near ones; NaN if not measured.

    reference   the reference of each β: only neighbours with the same one count; all if empty
    """
    points = len(beta)
    if gap is None:
        return np.full(points, np.nan)
    mean, alike = gap.mean(0), np.array(reference or [""] * points)
    pooled = np.empty(points)
    for i in range(points):
        near = slice(max(0, i - POOLED_NEIGHBOURS), i + POOLED_NEIGHBOURS + 1)
        low, high = beta[i] / POOLED_RATIO, beta[i] * POOLED_RATIO
        close = (beta[near] >= low) & (beta[near] <= high) & (alike[near] == alike[i])
        pooled[i] = mean[near][close].mean()
    return pooled


def slope_error(beta: Float64Array, log_partition: Float64Array, distortion: Float64Array
                ) -> Float64Array:  # fmt: skip
    """By how many nats D and dL/dβ disagree next to each β; (B,) each.

    L is concave with L' = D, so D(β₂) (β₂ − β₁) ≤ L(β₂) − L(β₁) ≤ D(β₁) (β₂ − β₁).
    """
    rise, change = np.diff(log_partition), np.diff(beta)
    error = np.maximum(rise - distortion[:-1] * change, distortion[1:] * change - rise)
    error = np.maximum(error, 0.0)
    larger: Float64Array = np.maximum(np.append(error, 0.0), np.insert(error, 0, 0.0))
    return larger


def _failures(samples: CurveSamples, gap: Float64Array) -> list[list[str]]:
    """For each β the checks that it failed. A NaN fails every check that it was measured for."""
    slopes = slope_error(samples.beta, samples.log_partition.mean(0), samples.distortion.mean(0))
    fewest = min(FEWEST_CHAINS / samples.chains, SMALLEST_ESS)
    poor = (~(samples.ess_fraction >= fewest)).mean(0)
    # Half a unit in the last place of the largest β d, which is computed in float32.
    rounding = samples.beta * np.abs(samples.distortion).max(0) * 2.0**-24
    ess = samples.ess_fraction.mean(0)
    negative = _negative_gap(samples.gap)
    excess = None if samples.excess is None else samples.excess.mean(0)
    rows = []
    for i in range(len(samples.beta)):
        reasons = [samples.no_certificate] if samples.no_certificate else []
        if samples.gap is not None and not gap[i] <= LARGEST_GAP_NATS:
            reasons.append(f"gap {gap[i]:.2f} nats > {LARGEST_GAP_NATS}")
        if negative is not None and negative[i] > 0:
            reasons.append(f"the upper bound lies below the lower one by {negative[i]:.2f} nats")
        if not ess[i] >= SMALLEST_ESS:
            reasons.append(f"effective sample size {ess[i]:.2f} < {SMALLEST_ESS}")
        if not poor[i] <= MOST_POOR_IMAGES:
            reasons.append(f"{poor[i]:.0%} of images have too few effective chains")
        if excess is not None and not excess[i] <= LARGEST_EXCESS_NATS:
            reasons.append(f"excess {excess[i]:.2f} nats > {LARGEST_EXCESS_NATS}")
        if not samples.acceptance[i] >= SMALLEST_ACCEPTANCE:
            reasons.append(f"acceptance {samples.acceptance[i]:.2f} < {SMALLEST_ACCEPTANCE}")
        if not slopes[i] <= LARGEST_SLOPE_ERROR_NATS:
            reasons.append(f"D and dL/dbeta differ by {slopes[i]:.2f} nats")
        if not rounding[i] <= LARGEST_ROUNDING_NATS:
            reasons.append(f"float32 rounds beta d to {rounding[i]:.2g} nats")
        if samples.missed is not None and samples.missed[i] > 0:
            reasons.append(
                f"annealing from the prior was {samples.missed[i]:.2f} nats lower on pilot images"
            )
        if samples.unseen is not None and samples.unseen[i] > 0:
            reasons.append(
                f"codes of the prior show that L is {samples.unseen[i]:.2f} nats too high"
            )
        if len(samples.log_partition) < 2:
            reasons.append(ONE_IMAGE)
        if samples.chains < JUDGED_CHAINS:
            reasons.append(FEW_CHAINS)
        rows.append(reasons)
    return rows


def _negative_gap(gap: Float64Array | None) -> Float64Array | None:
    """By how many nats the upper bound at each β is clearly below the lower one, (B,), else 0.

    None if too few images were simulated.
    """
    if gap is None or len(gap) < _FEWEST_GAPS:
        return None
    below, error = -gap.mean(0), gap.std(0, ddof=1) / math.sqrt(len(gap))
    clear = np.maximum(_ROUNDED_GAP_NATS, CLEARLY_NEGATIVE * error)
    found: Float64Array = np.where(below > clear, below, 0.0)
    return found


def _trusted(failures: Sequence[Sequence[str]]) -> BoolArray:
    return np.array([not failed_checks(reasons) for reasons in failures])


def summarize(samples: CurveSamples) -> RDCurve:
    """Build the curve; raises `UntrustedCurveError`, which has it, if no point can be trusted."""
    log_partition, mean_distortion = samples.log_partition.mean(0), samples.distortion.mean(0)
    if not (np.isfinite(log_partition).all() and np.isfinite(mean_distortion).all()):
        raise MeasurementError(
            "the estimate is not finite: no chain kept a positive weight; raise temperatures"
        )
    gap = pooled_gap(samples.gap, samples.beta, samples.reference)
    failures = _failures(samples, gap)
    direct = log_partition - samples.beta * mean_distortion
    # The slope of L shows only how neighbours fit together.
    above = envelope(samples.beta, log_partition, mean_distortion, _trusted(failures)) - direct
    for reasons, excess in zip(failures, above - np.maximum(-direct, 0), strict=True):
        if not excess <= LARGEST_SLOPE_ERROR_NATS:
            reasons.append(f"another beta gives {excess:.2f} nats more at this D")
    trusted = _trusted(failures)
    low, high = bootstrap_interval(samples, trusted)
    curve = RDCurve(
        beta=_tuple(samples.beta),
        log_partition_nats=_tuple(log_partition),
        distortion=_tuple(mean_distortion),
        rate_nats=_tuple(envelope(samples.beta, log_partition, mean_distortion, trusted)),
        rate_direct_nats=_tuple(direct),
        rate_low_nats=_tuple(low),
        rate_high_nats=_tuple(high),
        bdmc_gap_nats=_tuple(gap),
        ess_fraction=_tuple(samples.ess_fraction.mean(0)),
        excess_nats=() if samples.excess is None else _tuple(samples.excess.mean(0)),
        acceptance=_tuple(samples.acceptance),
        certified=tuple(not reasons for reasons in failures),
        failures=tuple(map(tuple, failures)),
        distortion_name=samples.distortion_name,
        convention=samples.convention,
        images=len(samples.log_partition),
        chains=samples.chains,
        temperatures=samples.temperatures,
        seed=samples.seed,
        gradients=samples.gradients,
        reference=samples.reference,
        jacobian_products=samples.jacobian_products,
        no_local_reference=samples.no_local_reference,
        modes=samples.modes,
    )
    if not trusted.any():
        worst = max(failures, key=len)
        raise UntrustedCurveError(
            "no point of the curve can be trusted "
            f"({'; '.join(sorted(failed_checks(worst)))}): raise temperatures, bridge_steps, modes "
            f"or chains (now {samples.chains}), or lower the largest beta "
            f"(now {samples.beta[-1]:.4g})",
            curve,
        )
    return curve


def _tuple(values: Float64Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
