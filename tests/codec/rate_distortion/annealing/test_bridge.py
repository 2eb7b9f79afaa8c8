"""Bridges from wrong references estimate Z without bias, from either side; and the references."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from bitstream.errors import UsageError
from codec.priors import GaussianMixture, StandardNormal
from codec.rate_distortion.annealing.bridge import (
    Bridge,
    BridgeParticles,
    BridgePlan,
    cross,
    way_back,
)
from codec.rate_distortion.annealing.bridge_passes import LocalModel, LocalWork
from codec.rate_distortion.annealing.jacobian import ResidualJacobian
from codec.rate_distortion.annealing.local_reference import LocalReference, fit_ladder
from codec.rate_distortion.annealing.tempering import TemperedTarget
from codec.rate_distortion.distortions import (
    DeepFeatureDistance,
    Distortion,
    GaussianNLL,
    MeanSquaredError,
    OneMinusMsSsim,
    SumSquaredError,
)
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.known.linear_decoder import LinearGaussianDecoder

DIM, PIXELS, BETA, CHAINS, RUNS = 5, 8, 3.0, 4, 1500


@dataclass
class Case:
    """One image of a linear decoder, its exact posterior, and Gaussians that differ from it."""

    decode: torch.nn.Linear
    image: torch.Tensor
    log_partition: float
    mean: torch.Tensor
    factor: torch.Tensor

    def bridge(self, copies: int, *, components: int, dtype: torch.dtype = torch.float32) -> Bridge:
        """A mean off by 0.8 standard deviations in every dimension, covariances × 2 and × 0.6."""
        off = torch.linalg.solve(self.factor.T, torch.full((DIM,), 0.8, dtype=torch.float64))
        weight = torch.tensor([0.7, 0.3], dtype=torch.float64)[:components]
        means = torch.stack([self.mean + off, self.mean - off])[:components]
        factors = torch.stack([self.factor / 2**0.5, self.factor / 0.6**0.5])[:components]
        reference = LocalReference(
            (weight / weight.sum()).log().repeat(RUNS, 1),
            means.repeat(RUNS, 1, 1),
            factors.repeat(RUNS, 1, 1, 1),
        )
        decode = torch.nn.Linear(DIM, PIXELS, bias=False, dtype=dtype)
        decode.weight = torch.nn.Parameter(self.decode.weight.to(dtype), requires_grad=False)
        targets = self.image.to(dtype).repeat(RUNS * copies, 1)
        target = TemperedTarget(decode, StandardNormal(DIM), SumSquaredError(), targets)
        return Bridge(target, reference, BETA)


@pytest.fixture(scope="module")
def case() -> Case:
    weight = np.random.default_rng(0).standard_normal((PIXELS, DIM))
    model = LinearGaussianDecoder(weight, np.zeros(PIXELS))
    image = model.sample(1, 1 / (2 * BETA), 3)
    decode = torch.nn.Linear(DIM, PIXELS, bias=False)
    decode.weight = torch.nn.Parameter(torch.tensor(weight).float(), requires_grad=False)
    precision = np.eye(DIM) + 2 * BETA * weight.T @ weight
    mean = np.linalg.solve(precision, 2 * BETA * weight.T @ image[0])
    return Case(
        decode,
        torch.tensor(image).float(),
        float(model.log_partition(image, BETA)[0]),
        torch.tensor(mean),
        torch.linalg.cholesky(torch.tensor(precision)),
    )


def plan_of(steps: int) -> BridgePlan:
    powers = tuple(t / steps for t in range(steps + 1))
    return BridgePlan(BETA, powers, (0.7,) * (steps - 1), (2,) * (steps - 1))


def assert_one(ratio: torch.Tensor) -> None:
    """Assert that the mean is 1 within four standard errors, and that these are small."""
    error = float(ratio.std()) / math.sqrt(len(ratio))
    assert error < 0.05
    assert abs(float(ratio.mean()) - 1) < 4 * error


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_both_sides_are_unbiased_from_wrong_references(
    case: Case, components: int, steps: int
) -> None:
    generator = torch.Generator().manual_seed(7)
    bridge, plan = case.bridge(CHAINS, components=components), plan_of(steps)
    found = cross(bridge, plan, chains=CHAINS, generator=generator)
    log_lower = -found.log_partition_nats
    assert_one((log_lower - case.log_partition).exp())
    noise = torch.randn(RUNS, DIM, generator=generator, dtype=torch.float64)
    exact = case.mean + torch.linalg.solve(case.factor.T, noise.T).T
    path = way_back(case.bridge(1, components=components), plan, exact, generator)
    above = cross(bridge, plan, chains=CHAINS, generator=generator, path=path)
    log_upper = -above.log_partition_nats
    assert_one((case.log_partition - log_upper).exp())
    # On average, the truth lies between the two.
    assert log_lower.mean() < case.log_partition < log_upper.mean()


def test_a_missing_factor_would_show(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # The check above is sensitive: without redrawing labels given z, they are not those of γ_s.
    bridge, plan = case.bridge(CHAINS, components=2), plan_of(3)
    uniform = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()

    def careless(particles: BridgeParticles, generator: torch.Generator) -> BridgeParticles:
        shares = uniform.expand_as(particles.shares)
        return Bridge.relabel(bridge, replace(particles, shares=shares), generator)

    monkeypatch.setattr(bridge, "relabel", careless)
    found = cross(bridge, plan, chains=CHAINS, generator=torch.Generator().manual_seed(7))
    ratio = (-found.log_partition_nats - case.log_partition).exp()
    assert abs(float(ratio.mean()) - 1) > 4 * float(ratio.std()) / math.sqrt(RUNS)


def test_precisions_agree(case: Case) -> None:
    plan, values = plan_of(6), []
    for dtype in (torch.float32, torch.float64):
        bridge = case.bridge(CHAINS, components=2, dtype=dtype)
        generator = torch.Generator().manual_seed(1)
        found = cross(bridge, plan, chains=CHAINS, generator=generator)
        values.append(found.log_partition_nats)
    # With the same random numbers, only rounding differs, and occasionally a decision that depends
    # on it.
    apart = (values[0] - values[1]).abs()
    assert float(apart.median()) < 1e-4
    assert float((apart > 1e-2).double().mean()) < 0.01


def test_coordinates_of_a_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    images, components, chains, dim = 3, 2, 4, 3
    root = torch.randn(images, components, dim, dim, generator=generator).double()
    precision = root @ root.mT + torch.eye(dim)
    mean = torch.randn(images, components, dim, generator=generator).double()
    weight = torch.log_softmax(torch.randn(images, components, generator=generator).double(), 1)
    reference = LocalReference(weight, mean, torch.linalg.cholesky(precision))
    white, label = reference.sample(chains, torch.float64, generator)
    codes = reference.codes(white, label)
    assert torch.allclose(reference.white(codes, label), white)
    codes.requires_grad_(True)
    gaussians: Any = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
    images_first = codes.view(images, chains, 1, dim)
    joint = weight[:, None] + torch.stack(
        [gaussians.log_prob(images_first[:, chain]) for chain in range(chains)], 1
    )
    expected = torch.logsumexp(joint, 2).reshape(-1)
    log_density, gradient, shares = reference.log_density(codes.detach())
    assert torch.allclose(log_density, expected)
    assert torch.allclose(gradient, torch.autograd.grad(expected.sum(), codes)[0])
    assert torch.allclose(shares, torch.log_softmax(joint, 2).view(-1, components))
    slope = torch.randn(codes.shape, generator=generator, dtype=torch.float64)
    moved = reference.codes(white + 1e-6 * reference.to_white(slope, label), label)
    # ⟨slope, dz⟩ along du is ⟨slope in u, du⟩.
    along = ((moved - codes.detach()) * slope).sum() / 1e-6
    assert torch.allclose(along, reference.to_white(slope, label).square().sum(), rtol=1e-4)


def test_the_ladder_holds_what_is_reported_and_takes_small_steps() -> None:
    ladder = fit_ladder(0.01, [0.5, 0.6, 50.0])
    assert ladder[0] == 0.04  # four times where the rate begins
    assert {0.5, 0.6, 50.0} <= set(ladder)
    assert max(b / a for a, b in itertools.pairwise(ladder)) < 1.6 + 1e-9
    assert fit_ladder(3.0, [0.5, 0.6]) == [0.5, 0.6]


class Bent(torch.nn.Module):
    """z (n, 3) to images (n, 1, 2, 3), nonlinear."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
        self.weight = torch.nn.Parameter(weight, requires_grad=False)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.tanh(codes @ self.weight.T).view(-1, 1, 2, 3)


