"""A rough estimate of how long a measurement takes, before it starts: numbers of steps as earlier
measurements took them, times what a step takes here."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from codec.rate_distortion.annealing.bridge import Bridge
from codec.rate_distortion.annealing.bridge_passes import LocalModel
from codec.rate_distortion.annealing.choice import check_images, pilot_simulations
from codec.rate_distortion.annealing.local_reference import LocalFits, PriorComponents
from codec.rate_distortion.annealing.settings import ROWS_PER_BLOCK, MoveSettings, Settings
from codec.rate_distortion.annealing.tempering import hamiltonian_move
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.tensor_checks import seeded_generator, target_tensor

FEWEST_STEPS, MANY_STEPS = 3, 16
"""Steps of a bridge for a decoder that is nearly linear, and for others."""

LEAPFROGS, FEWEST_LEAPFROGS = 2, 2
"""Leapfrog steps of a move on a bridge, and of one from the prior if the posterior is easy."""

PILOT_IMAGES = 50
USUAL_TRIALS = 3
"""If the pilot tries references of two Gaussians as well, this costs as much as three of one; it
rarely tries more."""

TIMED_SECONDS, SHORTEST_SECONDS = 0.3, 0.03
"""Calls are repeated for this long; one that takes less than the second is tried with more rows."""

FEWEST_ROWS = 4


@dataclass(frozen=True)
class Pace:
    """Seconds for one leapfrog step of one chain (of the annealing from the prior, and of a bridge)
    and, for one image, to fit a Gaussian at one β, and to refine it at a reported β.

    fit   None if there are no local references
    """

    leapfrog: float
    bridge: float = 0.0
    fit: float | None = None
    refinement: float = 0.0


def estimated_seconds(settings: Settings, images: int, dim: int, pace: Pace) -> tuple[float, float]:
    """The least and the most time that measuring `images` images with codes of `dim` dimensions is
    likely to take, from local references if they are possible: how many steps are needed is not
    known before the pilot."""
    points = len(settings.betas) if settings.betas is not None else settings.points
    chains, check = settings.chains, check_images(images)
    both_sides = settings.simulations * points if settings.certify else 0
    modes = settings.modes or 1
    simulations, at = pilot_simulations(points)

    def seconds(leapfrogs: float, steps: int, trials: int) -> float:
        of_chain = leapfrogs * pace.leapfrog
        pilot = chains * (60 + 4 * dim) * 3 * of_chain
        prior = (images + both_sides) * chains * settings.temperatures * of_chain
        prior += min(PILOT_IMAGES, images) * pilot
        if settings.reference == "prior" or pace.fit is None:
            return prior
        rise = max(points, 20) * modes * pace.fit
        bridge = chains * LEAPFROGS * min(steps, settings.bridge_steps) * pace.bridge
        to_end = modes * pace.refinement + bridge
        of_simulation = 0.5 * rise + to_end + bridge
        local = images * (rise + points * to_end) + both_sides * of_simulation
        trial = check * (rise + points * (to_end + bridge)) + simulations * len(at) * of_simulation
        return check * pilot + trials * trial + local

    several = settings.reference == "auto" and settings.modes is None
    least = seconds(FEWEST_LEAPFROGS, FEWEST_STEPS, 1)
    return least, seconds(min(10.0, 3 + dim / 15), MANY_STEPS, USUAL_TRIALS if several else 1)


def measured_pace(model: LocalModel, images: torch.Tensor, chains: int) -> Pace:
    """Time the steps on a few of the images (n, …), for a second, or longer if they are slow."""
    targets = target_tensor(model.distortion, images[: check_images(len(images))])
    count, device = len(targets), targets.device
    generator = seeded_generator(0, device)
    jitter = MoveSettings.jitter
    one = model.target(targets)
    codes = model.prior.sample(count, generator).float().to(device)
    spread = float(one.evaluate(codes).distortion.std())
    # At this β the rate is about a nat.
    beta = 1 / spread if 0 < spread < math.inf else 1.0

    def annealing(rows: int) -> Callable[[], object]:
        target = model.target(targets[torch.arange(rows, device=device) % count])
        particles = target.evaluate(model.prior.sample(rows, generator).float().to(device))
        scale = torch.eye(model.prior.dim, device=device)
        return lambda: hamiltonian_move(
            target, particles, beta, step=1e-3, scale=scale, leapfrog=LEAPFROGS, jitter=jitter,
            generator=generator,
        )[1].sum().item()  # fmt: skip

    leapfrog = _seconds_each(annealing, ROWS_PER_BLOCK[device.type]) / LEAPFROGS
    components = PriorComponents.of(model.prior, device)
    try:
        jacobian = model.jacobian(targets)
    except MeasurementError:
        components = None
    if components is None:
        return Pace(leapfrog)
    fits = LocalFits(one, components, jacobian, modes=1, generator=generator)
    everyone = torch.arange(count, device=device)

    def advance() -> None:
        nonlocal beta
        beta *= 1.1
        fits.advance(beta, everyone)

    fit = _seconds(advance) / count
    reference = fits.polished(beta, everyone)
    refinement = _seconds(lambda: fits.polished(beta, everyone)) / count
    bridge = Bridge(model.target(targets, chains), reference, beta)
    start = bridge.start(chains, generator)
    crossing = _seconds(
        lambda: (
            bridge.hamiltonian_move(start, 0.5, 1e-2, LEAPFROGS, jitter, generator)[1].sum().item()
        )
    )
    return Pace(leapfrog, crossing / (count * chains * LEAPFROGS), fit, refinement)


def _seconds_each(call_of: Callable[[int], Callable[[], object]], most_rows: int) -> float:
    """Seconds per row of the call for as many rows as it takes to be timed."""
    rows = min(FEWEST_ROWS, most_rows)
    while True:
        call = call_of(rows)
        call()  # the first one warms up
        if rows >= most_rows or _timed(call) >= SHORTEST_SECONDS:
            return _seconds(call) / rows
        rows = min(2 * rows, most_rows)


def _seconds(call: Callable[[], object]) -> float:
    taken = [_timed(call)]
    while sum(taken) < TIMED_SECONDS:
        taken.append(_timed(call))
    return statistics.median(taken)


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
