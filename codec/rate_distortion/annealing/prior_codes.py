"""Codes of the prior, as a check that sees every image.

    Ẑ_β(x) = (1/M) Σ_j exp(−β d(x, f(z_j))),  z_j ~ p, the same for all images

is an unbiased estimate, as that of the chains is.  So −log Ẑ is too high on average, and usually by
far more than L.  If it is clearly lower than L, the chains have missed a part of the posterior that
M codes of the prior reach, such as a mode that so few images have that no pilot image and no
simulated image shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from bitstream.arrays import Float64Array
from codec.priors import LatentPrior
from codec.rate_distortion.annealing.choice import MISSED_NATS
from codec.rate_distortion.annealing.summary import LARGEST_EXCESS_NATS
from codec.rate_distortion.annealing.tempering import Decode
from codec.rate_distortion.distortions import BLOCK_VALUES, Distortion, pairwise_distortions

GROUPS, GROUP = 20, 100
"""M is their product. The groups tell how much the estimate varies."""

CLEAR_ERRORS = 5.0
"""Standard errors by which the mean over the images has to be lower."""


@torch.no_grad()
def prior_estimates(
    decode: Decode,
    prior: LatentPrior,
    distortion: Distortion,
    targets: torch.Tensor,
    betas: Sequence[float],
    generator: torch.Generator,
) -> Float64Array:
    """log Ẑ of images (n, …) at B values of β, from each group of codes: (groups, n, B)."""
    codes = prior.sample(GROUPS * GROUP, generator).to(targets)
    slopes = torch.tensor(betas, dtype=torch.float64, device=targets.device)
    columns = max(1, min(GROUP, BLOCK_VALUES // targets[0].numel()))
    rows = max(1, BLOCK_VALUES // (columns * len(slopes)))
    found = []
    for group in torch.split(codes, GROUP):
        sums = slopes.new_full((len(targets), len(slopes)), -torch.inf)
        for part in torch.split(group, columns):
            made = decode(part).to(targets)
            for begin in range(0, len(targets), rows):
                own = slice(begin, begin + rows)
                apart = pairwise_distortions(distortion, targets[own], made)
                # Codes for which the decoder is undefined have the distortion infinity.
                apart = torch.where(apart.isnan(), torch.inf, apart)
                of_part = (-slopes * apart[..., None]).nan_to_num(nan=0.0, neginf=-torch.inf)
                sums[own] = torch.logaddexp(sums[own], of_part.logsumexp(1))
        found.append(sums - math.log(len(group)))
    estimates: Float64Array = torch.stack(found).cpu().numpy()
    return estimates


def too_high(log_partition: Float64Array, estimates: Float64Array) -> Float64Array:
    """By how many nats L is clearly too high at each β on average over the images, (B,), else 0.

    log_partition   L of each image by the chains, (n, B)
    estimates       those of `prior_estimates`

    It is if it is for single images, by so much that chance explains one in a thousand for all
    images together (Markov's inequality), or for their mean, by several standard errors of the
    codes. What a certified point may be too high by is ignored.
    """
    groups, images, _ = estimates.shape
    total = np.logaddexp.reduce(estimates, 0) - math.log(groups)
    difference = log_partition + total
    single = np.where(difference > MISSED_NATS + math.log(images), difference, 0.0).mean(0)
    # The jackknife: the mean without each group.
    rest = [np.logaddexp.reduce(np.delete(estimates, each, 0), 0) for each in range(groups)]
    with np.errstate(invalid="ignore"):  # −∞ where no code is near an image
        means = (log_partition + np.array(rest) - math.log(groups - 1)).mean(1)
        error = np.sqrt((groups - 1) * means.var(0))
        mean = difference.mean(0)
        together = np.where(mean > CLEAR_ERRORS * error, mean, 0.0)
    found = np.maximum(single, together)
    evident: Float64Array = np.where(found > LARGEST_EXCESS_NATS, found, 0.0)
    return evident
