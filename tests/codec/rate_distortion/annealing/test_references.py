"""Curves from local references compared with closed forms, the choice between references, and
models without a local reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream.errors import UsageError
from codec.priors import GaussianMixture, StandardNormal
from codec.rate_distortion.annealing.choice import Trial, check_images, choose, fewest_modes
from codec.rate_distortion.annealing.rd_curve import rd_curve, rd_samples
from codec.rate_distortion.annealing.settings import MoveSettings
from codec.rate_distortion.annealing.summary import CurveSamples, summarize
from codec.rate_distortion.distortions import DeepFeatureDistance, GaussianNLL
from codec.rate_distortion.errors import MeasurementError, ResultFileError
from codec.rate_distortion.known.linear_decoder import LinearGaussianDecoder
from codec.rate_distortion.model_curve import RDCurve
from tests.codec.rate_distortion.annealing.test_bridge import once_only
from tests.codec.rate_distortion.known.exact_references import MixtureLinearDecoder

Array = npt.NDArray[np.float64]
CHEAP: dict[str, Any] = {"temperatures": 20, "chains": 8, "simulations": 3}


def linear(dim: int, pixels: int) -> tuple[LinearGaussianDecoder, torch.Tensor]:
    weight = np.random.default_rng(dim).standard_normal((pixels, dim))
    return LinearGaussianDecoder(weight, np.zeros(pixels)), torch.tensor(weight.T).float()


def errors(model: LinearGaussianDecoder, images: Array, curve: RDCurve) -> Array:
    exact = [model.lagrangian(images, beta) for beta in curve.beta]
    return np.array(curve.log_partition_nats) - exact


def test_forty_dimensions_in_closed_form() -> None:
    # Annealing from the prior is 0.6 nats off with 1,000 temperatures here.
    model, weight = linear(40, 120)
    images = model.sample(6, 0.01, 1)
    betas = [0.1, 30.0, 3000.0]
    curve = rd_curve(lambda z: z @ weight, StandardNormal(40), images, betas=betas, **CHEAP)
    assert curve.reference == ("local",) * 3
    assert np.abs(errors(model, images, curve)).max() < 0.02
    exact = [model.distortion(images, beta) for beta in betas]
    assert np.allclose(curve.distortion, exact, rtol=0.1)
    assert all(curve.certified)
    assert max(map(abs, curve.bdmc_gap_nats)) < 0.02
    assert curve.jacobian_products > 6 * 3 * 40 * 8
    assert curve.no_local_reference == ""


def test_residuals_of_every_kind_lead_to_the_same_curve() -> None:
    model, weight = linear(3, 8)
    images, betas = model.sample(4, 0.02, 1), [0.5, 50.0]
    identity = DeepFeatureDistance(torch.nn.Identity(), "the identity")
    for distortion, factor, constant in (
        ("mse", 8, 0.0),
        (GaussianNLL(0.5), 1, 4 * math.log(2 * math.pi * 0.5)),
        (identity, 1, 0.0),
    ):
        curve = rd_curve(
            lambda z: z @ weight, StandardNormal(3), images, distortion=distortion,
            betas=[factor * beta for beta in betas], reference="local", **CHEAP,
        )  # fmt: skip
        exact = [model.lagrangian(images, beta) + constant * beta for beta in betas]
        assert np.allclose(curve.log_partition_nats, exact, atol=0.02)


def test_a_mixture_prior_in_closed_form() -> None:
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((4, 1))
    means, variances = np.array([[-2.0], [1.5]]), np.array([[[0.2]], [[0.6]]])
    exact = MixtureLinearDecoder(weight, np.zeros(4), np.array([0.3, 0.7]), means, variances)
    prior = GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor(means), torch.tensor(variances))
    codes = prior.sample(12, torch.Generator().manual_seed(1)).numpy()
    images = codes @ weight.T + 0.1 * rng.standard_normal((12, 4))
    betas = [0.05, 0.5, 5.0, 50.0]
    turned = torch.tensor(weight.T).float()
    curve = rd_curve(lambda z: z @ turned, prior, images, betas=betas, reference="local", **CHEAP)
    wanted = [exact.lagrangian(images, beta) for beta in betas]
    assert np.allclose(curve.log_partition_nats, wanted, atol=0.02)
    assert all(curve.certified)


def waves(reference: str, modes: int | None = None) -> tuple[CurveSamples, Array]:
    """sin(6z) in two dimensions has dozens of modes; log Z is found by quadrature per dimension."""
    generator = torch.Generator().manual_seed(0)
    betas = [0.1, 2.0, 20.0]

    def decode(codes: torch.Tensor) -> torch.Tensor:
        return torch.sin(6 * codes)

    images = decode(torch.randn(10, 2, generator=generator))
    images = images + torch.randn(10, 2, generator=generator) / math.sqrt(2 * betas[-1])
    grid = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    step = float(grid[1] - grid[0])
    logs = torch.stack([
        torch.logsumexp(-0.5 * grid**2 - beta * (images.double()[..., None] - decode(grid)) ** 2, 2)
        for beta in betas
    ])  # fmt: skip
    exact = -(logs + math.log(step) - 0.5 * math.log(2 * math.pi)).sum(2).mean(1)
    samples = rd_samples(
        decode, StandardNormal(2), images, betas=betas, temperatures=60, chains=20, seed=1,
        reference=reference, simulations=6, modes=modes,
    )  # fmt: skip
    return samples, samples.log_partition.mean(0) - exact.numpy()


def test_missed_modes_are_caught_twice_and_auto_goes_round_them() -> None:
    samples, error = waves("local", modes=1)
    assert error[2] > 1.5
    assert samples.gap is not None
    assert samples.gap.mean(0)[2] > 20
    assert samples.missed is not None
    assert samples.missed[2] == pytest.approx(error[2], abs=1)
    curve = summarize(samples)
    assert curve.certified[1:] == (False, False)
    assert any("nats lower on pilot images" in reason for reason in curve.failures[2])
    # The first point is right, and the wide gaps of the others do not count against it.
    assert abs(error[0]) < 0.1
    samples, error = waves("auto")
    assert samples.reference[1:] == ("prior", "prior")
    assert np.abs(error).max() < 0.15
    assert all(summarize(samples).certified)


def test_more_modes_are_found_to_be_needed() -> None:
    """z² has posteriors with two modes, so a reference with one misses log 2 nats."""
    generator = torch.Generator().manual_seed(1)
    betas = [20.0, 60.0]

    def decode(codes: torch.Tensor) -> torch.Tensor:
        return codes.square()

    images = decode(torch.randn(8, 1, generator=generator))
    grid = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    step = float(grid[1] - grid[0])
    exact = [
        -float((torch.logsumexp(
            -0.5 * grid**2 - beta * (images.double() - decode(grid)) ** 2, 1
        ) + math.log(step) - 0.5 * math.log(2 * math.pi)).mean())
        for beta in betas
    ]  # fmt: skip
    found = {
        modes: rd_samples(
            decode, StandardNormal(1), images, betas=betas, temperatures=30, chains=20, seed=1,
            reference="local", modes=modes, simulations=8,
        )
        for modes in (1, None)
    }  # fmt: skip
    one, more = found[1], found[None]
    assert one.gap is not None
    assert one.modes == 1
    assert np.all(one.log_partition.mean(0) - exact > 0.3)
    assert one.gap.mean(0)[1] > 10
    assert more.gap is not None
    assert more.modes > 1
    assert np.abs(more.log_partition.mean(0) - exact).max() < 0.1
    assert np.abs(more.gap.mean(0)).max() < 0.5
    curve = summarize(more)
    assert all(curve.certified)
    assert RDCurve.from_json(curve.to_json()).modes == more.modes


def test_most_of_eight_modes_are_found() -> None:
    """A fit that starts again needs several iterations: with none, a fifth of the posteriors lack
    a mode, and the gap is that of the mode's weight or more.
    """
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(4, 3, generator=generator).square()
    samples = rd_samples(
        torch.square, StandardNormal(3), images, betas=[20.0, 60.0], temperatures=30, chains=20,
        seed=3, reference="local", modes=16, simulations=24,
    )  # fmt: skip
    assert samples.gap is not None
    assert (np.asarray(samples.gap) > 1.5).mean(0).max() < 0.15


def curve_of(decode: Any, prior: Any, **options: Any) -> RDCurve:
    images = np.random.default_rng(0).random((4, 1, 12, 12))
    settings = {**CHEAP, "temperatures": 200, "certify": False, **options}
    return rd_curve(decode, prior, images, betas=[1.0], **settings)


class Grid(torch.nn.Module):
    """z (n, 2) to images (n, 1, 12, 12)."""

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(codes.sum(1)).view(-1, 1, 1, 1).expand(-1, 1, 12, 12)


class Shifted:
    """A user's own prior, N(1, I)."""

    dim = 2

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return 1 + torch.randn(count, 2, generator=generator)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return -0.5 * (z - 1).square().sum(-1)


