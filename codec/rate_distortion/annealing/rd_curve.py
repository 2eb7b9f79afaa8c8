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
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitstream.errors import InputError, UsageError
from codec.priors import LatentPrior
from codec.rate_distortion.annealing.bdmc import bidirectional_bounds, can_simulate
from codec.rate_distortion.annealing.executors import Progress, run_tasks
from codec.rate_distortion.annealing.pilot import (
    MoveSettings,
    automatic_betas,
    make_plan,
    run_pilot,
)
from codec.rate_distortion.annealing.sampler import AnnealingPlan, anneal
from codec.rate_distortion.annealing.summary import CurveSamples, summarize
from codec.rate_distortion.annealing.tempering import Decode, TemperedTarget
from codec.rate_distortion.distortions import Distortion, find_distortion
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.model_curve import RDCurve

PILOT_IMAGES = 50
AUTOMATIC_BETAS = 40
SIMULATIONS = 10
"""Simulated images at each β for the certificate, by default."""

ROWS_PER_BLOCK = {"cpu": 1000, "cuda": 40_000}
"""Images × chains of one block: what keeps the caches of a CPU, or a GPU, filled."""

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
    *,
    distortion: str | Distortion = "sse",
    betas: Sequence[float] | None = None,
    temperatures: int = 1000,
    chains: int = 20,
    seed: int = 0,
    device: str = "cpu",
    executor: Executor | None = None,
    certify: bool = True,
    simulations: int = SIMULATIONS,
    method: str = "smc",
    moves: MoveSettings | None = None,
    precision: str = "float32",
    progress: Progress | None = None,
) -> RDCurve:
    """Measure R_p(D) of a generative model on images.

    decode        codes float32 (n, k) to reconstructions (n, …), differentiable; of a torch
                  module a copy is used, on `device` and in evaluation mode
    prior         `StandardNormal(k)`, `GaussianMixture`, or any object with dim, sample, log_prob
    images        (n, …): floats in the decoder's units, or uint8, which is divided by 255
    distortion    "sse", "mse", "ms-ssim", or an object of `distortions`
    betas         rising β to report; β = 0 is exact.  None takes 40, from a rate of about
                  0.05 nats to where the distortion no longer falls
    temperatures  of the annealing, spread over the range by the pilot
    chains        for each image
    executor      any `concurrent.futures.Executor`; None computes here.  Same seed, same curve
    certify       bidirectional Monte Carlo with `simulations` simulated images at each β
    method        "smc", or "ais" for annealed importance sampling without resampling
    moves         settings of the Hamiltonian moves
    precision     "float32", or "bfloat16" for the forces inside a trajectory; energies and
                  weights are exact in either case
    progress      called with (blocks done, blocks in all)

    With one image there is no interval over images: the bounds are NaN and no point is certified.
    Raises `InputError` for images that are not finite, `UsageError` for arguments that do not fit,
    `MeasurementError` when the model gives NaN or no gradient, or when every point fails.
    """
    samples = rd_samples(
        decode,
        prior,
        images,
        distortion=distortion,
        betas=betas,
        temperatures=temperatures,
        chains=chains,
        seed=seed,
        device=device,
        executor=executor,
        certify=certify,
        simulations=simulations,
        method=method,
        moves=moves,
        precision=precision,
        progress=progress,
    )
    return summarize(samples)


