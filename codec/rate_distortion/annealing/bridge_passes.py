"""Bridges at every β that has a local reference: over images, and from both sides over simulated
images.

References are fitted to the measured images, with random numbers of their own, and frozen before
their bridge begins.  For simulated images, as for real ones, the fit uses only the image, and each
needs only the bridge at its own β.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from codec.priors import LatentPrior
from codec.rate_distortion.annealing.bdmc import BdmcResult, simulate_images
from codec.rate_distortion.annealing.bridge import Bridge, BridgePlan, cross, way_back
from codec.rate_distortion.annealing.executors import Tick
from codec.rate_distortion.annealing.jacobian import Columns, ResidualJacobian
from codec.rate_distortion.annealing.local_reference import (
    LocalFits,
    LocalReference,
    PriorComponents,
)
from codec.rate_distortion.annealing.sampler import AnnealingResult
from codec.rate_distortion.annealing.tempering import Decode, TemperedTarget
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.errors import MeasurementError

TRIED_CODES = 4
"""Number of codes on which the Jacobian is tried out."""


@dataclass(frozen=True)
class LocalModel:
    """What a local reference needs of a model; rebuilt in every process.

    ladder    the β of the fits, ascending
    modes     fits for each component of the prior
    columns   how Jacobians are computed; None to find out, see `ResidualJacobian`
    """

    decode: Decode
    prior: LatentPrior
    distortion: Distortion
    ladder: tuple[float, ...]
    modes: int
    gradient_dtype: torch.dtype = torch.float32
    columns: Columns | None = None

    def target(self, targets: torch.Tensor, chains: int = 1) -> TemperedTarget:
        """Rows of images × chains."""
        return TemperedTarget(
            self.decode,
            self.prior,
            self.distortion,
            targets if chains == 1 else targets.repeat_interleave(chains, 0),
            gradient_dtype=self.gradient_dtype,
        )

    def jacobian(self, targets: torch.Tensor) -> ResidualJacobian:
        """The Jacobian for these targets.  Raises `MeasurementError`, with the reason, if none."""
        generator = torch.Generator(targets.device).manual_seed(0)
        codes = self.prior.sample(TRIED_CODES, generator).to(targets)
        rows = targets[:1].expand(len(codes), *targets.shape[1:])
        return ResidualJacobian(
            self.decode,
            self.distortion,
            rows,
            codes,
            dtype=self.gradient_dtype,
            columns=self.columns,
        )


class LocalWork:
    """The references of a block of images, and the cost of fitting and bridging them."""

    def __init__(
        self, model: LocalModel, targets: torch.Tensor, ends: torch.Tensor | None = None
    ) -> None:
        """ends: the one β of each image, float64 (n,); None if all images are wanted at every β."""
        components = PriorComponents.of(model.prior, targets.device)
        if components is None:
            raise MeasurementError(
                f"a prior of type {type(model.prior).__name__} is neither normal nor a mixture"
            )
        self.model, self.targets, self.ends = model, targets, ends
        self._components = components
        self._jacobian = model.jacobian(targets)
        self._single = model.target(targets)
        self._bridge_gradients = 0

    @property
    def gradients(self) -> int:
        """Decoder gradients so far."""
        return self._single.gradients + self._bridge_gradients

    @property
    def jacobian_products(self) -> int:
        """Products of a Jacobian and a vector so far."""
        return self._jacobian.products

    def references(
        self, betas: Sequence[float], generator: torch.Generator
    ) -> Iterator[tuple[int, torch.Tensor, LocalReference]]:
        """For each β its index, the indexes of the images wanted there, and their references."""
        wanted = {beta: index for index, beta in enumerate(betas)}
        fits = LocalFits(
            self._single,
            self._components,
            self._jacobian,
            modes=self.model.modes,
            generator=generator,
        )
        everyone = torch.arange(len(self.targets), device=self.targets.device)
        for beta in self.model.ladder:
            if beta > betas[-1]:
                break
            rising = everyone if self.ends is None else everyone[self.ends >= beta]
            fits.advance(beta, rising)
            if beta in wanted:
                here = rising if self.ends is None else everyone[self.ends == beta]
                yield wanted[beta], here, fits.polished(beta, here)

    def bridge(
        self, images: torch.Tensor, reference: LocalReference, beta: float, chains: int
    ) -> Bridge:
        """The bridge of these images; pass it to `crossed` afterwards to count its gradients."""
        return Bridge(self.model.target(self.targets[images], chains), reference, beta)

    def crossed(self, *bridges: Bridge) -> None:
        """Add the cost of these bridges."""
        self._bridge_gradients += sum(bridge.target.gradients for bridge in bridges)


def measure_locally(
    model: LocalModel,
    targets: torch.Tensor,
    plans: Sequence[BridgePlan],
    *,
    chains: int,
    generator: torch.Generator,
    tick: Tick | None = None,
) -> AnnealingResult:
    """L and D of images (n, …) at the β of the plans."""
    work = LocalWork(model, targets)
    columns = []
    for index, images, reference in work.references([p.beta for p in plans], generator):
        plan = plans[index]
        bridge = work.bridge(images, reference, plan.beta, chains)
        columns.append(cross(bridge, plan, chains=chains, generator=generator))
        work.crossed(bridge)
        if tick is not None:
            tick(len(columns) / len(plans))
    return AnnealingResult(
        torch.stack([column.log_partition_nats for column in columns], 1),
        torch.stack([column.distortion for column in columns], 1),
        torch.stack([column.ess_fraction for column in columns], 1),
        torch.stack([column.excess for column in columns], 1),
        torch.tensor([column.acceptance for column in columns], dtype=torch.float64),
        work.gradients,
        work.jacobian_products,
    )


def local_bounds(
    model: LocalModel,
    plans: Sequence[BridgePlan],
    *,
    simulations: int,
    chains: int,
    generator: torch.Generator,
    tick: Tick | None = None,
) -> BdmcResult:
    """Bound log Z_β from both sides for `simulations` images at the β of each plan."""
    betas = [plan.beta for plan in plans]
    of_image = [beta for beta in betas for _ in range(simulations)]
    codes, targets = simulate_images(
        model.decode, model.prior, model.distortion, of_image, generator
    )
    ends = torch.tensor(of_image, dtype=torch.float64, device=targets.device)
    work = LocalWork(model, targets, ends)
    bounds = []
    for index, images, reference in work.references(betas, generator):
        plan = plans[index]
        single = work.bridge(images, reference, plan.beta, 1)
        many = work.bridge(images, reference, plan.beta, chains)
        options: dict[str, Any] = {"chains": chains, "generator": generator}
        lower = cross(many, plan, **options)
        path = way_back(single, plan, codes[images], generator)
        upper = cross(many, plan, path=path, **options)
        bounds.append((-lower.log_partition_nats, -upper.log_partition_nats))
        work.crossed(single, many)
        if tick is not None:
            tick(len(bounds) / len(plans))
    return BdmcResult(
        torch.stack([lower for lower, _ in bounds]),
        torch.stack([upper for _, upper in bounds]),
        work.gradients,
        work.jacobian_products,
    )
