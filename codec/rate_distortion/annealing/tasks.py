"""Blocks of work that any executor can run, and the random numbers of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from codec.rate_distortion.annealing.bdmc import bidirectional_bounds
from codec.rate_distortion.annealing.bridge import BridgePlan
from codec.rate_distortion.annealing.bridge_passes import (
    LocalModel,
    local_bounds,
    measure_locally,
)
from codec.rate_distortion.annealing.executors import Tick
from codec.rate_distortion.annealing.sampler import AnnealingPlan, anneal
from codec.rate_distortion.annealing.settings import ROWS_PER_BLOCK

LARGEST_BLOCK_ENTRIES = {"cpu": 2**22, "cuda": 2**26}
"""Most entries of all precision matrices of a block: images × components × k²."""

FIT = 0.25
"""Usual cost of a fit in bridges."""

PILOT, MEASURE, CERTIFY, CODES = 0, 1, 2, 3
LOCAL = 10
"""Added to the kind of a block's random numbers if its path starts at local references."""


@dataclass(frozen=True)
class Task:
    """One block of work, ready to be sent to another process.

    plan      plan of the annealing from the prior, or the plans of the bridges
    targets   images to measure; None computes a certificate on simulated images
    tick      called with the share that is done, if the task runs in the caller's process
    """

    model: LocalModel
    plan: AnnealingPlan | tuple[BridgePlan, ...]
    chains: int
    seed: tuple[int, ...]
    device: str
    targets: torch.Tensor | None = None
    simulations: int = 0
    tick: Tick | None = field(default=None, compare=False, repr=False)

    @property
    def size(self) -> float:
        """How much work this is, roughly: in passes from the prior, or in bridges."""
        if not isinstance(self.plan, tuple):
            passes = self.simulations * len(self.plan.reported)
            return passes if self.targets is None else len(self.targets)
        points, fits = len(self.plan), FIT * len(self.model.ladder)
        if self.targets is not None:
            return len(self.targets) * (fits + points)
        # A simulated image is fitted up to its own β alone, and its bridge is crossed twice.
        return self.simulations * points * (fits / 2 + 2)

    def __call__(self) -> Any:
        """Return an `AnnealingResult`, or a `BdmcResult` for a certificate."""
        generator = generator_of(self.seed, self.device)
        options: dict[str, Any] = {
            "chains": self.chains, "generator": generator, "tick": self.tick,
        }  # fmt: skip
        if self.targets is None:
            options["simulations"] = self.simulations
        model = self.model
        if isinstance(self.plan, tuple):
            if self.targets is None:
                return local_bounds(model, self.plan, **options)
            return measure_locally(model, self.targets.to(self.device), self.plan, **options)
        if self.targets is None:
            return bidirectional_bounds(
                model.decode,
                model.prior,
                model.distortion,
                self.plan,
                gradient_dtype=model.gradient_dtype,
                **options,
            )
        return anneal(model.target(self.targets.to(self.device), self.chains), self.plan, **options)


def generator_of(seed: tuple[int, ...], device: str) -> torch.Generator:
    """A generator whose random numbers are determined by these integers."""
    (state,) = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def images_per_block(device: str, chains: int, entries: int = 1) -> int:
    """How many images make a block if the matrices have `entries` entries for each image."""
    kind = torch.device(device).type
    return max(1, min(ROWS_PER_BLOCK[kind] // chains, LARGEST_BLOCK_ENTRIES[kind] // entries))


def measuring(task: Task, targets: torch.Tensor, per_block: int, kind: int) -> list[Task]:
    """The task on all images, block by block, with random numbers from (seed, kind, block)."""
    (seed, *_) = task.seed
    return [
        replace(task, seed=(seed, kind, index), targets=block)
        for index, block in enumerate(torch.split(targets, per_block))
    ]


def certifying(task: Task, simulations: int, points: int, per_block: int, kind: int) -> list[Task]:
    """The task on `simulations` simulated images at each of `points` values of β."""
    (seed, *_) = task.seed
    per_task = max(1, per_block // max(points, 1))
    return [
        replace(task, seed=(seed, kind, index), simulations=min(per_task, simulations - begin))
        for index, begin in enumerate(range(0, simulations, per_task))
    ]


def matrix_entries(model: LocalModel, components: int) -> int:
    """Entries of the precision matrices of one image."""
    return components * model.modes * model.prior.dim**2


def joined(parts: Sequence[torch.Tensor]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Tensors of the blocks as one float64 array."""
    return torch.cat([part.cpu() for part in parts]).numpy()
