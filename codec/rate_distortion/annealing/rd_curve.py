"""The rate-distortion curve of any generative model in one annealed run, with intervals and a
certificate for every point.

    images ──► pilot ──► plan ──┬──► pass over images, block by block ──► L(β), D(β) per image
               (some    (fixed) └──► bidirectional bounds, simulated ──► gap at every β
               images)                                            │
                     Legendre envelope, bootstrap, gates  ◄───────┘ ──► RDCurve

The quantity is that of Huang, Makhzani, Cao and Grosse (ICML 2020); reading the rate from
R_p(D) = sup_β [L(β) − β D] instead of L(β) − β D(β) keeps a small error of D from being multiplied
by β.  All random numbers of a block come from (seed, kind, block), so the result does not depend
on who computes it, or in which order.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.priors import LatentPrior
from codec.rate_distortion.annealing.bdmc import bidirectional_bounds, can_simulate
from codec.rate_distortion.annealing.executors import run_tasks
from codec.rate_distortion.annealing.pilot import automatic_betas, make_plan, run_pilot
from codec.rate_distortion.annealing.sampler import AnnealingPlan, anneal
from codec.rate_distortion.annealing.settings import ROWS_PER_BLOCK, MoveSettings, Settings
from codec.rate_distortion.annealing.summary import CurveSamples, summarize
from codec.rate_distortion.annealing.tempering import Decode, TemperedTarget
from codec.rate_distortion.distortions import Distortion, find_distortion
from codec.rate_distortion.model_curve import RDCurve
from codec.rate_distortion.tensor_checks import check_model, image_tensor, target_tensor
from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.rate_distortion.annealing"):
    import torch

PILOT_IMAGES = 50
AUTOMATIC_BETAS = 40

NOT_ASKED = "no certificate was asked for"
NOT_SIMULATED = "no certificate: exp(-beta d) of this distortion cannot be simulated"


@dataclass(frozen=True)
class Task:
    """One block of work, ready to be sent to another process: `targets` None is a certificate."""

    decode: Decode
    prior: LatentPrior
    distortion: Distortion
    plan: AnnealingPlan
    chains: int
    seed: tuple[int, ...]
    device: str
    gradient_dtype: torch.dtype
    targets: torch.Tensor | None
    simulations: int = 0

    def __call__(self) -> Any:
        """An `AnnealingResult` or a `BdmcResult`."""
        generator = _generator(self.seed, self.device)
        if self.targets is None:
            return bidirectional_bounds(
                self.decode,
                self.prior,
                self.distortion,
                self.plan,
                simulations=self.simulations,
                chains=self.chains,
                generator=generator,
                gradient_dtype=self.gradient_dtype,
            )
        return anneal(
            _target(self, self.targets.to(self.device)),
            self.plan,
            chains=self.chains,
            generator=generator,
        )


def rd_curve(
    decode: Decode,
    prior: LatentPrior,
    images: npt.ArrayLike | torch.Tensor,
    settings: Settings | None = None,
    **options: Any,
) -> RDCurve:
    """Measure R_p(D) of a generative model on images.

    decode    codes float32 (n, k) to reconstructions (n, …), differentiable; of a torch module a
              copy is used, on the device and in evaluation mode
    prior     `StandardNormal(k)`, `GaussianMixture`, or any object with dim, sample, log_prob
    images    (n, …): floats in the decoder's units, or uint8, which is divided by 255
    settings, options   a `Settings`, or its fields by name; a field by name comes first

    With one image there is no interval over images: the bounds are NaN and no point is certified.
    Raises `InputError` for images that are not finite, `UsageError` for arguments that do not fit,
    `MeasurementError` when the model gives NaN or no gradient, or when every point fails.
    """
    return summarize(rd_samples(decode, prior, images, settings, **options))


def rd_samples(
    decode: Decode,
    prior: LatentPrior,
    images: npt.ArrayLike | torch.Tensor,
    settings: Settings | None = None,
    **options: Any,
) -> CurveSamples:
    """As `rd_curve`, but what was measured for each image, before it is averaged and judged.

    Curves of several models on the same images can be compared image by image with these.
    """
    settings = replace(settings or Settings(), **options)
    distortion, chains = find_distortion(settings.distortion), settings.chains
    seed, device = settings.seed, settings.device
    moves = settings.moves or MoveSettings()
    if isinstance(decode, torch.nn.Module):
        # A copy: the caller's module keeps its device, its mode and its gradients.
        decode = copy.deepcopy(decode).to(device).eval().requires_grad_(requires_grad=False)
    x = image_tensor("images", images, device)
    check_model(decode, prior, distortion, x, _generator((0,), device))
    targets = target_tensor(distortion, x)
    pilot_images = torch.linspace(0, len(x) - 1, min(PILOT_IMAGES, len(x))).round().long()
    task = Task(
        decode=decode,
        prior=prior,
        distortion=distortion,
        plan=AnnealingPlan((0.0,), (0.0,), torch.zeros(1, prior.dim), (1,), ()),
        chains=chains,
        seed=(seed, 0, 0),
        device=device,
        gradient_dtype=torch.bfloat16 if settings.precision == "bfloat16" else torch.float32,
        targets=None,
    )
    pilot_target = _target(task, targets[pilot_images.to(device)])
    trace = run_pilot(
        pilot_target,
        chains=chains,
        settings=moves,
        generator=_generator(task.seed, device),
        largest_beta=None if settings.betas is None else settings.betas[-1],
    )
    reported = settings.betas or automatic_betas(trace, AUTOMATIC_BETAS)
    plan = make_plan(
        trace,
        reported,
        temperatures=settings.temperatures,
        settings=moves,
        resample=settings.method == "smc",
        device=device,
    )
    per_block = max(1, ROWS_PER_BLOCK[torch.device(device).type] // chains)
    measuring = [
        replace(task, plan=plan, seed=(seed, 1, index), targets=block)
        for index, block in enumerate(torch.split(targets, per_block))
    ]
    certifying = []
    if settings.certify and can_simulate(distortion):
        per_task = max(1, per_block // len(reported))
        certifying = [
            replace(
                task,
                plan=plan,
                seed=(seed, 2, index),
                simulations=min(per_task, settings.simulations - begin),
            )
            for index, begin in enumerate(range(0, settings.simulations, per_task))
        ]
    results = run_tasks([*measuring, *certifying], settings.executor, settings.progress)
    passes, bounds = results[: len(measuring)], results[len(measuring) :]
    certificate = None
    if not certifying:
        certificate = NOT_SIMULATED if settings.certify else NOT_ASKED
    return CurveSamples(
        beta=np.array(reported),
        log_partition=_stack([p.log_partition_nats for p in passes]),
        distortion=_stack([p.distortion for p in passes]),
        ess_fraction=_stack([p.ess_fraction for p in passes]),
        acceptance=_stack([p.acceptance[None] for p in passes]).mean(0),
        gap=_stack([(b.upper - b.lower).T for b in bounds]) if bounds else None,
        no_certificate=certificate,
        distortion_name=distortion.name,
        convention=distortion.convention,
        chains=chains,
        temperatures=plan.temperatures,
        seed=seed,
        gradients=pilot_target.gradients + sum(r.gradients for r in results),
    )


def _target(task: Task, targets: torch.Tensor) -> TemperedTarget:
    return TemperedTarget(
        task.decode,
        task.prior,
        task.distortion,
        targets.repeat_interleave(task.chains, 0),
        gradient_dtype=task.gradient_dtype,
    )


def _generator(seed: tuple[int, ...], device: str) -> torch.Generator:
    (state,) = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def _stack(parts: Sequence[torch.Tensor]) -> npt.NDArray[np.float64]:
    return torch.cat([p.cpu() for p in parts]).numpy()
