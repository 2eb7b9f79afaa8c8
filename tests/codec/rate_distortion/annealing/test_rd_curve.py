"""The curve by annealing from the prior compared with closed forms, and what curves refuse."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import math
import tracemalloc
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from codec import CalotypeError, InputError, UsageError
from codec.priors import GaussianMixture, StandardNormal
from codec.rate_distortion.annealing.rd_curve import rd_curve
from codec.rate_distortion.annealing.settings import MoveSettings, Settings
from codec.rate_distortion.distortions import DeepFeatureDistance, GaussianNLL, SumSquaredError
from codec.rate_distortion.errors import MeasurementError, ResultFileError
from codec.rate_distortion.known.linear_decoder import LinearGaussianDecoder
from codec.rate_distortion.model_curve import RDCurve, UntrustedCurveError
from tests.codec.rate_distortion.known.exact_references import MixtureLinearDecoder

BETAS = tuple(float(beta) for beta in np.geomspace(0.05, 50, 8))
Array = npt.NDArray[np.float64]


class Linear(torch.nn.Module):
    def __init__(self, weight: Array) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return codes @ self.weight.T


@pytest.fixture(scope="module")
def model() -> LinearGaussianDecoder:
    weight = np.random.default_rng(5).standard_normal((8, 3))
    return LinearGaussianDecoder(weight, np.zeros(8))


@pytest.fixture(scope="module")
def images(model: LinearGaussianDecoder) -> Array:
    return model.sample(40, 0.02, 6)


@pytest.fixture(scope="module")
def curve(model: LinearGaussianDecoder, images: Array) -> RDCurve:
    return measure(model, images)


def measure(model: LinearGaussianDecoder, images: Array, **options: object) -> RDCurve:
    settings = {
        "betas": BETAS, "temperatures": 150, "chains": 10, "reference": "prior", **options,
    }  # fmt: skip
    return rd_curve(Linear(model.weight), StandardNormal(3), images, **settings)  # type: ignore[arg-type]


def test_against_the_closed_form(
    curve: RDCurve, model: LinearGaussianDecoder, images: Array
) -> None:
    exact = [model.lagrangian(images, beta) for beta in BETAS]
    # The bias is upwards and under 0.1 nat here; the noise of 40 images × 10 chains about 0.05.
    assert np.abs(np.array(curve.log_partition_nats) - exact).max() < 0.2
    assert np.allclose(curve.distortion, [model.distortion(images, b) for b in BETAS], rtol=0.06)
    for distortion, rate in zip(curve.distortion, curve.rate_nats, strict=True):
        if distortion > 1.1 * model.smallest_distortion(images):
            assert abs(rate - model.rate_at(images, distortion)) < 0.25


def test_every_point_is_certified(curve: RDCurve) -> None:
    assert all(curve.certified)
    assert all(gap < 0.5 for gap in curve.bdmc_gap_nats)
    assert min(curve.acceptance) > 0.8
    assert min(curve.ess_fraction) > 0.2
    assert (curve.images, curve.chains) == (40, 10)
    assert curve.gradients > 40 * 10 * 150


def test_shape_of_the_curve(curve: RDCurve) -> None:
    rates, distortions = np.array(curve.rate_nats), np.array(curve.distortion)
    assert (np.diff(rates) > 0).all()
    assert (np.diff(distortions) < 0).all()
    # The envelope is never under the direct estimate, which is one of its tangents.
    assert (rates >= np.array(curve.rate_direct_nats) - 1e-9).all()
    assert (np.array(curve.rate_low_nats) <= rates).all()
    assert (rates <= np.array(curve.rate_high_nats)).all()
    assert curve.rate_at(curve.distortion[3]) == pytest.approx(curve.rate_nats[3])
    assert curve.rate_at(1e9) == 0.0
    assert curve.rate_bits[2] == pytest.approx(curve.rate_nats[2] / math.log(2))


def test_plain_annealed_importance_sampling(model: LinearGaussianDecoder, images: Array) -> None:
    plain = measure(model, images, method="ais", certify=False)
    exact = [model.lagrangian(images, beta) for beta in BETAS]
    assert np.abs(np.array(plain.log_partition_nats) - exact).max() < 0.4
    assert not any(plain.certified)
    assert plain.failures[0] == ("no certificate was asked for",)
    assert all(math.isnan(gap) for gap in plain.bdmc_gap_nats)


def test_beta_zero_is_the_prior(model: LinearGaussianDecoder, images: Array) -> None:
    curve = measure(model, images, betas=(0.0, 0.5, 1.0))
    assert curve.log_partition_nats[0] == 0
    assert curve.rate_nats[0] == 0
    assert curve.bdmc_gap_nats[0] < 0.5
    assert curve.distortion[0] == pytest.approx(model.distortion(images, 0.0), rel=0.1)
    assert curve.certified[0]


def test_gaussian_mixture_prior() -> None:
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((4, 1))
    means, variances = np.array([[-2.0], [1.5]]), np.array([[[0.2]], [[0.6]]])
    exact = MixtureLinearDecoder(weight, np.zeros(4), np.array([0.3, 0.7]), means, variances)
    prior = GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor(means), torch.tensor(variances))
    codes = prior.sample(40, torch.Generator().manual_seed(1)).numpy()
    images = codes @ weight.T + 0.1 * rng.standard_normal((40, 4))
    curve = rd_curve(
        Linear(weight),
        prior,
        images,
        betas=BETAS,
        temperatures=150,
        chains=10,
        certify=False,
        reference="prior",
    )
    wanted = [exact.lagrangian(images, beta) for beta in BETAS]
    assert np.abs(np.array(curve.log_partition_nats) - wanted).max() < 0.2


def test_distortions_agree(curve: RDCurve, model: LinearGaussianDecoder, images: Array) -> None:
    mean = measure(model, images, distortion="mse", betas=[8 * b for b in BETAS])
    assert np.allclose(mean.log_partition_nats, curve.log_partition_nats, atol=0.2)
    assert np.allclose(8 * np.array(mean.distortion), curve.distortion, rtol=0.1)
    features = DeepFeatureDistance(torch.nn.Identity(), "the identity")
    assert measure(model, images, distortion=features).log_partition_nats == (
        curve.log_partition_nats
    )
    nll = measure(model, images, distortion=GaussianNLL(0.5), betas=BETAS)
    constant = 4 * math.log(2 * math.pi * 0.5)
    shifted = np.array(nll.log_partition_nats) - constant * np.array(BETAS)
    assert np.allclose(shifted, curve.log_partition_nats, atol=0.2)
    assert all(nll.certified)


def test_automatic_betas(model: LinearGaussianDecoder, images: Array) -> None:
    curve = measure(model, images, betas=None, certify=False)
    assert len(curve.beta) == 40
    assert curve.rate_nats[0] < 0.2
    floor = model.smallest_distortion(images)
    assert floor < curve.distortion[-1] < 1.2 * floor


def test_half_precision_forces_leave_the_target_alone(
    model: LinearGaussianDecoder, images: Array
) -> None:
    curve = measure(model, images, precision="bfloat16", certify=False)
    exact = [model.lagrangian(images, beta) for beta in BETAS]
    assert np.abs(np.array(curve.log_partition_nats) - exact).max() < 0.2


def test_bytes_are_divided_by_255() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 4), dtype=np.uint8)
    weight = np.random.default_rng(1).standard_normal((4, 2))

    def curve(data: npt.NDArray[np.generic]) -> RDCurve:
        return rd_curve(
            Linear(weight),
            StandardNormal(2),
            data,
            betas=[1, 2],
            temperatures=20,
            reference="prior",
        )

    assert curve(images) == curve((images / 255).astype(np.float32))


def test_a_module_is_left_as_it_was(model: LinearGaussianDecoder, images: Array) -> None:
    module = Linear(model.weight)
    module.train()
    rd_curve(module, StandardNormal(3), images[:4], betas=[1.0], temperatures=5, certify=False)
    assert module.training
    assert module.weight.requires_grad
    assert module.weight.grad is None


def test_one_image_has_no_interval(model: LinearGaussianDecoder, images: Array) -> None:
    curve = measure(model, images[:1])
    assert all(math.isnan(low) for low in curve.rate_low_nats)
    assert not any(curve.certified)
    assert "no interval from one image" in curve.failures[0]
    again = RDCurve.from_json(curve.to_json())
    assert again.to_json() == curve.to_json()
    assert math.isnan(again.rate_low_nats[0])


def test_progress(model: LinearGaussianDecoder, images: Array) -> None:
    seen: list[tuple[float, float, str]] = []
    measure(model, images, chains=100, temperatures=3, betas=[0.01], reference="prior",
            certify=False, progress=lambda *at: seen.append(at))  # fmt: skip
    names = [name for name, _ in groupby(phase for _, _, phase in seen)]
    assert (names[0], names[-1]) == ("pilot", "measuring")
    pilot = [(done, total) for done, total, phase in seen if phase == "pilot"]
    assert pilot == [(0, 0), (2, 0)]
    # Of 30 images, those of a block together, at each of the temperatures.
    shares = [done / total for done, total, phase in seen if phase == "measuring"]
    assert (shares[0], shares[-1], len(set(shares))) == (0, 1, 13)
    assert shares == sorted(shares)


def test_json_and_csv(curve: RDCurve) -> None:
    assert RDCurve.from_json(curve.to_json()) == curve
    lines = curve.to_csv().splitlines()
    assert lines[0].startswith("beta,log_partition_nats,distortion,rate_nats")
    assert len(lines) == 1 + len(BETAS)
    rows = list(csv.DictReader(lines))
    assert [float(row["rate_bits"]) for row in rows] == pytest.approx(curve.rate_bits)
    for name in ("rate_low", "rate_high"):
        bits = [math.log(2) * float(row[f"{name}_bits"]) for row in rows]
        assert bits == pytest.approx(getattr(curve, f"{name}_nats"), abs=1e-6)
    with pytest.raises(ResultFileError, match="schema"):
        RDCurve.from_json({"schema": "other"})
    with pytest.raises(ResultFileError, match="not complete"):
        RDCurve.from_json({**curve.to_json(), "distortion": [1.0]})


# What is refused.


def nan_decoder(codes: torch.Tensor) -> torch.Tensor:
    return codes * torch.nan


def sometimes_nan(codes: torch.Tensor) -> torch.Tensor:
    return torch.where(codes[:, :1] > 1.5, torch.nan, codes)


def without_gradient(codes: torch.Tensor) -> torch.Tensor:
    return codes.detach() * 2


def constant(codes: torch.Tensor) -> torch.Tensor:
    return 0 * codes + 0.5


class RoughPrior:
    dim = 3

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.randn(count, 3, generator=generator)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros(z.shape[:-1])


class Hamming:
    name = "Hamming"
    convention = "count"

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        return (targets.round() != reconstructions.round()).float().flatten(1).sum(1)


Decoder = Callable[[torch.Tensor], torch.Tensor]


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (nan_decoder, "NaN"),
        (sometimes_nan, "NaN"),
        (without_gradient, "no gradient"),
        (constant, "ignore its code"),
        (lambda z: (4 * z).round() / 4 + 0 * z, "does it round"),
    ],
    ids=["nan", "sometimes nan", "without a gradient", "constant", "rounded"],
)
def test_decoders_that_mean_nothing(decode: Decoder, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        rd_curve(decode, StandardNormal(3), np.zeros((20, 3)), temperatures=20)


def noisy() -> Decoder:
    generator = torch.Generator().manual_seed(0)
    return lambda z: z + 0.1 * torch.randn(z.shape, generator=generator)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (noisy(), "changes from call to call"),
        (lambda z: z - z.mean(0), "depends on the rest of the batch"),
        (lambda z: 1e-4 * (z - z.mean(0)), "depends on the rest of the batch"),
    ],
    ids=["noise", "mean over the batch", "small values"],
)
def test_decoders_that_are_no_function_of_one_code(decode: Decoder, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        rd_curve(decode, StandardNormal(3), np.zeros((20, 3)), betas=[1.0], temperatures=20)


def relative_to_the_batch(targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
    squared = (targets - reconstructions).square().sum(1)
    return squared / squared.mean()


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        (lambda x, y: (x - y).square().sum(1) * torch.rand(len(x)).exp(), "call to call"),
        (relative_to_the_batch, "the rest of the batch"),
    ],
    ids=["noise", "mean over the batch"],
)
def test_distortions_that_are_no_function_of_one_image(
    compare: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], message: str
) -> None:
    class Odd:
        name, convention = "odd distance", "sum, pixels 0..1"

        def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
            return compare(targets, reconstructions)

    with pytest.raises(MeasurementError, match=f"the odd distance .*{message}"):
        rd_curve(lambda z: z, StandardNormal(3), np.zeros((20, 3)), betas=[1.0], distortion=Odd())


@pytest.mark.parametrize("name", ["chains", "temperatures", "simulations", "points", "modes"])
def test_settings_have_upper_limits(name: str) -> None:
    options: dict[str, Any] = {name: 10**9}
    with pytest.raises(UsageError, match=f"{name} is 1000000000, expected .* at most"):
        Settings(**options)


def test_a_decoder_that_changes_its_input() -> None:
    def changing(z: torch.Tensor) -> torch.Tensor:
        images = torch.tanh(z)
        z.data.clamp_(-0.1, 0.1)
        return images

    images = np.linspace(-1, 1, 24).reshape(8, 3)
    plain, changed = (
        rd_curve(one, StandardNormal(3), images, betas=[1.0, 4.0], temperatures=40, chains=10)
        for one in (torch.tanh, changing)
    )
    assert changed == plain


class WidePrior(StandardNormal):
    """Samples N(0, I), and says that it is N(0, 9 I)."""

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return super().log_prob(z / 3) - self.dim * math.log(3)


class TwoHumps(StandardNormal):
    """Samples have two humps, and the mean and variance of the normal density that it states."""

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        sign = 2.0 * torch.randint(0, 2, (count, self.dim), generator=generator) - 1
        return 0.95 * sign + math.sqrt(1 - 0.95**2) * super().sample(count, generator)


@pytest.mark.parametrize("prior", [WidePrior(3), TwoHumps(3)])
def test_a_prior_whose_density_is_not_that_of_its_samples(prior: StandardNormal) -> None:
    with pytest.raises(MeasurementError, match="not the density of its samples"):
        rd_curve(lambda z: 2 * z, prior, np.zeros((4, 3)), betas=[1.0])


def test_a_decoder_in_16_bits() -> None:
    images = np.linspace(-1, 1, 24).reshape(8, 3)
    options: dict[str, Any] = {"betas": [1.0, 4.0], "temperatures": 100, "chains": 100}
    plain = rd_curve(torch.tanh, StandardNormal(3), images, **options)
    for dtype in (torch.float16, torch.bfloat16):

        def shorter(codes: torch.Tensor, dtype: torch.dtype = dtype) -> torch.Tensor:
            return torch.tanh(codes).to(dtype)

        short = rd_curve(shorter, StandardNormal(3), images, **options)
        assert short.log_partition_nats == pytest.approx(plain.log_partition_nats, abs=0.05)


def test_a_decoder_that_makes_too_few_images() -> None:
    with pytest.raises(MeasurementError, match=r"made 16 images of \d+ codes"):
        rd_curve(lambda z: 2 * z[:16], StandardNormal(3), np.zeros((9, 3)), betas=[1.0])


def test_a_prior_without_gradient() -> None:
    with pytest.raises(MeasurementError, match="log_prob has no gradient"):
        rd_curve(lambda z: 2 * z, RoughPrior(), np.zeros((4, 3)), betas=[1.0])


def test_a_distortion_without_gradient() -> None:
    with pytest.raises(MeasurementError, match="has no gradient"):
        rd_curve(
            lambda z: 2 * z, StandardNormal(3), np.zeros((4, 3)), betas=[1.0], distortion=Hamming()
        )


@pytest.mark.parametrize(
    ("images", "options", "error", "message"),
    [
        (np.full((2, 3), np.nan), {}, InputError, "NaN"),
        (np.zeros((2, 4)), {}, UsageError, r"\(8, 3\).*\(4,\)"),
        (np.zeros((2, 3), np.int64), {}, UsageError, "int64: expected uint8"),
        (np.zeros((2, 3), np.uint16), {}, UsageError, "uint16: expected uint8"),
        (np.zeros((0, 3)), {}, UsageError, "n ≥ 1"),
        (np.zeros(3), {}, UsageError, "shape"),
        (np.zeros((2, 3)), {"betas": []}, UsageError, "rising"),
        (np.zeros((2, 3)), {"betas": [2.0, 1.0]}, UsageError, "rising"),
        (np.zeros((2, 3)), {"betas": [-1.0, 1.0]}, UsageError, "rising"),
        (np.zeros((2, 3)), {"betas": [0.0]}, UsageError, "above 0"),
        (np.zeros((2, 3)), {"betas": [1e-300, 1.0]}, UsageError, "outside"),
        (np.zeros((2, 3)), {"betas": [1.0] * 99}, UsageError, r"1.0, \.\.\.\]"),
        (np.zeros((2, 3)), {"betas": ["a"]}, UsageError, "not a sequence of numbers"),
        (np.zeros((2, 3)), {"betas": 3.0}, UsageError, "not a sequence of numbers"),
        (np.zeros((2, 3)), {"betas": [math.nan]}, UsageError, "rising"),
        (np.zeros((2, 3)), {"chains": 1}, UsageError, "chains is 1"),
        (np.zeros((2, 3)), {"temperatures": 0}, UsageError, "temperatures is 0"),
        (np.zeros((2, 3)), {"method": "hmc"}, UsageError, "'hmc'"),
        (np.zeros((2, 3)), {"precision": "int8"}, UsageError, "'int8'"),
        (np.zeros((2, 3)), {"reference": "laplace"}, UsageError, "'laplace'.*'auto', 'local'"),
        (np.zeros((2, 3)), {"bridge_steps": 0}, UsageError, "bridge_steps is 0"),
        (np.zeros((2, 3)), {"modes": 0}, UsageError, "modes is 0"),
        (np.zeros((2, 3)), {"device": "meta"}, UsageError, "'meta'"),
        (np.zeros((2, 3)), {"distortion": "psnr"}, UsageError, "'psnr'"),
        (np.zeros((2, 3)), {"distortion": 3}, UsageError, "of type int"),
    ],
)
def test_bad_arguments(
    images: Array, options: dict[str, object], error: type[CalotypeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        rd_curve(lambda z: 2 * z, StandardNormal(3), images, **options)  # type: ignore[arg-type]


def test_a_curve_that_fails_everywhere_is_refused(
    model: LinearGaussianDecoder, images: Array
) -> None:
    steep = [1e4, 1e5, 1e6]
    with pytest.raises(MeasurementError, match="raise temperatures"):
        measure(model, images, betas=steep, temperatures=3)


def test_points_that_fail_are_marked(model: LinearGaussianDecoder, images: Array) -> None:
    betas = [0.001, 0.002, 0.003, 0.005, 0.01, 1e4, 1e5, 1e6]
    curve = measure(model, images, betas=betas, temperatures=20)
    assert curve.certified[0]
    assert not curve.certified[-1]
    assert any("gap" in reason for reason in curve.failures[-1])


def test_images_far_from_the_model_need_more_temperatures(model: LinearGaussianDecoder) -> None:
    """No other check sees that their L is a nat too high: simulated images are not far away."""
    codes = np.random.default_rng(1).standard_normal((40, 3))
    far = 7 * math.sqrt(3) * codes / np.linalg.norm(codes, axis=1, keepdims=True) @ model.weight.T
    betas = [0.5, 2.0, 8.0, 30.0]
    exact = np.array([model.lagrangian(far, beta) for beta in betas])
    with pytest.raises(UntrustedCurveError, match=r"excess \d.* nats > 0\.25") as error:
        measure(model, far, betas=betas, temperatures=40)
    curve = error.value.curve
    assert (np.array(curve.log_partition_nats) > exact + 0.5).all()
    assert {len(reasons) for reasons in curve.failures} == {1}
    curve = measure(model, far, betas=betas, temperatures=400)
    assert all(curve.certified)
    assert np.abs(np.array(curve.log_partition_nats) - exact).max() < 0.3


def test_squared_errors_by_name_and_as_an_object(
    curve: RDCurve, model: LinearGaussianDecoder, images: Array
) -> None:
    assert measure(model, images, distortion=SumSquaredError()) == curve
    assert curve.distortion_name == "sum of squared errors"
    assert "pixels 0..1" in curve.convention


@pytest.mark.parametrize("precondition", ["diagonal", "none"])
def test_less_preconditioning(
    model: LinearGaussianDecoder, images: Array, precondition: str
) -> None:
    moves = MoveSettings(precondition=precondition)
    curve = measure(model, images, moves=moves, certify=False)
    exact = [model.lagrangian(images, beta) for beta in BETAS]
    assert np.abs(np.array(curve.log_partition_nats) - exact).max() < 0.3


def test_thousands_of_dimensions_need_no_matrix_each() -> None:
    # 61 temperatures with a matrix of 3000 × 3000 each would be 2 GiB.
    weight = torch.randn(8, 3000, generator=torch.Generator().manual_seed(0)) / 50
    tracemalloc.start()
    curve = rd_curve(
        lambda z: z @ weight.T, StandardNormal(3000), np.random.default_rng(0).random((2, 8)),
        betas=(0.5, 2.0), temperatures=60, chains=2, certify=False,
        moves=MoveSettings(precondition="diagonal", leapfrog=3),
    )  # fmt: skip
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(curve.rate_nats).all()
    assert peak < 2**27


def test_dense_preconditioning_pays_where_dimensions_are_tied() -> None:
    # Two dimensions that the decoder sees almost only as their sum.
    weight = np.array([[1.0, 1.0], [0.03, -0.03], [0.5, 0.5]])
    tied = LinearGaussianDecoder(weight, np.zeros(3))
    images = tied.sample(40, 0.01, 3)

    def worst(precondition: str) -> float:
        curve = rd_curve(
            Linear(weight), StandardNormal(2), images, betas=[1, 10, 100, 1000], temperatures=25,
            chains=10, certify=False, reference="prior",
            moves=MoveSettings(leapfrog=3, precondition=precondition),
        )  # fmt: skip
        exact = [tied.lagrangian(images, beta) for beta in curve.beta]
        return float((np.array(curve.log_partition_nats) - exact).max())

    assert worst("dense") < worst("diagonal")


def test_unknown_preconditioning() -> None:
    with pytest.raises(UsageError, match="'full'"):
        MoveSettings(precondition="full")


def test_options_are_shown_and_a_misspelt_one_is_named() -> None:
    shown = inspect.signature(rd_curve).parameters
    assert {field.name for field in dataclasses.fields(Settings)} < set(shown)
    assert shown["chains"].default == Settings.chains
    with pytest.raises(TypeError, match=r"rd_curve\(\) has no option 'chain'; .* 'chains'"):
        rd_curve(torch.tanh, StandardNormal(3), np.zeros((4, 3)), chain=8)
