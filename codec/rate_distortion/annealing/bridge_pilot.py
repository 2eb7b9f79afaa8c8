"""The pilot of the bridges chooses the powers s and the angles of the moves.

Like the pilot of the annealing it measures nothing.  On some images it goes from each reference to
the posterior in steps after which a fixed share of the chains stays effective, and tunes the
moves; steps and moves are then fixed for all images at this β.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from codec.rate_distortion.annealing.bridge import Bridge, BridgePlan, cross
from codec.rate_distortion.annealing.bridge_passes import LocalModel, LocalWork
from codec.rate_distortion.annealing.executors import Tick
from codec.rate_distortion.annealing.pilot import leapfrog_steps, rise
from codec.rate_distortion.annealing.sampler import ChainWeights
from codec.rate_distortion.annealing.settings import MoveSettings

ESS_PER_STEP = 0.985
"""Share of the chains that stays effective in a step.  With 0.9, bridges for decoders with 100
dimensions were too short: simulated images had gaps of half a nat."""

FIRST_ANGLE, LARGEST_ANGLE, SMALLEST_ANGLE = 0.6, 0.8, 0.02
TOO_MANY = 2
"""The pilot takes at most this many times the allowed steps, and extrapolates the rest."""


def plan_bridges(
    model: LocalModel,
    targets: torch.Tensor,
    betas: list[float],
    *,
    chains: int,
    most_steps: int,
    settings: MoveSettings,
    resample: bool,
    generator: torch.Generator,
    tick: Tick | None = None,
) -> tuple[list[BridgePlan], torch.Tensor, LocalWork]:
    """Plan the bridges at each of B values of β on images (n, …).

    Returns the plans; L of the images, float64 (n, B), by these plans with fresh chains; and the
    work, for its counts.
    """
    work = LocalWork(model, targets)
    plans, columns = [], []
    for index, images, reference in work.references(betas, generator):
        bridge = work.bridge(images, reference, betas[index], chains)
        powers, angles = _adapted(bridge, chains, most_steps, settings, generator)
        powers, angles = _at_most(most_steps, powers, angles)
        plan = BridgePlan(
            beta=betas[index],
            powers=tuple(powers),
            angles=tuple(angles),
            leapfrogs=tuple(leapfrog_steps(settings, angle) for angle in angles),
            jitter=settings.jitter,
            resample=resample,
        )
        plans.append(plan)
        found = cross(bridge, plan, chains=chains, generator=generator)
        columns.append(found.log_partition_nats)
        work.crossed(bridge)
        if tick is not None:
            tick(len(plans) / len(betas))
    return plans, torch.stack(columns, 1), work


def _adapted(
    bridge: Bridge,
    chains: int,
    most_steps: int,
    settings: MoveSettings,
    generator: torch.Generator,
) -> tuple[list[float], list[float]]:
    """Powers 0 … 1, and the angle at each except the first and the last."""
    images = len(bridge.target.targets) // chains
    particles = bridge.start(chains, generator)
    everyone = torch.ones(images, dtype=torch.bool, device=particles.white.device)
    powers, angle = [0.0], FIRST_ANGLE
    angles: list[float] = []
    while len(angles) < TOO_MANY * most_steps:
        ratio = torch.nan_to_num(particles.ratio, neginf=-1e9).view(images, chains)
        step = rise(-ratio, ESS_PER_STEP)
        if step >= 1.0 - powers[-1]:
            break
        powers.append(powers[-1] + step)
        weights = ChainWeights(images, chains, particles.white.device)
        weights.add(step * particles.ratio)
        particles = weights.resample(particles, everyone, generator)
        particles, acceptance = bridge.hamiltonian_move(
            particles,
            powers[-1],
            angle,
            leapfrog_steps(settings, angle),
            settings.jitter,
            generator,
        )
        particles = bridge.relabel(particles, generator)
        angle *= math.exp(0.7 * (float(acceptance.mean()) - settings.target_acceptance))
        angle = min(max(angle, SMALLEST_ANGLE), LARGEST_ANGLE)
        angles.append(angle)
    else:
        pace = powers[-1] / len(angles)
        rest = np.arange(powers[-1] + pace, 1.0 - pace / 2, pace)
        powers += rest.tolist()
        angles += [angle] * len(rest)
    return [*powers, 1.0], angles


def _at_most(
    most: int, powers: list[float], angles: list[float]
) -> tuple[list[float], list[float]]:
    """Reduce to at most `most` steps, each an equal share of those that the pilot took."""
    taken = len(powers) - 1
    if taken <= most:
        return powers, angles
    at = np.linspace(0, taken, most + 1)
    fewer = np.interp(at, np.arange(taken + 1), powers)
    turned = np.interp(at[1:-1], np.arange(1, taken), angles)
    return [*map(float, fewer[:-1]), 1.0], [float(angle) for angle in turned]
