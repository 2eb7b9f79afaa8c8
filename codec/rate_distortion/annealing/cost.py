"""A rough estimate of a measurement's cost before it starts, from what earlier ones took."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from codec.priors import LatentPrior
from codec.rate_distortion.annealing.choice import check_images, pilot_simulations
from codec.rate_distortion.annealing.local_reference import (
    DRIFT_SAMPLES,
    DRIFTS,
    ITERATIONS,
    POLISH_SAMPLES,
    SAMPLES,
)
from codec.rate_distortion.annealing.settings import Settings
from codec.rate_distortion.annealing.tempering import Decode
from codec.rate_distortion.tensor_checks import seeded_generator

PRODUCT = 0.5
"""Cost of a product of the Jacobian and a vector in gradients: it needs only a forward pass."""

USUAL_STEPS = 16
PILOT_IMAGES = 50
TIMED_CODES = 200


@dataclass(frozen=True)
class Cost:
    """Decoder gradients of all rounds if every β is measured from the same kind of reference;
    Jacobian products count as fractions of gradients."""

    local: float
    prior: float


def estimated_cost(settings: Settings, images: int, dim: int) -> Cost:
    """The cost of measuring `images` images with codes of `dim` dimensions."""
    points = len(settings.betas) if settings.betas is not None else settings.points
    chains, temperatures = settings.chains, settings.temperatures
    leapfrogs = min(10.0, 3 + dim / 15)
    modes = settings.modes or 1
    fit = ITERATIONS * SAMPLES * dim * PRODUCT * modes
    polish = (POLISH_SAMPLES * dim * PRODUCT + len(DRIFTS) * DRIFT_SAMPLES) * modes
    bridge = chains * 2 * min(USUAL_STEPS, settings.bridge_steps)
    rise = max(points, 20) * fit
    both_sides = settings.simulations * points if settings.certify else 0
    pilot = chains * (60 + 4 * dim) * 3 * leapfrogs
    whole, check = min(PILOT_IMAGES, images), check_images(images)
    choice = check * (pilot + rise + points * (polish + 2 * bridge))
    simulations, at = pilot_simulations(points)
    choice += simulations * len(at) * (rise / 2 + polish + 2 * bridge)
    local = images * (rise + points * (polish + bridge))
    local += both_sides * (rise / 2 + polish + 2 * bridge)
    prior = images * chains * temperatures * leapfrogs
    prior += both_sides * chains * temperatures * leapfrogs
    if settings.reference == "prior":
        choice = 0
    return Cost(choice + local, choice + whole * pilot + prior)


def seconds_per_gradient(decode: Decode, prior: LatentPrior, device: str) -> float:
    """Measure briefly how many seconds decoding and its gradient take for each code of a batch."""
    codes = prior.sample(TIMED_CODES, seeded_generator(0, torch.device(device))).float().to(device)
    taken = 0.0
    for _ in range(3):  # the first one warms up
        begin = time.perf_counter()
        leaf = codes.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(decode(leaf).square().sum(), leaf)
        float(gradient.sum())  # waits for the device
        taken = time.perf_counter() - begin
    return taken / TIMED_CODES
