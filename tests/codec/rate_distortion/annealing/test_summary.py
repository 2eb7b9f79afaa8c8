"""From samples to a curve: the envelope, the intervals and the checks, on artificial samples."""

from __future__ import annotations

import dataclasses
import math
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

from benchmarks.measurement.reference_ais import sigmoid_schedule
from bitstream.errors import UsageError
from codec.rate_distortion.annealing.pilot import PilotTrace, automatic_betas, make_plan
from codec.rate_distortion.annealing.settings import MoveSettings
from codec.rate_distortion.annealing.summary import (
    CurveSamples,
    bootstrap_interval,
    envelope,
    joined_rows,
    pooled_gap,
    rate_interval_at,
    slope_error,
    summarize,
)
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.estimates import student_quantile_975
from codec.rate_distortion.model_curve import UntrustedCurveError

BETA = np.geomspace(0.1, 10, 9)


def gaussian(images: int = 200, noise: float = 0.5) -> CurveSamples:
    """A unit Gaussian source under squared error: L = ½ log 2β + ½ for β ≥ ½, else β."""
    rng = np.random.default_rng(0)
    exact = np.where(BETA >= 0.5, 0.5 * np.log(2 * np.maximum(BETA, 0.5)) + 0.5, BETA)
    distortion = np.minimum(1.0, 0.5 / BETA)
    shape = (images, len(BETA))
    return CurveSamples(
        beta=BETA,
        log_partition=exact + noise * rng.standard_normal((images, 1)),
        distortion=np.broadcast_to(distortion, shape),
        ess_fraction=np.full(shape, 0.6),
        acceptance=np.full(len(BETA), 0.9),
        gap=np.full((4, len(BETA)), 0.1),
        no_certificate=None,
        distortion_name="squared error",
        convention="sum, pixels 0..1",
        chains=10,
        temperatures=100,
        seed=0,
        gradients=1,
    )


def test_the_envelope_is_the_legendre_transform() -> None:
    beta = np.geomspace(0.5, 1000, 4000)
    rate = envelope(beta, 0.5 * np.log(2 * beta) + 0.5, np.array([0.5, 0.1, 0.01, 2.0]))
    assert np.allclose(rate, [0.5 * math.log(2), 0.5 * math.log(10), 0.5 * math.log(100), 0.0],
                       atol=1e-5)  # fmt: skip


def test_a_point_off_the_curve_does_not_move_its_neighbours_below() -> None:
    exact = 0.5 * np.log(2 * BETA) + 0.5
    spoiled = exact.copy()
    spoiled[4] -= 1.0
    at = 0.5 / BETA
    assert np.allclose(np.delete(envelope(BETA, spoiled, at), 4),
                       np.delete(envelope(BETA, exact, at), 4))  # fmt: skip


def test_intervals_shrink_with_the_images() -> None:
    few, many = (bootstrap_interval(gaussian(n)) for n in (20, 2000))
    assert np.mean(few[1] - few[0]) > 6 * np.mean(many[1] - many[0])
    rates = summarize(gaussian(2000)).rate_nats
    assert (many[0] <= rates).all()
    assert (many[1] >= rates).all()
    # The mean of 2,000 draws with spread ½: ±1.96 · 0.5 / √2000.
    assert np.mean(many[1][5:] - many[0][5:]) == pytest.approx(2 * 1.96 * 0.5 / 2000**0.5, rel=0.1)


def test_what_no_code_can_explain_does_not_widen_the_interval() -> None:
    # Images differ in the error that remains at any rate: it changes D, and L by β times as much.
    plain = gaussian(100)
    rest = np.random.default_rng(1).exponential(2.0, (100, 1))
    moved = dataclasses.replace(
        plain,
        log_partition=plain.log_partition + BETA * rest,
        distortion=plain.distortion + rest,
    )
    assert np.allclose(bootstrap_interval(moved), bootstrap_interval(plain), atol=1e-9)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)],
)
def test_student_quantiles(freedom: int, expected: float) -> None:
    assert student_quantile_975(freedom) == pytest.approx(expected, rel=4e-3)


