"""Measurements on digits add up, for untrained models; and the estimate of the mismatch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurement import samples_to_bits
from benchmarks.measurement.digits import measure_digits, sheet_shape, uniform_channel_bits
from benchmarks.measurement.prior_mismatch import prior_mismatch
from bitstream import UsageError
from tests.codec.models.vae.tiny import LOSSY, binary, digits

IMAGES = digits(120, seed=21)


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_model_is_measured(name: str, tiny_digits: Path) -> None:
    found = measure_digits(name, IMAGES, 75)
    assert (found.model, found.quality, found.images) == (name, 75, 120)
    assert found.header_bytes == found.file_bytes - found.payload_bytes
    assert 40 < found.header_bytes < 80
    for values in (found.ideal_bits, found.kl_nats, found.sampled_kl_nats, found.sse):
        assert values.shape == (120,)
        assert np.isfinite(values).all()
    # The end mark, and the last byte.
    assert 0 < found.coder_overhead_bits < 40
    kl_bits = found.kl_nats.mean() / math.log(2)
    assert found.sampled_kl_nats.mean() == pytest.approx(found.kl_nats.mean(), rel=0.1)
    assert (found.blocks > 0) == (name == "vae-rec")
    assert np.isfinite(found.block_bound_bits).all() == (name == "vae-rec")
    assert np.isnan(found.negative_elbo_bits).all()
    if name == "vae-rec":
        assert kl_bits < found.ideal_bits.mean() < found.block_bound_bits.mean()
    if name == "vae-dither":
        assert found.ideal_bits.mean() == pytest.approx(found.uniform_rate_bits.mean(), rel=0.03)
        assert 8 * found.payload_bytes < 1.03 * found.uniform_rate_bits.sum() + 40


def test_the_archive_is_measured(tiny_digits: Path) -> None:
    found = measure_digits("vae-bits-back", binary(IMAGES), 75)
    assert (found.sse == 0).all()
    assert found.seed_bits >= 512
    assert found.ideal_bits.mean() == pytest.approx(found.negative_elbo_bits.mean(), rel=0.03)
    # The stack holds its seed, the net bits, and at most a word that is not full.
    assert found.seed_bits <= found.coder_overhead_bits <= found.seed_bits + 64
    assert np.isnan(found.posterior_sse).all()


def test_the_rate_of_the_uniform_channel_is_that_of_its_integral() -> None:
    fine = (np.arange(2000) + 0.5) / 2000 - 0.5
    for mean, step in ((0.0, 1.0), (1.3, 0.2), (-2.0, 3.0)):
        found = uniform_channel_bits(np.array([[mean]]), np.array([step]))[0, 0]
        cells = mean + step * (fine[:, None] + fine[None])
        density = np.exp(-(cells**2) / 2).mean(axis=1) / math.sqrt(2 * math.pi)
        assert found == pytest.approx(float(-np.log2(step * density).mean()), abs=2e-3)


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (999, (27, 37)), (1000, (25, 40)), (10_000, (100, 100))]
)
def test_sheets_are_nearly_square(count: int, shape: tuple[int, int]) -> None:
    assert sheet_shape(count) == shape


@pytest.mark.parametrize("count", [0, 1009, 147 * 146, 10**6])
def test_a_set_that_fills_no_sheet_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="sheet"):
        sheet_shape(count)


def test_photo_is_not_a_model_of_digits(tiny_digits: Path) -> None:
    with pytest.raises(UsageError, match="no VAE"):
        measure_digits("photo", IMAGES[:4], 75)


def test_no_mismatch_where_codes_follow_the_prior() -> None:
    rng = np.random.default_rng(0)
    variance = np.full((1500, 2), 0.2)
    mean = rng.normal(0, math.sqrt(0.8), (1500, 2))
    found = prior_mismatch(mean, variance)
    assert abs(found.lower_nats) < 0.05
    assert found.upper_nats > -0.05
    assert found.ceiling_nats == pytest.approx(math.log(1500))


def test_the_mismatch_of_a_shifted_and_narrow_code_is_found() -> None:
    rng = np.random.default_rng(1)
    variance = np.full((1500, 1), 0.1)
    mean = rng.normal(1.0, math.sqrt(0.15), (1500, 1))  # q(z) = N(1, 0.25)
    truth = 0.5 * (1 + 0.25 - 1 - math.log(0.25))
    found = prior_mismatch(mean, variance)
    assert found.lower_nats <= found.upper_nats
    assert found.lower_nats - 0.06 < truth < found.upper_nats + 0.06


def test_more_information_than_the_images_can_tell_is_bracketed() -> None:
    rng = np.random.default_rng(2)
    mean = rng.normal(0, 1, (50, 8))
    found = prior_mismatch(mean, np.full((50, 8), 1e-4))
    assert found.lower_nats == 0, "no density from 49 points in 8 dimensions beats the prior"
    assert found.bandwidths == (math.inf, math.inf)
    assert found.upper_nats > 0
    # Posteriors do not overlap, so the information is log n.
    assert found.upper_nats == pytest.approx(found.kl_nats - math.log(50), abs=1e-6)


def test_clusters_of_sharp_codes_are_found_by_widening() -> None:
    # q(z): eight clusters far apart in 4 dimensions; posteriors are far narrower than a cluster.
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 1, (8, 4))
    mean = centres[rng.integers(0, 8, 1000)] + rng.normal(0, 0.2, (1000, 4))
    found = prior_mismatch(mean, np.full((1000, 4), 1e-4), samples=1)
    # −log of the mixture's volume relative to the prior's: at most about 4 log(1 / 0.2) − log 8.
    assert 1.5 < found.lower_nats < 5
    assert found.upper_nats > 2 * found.lower_nats
    assert all(0 < width < 1 for width in found.bandwidths)


def test_odd_posteriors_are_refused() -> None:
    with pytest.raises(UsageError):
        prior_mismatch(np.zeros((1, 2)), np.ones((1, 2)))
    with pytest.raises(UsageError):
        prior_mismatch(np.zeros((5, 2)), np.ones((5, 3)))


def test_the_benchmark_runs_and_states_its_units(
    tiny_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "digits.npz"
    np.savez(path, x_test=IMAGES[:16, 0])
    monkeypatch.setattr(samples_to_bits, "QUALITIES", (40.0, 75.0))
    report = samples_to_bits.measure(path, 16, None)
    assert report["archive"]["lossless"]
    assert [row["model"] for row in report["lossy"]] == [n for n in LOSSY for _ in range(2)]
    exact = report["archive"]["negative_elbo_bits_per_image"]
    assert exact == pytest.approx(report["archive"]["float_negative_elbo_bits_per_image"], rel=0.02)
    # Sixteen images are too few to outweigh a header, but the claims are still counted.
    assert len(report["checks"]) == 2 + 2 + 2
    json.dumps(report)
