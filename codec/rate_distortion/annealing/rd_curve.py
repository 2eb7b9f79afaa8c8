"""The rate-distortion curve of any generative model in one run, with intervals and a certificate
for every point.

    images ──► pilot ──► plans, and a reference for each β
               (few         │
               images)      ├──► passes over images, block by block ──► L(β), D(β) per image
                            └──► bounds from both sides, simulated ──► gap at every β
                                                                    │
                     Legendre envelope, bootstrap, checks ◄─────────┘ ──► RDCurve

A pass goes from the prior through all β (`sampler`), or from a Gaussian that is fitted to the
image's posterior at one β (`bridge`); `choice` decides which.  The quantity is that of Huang,
Makhzani, Cao and Grosse (ICML 2020); reading the rate from R_p(D) = sup_β [L(β) − β D] instead of
L(β) − β D(β) keeps a small error of D from being multiplied by β.  All random numbers of a block
come from (seed, kind, block), so the result does not depend on where or in which order it is
computed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array
from codec.priors import LatentPrior
from codec.rate_distortion.annealing.bdmc import BdmcResult, can_simulate
from codec.rate_distortion.annealing.bridge import BridgePlan
from codec.rate_distortion.annealing.bridge_passes import LocalModel
from codec.rate_distortion.annealing.bridge_pilot import plan_bridges
from codec.rate_distortion.annealing.choice import (
    Trial,
    check_images,
    choose,
    fewest_modes,
    pilot_simulations,
)
from codec.rate_distortion.annealing.executors import run_tasks
from codec.rate_distortion.annealing.finished import FinishedBlocks
from codec.rate_distortion.annealing.local_reference import PriorComponents, fit_ladder
from codec.rate_distortion.annealing.pilot import (
    PilotTrace,
    automatic_betas,
    first_beta,
    make_plan,
    run_pilot,
)
from codec.rate_distortion.annealing.prior_codes import prior_estimates, too_high
from codec.rate_distortion.annealing.sampler import AnnealingPlan, AnnealingResult
from codec.rate_distortion.annealing.settings import MoveSettings, Settings
from codec.rate_distortion.annealing.summary import CurveSamples, summarize
from codec.rate_distortion.annealing.tasks import (
    CERTIFY,
    CODES,
    LOCAL,
    MEASURE,
    PILOT,
    Task,
    certifying,
    generator_of,
    images_per_block,
    joined,
    matrix_entries,
    measuring,
)
from codec.rate_distortion.annealing.tempering import Decode
from codec.rate_distortion.distortions import find_distortion
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.model_curve import NOT_ASKED, NOT_SIMULATED, RDCurve
from codec.rate_distortion.tensor_checks import (
    FlatDecoder,
    check_model,
    decoder_of_flat_codes,
    image_tensor,
    target_tensor,
)
from codec.system.keyword_options import takes_options
from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.rate_distortion.annealing"):
    import torch

PILOT_IMAGES = 50
MEASURING = "measuring"
"""The last phase that `Settings.progress` tells of."""

LARGEST_LOCAL_DIM = 1024
"""With more dimensions, a precision matrix and its factors take over 32 MiB for each image."""


@takes_options(Settings)
def rd_curve(
    decode: Decode,
    prior: LatentPrior,
    images: npt.ArrayLike | torch.Tensor,
    settings: Settings | None = None,
    **options: Any,
) -> RDCurve:
    """Measure R_p(D) of a generative model on images.

    decode    codes float32 (n, k), or (n, *shape) with a prior of that shape, to reconstructions
              (n, …), differentiable; a torch module is copied to the device and put in
              evaluation mode
    prior     `StandardNormal(k)` or of a shape, `GaussianMixture`, or any object with dim, sample,
              log_prob
    images    (n, …): floats in the decoder's units, or uint8, which is divided by 255
    settings, options   a `Settings`, or its fields by name; these override `settings`

    With one image there is no interval over images: the bounds are NaN and no point is certified.
    Raises `InputError` for images that are not finite, `UsageError` for arguments that do not fit,
    `MeasurementError` if the model gives NaN or no gradient, or if local references were requested
    but are impossible, and `UntrustedCurveError`, which has the curve, if every point fails a
    check.
    """
    return summarize(rd_samples(decode, prior, images, settings, **options))


@takes_options(Settings)
def rd_samples(
    decode: Decode,
    prior: LatentPrior,
    images: npt.ArrayLike | torch.Tensor,
    settings: Settings | None = None,
    **options: Any,
) -> CurveSamples:
    """As `rd_curve`, but return the values of each image, before averages and checks.

    They allow curves of several models on the same images to be compared image by image.
    """
    settings = replace(settings or Settings(), **options)
    if isinstance(decode, torch.nn.Module):
        # A copy: the caller's module keeps its device, its mode and its gradients.
        decode = copy.deepcopy(decode).to(settings.device).eval()
        decode = decode.requires_grad_(requires_grad=False)
    # The decoder may change its input.
    flat = FlatDecoder(decoder_of_flat_codes(decode, prior), ())
    run = _Run(flat, prior, images, settings)
    run.choose_references()
    return run.samples()


class _Run:
    """One measurement: the constructor runs the pilot; then come the choice and the samples."""

    def __init__(
        self,
        decode: Decode,
        prior: LatentPrior,
        images: npt.ArrayLike | torch.Tensor,
        settings: Settings,
    ) -> None:
        self.settings, device = settings, settings.device
        distortion = find_distortion(settings.distortion)
        self.moves = settings.moves or MoveSettings()
        x = image_tensor("images", images, device)
        check_model(decode, prior, distortion, x, generator_of((0,), device))
        self.targets = target_tensor(distortion, x)
        self.certifiable = can_simulate(distortion)
        dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
        self.model = LocalModel(decode, prior, distortion, (), settings.modes or 1, dtype)
        self.gradients = self.jacobian_products = 0
        self.no_local = self._why_no_local()
        # With local references, only a few images need to be annealed from the prior.
        trace = self._pilot(PILOT_IMAGES if self.no_local else check_images(len(x)))
        self.betas = tuple(settings.betas or automatic_betas(trace, settings.points))
        self._trace = trace
        above = [beta for beta in self.betas if beta > 0]
        ladder = fit_ladder(first_beta(trace), above)
        self.model = replace(self.model, ladder=tuple(ladder))
        self.bridges: tuple[BridgePlan, ...] = ()
        self.missed = np.zeros(len(self.betas))

    @property
    def _components(self) -> int:
        """Number of components of the prior; 1 if it is no mixture."""
        found = PriorComponents.of(self.model.prior, "cpu")
        return len(found.mean) if found else 1

    def _images(self, count: int) -> torch.Tensor:
        """`count` of the targets, evenly spread, or all if there are fewer."""
        last = len(self.targets) - 1
        chosen = torch.linspace(0, last, min(count, last + 1)).round().long()
        return self.targets[chosen.to(self.targets.device)]

    def _pilot(self, images: int, largest_beta: float | None = None) -> PilotTrace:
        settings = self.settings
        if settings.betas is not None:
            largest_beta = settings.betas[-1]
        target = self.model.target(self._images(images), settings.chains)
        self._tell(0, 0, "pilot")
        trace = run_pilot(
            target,
            chains=settings.chains,
            settings=self.moves,
            generator=generator_of((settings.seed, PILOT, 0), settings.device),
            largest_beta=largest_beta,
            tick=lambda done: self._tell(done, 0, "pilot"),
        )
        self.gradients += target.gradients
        return trace

    def _tell(self, done: float, total: float, phase: str) -> None:
        if self.settings.progress is not None:
            self.settings.progress(done, total, phase)

    @cached_property
    def plan(self) -> AnnealingPlan:
        """The plan of the annealing from the prior, from a pilot on many images."""
        most = min(PILOT_IMAGES, len(self.targets))
        if len(self._trace.distortions[0]) < most:
            self._trace = self._pilot(most, self.betas[-1])
        return self._annealing()

    def _annealing(self) -> AnnealingPlan:
        return make_plan(
            self._trace,
            self.betas,
            temperatures=self.settings.temperatures,
            settings=self.moves,
            resample=self.settings.method == "smc",
            device=self.settings.device,
        )

    def _why_no_local(self) -> str:
        """Why references cannot be local; empty if they can.

        Raises `MeasurementError` if they cannot, but were requested.
        """
        settings, prior = self.settings, self.model.prior
        if settings.reference == "prior":
            return "the prior was asked for"
        reason = ""
        if PriorComponents.of(prior, "cpu") is None:
            kind = type(prior).__name__
            reason = f"a prior of type {kind} is neither StandardNormal nor GaussianMixture"
        elif prior.dim > LARGEST_LOCAL_DIM:
            reason = f"codes of {prior.dim} dimensions, more than {LARGEST_LOCAL_DIM}"
        elif self.moves.precondition != "dense" and settings.reference == "auto":
            reason = f"the moves are preconditioned {self.moves.precondition!r}, not 'dense'"
        else:
            try:
                columns = self.model.jacobian(self.targets).columns
                self.model = replace(self.model, columns=columns)
            except MeasurementError as error:
                reason = str(error)
        if reason and settings.reference == "local":
            raise MeasurementError(f"no local reference: {reason}; use reference='prior'")
        return reason

    def choose_references(self) -> None:
        """Plan the bridges, and keep them at those β where they are better than annealing."""
        above = [index for index, beta in enumerate(self.betas) if beta > 0]
        if self.no_local or not above:
            return
        settings, seed = self.settings, self.settings.seed
        targets = self._images(check_images(len(self.targets)))
        of_prior = self._trace.log_partition([self.betas[index] for index in above])
        forced = settings.reference == "local"
        simulations, _ = pilot_simulations(len(above))

        def trial(modes: int) -> Trial:
            return self._trial(modes, targets, above)

        if settings.modes:
            tried = trial(settings.modes)
        else:
            tried = fewest_modes(trial, of_prior, components=self._components)
        self.model = replace(self.model, modes=tried.modes)

        def rival(wanted: Sequence[int]) -> tuple[Float64Array, Float64Array]:
            plan = self.plan.only([above[index] for index in wanted])
            found, bounds = self._run(
                [
                    replace(self._task(plan, (seed, PILOT, 2)), targets=targets),
                    replace(self._task(plan, (seed, PILOT, 3)), simulations=simulations),
                ],
                "trying the prior as reference",
            )
            return joined([found.log_partition_nats]), _gap([bounds])

        choice = choose(tried, of_prior, rival, forced=forced)
        self.bridges = tuple(
            plan for plan, one in zip(tried.plans, choice.local, strict=True) if one
        )
        self.missed[above] = choice.missed

    def _trial(self, modes: int, targets: torch.Tensor, above: Sequence[int]) -> Trial:
        """Try bridges with `modes` modes on pilot images and pilot simulations.

        The random numbers are the same for any number of modes, so all are tried on the same
        simulated images.
        """
        settings, seed = self.settings, self.settings.seed
        self.model = replace(self.model, modes=modes)
        phase = "trying local references" + (f" of {modes} modes" if modes > 1 else "")
        self._tell(0, 1, phase)
        plans, local, work = plan_bridges(
            self.model,
            targets,
            [self.betas[index] for index in above],
            chains=settings.chains,
            most_steps=settings.bridge_steps,
            settings=self.moves,
            resample=settings.method == "smc",
            generator=generator_of((seed, LOCAL + PILOT, 0), settings.device),
            tick=lambda share: self._tell(share, 1, phase),
        )
        self.gradients += work.gradients
        self.jacobian_products += work.jacobian_products
        gap = None
        if self.certifiable and not (settings.reference == "local" and settings.modes):
            simulations, at = pilot_simulations(len(above))
            task = self._task(tuple(plans[place] for place in at), (seed, LOCAL + PILOT, 1))
            # Each β gets the gap of the next β at which images were simulated.
            task = replace(task, simulations=simulations)
            gap = _gap(self._run([task], "checking local references"))
            gap = gap[:, np.searchsorted(at, range(len(above)))]
        beta = np.array([self.betas[index] for index in above])
        return Trial(modes, tuple(plans), beta, joined([local]), gap)

    def samples(self) -> CurveSamples:
        """Measure all images afresh, and certify."""
        settings = self.settings
        seed, chains, device = settings.seed, settings.chains, settings.device
        bridged = {plan.beta for plan in self.bridges}
        local = [index for index, beta in enumerate(self.betas) if beta in bridged]
        rest = [index for index in range(len(self.betas)) if index not in local]
        certify = settings.certify and self.certifiable
        ways: list[tuple[list[int], list[Task], list[Task]]] = []
        temperatures = settings.temperatures
        if rest:
            above = any(self.betas[index] > 0 for index in rest)
            plan = self.plan if above else self._annealing()
            temperatures = plan.temperatures
            task = self._task(plan.only(rest), (seed, PILOT, 0))
            per_block = images_per_block(device, chains)
            ways.append(
                (
                    rest,
                    measuring(task, self.targets, per_block, MEASURE),
                    certifying(task, settings.simulations, len(rest), per_block, CERTIFY),
                )
            )
        if local:
            task = self._task(self.bridges, (seed, LOCAL + PILOT, 0))
            entries = matrix_entries(self.model, self._components)
            per_block = images_per_block(device, chains, entries)
            ways.append(
                (
                    local,
                    measuring(task, self.targets, per_block, LOCAL + MEASURE),
                    certifying(task, settings.simulations, len(local), per_block, LOCAL + CERTIFY),
                )
            )
        tasks = [task for _, measure, _ in ways for task in measure]
        if certify:
            tasks += [task for _, _, bound in ways for task in bound]
        results = iter(self._run(tasks, MEASURING))
        columns = {
            name: np.empty((len(self.targets), len(self.betas)))
            for name in ("log_partition_nats", "distortion", "ess_fraction", "excess")
        }
        acceptance = np.empty(len(self.betas))
        for indexes, measure, _ in ways:
            passes: list[AnnealingResult] = [next(results) for _ in measure]
            for name, column in columns.items():
                column[:, indexes] = joined([getattr(one, name) for one in passes])
            acceptance[indexes] = joined([one.acceptance[None] for one in passes]).mean(0)
        estimates = prior_estimates(
            self.model.decode,
            self.model.prior,
            self.model.distortion,
            self.targets,
            self.betas,
            generator_of((seed, CODES), device),
        )
        gap = None
        if certify:
            gap = np.empty((settings.simulations, len(self.betas)))
            for indexes, _, bound in ways:
                gap[:, indexes] = _gap([next(results) for _ in bound])
        return CurveSamples(
            beta=np.array(self.betas),
            log_partition=columns["log_partition_nats"],
            distortion=columns["distortion"],
            ess_fraction=columns["ess_fraction"],
            excess=columns["excess"],
            acceptance=acceptance,
            gap=gap,
            no_certificate=None if certify else NOT_SIMULATED if settings.certify else NOT_ASKED,
            distortion_name=self.model.distortion.name,
            convention=self.model.distortion.convention,
            chains=chains,
            temperatures=temperatures,
            seed=seed,
            gradients=self.gradients,
            reference=tuple("local" if i in local else "prior" for i in range(len(self.betas))),
            jacobian_products=self.jacobian_products,
            no_local_reference=self.no_local,
            missed=self.missed,
            unseen=too_high(columns["log_partition_nats"], estimates),
            modes=self.model.modes if local else 0,
        )

    def _task(self, plan: AnnealingPlan | tuple[BridgePlan, ...], seed: tuple[int, ...]) -> Task:
        return Task(self.model, plan, self.settings.chains, seed, self.settings.device)

    def _run(self, tasks: Sequence[Task], phase: str) -> list[Any]:
        """Results of the tasks; some may have been stored by an earlier run."""
        settings = self.settings
        kept: list[Any] = [None] * len(tasks)
        if settings.blocks is not None and tasks:
            store = FinishedBlocks(settings.blocks, tasks[0])
            kept = [store.find(task) for task in tasks]
        left = [index for index, result in enumerate(kept) if result is None]
        whole = sum(task.size for task in tasks)
        done = whole - sum(tasks[index].size for index in left)
        self._tell(done, whole, phase)

        def keep(number: int, result: Any) -> None:
            nonlocal done
            task = tasks[left[number]]
            kept[left[number]] = result
            if settings.blocks is not None:
                store.keep(task, result)
            done += task.size
            self._tell(done, whole, phase)

        def ticking(task: Task) -> Task:
            return replace(task, tick=lambda at: self._tell(done + at * task.size, whole, phase))

        todo = [tasks[index] for index in left]
        if settings.executor is None:  # functions cannot be sent to other processes
            todo = [ticking(task) for task in todo]
        run_tasks(todo, settings.executor, keep)
        self.gradients += sum(result.gradients for result in kept)
        self.jacobian_products += sum(result.jacobian_products for result in kept)
        return kept


def _gap(bounds: Sequence[BdmcResult]) -> Float64Array:
    """Upper − lower of all simulated images, (m, B)."""
    return joined([(one.upper - one.lower).T for one in bounds])
