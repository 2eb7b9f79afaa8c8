"""Bounds on the source itself: the dual from below, particles from above."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from bitstream.errors import UsageError
from codec.rate_distortion.bounds import (
    SearchEffort,
    particle_descent,
    sandwich,
    source_lower_bound,
)
from codec.rate_distortion.bounds.mode_search import highest_modes, log_kernel_sum
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.known import DeconvolutionSource, GaussianSource
from codec.rate_distortion.known.discrete_sources import empirical_rate_distortion

SANDWICH = GaussianSource((1.20553, 1.08977))
SANDWICH_TRUTH_NATS = 2.23505
QUICK = SearchEffort(candidates=256, starts=16, steps=8, finalists=4, final_steps=20)


def test_mode_search_finds_what_a_fine_grid_finds() -> None:
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.normal(size=(400, 2)))
    # Weights like those near the dual's optimum, which are large far from the centre.
    log_weights = 0.4 * points.square().sum(1)
    axis = torch.linspace(-5, 5, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    best = log_kernel_sum(grid, points, log_weights, 1.5).max()
    places, heights = highest_modes(
        points, log_weights, 1.5, effort=SearchEffort(),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert float(heights[0]) >= float(best) - 1e-9
    assert float(heights[0]) == pytest.approx(float(best), abs=1e-3)
    assert float(log_kernel_sum(places[:1], points, log_weights, 1.5)) == pytest.approx(
        float(heights[0])
    )


def test_lower_bound_is_below_the_truth_and_near_it() -> None:
    bound = source_lower_bound(
        SANDWICH.sample, beta=3, squared_error="mean", steps=60, training_samples=1024,
        samples=8192, repeats=5, effort=QUICK,
    )  # fmt: skip
    assert bound.intercept_low_nats > 2.10
    assert bound.intercept_high_nats < SANDWICH_TRUTH_NATS
    assert len(bound.estimates_nats) == 5
    assert bound.rate_at(1 / 3) == pytest.approx(bound.intercept_nats - 1)
    assert bound.rate_at(1 / 3) < SANDWICH.rate(1.5)
    assert bound.rate_at(100.0) == 0
    assert "mean of squared errors" in bound.convention
    assert json.loads(json.dumps(bound.to_json()))["effort"]["starts"] == 16


def test_lower_bound_repeats_and_leaves_the_global_generator_alone() -> None:
    def bound(seed: int) -> object:
        return source_lower_bound(
            SANDWICH.sample, beta=1, steps=3, training_samples=128, samples=256, repeats=5,
            seed=seed, effort=QUICK,
        )  # fmt: skip

    state = torch.get_rng_state()
    first = bound(3)
    assert bool((torch.get_rng_state() == state).all())
    torch.manual_seed(99)
    assert first == bound(3)
    assert first != bound(4)


def test_lower_bound_of_the_deconvolution_source() -> None:
    source = DeconvolutionSource(2, 0.1)
    bound = source_lower_bound(
        source.sample, beta=10, squared_error="half_sum", steps=80, training_samples=1024,
        samples=8192, repeats=5, learning_rate=3e-3, effort=QUICK,
    )  # fmt: skip
    truth = source.optimal_loss()
    assert truth - 0.35 < bound.intercept_nats < truth


@pytest.mark.parametrize("reweight", [True, False])
def test_particles_find_the_circle(reweight: bool) -> None:
    source = DeconvolutionSource(2, 0.1)
    found = particle_descent(
        source.sample(1500, seed=0), beta=source.beta, particles=30, squared_error="half_sum",
        steps=100, reweight=reweight, effort=QUICK,
    )  # fmt: skip
    point = found.evaluate(source.sample(20_000, seed=1))
    assert point.lagrangian_nats == pytest.approx(source.optimal_loss(), abs=0.03)
    assert point.lagrangian_low_nats < source.optimal_loss() + 0.01
    assert point.distortion == pytest.approx(0.1, rel=0.05)
    assert point.rate_nats == pytest.approx(source.optimal_loss() - 1, abs=0.03)
    radii = np.linalg.norm(found.particles, axis=1)
    assert float(found.weights @ radii) == pytest.approx(1, abs=0.05)
    assert found.weights.sum() == pytest.approx(1)
    assert found.support_gap_nats < 0.02
    assert found.searched_gap_nats >= found.support_gap_nats


def test_particles_on_a_gaussian_agree_with_blahut_arimoto_and_the_truth() -> None:
    samples = SANDWICH.sample(600, seed=0)
    found = particle_descent(
        samples, beta=3, particles=80, squared_error="mean", steps=150, effort=QUICK
    )
    empirical = empirical_rate_distortion(
        samples, (3.0,), squared_error="mean", tolerance_nats=5e-3
    ).points[0]
    # Free places are at least as good as the samples' own, except for incomplete descent.
    assert found.loss_nats < empirical.lagrangian_nats + 0.01
    assert found.loss_nats - found.searched_gap_nats < empirical.lagrangian_nats
    parts = found.rate_nats + 3 * found.distortion
    assert parts == pytest.approx(found.loss_nats, abs=0.01)
    fresh = found.evaluate(SANDWICH.sample(20_000, seed=1))
    assert fresh.lagrangian_high_nats > SANDWICH_TRUTH_NATS
    assert fresh.lagrangian_nats < SANDWICH_TRUTH_NATS + 0.08


def test_particles_descend_and_repeat() -> None:
    samples = SANDWICH.sample(300, seed=0)
    losses = [
        particle_descent(samples, beta=2, particles=30, steps=steps, effort=QUICK).loss_nats
        for steps in (0, 1, 3, 10, 40)
    ]
    assert losses == sorted(losses, reverse=True)
    first, again = (particle_descent(samples, beta=2, particles=30, steps=5) for _ in range(2))
    assert bool((first.particles == again.particles).all())
    assert first.to_json() == again.to_json()
    stochastic = particle_descent(samples, beta=2, particles=30, steps=40, batch=64)
    assert stochastic.loss_nats == pytest.approx(losses[-1], abs=0.05)
    slow = particle_descent(samples, beta=2, particles=30, steps=40, learning_rate=0.01)
    assert losses[-1] < slow.loss_nats < losses[0]


def test_arrays_that_cannot_be_written_to() -> None:
    samples = SANDWICH.sample(20, seed=0)
    samples.flags.writeable = False
    found = particle_descent(samples, beta=1, particles=3, steps=2, effort=QUICK)
    assert math.isfinite(found.evaluate(samples).lagrangian_nats)


def test_small_sets() -> None:
    one = particle_descent(np.ones((1, 2)), beta=1, particles=3, steps=2)
    assert one.loss_nats == one.rate_nats == one.ceiling_nats == 0
    assert math.isnan(one.evaluate(np.ones((1, 2))).rate_low_nats)
    more = particle_descent([[0.0], [1.0]], beta=50, particles=4, steps=30)
    assert more.rate_nats == pytest.approx(math.log(2), abs=1e-3)
    assert more.ceiling_nats == math.log(2)


def _bound(**others: object) -> None:
    options = {"beta": 1.0, "steps": 1, "samples": 32, "training_samples": 32, **others}
    sample = options.pop("sample", SANDWICH.sample)
    source_lower_bound(sample, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: _bound(beta=-1.0),
        lambda: _bound(beta=0.0),
        lambda: _bound(repeats=4),
        lambda: _bound(samples=2),
        lambda: _bound(squared_error="median"),
        lambda: _bound(sample=lambda count, seed: np.full((count, 2), np.nan)),
        lambda: _bound(sample=lambda count, seed: np.zeros((count + 1, 2))),
        lambda: _bound(sample=lambda count, seed: np.zeros(count)),
        lambda: particle_descent(np.zeros((0, 2)), beta=1),
        lambda: particle_descent(np.full((3, 2), np.nan), beta=1),
        lambda: particle_descent(np.zeros((3, 2)), beta=-1),
        lambda: particle_descent(np.zeros((3, 2)), beta=1, particles=0),
        lambda: particle_descent(np.zeros((3, 2)), beta=1, batch=0),
        lambda: particle_descent(np.zeros((3, 2)), beta=1).evaluate(np.zeros((3, 1))),
    ],
)
def test_arguments_that_cannot_be_used(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError):
        wrong()


def test_many_dimensions_leave_a_number_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    source = GaussianSource(tuple(np.full(300, 50.0)))

    def bound() -> float:
        return source_lower_bound(
            source.sample, beta=50.0, steps=0, samples=64, repeats=5, seed=0
        ).intercept_nats

    # e^709 is the largest double; the supremum's logarithm is what counts here.
    assert math.isfinite(bound())
    assert bound() < source.lagrangian(50.0)
    monkeypatch.setattr(sandwich, "LARGEST_LOG_RATIO", -1e9)
    with pytest.raises(MeasurementError, match="says nothing here"):
        bound()