class NoJacobian(Grid):
    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return super().forward(once_only(codes))


@pytest.mark.parametrize(
    ("decode", "prior", "options", "reason"),
    [
        (Grid(), StandardNormal(2), {"distortion": "ms-ssim"}, "not a sum of squares"),
        (Grid(), Shifted(), {}, "neither StandardNormal nor GaussianMixture"),
        (NoJacobian(), StandardNormal(2), {}, "no usable Jacobian"),
        (Grid(), StandardNormal(1025), {"moves": MoveSettings(precondition="none")}, "1025 dim"),
    ],
)
def test_what_has_no_local_reference_is_annealed_from_the_prior(
    decode: Any, prior: Any, options: dict[str, Any], reason: str
) -> None:
    curve = curve_of(decode, prior, **options)
    assert curve.reference == ("prior",)
    assert reason in curve.no_local_reference
    assert curve == RDCurve.from_json(curve.to_json()) or math.isnan(curve.bdmc_gap_nats[0])
    with pytest.raises(MeasurementError, match=f"no local reference: .*{reason}"):
        curve_of(decode, prior, **options, reference="local")


def test_moves_that_are_not_dense_keep_auto_at_the_prior() -> None:
    moves = MoveSettings(precondition="diagonal")
    curve = curve_of(Grid(), StandardNormal(2), moves=moves)
    assert "'diagonal'" in curve.no_local_reference
    forced = curve_of(Grid(), StandardNormal(2), moves=moves, reference="local")
    assert forced.reference == ("local",)
    assert curve_of(Grid(), StandardNormal(2), reference="prior").reference == ("prior",)