FEATURES = DeepFeatureDistance(torch.nn.Conv2d(1, 2, 2).requires_grad_(False), "a convolution")


@pytest.mark.parametrize(
    "distortion", [SumSquaredError(), MeanSquaredError(), GaussianNLL(0.3), FEATURES]
)
def test_every_squared_error_is_the_square_of_its_residual(distortion: Distortion) -> None:
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(4, 1, 2, 3, generator=generator)
    prepare = getattr(distortion, "prepare", None)
    targets = images if prepare is None else prepare(images)
    codes = torch.randn(4, 3, generator=generator)
    found = ResidualJacobian(Bent(), distortion, targets, codes)
    residual, jacobian = found(targets, codes)
    assert (found.products, jacobian.shape) == (2 * 12, (4, residual.shape[1], 3))
    differentiate: Any = torch.autograd.functional.jacobian
    wanted = [
        differentiate(lambda z, row=row: found.residual(row[None], z[None])[0], z)
        for row, z in zip(targets, codes, strict=True)
    ]
    assert torch.allclose(jacobian, torch.stack(wanted), atol=1e-5)


class _TwiceOnly(torch.autograd.Function):
    """tanh without a forward derivative."""

    @staticmethod
    def forward(ctx: Any, codes: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(codes)
        return codes.tanh()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (codes,) = ctx.saved_tensors
        slope: torch.Tensor = 1 - codes.tanh().square()
        return gradient * slope


class _OnceOnly(_TwiceOnly):
    """And without a second backward derivative."""

    backward: Any = torch.autograd.function.once_differentiable(_TwiceOnly.backward)


def twice_only(codes: torch.Tensor) -> torch.Tensor:
    apply: Any = _TwiceOnly.apply
    values: torch.Tensor = apply(codes)
    return values


def once_only(codes: torch.Tensor) -> torch.Tensor:
    apply: Any = _OnceOnly.apply
    values: torch.Tensor = apply(codes)
    return values


def test_a_decoder_without_forward_derivatives_is_differentiated_backwards() -> None:
    codes = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(4, 3)
    plain = ResidualJacobian(torch.tanh, SumSquaredError(), targets, codes)
    other = ResidualJacobian(twice_only, SumSquaredError(), targets, codes)
    for left, right in zip(plain(targets, codes), other(targets, codes), strict=True):
        assert torch.allclose(left, right, atol=1e-6)
    with pytest.raises(MeasurementError, match="no usable Jacobian"):
        ResidualJacobian(once_only, SumSquaredError(), targets, codes)


def test_a_way_that_was_found_before_is_not_tried_again() -> None:
    codes = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(4, 3)
    first = ResidualJacobian(twice_only, SumSquaredError(), targets, codes)

    def rounding(z: torch.Tensor) -> torch.Tensor:
        return twice_only(z.bfloat16()).float()

    with pytest.raises(MeasurementError, match="disagrees with the gradient"):
        ResidualJacobian(rounding, SumSquaredError(), targets, codes)
    second = ResidualJacobian(rounding, SumSquaredError(), targets, codes, columns=first.columns)
    assert second.products == 0
    for left, right in zip(first(targets, codes), second(targets, codes), strict=True):
        assert torch.allclose(left, right, atol=0.02)


def test_a_jacobian_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.rate_distortion.annealing.jacobian.LARGEST_OF_A_CODE", 8)
    with pytest.raises(MeasurementError, match="3 × 3 entries, more than 8"):
        ResidualJacobian(torch.tanh, SumSquaredError(), torch.zeros(2, 3), torch.zeros(2, 3))


def test_a_residual_that_is_no_root_is_refused() -> None:
    class TwiceError(SumSquaredError):
        def residual(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
            return 2 * super().residual(targets, reconstructions)

    class FlatError(SumSquaredError):
        def residual(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
            return super().residual(targets, reconstructions).sum(1)

    codes, targets = torch.randn(4, 3), torch.zeros(4, 1, 2, 3)
    with pytest.raises(UsageError, match="not its root"):
        ResidualJacobian(Bent(), TwiceError(), targets, codes)
    with pytest.raises(UsageError, match=r"shape \(4,\), expected \(4, m\)"):
        ResidualJacobian(Bent(), FlatError(), targets, codes)
    with pytest.raises(MeasurementError, match="not a sum of squares"):
        ResidualJacobian(Bent(), OneMinusMsSsim(), targets, codes)


def test_references_of_a_mixture_drop_what_is_far() -> None:
    # Two components far apart, and images that only one of them can make.
    prior = GaussianMixture(
        torch.tensor([0.5, 0.5]),
        torch.tensor([[-10.0, 0.0], [10.0, 0.0]]),
        torch.eye(2).repeat(2, 1, 1),
    )
    model = LocalModel(lambda z: 1 * z, prior, SumSquaredError(), (0.01, 0.1, 1.0, 10.0), 1)
    work = LocalWork(model, torch.tensor([[-10.0, 0.5], [9.0, 0.0]]))
    generator = torch.Generator().manual_seed(0)
    found = {i: reference for i, _, reference in work.references([0.01, 10.0], generator)}
    assert (found[0].components, found[1].components) == (2, 1)
    # Posterior of z → z at β: precision 1 + 2β, mean the weighted mean of image and component.
    expected = torch.tensor([[[-10.0, 0.5 * 20 / 21]], [[(10 + 20 * 9) / 21, 0.0]]])
    assert torch.allclose(found[1].mean, expected.double(), atol=0.02)
    assert torch.allclose(found[1].factor.square(), torch.eye(2).double() * 21, rtol=0.02)
    assert work.jacobian_products > 0
    assert work.gradients > 0