def rd_samples(
    decode: Decode,
    prior: LatentPrior,
    images: npt.ArrayLike | torch.Tensor,
    *,
    distortion: str | Distortion = "sse",
    betas: Sequence[float] | None = None,
    temperatures: int = 1000,
    chains: int = 20,
    seed: int = 0,
    device: str = "cpu",
    executor: Executor | None = None,
    certify: bool = True,
    simulations: int = SIMULATIONS,
    method: str = "smc",
    moves: MoveSettings | None = None,
    precision: str = "float32",
    progress: Progress | None = None,
) -> CurveSamples:
    """As `rd_curve`, but what was measured for each image, before it is averaged and judged.

    Curves of several models on the same images can be compared image by image with these.
    """
    chosen = find_distortion(distortion)
    moves = moves or MoveSettings()
    _check(chains, temperatures, simulations, method, precision, device)
    reported = None if betas is None else _rising(betas)
    decode = _prepared(decode, device)
    x = images_to_tensor(images)
    _probe(decode, prior, x, chosen, device)
    targets = _targets(chosen, x, device)
    pilot_images = torch.linspace(0, len(x) - 1, min(PILOT_IMAGES, len(x))).round().long()
    task = Task(
        decode=decode,
        prior=prior,
        distortion=chosen,
        plan=AnnealingPlan((0.0,), (0.0,), torch.zeros(1, prior.dim), (1,), ()),
        chains=chains,
        seed=(seed, 0, 0),
        device=device,
        gradient_dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
        targets=targets[pilot_images],
    )
    assert task.targets is not None
    pilot_target = _target(task, task.targets.to(device))
    trace = run_pilot(
        pilot_target,
        chains=chains,
        settings=moves,
        generator=_generator(task.seed, device),
        largest_beta=None if reported is None else reported[-1],
    )
    reported = reported or automatic_betas(trace, AUTOMATIC_BETAS)
    plan = make_plan(
        trace,
        reported,
        temperatures=temperatures,
        settings=moves,
        resample=method == "smc",
        device=device,
    )
    per_block = max(1, ROWS_PER_BLOCK[torch.device(device).type] // chains)
    measuring = [
        replace(task, plan=plan, seed=(seed, 1, index), targets=block)
        for index, block in enumerate(torch.split(targets, per_block))
    ]
    certifying = []
    if certify and can_simulate(chosen):
        per_task = max(1, per_block // len(reported))
        counts = [per_task] * (simulations // per_task)
        if simulations % per_task:
            counts.append(simulations % per_task)
        certifying = [
            replace(task, plan=plan, seed=(seed, 2, index), targets=None, simulations=count)
            for index, count in enumerate(counts)
        ]
    results = run_tasks([*measuring, *certifying], executor, progress)
    passes, bounds = results[: len(measuring)], results[len(measuring) :]
    certificate = None
    if not certifying:
        certificate = NOT_ASKED if not certify else NOT_SIMULATED
    return CurveSamples(
        beta=np.array(reported),
        log_partition=_stack([p.log_partition_nats for p in passes]),
        distortion=_stack([p.distortion for p in passes]),
        ess_fraction=_stack([p.ess_fraction for p in passes]),
        acceptance=_stack([p.acceptance[None] for p in passes]).mean(0),
        gap=_stack([(b.upper - b.lower).T for b in bounds]) if bounds else None,
        no_certificate=certificate,
        distortion_name=chosen.name,
        convention=chosen.convention,
        chains=chains,
        temperatures=plan.temperatures,
        seed=seed,
        gradients=pilot_target.gradients + sum(r.gradients for r in results),
    )


def images_to_tensor(images: npt.ArrayLike | torch.Tensor) -> torch.Tensor:
    """Images (n, …) as float32; uint8 is divided by 255.  Raises `InputError`, `UsageError`."""
    tensor = images if isinstance(images, torch.Tensor) else torch.from_numpy(np.array(images))
    if tensor.ndim < 2 or len(tensor) == 0:
        raise UsageError(f"images of shape {tuple(tensor.shape)}: expected (n, …) with n ≥ 1")
    if tensor.is_complex():
        raise UsageError("images are complex numbers: expected real ones")
    tensor = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
    odd = int((~torch.isfinite(tensor.flatten(1)).all(1)).sum())
    if odd:
        raise InputError(f"{odd} of {len(tensor)} images hold NaN or infinity")
    return tensor


def _check(
    chains: int, temperatures: int, simulations: int, method: str, precision: str, device: str
) -> None:
    for name, value, least in (
        ("chains", chains, 2),
        ("temperatures", temperatures, 1),
        ("simulations", simulations, 1),
    ):
        if value < least:
            raise UsageError(f"{name}={value}: expected at least {least}")
    if method not in ("smc", "ais"):
        raise UsageError(f"method {method!r} is unknown; expected 'smc' or 'ais'")
    if precision not in ("float32", "bfloat16"):
        raise UsageError(f"precision {precision!r} is unknown; expected 'float32' or 'bfloat16'")
    if torch.device(device).type not in ROWS_PER_BLOCK:
        raise UsageError(f"device {device!r} is unknown; expected 'cpu' or 'cuda'")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {device!r} was asked for, but torch sees none; use 'cpu'")


def _rising(betas: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(beta) for beta in betas)
    fine = all(math.isfinite(beta) and beta >= 0 for beta in values)
    rising = all(low < high for low, high in pairwise(values))
    if not (values and fine and rising and values[-1] > 0):
        raise UsageError("betas: expected rising finite numbers from 0 on, at least one above 0")
    return values


def _prepared(decode: Decode, device: str) -> Decode:
    if not isinstance(decode, torch.nn.Module):
        return decode
    # A copy: the caller's module keeps its device, its mode and its gradients.
    return copy.deepcopy(decode).to(device).eval().requires_grad_(requires_grad=False)


def _probe(
    decode: Decode, prior: LatentPrior, images: torch.Tensor, distortion: Distortion, device: str
) -> None:
    """Decode two codes and compare with an image: what does not fit is told in its own words."""
    if not (hasattr(prior, "sample") and hasattr(prior, "log_prob") and hasattr(prior, "dim")):
        raise UsageError(f"{prior!r} is not a prior: expected dim, sample and log_prob")
    codes = prior.sample(2, _generator((0,), device)).to(device)
    if codes.shape != (2, prior.dim):
        raise UsageError(
            f"two samples of the prior have the shape {tuple(codes.shape)}, "
            f"expected (2, {prior.dim})"
        )
    with torch.no_grad():
        decoded = decode(codes)
    returned: object = decoded
    if not isinstance(returned, torch.Tensor) or not returned.is_floating_point():
        raise UsageError("the decoder did not return a tensor of floats")
    if decoded.shape != (2, *images.shape[1:]):
        raise UsageError(
            f"the decoder made {tuple(decoded.shape)} of two codes, "
            f"but the images have the shape {tuple(images.shape[1:])}"
        )
    if not bool(torch.isfinite(decoded).all()):
        raise MeasurementError("the decoder gives NaN or infinity for codes of the prior")
    values = distortion(_targets(distortion, images[:1].expand_as(decoded), device), decoded)
    if values.shape != (2,):
        raise UsageError(
            f"{distortion.name} of two images has the shape {tuple(values.shape)}, expected (2,)"
        )


def _targets(distortion: Distortion, images: torch.Tensor, device: str) -> torch.Tensor:
    prepare = getattr(distortion, "prepare", None)
    if prepare is None:
        return images.to(device)
    parts = [prepare(part.to(device)) for part in torch.split(images, 256)]
    return torch.cat(parts)


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
    stacked: npt.NDArray[np.float64] = torch.cat([p.cpu() for p in parts]).numpy()
    return stacked