def test_gaps_are_pooled_with_neighbours() -> None:
    gap = np.array([[0.0, 0, 0, 5, 0, 0, 0], [0, 0, 0, 5, 0, 0, 0]])
    near = np.geomspace(1, 10, 7)
    assert np.allclose(pooled_gap(gap, near), [0, 5 / 4, 1, 1, 1, 5 / 4, 0])
    assert np.allclose(pooled_gap(gap, near**3), [0, 0, 5 / 3, 5 / 3, 5 / 3, 0, 0])
    # Those of β that are far apart say nothing about each other.
    assert np.allclose(pooled_gap(gap, near**6), gap[0])
    assert np.isnan(pooled_gap(None, near)).all()


def test_slopes_of_the_exact_curve_agree() -> None:
    exact = 0.5 * np.log(2 * BETA[4:]) + 0.5
    assert np.allclose(slope_error(BETA[4:], exact, 0.5 / BETA[4:]), 0)
    wrong = slope_error(BETA[4:], exact, 0.5 / BETA[4:] + np.array([0, 0, 1.0, 0, 0]))
    assert wrong.max() > 0.3
    assert wrong[0] == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gap": np.full((4, len(BETA)), 0.7)}, "gap 0.70 nats"),
        ({"ess_fraction": np.full((200, len(BETA)), 0.1)}, "effective sample size 0.10"),
        ({"acceptance": np.full(len(BETA), 0.3)}, "acceptance 0.30"),
        ({"log_partition": np.outer(np.ones(200), 9 * BETA)}, "D and dL/dbeta differ"),
        ({"gap": np.full((4, len(BETA)), np.nan)}, "gap nan nats"),
        ({"gap": np.full((6, len(BETA)), -0.3)}, "below the lower one by 0.30 nats"),
        ({"acceptance": np.full(len(BETA), np.nan)}, "acceptance nan"),
        ({"excess": np.full((200, len(BETA)), 0.3)}, r"excess 0\.30 nats > 0\.25"),
        ({"excess": np.full((200, len(BETA)), np.nan)}, r"excess nan nats > 0\.25"),
        ({"distortion": np.full((200, len(BETA)), 9e7)}, "float32 rounds beta d"),
        ({"unseen": np.full(len(BETA), 0.4)}, r"show that L is 0\.40 nats too high"),
    ],
)
def test_every_check_can_fail(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(MeasurementError, match=reason):
        summarize(dataclasses.replace(gaussian(), **change))


def test_some_images_of_a_curve_and_several_parts_together() -> None:
    whole = dataclasses.replace(gaussian(), excess=np.random.default_rng(1).random((200, 9)))
    first, rest = whole.of_images(slice(0, 50)), whole.of_images(np.arange(200) >= 50)
    for name, rows in joined_rows([rest, first]).items():
        assert rows is not None
        assert np.array_equal(np.roll(rows, 50, 0), getattr(whole, name))
    older = dataclasses.replace(first, excess=None)
    assert joined_rows([rest, older])["excess"] is None
    assert older.of_images([3]).excess is None


def test_a_few_poor_images_fail_a_point_and_a_single_one_does_not() -> None:
    def certified(poor: int, share: float, chains: int = 10) -> bool:
        samples = gaussian()
        shares = samples.ess_fraction.copy()
        shares[:poor, 5] = share
        return summarize(
            dataclasses.replace(samples, ess_fraction=shares, chains=chains)
        ).certified[5]

    # Of 200 images, 10 may have fewer than two effective chains of ten.
    assert certified(10, 0.1)
    assert not certified(11, 0.19)
    assert certified(11, 0.21)
    assert certified(11, 0.11, chains=20)
    assert not certified(11, 0.19, chains=8)
    assert not certified(11, math.nan)


def test_the_interval_at_a_distortion_holds_the_curves_of_other_images() -> None:
    # Images of several scales: their D and L differ, so points also move along the curve.
    def samples(seed: int) -> CurveSamples:
        scale = np.random.default_rng(seed).uniform(0.2, 1.8, (200, 1))
        wide = BETA * scale >= 0.5
        return dataclasses.replace(
            gaussian(),
            log_partition=np.where(
                wide, 0.5 * np.log(2 * np.maximum(BETA * scale, 0.5)) + 0.5, BETA * scale
            ),
            distortion=np.minimum(scale, 0.5 / BETA),
            seed=seed,
        )

    # The rate of infinitely many images, at the same D.
    many = dataclasses.replace(samples(0), log_partition=np.concatenate(
        [samples(seed).log_partition for seed in range(100, 200)]))  # fmt: skip
    exact = max((many.log_partition.mean(0) - 0.1 * BETA).max(), 0)
    inside = 0
    for seed in range(100):
        low, high = rate_interval_at(samples(seed), 0.1)
        assert low < high
        inside += low <= exact <= high
    assert inside >= 88


def test_the_interval_at_a_distortion_that_is_hardly_reached_is_open() -> None:
    smallest = float(gaussian().distortion[0, -1])
    low, high = rate_interval_at(gaussian(), smallest / 2)
    # The last tangent says how large the rate is at least.
    tangent = 0.5 * math.log(2 * BETA[-1]) + 0.5 - BETA[-1] * smallest / 2
    assert low == pytest.approx(tangent, abs=0.15)
    assert high == math.inf
    assert rate_interval_at(gaussian(), 2 * smallest)[1] < math.inf
    for wrong in (math.nan, math.inf):
        with pytest.raises(UsageError, match="interval at a distortion of"):
            rate_interval_at(gaussian(), wrong)
    with pytest.raises(UsageError, match="at least 2"):
        rate_interval_at(gaussian(images=1), 0.5)


def test_an_untrusted_curve_comes_with_the_error() -> None:
    samples = dataclasses.replace(
        gaussian(), gap=np.full((4, len(BETA)), 0.7), excess=np.zeros((200, len(BETA)))
    )
    with pytest.raises(UntrustedCurveError) as caught:
        summarize(samples)
    curve = caught.value.curve
    assert curve.beta == tuple(BETA)
    assert not any(curve.certified)
    # Processes send it to each other.
    assert pickle.loads(pickle.dumps(caught.value)).curve == curve
    # Each point has its own rate: no point may raise another's.
    assert curve.rate_nats == pytest.approx([max(rate, 0) for rate in curve.rate_direct_nats])


def test_few_chains_certify_nothing() -> None:
    assert not any(summarize(dataclasses.replace(gaussian(), chains=7)).certified)
    assert all(summarize(dataclasses.replace(gaussian(), chains=8)).certified)


def test_checks_fail_point_by_point() -> None:
    acceptance = np.full(len(BETA), 0.9)
    acceptance[7] = 0.2
    curve = summarize(dataclasses.replace(gaussian(), acceptance=acceptance))
    assert curve.certified == tuple(index != 7 for index in range(len(BETA)))
    assert curve.failures[7] == ("acceptance 0.20 < 0.4",)


def test_a_beta_that_failed_does_not_raise_the_rates_of_others() -> None:
    plain = gaussian()
    spoiled = plain.log_partition + np.where(np.arange(len(BETA)) == 6, 40.0, 0.0)
    curve, exact = summarize(dataclasses.replace(plain, log_partition=spoiled)), summarize(plain)
    assert curve.certified == tuple(index not in (5, 6, 7) for index in range(len(BETA)))
    for index, certified in enumerate(curve.certified):
        if certified:
            assert curve.rate_nats[index] == pytest.approx(exact.rate_nats[index], abs=0.05)
            assert curve.rate_high_nats[index] < exact.rate_high_nats[index] + 0.2
    assert curve.rate_at(0.1) == pytest.approx(exact.rate_at(0.1), abs=0.2)
    with pytest.raises(UsageError, match="nan"):
        curve.rate_at(math.nan)


def test_an_error_that_grows_from_beta_to_beta() -> None:
    # D is four times too large. Between neighbours this makes a hundredth of a nat.
    beta = np.geomspace(100, 1000, 200)
    exact = 0.5 * np.log(2 * beta) + 0.5
    shape = (20, len(beta))
    samples = dataclasses.replace(
        gaussian(),
        beta=beta,
        log_partition=np.broadcast_to(exact, shape),
        distortion=np.broadcast_to(2 / beta, shape),
        ess_fraction=np.full(shape, 0.6),
        acceptance=np.full(len(beta), 0.9),
        gap=np.full((4, len(beta)), 0.1),
    )
    assert slope_error(beta, exact, 2 / beta).max() < 0.1
    curve = summarize(samples)
    assert not any(curve.certified[130:])
    assert "another beta gives" in curve.failures[150][0]


def test_memory_grows_as_the_number_of_betas() -> None:
    beta = np.geomspace(1, 2, 500)
    values = np.ones((100, len(beta)))  # 0.4 MB; all tangents at once take 200 MB
    tracemalloc.start()
    envelope(beta, values, values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


def test_an_estimate_that_is_not_finite_is_refused() -> None:
    spoiled = np.where(np.arange(200)[:, None] == 3, np.inf, gaussian().log_partition)
    with pytest.raises(MeasurementError, match="not finite"):
        summarize(dataclasses.replace(gaussian(), log_partition=spoiled))


def trace() -> PilotTrace:
    beta = [0.0, *np.geomspace(0.01, 100, 60)]
    variance = [1 / (0.1 + b) ** 2 for b in beta]
    steps = [math.log(0.5)] * len(beta)
    return PilotTrace(beta, variance, [1.0] * len(beta), steps, [np.eye(2)] * len(beta))


def test_temperatures_stand_at_equal_length() -> None:
    # √Var = 1/(0.1 + β), so the length is log(1 + 10 β).
    plan = make_plan(trace(), [0.1, 1.0, 100.0], temperatures=200, settings=MoveSettings())
    length = np.diff(np.log1p(10 * np.array(plan.betas)))
    assert plan.temperatures == pytest.approx(200, abs=2)
    assert length.max() < 1.2 * length.mean()
    assert [plan.betas[index] for index in plan.reported] == [0.1, 1.0, 100.0]
    assert plan.scales.shape == (plan.temperatures + 1, 2, 2)
    assert set(plan.leapfrogs) == {3}


def test_every_reported_beta_is_a_temperature() -> None:
    betas = [0.0, *np.geomspace(0.01, 100, 30)]
    plan = make_plan(trace(), betas, temperatures=5, settings=MoveSettings())
    assert [plan.betas[index] for index in plan.reported] == pytest.approx(betas)
    assert all(low < high for low, high in zip(plan.betas, plan.betas[1:], strict=False))


def test_automatic_betas_begin_where_the_rate_does() -> None:
    betas = automatic_betas(trace(), 10)
    # R ≈ β² Var₀ / 2 with Var₀ = 100.
    assert betas[0] ** 2 * 100 / 2 == pytest.approx(0.05)
    assert betas[-1] == 100
    assert len(betas) == 10


def test_the_published_schedule() -> None:
    schedule = sigmoid_schedule(36_000, 1000)
    assert (schedule[0], schedule[-1]) == (0, 36_000)
    assert (np.diff(schedule) > 0).all()
    # About half of it lies near the largest β.
    assert np.mean(schedule > 0.9 * 36_000) == pytest.approx(0.39, abs=0.02)
