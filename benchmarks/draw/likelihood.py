"""Likelihood of DRAW: the negative evidence lower bound on test images, and a tighter one.

    −ELBO = E_q −log p(x|z) + Σ_t KL(q_t ‖ p_t)
    L_K   = E −log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x)      importance-weighted (Burda et al. 2016)

The weights are those of the exported file in floating point; digits are binarised once, white with
the probability given by the pixel.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.draw import subject
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import DrawModel, rounded
from codec.datasets.arrays import Images
from codec.models.draw.network import DrawNetwork, bernoulli_nats, gaussian_kl, logistic_nats
from codec.models.draw.recursion import DrawConfig, Prior
from training.draw.learner import HIGHEST_LOG_VARIANCE, LOWEST_LOG_VARIANCE
from training.generative.vae import BINARIZATION_SEED, binarize

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
BATCH = 250


class Pass(NamedTuple):
    """One sample z ~ q for each image.

    canvas       (n, C, h, w)
    kl           (n, steps), nats, in closed form given the sample of earlier steps
    log_ratio    (n,), log q(z|x) / p(z) at the sample
    means        means of the posteriors for each step and level, coarse to fine,
                 (n, codes, h', w'), in the coordinate whose prior is N(0, 1)
    """

    canvas: Tensor
    kl: Tensor
    log_ratio: Tensor
    means: list[Tensor]


def targets(model: DrawModel, images: Images) -> Tensor:
    """x of 8-bit images: binarised with the fixed seed, or levels in (−1, 1)."""
    pixels = torch.from_numpy(images.astype(np.float32))
    if model.config.likelihood == "bernoulli":
        return binarize(pixels / 255)
    return (2 * pixels - 255) / 256


@torch.inference_mode()
def posterior_pass(
    network: DrawNetwork,
    image: Tensor,
    generator: torch.Generator,
    *,
    sent: int | None = None,
    steps: int | None = None,
) -> Pass:
    """Run all steps on x (n, C, h, w) with gaussian posteriors.

    sent   number of first steps whose codes come from the posterior; later ones are drawn from the
           prior, at no cost. None for all
    steps  number of steps that have a code at all; later ones take the prior's mean. None for all
    """
    recursion, config = network.recursion, network.config
    state = recursion.begin(len(image), *image.shape[2:])
    part = recursion.image_part(image)
    kl = image.new_zeros(len(image), config.steps, dtype=torch.float64)
    log_ratio = image.new_zeros(len(image), dtype=torch.float64)
    means: list[Tensor] = []
    for step in range(config.steps):
        recursion.look(state, image, part)

        def choose(level: int, prior: Prior, step: int = step) -> Tensor:
            if steps is not None and step >= steps:
                return torch.zeros_like(prior.mean)
            if sent is not None and step >= sent:
                return torch.randn(prior.mean.shape, generator=generator)
            mean, log_variance = recursion.posterior(state, level).chunk(2, 1)
            log_variance = log_variance.clamp(LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE)
            noise = torch.randn(mean.shape, generator=generator)
            drawn = mean + (log_variance / 2).exp() * noise
            ratio = 0.5 * (drawn.square() - noise.square() - log_variance)
            kl[:, step] += gaussian_kl(mean, log_variance).flatten(1).double().sum(1)
            log_ratio.add_(ratio.flatten(1).double().sum(1))
            means.append(mean)
            return drawn

        recursion.step(state, choose)
    return Pass(state.canvas, kl, log_ratio, means)


def negative_log_likelihood(config: DrawConfig, canvas: Tensor, image: Tensor) -> Tensor:
    """−log p(x|z) in nats, (n,) float64."""
    cost = bernoulli_nats if config.likelihood == "bernoulli" else logistic_nats
    return cost(canvas, image).flatten(1).double().sum(1)


def nelbo_of(config: DrawConfig, done: Pass, image: Tensor) -> Tensor:
    """The negative evidence lower bound of each image in nats, (n,) float64."""
    return negative_log_likelihood(config, done.canvas, image) + done.kl.sum(1)


def measure_likelihood(
    model: DrawModel, images: Images, *, importance: int = 0, subset: int = 500, seed: int = 0
) -> dict[str, Any]:
    """The part `likelihood`, of images uint8 (n, C, h, w).

    importance  K of the importance-weighted bound, 0 for none
    subset      number of images, the first ones, on which that bound is measured
    """
    model.need_likelihood()
    generator = torch.Generator().manual_seed(seed)
    x = targets(model, images)
    costs, kls = [], []
    for part in torch.split(x, BATCH):
        done = posterior_pass(model.network, part, generator)
        costs.append(negative_log_likelihood(model.config, done.canvas, part))
        kls.append(done.kl)
    cost, kl = torch.cat(costs), torch.cat(kls)
    nelbo = cost + kl.sum(1)
    dimensions = images[0].size
    found = {
        "images": len(images),
        "dimensions": dimensions,
        **_bound("nelbo", nelbo, dimensions),
        "distortion_nats": float(cost.mean()),
        "kl_nats": float(kl.sum(1).mean()),
        "kl_nats_of_each_step": kl.mean(0).tolist(),
    }
    if importance:
        few = x[:subset]
        bound = importance_bound(model, few, importance, generator)
        found["importance_weighted"] = {
            "samples": importance,
            "images": len(few),
            **_bound("bound", bound, dimensions),
            "nelbo_nats_of_these": float(nelbo[: len(few)].mean()),
        }
    return {
        "binarisation": f"once, seed {BINARIZATION_SEED}"
        if model.config.likelihood == "bernoulli"
        else "none: 8-bit levels",
        "posterior_samples": 1,
        "seed": seed,
        "found": rounded(found, 7),
    }


def importance_bound(
    model: DrawModel, x: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """L_K in nats for each image, (n,) float64: on average never below −log p(x)."""
    found = []
    for number, part in enumerate(torch.split(x, BATCH)):
        total = torch.full((len(part),), -math.inf, dtype=torch.float64)
        for _ in range(samples):
            done = posterior_pass(model.network, part, generator)
            cost = negative_log_likelihood(model.config, done.canvas, part)
            total = torch.logaddexp(total, -cost - done.log_ratio)
        found.append(math.log(samples) - total)
        print(f"importance weights: {number * BATCH + len(part)} of {len(x)}", file=sys.stderr)
    return torch.cat(found)


def _bound(name: str, nats: Tensor, dimensions: int) -> dict[str, float]:
    error = float(nats.std()) / math.sqrt(len(nats)) if len(nats) > 1 else math.nan
    per_dimension = math.log(2) * dimensions
    return {
        f"{name}_nats": float(nats.mean()),
        f"{name}_standard_error_nats": error,
        f"{name}_bits_per_dimension": float(nats.mean()) / per_dimension,
        f"{name}_standard_error_bits_per_dimension": error / per_dimension,
    }


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser)
    parser.add_argument("--importance", type=int, default=0, help="samples, 0: none")
    parser.add_argument("--subset", type=int, default=500, help="images for these")


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        return measure_likelihood(
            model, images, importance=options.importance, subset=options.subset, seed=options.seed
        )

    return subject.measured(options, "likelihood", measure)
