"""How far the codes of a set of images are from the prior: KL(q(z) ‖ p(z)).

The aggregated posterior q(z) = E_x q(z|x) is the distribution of an encoder's codes of the data.
Coding with the prior costs KL(q(z) ‖ p(z)) more than coding with q(z) (Hoffman and Johnson 2016,
"ELBO surgery": E KL(q(z|x) ‖ p) = I(x; z) + KL(q(z) ‖ p)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError

_ROWS = 512
BANDWIDTHS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8)


@dataclass(frozen=True)
class PriorMismatch:
    """Bounds on KL(q(z) ‖ N(0, I)) in nats, each up to the noise of its samples.

    lower_nats             E log r(z) / p(z), z ~ q(z|x), for a density r that has not seen x: the
                           posteriors of the other images, widened by a bandwidth that was chosen
                           on the other half of the images.  Any such r gives a lower bound,
                           including r = p, which is taken if none is better
    upper_nats             E KL minus the mutual information of image and code among these n
                           images, which is at most log n: far too large if I(x; z) is larger
    ceiling_nats           log n
    kl_nats                E KL(q(z|x) ‖ p), over the same samples
    standard_error_nats    standard error of the lower bound, over the images
    bandwidths             chosen on the two halves; infinite for r = p
    """

    lower_nats: float
    upper_nats: float
    ceiling_nats: float
    kl_nats: float
    standard_error_nats: float
    bandwidths: tuple[float, float]


def prior_mismatch(
    mean: Float64Array, variance: Float64Array, *, samples: int = 4, seed: int = 0
) -> PriorMismatch:
    """Bound the mismatch from the posteriors N(mean, diag variance) of n images.

    mean, variance   float64 (n, k), n ≥ 4, variance > 0; 8 · n² · samples densities are computed
    samples          number of codes drawn from each posterior

    Raises `UsageError` for other shapes.
    """
    if mean.ndim != 2 or mean.shape != variance.shape or len(mean) < 4 or samples < 1:
        raise UsageError(
            f"means {mean.shape} and variances {variance.shape} with {samples} samples: "
            "expected (n, k) twice, n at least 4, and at least one sample"
        )
    count = len(mean)
    rng = np.random.default_rng(seed)
    others = np.zeros((len(BANDWIDTHS), count))
    whole, rates = np.zeros(count), np.zeros(count)
    for _ in range(samples):
        codes = mean + np.sqrt(variance) * rng.standard_normal(mean.shape)
        prior = -0.5 * (codes**2 + math.log(2 * math.pi)).sum(axis=1)
        for begin in range(0, count, _ROWS):
            rows = slice(begin, min(begin + _ROWS, count))
            own = np.arange(rows.stop - begin), np.arange(begin, rows.stop)
            for number, bandwidth in enumerate(BANDWIDTHS):
                densities = _log_densities(codes[rows], mean, variance + bandwidth**2)
                if bandwidth == 0:
                    whole[rows] += _log_sum(densities) - math.log(count) - prior[rows]
                    rates[rows] += densities[own] - prior[rows]
                densities[own] = -np.inf
                others[number, rows] += _log_sum(densities) - math.log(count - 1) - prior[rows]
    gains = np.vstack([others / samples, np.zeros(count)])  # the last is r = p
    halves = np.arange(0, count, 2), np.arange(1, count, 2)
    chosen = [int(gains[:, half].mean(axis=1).argmax()) for half in halves]
    lower = np.empty(count)
    lower[halves[0]], lower[halves[1]] = gains[chosen[1], halves[0]], gains[chosen[0], halves[1]]
    widths = [*BANDWIDTHS, math.inf]
    return PriorMismatch(
        lower_nats=float(lower.mean()),
        upper_nats=float(whole.mean() / samples),
        ceiling_nats=math.log(count),
        kl_nats=float(rates.mean() / samples),
        standard_error_nats=float(lower.std() / math.sqrt(count)),
        bandwidths=(widths[chosen[0]], widths[chosen[1]]),
    )


def _log_densities(codes: Float64Array, mean: Float64Array, variance: Float64Array) -> Float64Array:
    """log N(codes[i]; mean[j], variance[j]): (m, k) and (n, k) to (m, n)."""
    precision = 1 / variance
    constant = (mean**2 * precision + np.log(2 * math.pi * variance)).sum(axis=1)
    result: Float64Array = -0.5 * (
        codes**2 @ precision.T - 2 * codes @ (mean * precision).T + constant
    )
    return result


def _log_sum(values: Float64Array) -> Float64Array:
    largest = values.max(axis=1)
    result: Float64Array = largest + np.log(np.exp(values - largest[:, None]).sum(axis=1))
    return result