def test_codes_of_a_shape_need_no_flattening_by_hand() -> None:
    model, weight = linear(4, 8)
    images, betas = model.sample(4, 0.02, 1), [0.5, 50.0]
    flat = rd_curve(lambda z: z @ weight, StandardNormal(4), images, betas=betas, **CHEAP)
    shaped = rd_curve(
        lambda z: z.reshape(-1, 4) @ weight if z.shape[1:] == (1, 2, 2) else torch.tensor(0.0),
        StandardNormal((1, 2, 2)), images, betas=betas, **CHEAP,
    )  # fmt: skip
    assert shaped == flat
    with pytest.raises(UsageError, match="at least 1"):
        StandardNormal((4, 0, 7))


def test_several_modes_do_not_bias() -> None:
    model, weight = linear(3, 8)
    images, betas = model.sample(6, 0.02, 1), [0.1, 1.0, 10.0, 100.0]
    curve = rd_curve(
        lambda z: z @ weight, StandardNormal(3), images, betas=betas, reference="local", modes=3,
        **CHEAP,
    )  # fmt: skip
    assert np.abs(errors(model, images, curve)).max() < 0.02
    assert all(curve.certified)


def test_jacobians_in_bfloat16_only_shape_the_reference() -> None:
    model, weight = linear(8, 24)
    images, betas = model.sample(6, 0.02, 1), [0.1, 10.0, 100.0]
    curve = rd_curve(
        lambda z: z @ weight, StandardNormal(8), images, betas=betas, reference="local",
        precision="bfloat16", **CHEAP,
    )  # fmt: skip
    assert np.abs(errors(model, images, curve)).max() < 0.02
    assert all(curve.certified)


def test_the_first_beta_may_be_zero_or_large() -> None:
    model, weight = linear(3, 8)
    images = model.sample(6, 0.02, 1)
    for betas in ([0.0, 5.0], [1000.0, 4000.0]):
        curve = rd_curve(
            lambda z: z @ weight, StandardNormal(3), images, betas=betas, certify=False, **CHEAP
        )
        assert curve.reference == ("prior" if betas[0] == 0 else "local", "local")
        assert np.abs(errors(model, images, curve)).max() < 0.02


def test_old_results_are_of_the_prior() -> None:
    old = curve_of(Grid(), StandardNormal(2), reference="prior").to_json()
    for name in ("reference", "jacobian_products", "no_local_reference", "modes", "excess_nats"):
        del old[name]
    curve = RDCurve.from_json(old)
    assert math.isnan(curve.excess_nats[0])
    assert (curve.reference, curve.jacobian_products, curve.modes) == (("prior",), 0, 1)
    assert "prior" in curve.to_csv().splitlines()[1]
    with pytest.raises(ResultFileError, match="1 values of beta has 2 of reference"):
        RDCurve.from_json({**old, "reference": ["prior", "local"]})


