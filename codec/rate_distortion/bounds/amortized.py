"""An upper bound on R_p(D) by an encoder: the β-VAE sweep with a frozen decoder.

For any q(z|x), the point (E d(x, f(z)), E KL(q(z|x) ‖ p(z))) lies on or above the curve R_p(D) of
the decoder f and the prior p (Huang, Makhzani, Cao and Grosse, ICML 2020, section on variational
baselines; Alemi et al., "Fixing a broken ELBO", ICML 2018).  Here q is a Gaussian whose mean and
diagonal variances a network computes.  It is trained on one set of images for each β in turn,
starting from the previous β, and measured on another set.  The bound holds however badly q is
trained; its distance from R_p is the amortisation gap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.priors import LatentPrior, StandardNormal
from codec.rate_distortion.array_checks import positive_number, rising_betas, whole_number
from codec.rate_distortion.bounds.mode_search import seeded_linear
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.estimates import BoundPoint, PlainResult, bound_point
from codec.rate_distortion.tensor_checks import (
    Decode,
    check_decoder,
    decoder_of_flat_codes,
    evaluation_mode,
    image_tensor,
    row_blocks,
    seeded_generator,
    target_tensor,
)

LOG_DEVIATION_RANGE = (-12.0, 4.0)
DECODED_AT_A_TIME = 2048
_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class AmortizedCurve(PlainResult):
    """Upper bounds on R_p(D), one for each rising β, measured on the test images.

    kl            "analytic" for a standard normal prior, else "monte carlo": log q − log p,
                  averaged over `samples` codes of each image
    """

    points: tuple[BoundPoint, ...]
    kl: Literal["analytic", "monte carlo"]
    distortion_name: str
    convention: str
    prior: str
    training_images: int
    test_images: int
    samples: int
    steps: int
    seed: int


class GaussianEncoder(nn.Module):
    """Images (n, …) to means and log-deviations (n, k) of a Gaussian over codes.

    A linear map plus a network: for a linear decoder the linear map alone can give the exact mean.
    The encoder starts at the standard normal.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, images: torch.Tensor, dim: int, hidden: tuple[int, ...], seed: int) -> None:
        super().__init__()
        flat = images.flatten(1)
        self.register_buffer("centre", flat.mean(dim=0))
        variances = (flat - flat.mean(dim=0)).square().mean(dim=0)
        # Border pixels that hardly vary must not be amplified.
        floor = 1e-2 * float(variances.mean()) + 1e-12
        self.register_buffer("scale", variances.clamp_min(floor).sqrt())
        generator = torch.Generator().manual_seed(seed)
        self.linear = seeded_linear(flat.shape[1], dim, None)
        widths = (flat.shape[1], *hidden)
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            layers += [seeded_linear(wide, narrow, generator), nn.SiLU()]
        self.network = nn.Sequential(*layers) if hidden else None
        self.mean = seeded_linear(widths[-1], dim, None) if hidden else None
        self.log_deviation = seeded_linear(widths[-1], dim, None)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, …) to two tensors (n, k)."""
        pixels = (images.flatten(1) - self.centre) / self.scale
        mean = self.linear(pixels)
        features = pixels
        if self.network is not None and self.mean is not None:
            features = self.network(pixels)
            mean = mean + self.mean(features)
        return mean, self.log_deviation(features).clamp(*LOG_DEVIATION_RANGE)


def _kl_to_standard_normal(mean: torch.Tensor, log_deviation: torch.Tensor) -> torch.Tensor:
    variance = (2 * log_deviation).exp()
    return 0.5 * (mean.square() + variance - 1 - 2 * log_deviation).sum(-1)


def _log_ratio(
    prior: LatentPrior, codes: torch.Tensor, noise: torch.Tensor, log_deviation: torch.Tensor
) -> torch.Tensor:
    """log q(z|x) − log p(z) at z = mean + deviation · noise."""
    log_q = -(0.5 * noise.square() + log_deviation + 0.5 * _LOG_TWO_PI).sum(-1)
    return log_q - prior.log_prob(codes)


def amortized_bound(
    decode: Decode,
    prior: LatentPrior,
    train_images: Any,
    test_images: Any,
    *,
    betas: Iterable[float],
    distortion: Distortion,
    hidden: tuple[int, ...] = (256, 256),
    steps: int = 1000,
    batch: int = 128,
    learning_rate: float = 1e-3,
    samples: int = 16,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> AmortizedCurve:
    """Train an encoder for each β and measure its rate and distortion on the test images.

    decode         codes (m, k) to images (m, …), or (m, *shape) with a prior of that shape;
                   differentiable in the codes; it is not changed; a module runs in evaluation
                   mode
    prior          p(z), with log_prob differentiable
    train_images, test_images   (n, …), any real dtype, finite; used as float32
    betas          at least 0 and rising, in inverse units of the distortion
    hidden         widths of the encoder's hidden layers; () is a linear encoder
    steps, batch   steps and batch size of Adam at each β
    samples        codes of each test image for the distortion and a Monte-Carlo KL
    Intervals are 95 % bootstrap intervals over the test images, NaN for a single image.
    Raises `UsageError` for arguments that do not fit, `MeasurementError` if training diverges or
    the decoder returns values that are not finite.
    """
    multipliers = rising_betas(betas)
    for name, value in (("steps", steps), ("batch", batch), ("samples", samples)):
        whole_number(name, value, at_least=1)
    for width in hidden:
        whole_number("a width in hidden", width, at_least=1)
    positive_number("learning_rate", learning_rate)
    device = torch.device(device)
    train = image_tensor("train_images", train_images, device)
    test = image_tensor("test_images", test_images, device)
    if train.shape[1:] != test.shape[1:]:
        raise UsageError(
            f"train_images {tuple(train.shape)} and test_images {tuple(test.shape)}: "
            "expected images of one shape"
        )
    generator = seeded_generator(seed, device)
    encoder = GaussianEncoder(train, prior.dim, tuple(hidden), seed).to(device)
    decode = decoder_of_flat_codes(decode, prior)
    sweep = _Sweep(decode, prior, distortion, encoder, generator)
    points = []
    with evaluation_mode(decode):
        check_decoder(decode, prior.sample(2, generator), train)
        targets = target_tensor(distortion, train)
        for beta in multipliers:
            sweep.train(train, targets, beta, steps, batch, learning_rate)
            rates, distortions = sweep.measure(test, target_tensor(distortion, test), samples)
            points.append(bound_point(beta, rates, distortions, seed=seed))
    return AmortizedCurve(
        points=tuple(points),
        kl="analytic" if sweep.analytic else "monte carlo",
        distortion_name=distortion.name,
        convention=distortion.convention,
        prior=repr(prior),
        training_images=len(train),
        test_images=len(test),
        samples=samples,
        steps=steps,
        seed=seed,
    )


class _Sweep:
    """The encoder while β rises."""

    def __init__(
        self,
        decode: Decode,
        prior: LatentPrior,
        distortion: Distortion,
        encoder: GaussianEncoder,
        generator: torch.Generator,
    ) -> None:
        self.decode, self.prior, self.distortion = decode, prior, distortion
        self.encoder, self.generator = encoder, generator
        self.analytic = isinstance(prior, StandardNormal)
        self.parameters = list(encoder.parameters())

    def _noise(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(
            like.shape, generator=self.generator, device=like.device, dtype=like.dtype
        )

    def train(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        beta: float,
        steps: int,
        batch: int,
        learning_rate: float,
    ) -> None:
        optimizer = torch.optim.Adam(self.parameters, lr=learning_rate)
        for step in range(steps):
            # Decay to a hundredth: the last steps average out the noise of the sampled codes.
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.param_groups[0]["lr"] = learning_rate * (0.01 + 0.99 * cosine)
            chosen = torch.randint(
                len(images), (batch,), generator=self.generator, device=images.device
            )
            mean, log_deviation = self.encoder(images[chosen])
            noise = self._noise(mean)
            codes = mean + log_deviation.exp() * noise
            if self.analytic:
                rates = _kl_to_standard_normal(mean, log_deviation)
            else:
                rates = _log_ratio(self.prior, codes, noise, log_deviation)
            errors = self.distortion(targets[chosen], self.decode(codes))
            loss = (rates + beta * errors).mean()
            if not bool(torch.isfinite(loss)):
                raise MeasurementError(
                    f"the encoder diverged at beta {beta:g}, step {step}: lower learning_rate, or "
                    "check the decoder far from the prior's codes"
                )
            # Gradients for the encoder only, so that none accumulate in the decoder.
            gradients = torch.autograd.grad(loss, self.parameters)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()

    @torch.no_grad()
    def measure(
        self, images: torch.Tensor, targets: torch.Tensor, samples: int
    ) -> tuple[Float64Array, Float64Array]:
        """Rate in nats and distortion of each image, float64 (n,) each."""
        rates, distortions = [], []
        rows = max(1, DECODED_AT_A_TIME // samples)
        blocks = zip(row_blocks(images, rows), row_blocks(targets, rows), strict=True)
        for part, part_targets in blocks:
            mean, log_deviation = self.encoder(part)
            mean = mean[:, None].expand(-1, samples, -1)
            log_deviation = log_deviation[:, None].expand(-1, samples, -1)
            noise = self._noise(mean)
            codes = mean + log_deviation.exp() * noise
            if self.analytic:
                rate = _kl_to_standard_normal(mean.double(), log_deviation.double())
            else:
                rate = _log_ratio(self.prior, codes, noise, log_deviation).double()
            rates.append(rate.mean(1))
            repeated = part_targets.repeat_interleave(samples, dim=0)
            errors = self.distortion(repeated, self.decode(codes.flatten(0, 1)))
            distortions.append(errors.double().reshape(-1, samples).mean(1))
        return (
            np.asarray(torch.cat(rates).cpu().numpy()),
            np.asarray(torch.cat(distortions).cpu().numpy()),
        )
