"""The plug-in upper bound: average e^{−βd} over codes drawn from the prior.

    L(β) ≤ E_x −log (1/M) Σ_j exp(−β d(x, f(z_j))),     z_j ~ p

(Lei, Hassani and Saeedi Bidokhti, "Neural estimation of the rate-distortion function with
applications to operational source coding", 2022).  With the self-normalised weights w_j
∝ e^{−βd_j}, D = Σ w_j d_j and R = L − βD.  R is the Kullback-Leibler divergence of the weights from
uniform, so it cannot exceed log M, whatever the decoder.  Results carry that ceiling and mark the
points near it; annealing has no such ceiling.

The M codes are the same for all images, so the intervals, which resample images, do not include
the randomness of the codes.  `train_generator` fits the decoder itself, which gives a bound on the
source's R(D).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from codec.priors import LatentPrior
from codec.rate_distortion.array_checks import (
    finite_number,
    positive_number,
    rising_betas,
    whole_number,
)
from codec.rate_distortion.distortions import BLOCK_VALUES, Distortion, pairwise_distortions
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.estimates import BoundPoint, PlainResult, bound_point
from codec.rate_distortion.tensor_checks import (
    Decode,
    check_decoder,
    decoder_of_flat_codes,
    evaluation_mode,
    image_tensor,
    seeded_generator,
    target_tensor,
)

Generator = TypeVar("Generator", bound=nn.Module)


@dataclass(frozen=True)
class NerdCurve(PlainResult):
    """Plug-in bounds, one for each rising β.

    samples        M, the number of codes drawn from the prior
    ceiling_nats   log M: no rate can be larger
    margin_nats    a point whose rate is within this of the ceiling is marked in `near_ceiling`
    """

    points: tuple[BoundPoint, ...]
    near_ceiling: tuple[bool, ...]
    ceiling_nats: float
    margin_nats: float
    samples: int
    images: int
    distortion_name: str
    convention: str
    prior: str
    seed: int


class _WeightedSums:
    """Running Σ e^{−βd} and Σ d e^{−βd} over codes, for each β (b, 1) and image: (b, n)."""

    def __init__(self, betas: torch.Tensor, images: int) -> None:
        self.betas = betas[:, None, None]
        shape = (len(betas), images)
        self.peak = betas.new_full(shape, -math.inf)
        self.total, self.weighted = betas.new_zeros(shape), betas.new_zeros(shape)

    def add(self, part: slice, distortions: torch.Tensor) -> None:
        """Add codes for some images; distortions are (images of the part, codes)."""
        exponents = -self.betas * distortions
        old = self.peak[:, part]
        peak = torch.maximum(old, exponents.amax(-1))
        weights = (exponents - peak[..., None]).exp_()
        shrink = (old - peak).exp()
        self.total[:, part] = self.total[:, part] * shrink + weights.sum(-1)
        self.weighted[:, part] = self.weighted[:, part] * shrink + (weights * distortions).sum(-1)
        self.peak[:, part] = peak


def nerd_bound(
    decode: Decode,
    prior: LatentPrior,
    images: Any,
    *,
    betas: Iterable[float],
    distortion: Distortion,
    samples: int = 40_000,
    margin_nats: float = 1.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> NerdCurve:
    """The plug-in bound of a decoder and a prior on the images, with its ceiling log M.

    decode    codes (m, k) to images (m, …), or (m, *shape) with a prior of that shape; a module
              runs in evaluation mode
    images    (n, …), any real dtype, finite; used as float32
    betas     at least 0 and rising, in inverse units of the distortion
    samples   M, the number of codes drawn from the prior; each is decoded once for all β
    Intervals are 95 % bootstrap intervals over the images, NaN for a single image.
    Raises `UsageError` for arguments that do not fit, `MeasurementError` if the decoder returns
    values that are not finite.
    """
    multipliers = rising_betas(betas)
    whole_number("samples", samples, at_least=1)
    finite_number("margin_nats", margin_nats, at_least=0)
    device = torch.device(device)
    data = image_tensor("images", images, device)
    generator = seeded_generator(seed, device)
    decode = decoder_of_flat_codes(decode, prior)
    sums = _WeightedSums(torch.tensor(multipliers, dtype=torch.float64, device=device), len(data))
    columns = max(1, min(samples, BLOCK_VALUES // max(1, data[0].numel()), 4096))
    rows = max(1, BLOCK_VALUES // (columns * len(multipliers)))
    with torch.no_grad(), evaluation_mode(decode):
        targets = target_tensor(distortion, data)
        check_decoder(decode, prior.sample(2, generator), data)
        # Drawn all at once, because the size of a block must not change the numbers.
        codes = prior.sample(samples, generator).to(data)
        for begin in range(0, samples, columns):
            made = decode(codes[begin : begin + columns])
            for row in range(0, len(data), rows):
                part = slice(row, row + rows)
                sums.add(part, pairwise_distortions(distortion, targets[part], made))
    log_mean = sums.peak + sums.total.log() - math.log(samples)
    errors = np.asarray((sums.weighted / sums.total).cpu().numpy())
    surprise = np.asarray(-log_mean.cpu().numpy())
    points = tuple(
        # Rounding may make a rate that should be 0 slightly negative.
        bound_point(beta, np.maximum(0.0, lagrangian - beta * error), error, seed=seed)
        for beta, lagrangian, error in zip(multipliers, surprise, errors, strict=True)
    )
    ceiling = math.log(samples)
    return NerdCurve(
        points=points,
        near_ceiling=tuple(point.rate_nats > ceiling - margin_nats for point in points),
        ceiling_nats=ceiling,
        margin_nats=margin_nats,
        samples=samples,
        images=len(data),
        distortion_name=distortion.name,
        convention=distortion.convention,
        prior=repr(prior),
        seed=seed,
    )


def train_generator(
    generator: Generator,
    prior: LatentPrior,
    images: Any,
    *,
    beta: float,
    distortion: Distortion,
    samples: int = 4096,
    batch: int = 128,
    steps: int = 500,
    learning_rate: float = 1e-2,
    seed: int = 0,
) -> Generator:
    """A copy of the module, trained to lower the plug-in bound at β; the module is not changed.

    The plug-in bound of the result, measured by `nerd_bound` on other images, is an upper bound on
    the source's R(D).  Training runs on the device of the parameters.  Raises as `nerd_bound` does.
    """
    beta = positive_number("beta", beta)
    positive_number("learning_rate", learning_rate)
    for name, value in (("samples", samples), ("batch", batch), ("steps", steps)):
        whole_number(name, value, at_least=1)
    trained = copy.deepcopy(generator)
    decode = decoder_of_flat_codes(trained, prior)
    device = next(trained.parameters()).device
    data = image_tensor("images", images, device)
    random = seeded_generator(seed, device)
    check_decoder(decode, prior.sample(2, random), data)
    targets = target_tensor(distortion, data)
    optimizer = torch.optim.Adam(trained.parameters(), lr=learning_rate, betas=(0.5, 0.999))
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = learning_rate * (0.01 + 0.99 * cosine)
        chosen = torch.randint(len(data), (batch,), generator=random, device=device)
        made = decode(prior.sample(samples, random).to(data))
        errors = pairwise_distortions(distortion, targets[chosen], made)
        loss = -torch.logsumexp(-beta * errors, dim=1).mean()
        if not bool(torch.isfinite(loss)):
            raise MeasurementError(f"the generator diverged in step {step}: lower learning_rate")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return trained