# The choice, on made-up pilot data.

SAME = np.full((8, 1), 5.0)
NOISE = np.random.default_rng(0).standard_normal((8, 1))


def bridges(local: Array, gap: float | None = None, modes: int = 1) -> Trial:
    certificate = None if gap is None else np.full((4, 1), gap)
    return Trial(modes, (), np.ones(1), local, certificate)


def asked(wanted: Sequence[int]) -> tuple[Array, Array]:
    raise AssertionError("annealing from the prior is not asked again")


@pytest.mark.parametrize(
    ("local", "gap", "other", "expected"),
    [
        (SAME, 0.1, None, True),
        (SAME + 0.4, 0.1, None, True),  # within the tolerance
        (SAME + 0.6, 0.1, None, False),  # clearly higher
        (SAME + 0.6 + 1.5 * (NOISE - NOISE.mean()), 0.1, None, True),  # not clearly
        (SAME - 3, 9.0, 0.2, True),  # clearly lower, though not certified
        (SAME, 9.0, 0.2, False),
        (SAME, 9.0, 20.0, True),
        (SAME, math.nan, 0.2, False),
    ],
)
def test_choice(local: Array, gap: float, other: float | None, expected: bool) -> None:
    rival = asked if other is None else lambda wanted: (SAME, np.full((4, 1), other))
    found = choose(bridges(local, gap), SAME, rival)
    assert found.local == (expected,)
    assert found.missed.max() == 0


def test_where_bridges_are_in_doubt_all_temperatures_count() -> None:
    # With few temperatures annealing was not better, with all of them it is.
    found = choose(bridges(SAME, 9.0), SAME, lambda wanted: (SAME - 1, np.ones((4, 1))))
    assert found.local == (False,)
    assert [check_images(n) for n in (1, 2, 6, 30, 1000)] == [1, 2, 4, 6, 8]


def test_what_is_kept_against_the_evidence_is_flagged() -> None:
    forced = choose(bridges(SAME + 0.6), SAME, asked, forced=True)
    assert forced.local == (True,)
    assert forced.missed[0] == pytest.approx(0.6)
    # Three of eight images, each 5 nats too high: Student's t sees nothing, their sum does.
    some = SAME.copy()
    some[2:5] += 5
    found = choose(bridges(some, 0.1), SAME, asked)
    assert found.local == (False,)
    forced = choose(bridges(some, 0.1), SAME, asked, forced=True)
    assert forced.missed[0] == pytest.approx(15 / 8)
    # One image that is 8 nats too high, among others that are much lower.
    one = SAME - 20
    one[3] = SAME[3] + 8
    found = choose(bridges(one, 0.1), SAME, asked)
    assert found.local == (True,)
    assert found.missed[0] == pytest.approx(8)


@pytest.mark.parametrize(
    ("of_modes", "expected"),
    [
        ({1: (0.0, 0.4)}, 1),  # no doubt
        ({1: (0.0, 9.0), 2: (0.0, 0.4)}, 2),
        ({1: (0.0, 9.0), 2: (0.0, 9.0), 4: (0.0, 6.0), 8: (0.0, 0.6)}, 8),  # no more are tried
        ({1: (0.0, 9.0), 2: (0.0, 8.0), 4: (0.0, 8.0), 8: (0.0, 8.0)}, 1),  # more hardly help
        ({1: (0.0, 999.0), 2: (0.0, 3.0), 4: (0.0, 3.0), 8: (0.0, 5.0)}, 2),
        ({1: (0.7, 0.1), 2: (0.0, 0.1)}, 2),  # the prior's scout was lower
        ({1: (0.7, None), 2: (0.4, None)}, 2),  # nothing could be simulated
        ({1: (0.0, math.nan), 2: (0.0, math.nan), 4: (0.0, 0.1)}, 4),
    ],
)
def test_the_fewest_modes_without_a_doubt(
    of_modes: dict[int, tuple[float, float | None]], expected: int
) -> None:
    def trial(modes: int) -> Trial:
        higher, gap = of_modes[modes]
        return bridges(SAME + higher, gap, modes)

    assert fewest_modes(trial, SAME).modes == expected
    assert fewest_modes(trial, SAME, components=10).modes == (expected if expected <= 2 else 1)
