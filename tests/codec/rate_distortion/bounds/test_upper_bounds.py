"""The upper bounds: above the exact curve of a linear decoder, and close to it where possible."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from bitstream.arrays import Float64Array
from bitstream.errors import InputError, UsageError
from codec.priors import GaussianMixture, StandardNormal
from codec.rate_distortion.bounds import amortized_bound, nerd_bound, train_generator
from codec.rate_distortion.distortions import MeanSquaredError, SumSquaredError
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.estimates import (
    bootstrap_intervals,
    bound_point,
    student_quantile_975,
)
from codec.rate_distortion.known import (
    GaussianSource,
    LinearGaussianDecoder,
)
from tests.codec.rate_distortion.known.exact_references import MixtureLinearDecoder

BETAS = (0.5, 3.0)
# Orthogonal columns: the exact posterior is a diagonal Gaussian, which the encoder can reach.
WEIGHT = np.array([[1.5, 0.0], [0.0, 0.8], [0.0, 0.0]]) @ np.eye(2)
EXACT = LinearGaussianDecoder(WEIGHT, np.array([0.1, -0.2, 0.3]))
TRAIN, TEST = EXACT.sample(1000, 0.05, seed=0), EXACT.sample(250, 0.05, seed=1)


class Linear(nn.Module):
    """The exact model in torch."""

    def __init__(self, model: LinearGaussianDecoder) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(model.weight, dtype=torch.float32))
        self.offset = nn.Parameter(torch.tensor(model.offset, dtype=torch.float32))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return codes @ self.weight.T + self.offset


class LargestSquare:
    """A distortion that has no matrix form."""

    name = "largest squared error"
    convention = "maximum over the samples of an image"

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        return (targets - reconstructions).square().flatten(1).amax(1)


def amortized(images: Float64Array = TEST, seed: int = 0, steps: int = 250) -> object:
    return amortized_bound(
        Linear(EXACT), StandardNormal(2), TRAIN, images, betas=BETAS,
        distortion=SumSquaredError(), hidden=(16,), steps=steps, learning_rate=2e-2,
        samples=16, seed=seed,
    )  # fmt: skip


def test_amortized_bound_meets_the_exact_curve() -> None:
    decoder = Linear(EXACT).train()
    before = [p.clone() for p in decoder.parameters()]
    curve = amortized_bound(
        decoder, StandardNormal(2), TRAIN, TEST, betas=BETAS, distortion=SumSquaredError(),
        hidden=(16,), steps=150, learning_rate=3e-2, samples=64,
    )  # fmt: skip
    assert curve.kl == "analytic"
    for point in curve.points:
        exact = EXACT.lagrangian(TEST, point.beta)
        # The sampled distortion has a standard error of about 0.002 · β.
        assert exact - 0.01 * (1 + point.beta) < point.lagrangian_nats < exact + 0.08
        assert point.rate_nats == pytest.approx(EXACT.rate(TEST, point.beta), abs=0.1)
        assert point.distortion == pytest.approx(EXACT.distortion(TEST, point.beta), rel=0.1)
        assert point.rate_low_nats < point.rate_nats < point.rate_high_nats
        assert point.lagrangian_nats == pytest.approx(
            point.rate_nats + point.beta * point.distortion
        )
    # The decoder is unchanged.
    assert decoder.training
    assert all(p.grad is None for p in decoder.parameters())
    assert all(bool((a == b).all()) for a, b in zip(before, decoder.parameters(), strict=True))
    assert json.loads(json.dumps(curve.to_json()))["points"][1]["beta"] == 3.0


def test_amortized_bound_by_monte_carlo_on_a_mixture() -> None:
    weights, means = np.array([0.6, 0.4]), np.array([[-1.0, 0.0], [2.0, 0.5]])
    covariances = np.stack([np.eye(2), 0.5 * np.eye(2)])
    exact = MixtureLinearDecoder(WEIGHT, EXACT.offset, weights, means, covariances)
    prior = GaussianMixture(*(torch.from_numpy(a) for a in (weights, means, covariances)))
    curve = amortized_bound(
        Linear(EXACT), prior, TRAIN, TEST, betas=(3.0,), distortion=SumSquaredError(),
        hidden=(16,), steps=200, learning_rate=3e-2, samples=64,
    )  # fmt: skip
    assert curve.kl == "monte carlo"
    truth = exact.lagrangian(TEST, 3.0)
    assert truth - 0.05 < curve.points[0].lagrangian_nats < truth + 0.2


def test_amortized_bound_holds_untrained_and_repeats() -> None:
    torch.manual_seed(11)
    first = amortized(steps=1)
    torch.manual_seed(12)
    state = torch.get_rng_state()
    again = amortized(steps=1)
    assert first == again
    assert bool((torch.get_rng_state() == state).all())
    assert first != amortized(steps=1, seed=1)
    for point in again.points:  # type: ignore[attr-defined]
        assert point.lagrangian_nats > EXACT.lagrangian(TEST, point.beta)


def test_one_image_has_no_interval() -> None:
    curve = nerd_bound(
        Linear(EXACT), StandardNormal(2), TEST[:1], betas=(1.0,), distortion=SumSquaredError(),
        samples=100,
    )  # fmt: skip
    assert math.isnan(curve.points[0].rate_low_nats)
    assert curve.to_json()["points"][0]["rate_low_nats"] is None


def test_nerd_bound_meets_the_exact_curve() -> None:
    curve = nerd_bound(
        Linear(EXACT), StandardNormal(2), TEST, betas=(0.0, *BETAS),
        distortion=SumSquaredError(), samples=16_000,
    )  # fmt: skip
    assert curve.points[0].rate_nats == 0
    for point in curve.points:
        assert point.lagrangian_nats == pytest.approx(EXACT.lagrangian(TEST, point.beta), abs=0.03)
        assert point.rate_nats == pytest.approx(EXACT.rate(TEST, point.beta), abs=0.03)
    assert curve.ceiling_nats == math.log(16_000)
    assert curve.near_ceiling == (False, False, False)


def test_nerd_rate_stops_at_its_ceiling_and_says_so() -> None:
    curve = nerd_bound(
        Linear(EXACT), StandardNormal(2), TEST, betas=(1.0, 1e5), distortion=SumSquaredError(),
        samples=64,
    )  # fmt: skip
    assert EXACT.rate(TEST, 1e5) > 9
    assert curve.points[1].rate_nats <= curve.ceiling_nats + 1e-9
    assert curve.near_ceiling == (False, True)


def test_nerd_in_other_units_and_other_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def bound(beta: float, distortion: object) -> float:
        return nerd_bound(
            Linear(EXACT), StandardNormal(2), TEST, betas=(beta,), samples=3000,
            distortion=distortion,  # type: ignore[arg-type]
        ).points[0].rate_nats  # fmt: skip

    total = bound(1.0, SumSquaredError())
    assert bound(3.0, MeanSquaredError()) == pytest.approx(total, rel=1e-6)

    class OneByOne(LargestSquare):
        """Asked for the pairs one by one."""

        def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
            return SumSquaredError()(targets, reconstructions)

    assert bound(1.0, OneByOne()) == pytest.approx(total, rel=1e-5)
    assert bound(1.0, LargestSquare()) < total
    monkeypatch.setattr("codec.rate_distortion.bounds.nerd.BLOCK_VALUES", 2000)
    assert bound(1.0, SumSquaredError()) == pytest.approx(total, rel=1e-9)


def test_trained_generator_approaches_the_source() -> None:
    source, beta = GaussianSource((1.0, 0.5)), 2.0
    train, test = source.sample(4000, seed=0), source.sample(4000, seed=1)
    start = Linear(LinearGaussianDecoder(0.3 * np.eye(2), np.zeros(2)))
    trained = train_generator(
        start, StandardNormal(2), train, beta=beta, distortion=SumSquaredError(),
        samples=256, steps=120, learning_rate=3e-2,
    )  # fmt: skip
    assert bool((start.weight == 0.3 * torch.eye(2)).all())
    point = nerd_bound(
        trained, StandardNormal(2), test, betas=(beta,), distortion=SumSquaredError(),
        samples=5000,
    ).points[0]  # fmt: skip
    # The exact optimum on the same test samples removes sampling noise from the comparison.
    best = LinearGaussianDecoder(np.diag(np.sqrt([0.75, 0.25])), np.zeros(2))
    assert 0 < point.lagrangian_nats - best.lagrangian(test, beta) + 0.01 < 0.04


def test_intervals() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(500, 2)) * [1.0, 3.0]
    low, high = bootstrap_intervals(columns, seed=1)
    expected = 2 * 1.96 * np.array([1.0, 3.0]) / math.sqrt(500)
    assert high - low == pytest.approx(expected, rel=0.1)
    # Student's t at 4, 9 and 29 degrees of freedom, from tables.
    assert [student_quantile_975(d) for d in (4, 9, 29)] == pytest.approx(
        [2.7764, 2.2622, 2.0452], rel=3e-3
    )
    with pytest.raises(MeasurementError, match="1 of 2 images"):
        bound_point(1.0, np.array([1.0, math.nan]), np.ones(2), seed=0)


def _nerd(decode: object = None, images: object = TEST, **others: object) -> None:
    options = {"betas": (1.0,), "distortion": SumSquaredError(), "samples": 10, **others}
    nerd_bound(
        decode or Linear(EXACT), StandardNormal(2), images, **options  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: _nerd(images=np.full((3, 3), np.nan)), InputError),
        (lambda: _nerd(images=np.zeros((0, 3))), UsageError),
        (lambda: _nerd(images=np.zeros((4, 2))), UsageError),
        (lambda: _nerd(images="zebra"), UsageError),
        (lambda: _nerd(betas=(-1.0,)), UsageError),
        (lambda: _nerd(betas=()), UsageError),
        (lambda: _nerd(betas=(math.nan,)), UsageError),
        (lambda: _nerd(samples=0), UsageError),
        (lambda: _nerd(seed=-1), UsageError),
        (lambda: _nerd(decode=lambda z: z.new_full((len(z), 3), math.nan)), MeasurementError),
        (lambda: amortized(TEST[:, :2]), UsageError),
        (lambda: amortized(np.full((2, 3), np.inf)), InputError),
        (lambda: amortized(steps=0), UsageError),
        (
            lambda: amortized_bound(
                lambda z: z @ torch.full((2, 3), 1e30),
                StandardNormal(2), TRAIN, TEST, betas=(1.0,), distortion=SumSquaredError(),
            ),
            MeasurementError,
        ),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_used(wrong: object, error: type[Exception]) -> None:
    assert callable(wrong)
    with pytest.raises(error):
        wrong()
