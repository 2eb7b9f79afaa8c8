"""The codec of Gaussian numbers: training, coding, and the reported figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.dplc.dithered_normal import DitheredNormal
from benchmarks.dplc.gaussian import (
    LinearCodec,
    LinearTraining,
    code_numbers,
    linear_row,
    symbol_rows,
    train_linear,
)
from codec.rate_distortion.known.perception import GaussianPerception
from tests.benchmarks.tiny_dplc_set import run

LN2 = math.log(2)
SHORT = LinearTraining(dimensions=2, batch=128, steps=200, learning_rate=0.06, samples=20_000)


def ideal(rate_bits: float, variance: float) -> LinearCodec:
    """The test channel, with its output scaled to the width of the source."""
    codec = LinearCodec(2, variance, rate_bits)
    correlation = math.sqrt(1 - 2 ** (-2 * rate_bits))
    with torch.no_grad():
        codec.encoder.weight.copy_(3 * torch.eye(2))
        codec.mapping.weight.copy_(torch.cat([correlation * torch.eye(2), torch.zeros(2, 2)], 1))
    return codec


@pytest.mark.parametrize("bits", [0.1, 1.0, 4.0])
def test_the_ideal_linear_codec_is_the_closed_form(bits: float) -> None:
    row = linear_row(ideal(bits, 2.5), bits, SHORT, 0)
    assert row["information_bits"] == pytest.approx(bits, rel=1e-4)
    assert row["exact_distortion"] == pytest.approx(row["closed_form"], rel=1e-4)
    assert row["closed_form"] == pytest.approx(5 * (1 - math.sqrt(1 - 2 ** (-2 * bits))))
    assert row["wasserstein_squared"] == pytest.approx(0, abs=1e-5)
    assert row["distortion"] == pytest.approx(row["closed_form"], abs=5 * row["standard_error"])
    assert row["met"]


def test_no_encoder_sends_more_than_the_channel_takes() -> None:
    torch.manual_seed(1)
    codec = LinearCodec(3, 1.7, 0.8)
    row = linear_row(codec, 0.8, LinearTraining(dimensions=3, samples=2000), 0)
    assert 0 < row["information_bits"] < 0.8
    assert not row["met"]
    assert codec.sender.square().sum().item() * 1.7 == pytest.approx(3)
    x = math.sqrt(1.7) * torch.randn(50_000, 3)
    z = codec(x, torch.Generator().manual_seed(0)).detach()
    _, code, cross = codec.covariances()
    assert (z.T @ z / 50_000).numpy() == pytest.approx(code, abs=0.05)
    assert (x.T @ z / 50_000).numpy() == pytest.approx(cross, abs=0.05)


def test_gradient_descent_comes_near() -> None:
    codec = train_linear(2.0, 1.0, SHORT, 0)
    row = linear_row(codec, 1.0, SHORT, 0)
    assert row["ratio"] == pytest.approx(1, abs=0.1)
    assert row["information_bits"] <= 1 + 1e-6
    assert row["wasserstein_squared"] < 0.02
    untrained = linear_row(LinearCodec(2, 2.0, 1.0), 1.0, SHORT, 0)
    assert abs(untrained["ratio"] - 1) > 0.2


def test_numbers_come_back_of_their_bytes() -> None:
    quantizer = DitheredNormal.of_rate(1.3)
    coded = code_numbers(quantizer, 20_000, 0)
    assert (np.abs(coded.centre - coded.source) <= quantizer.step / 2 + 1e-9).all()
    assert 8 * len(coded.data) / 20_000 == pytest.approx(1.3, rel=0.02)
    assert len(code_numbers(quantizer, 20_000, 1).data) != 0
    assert not np.array_equal(code_numbers(quantizer, 20_000, 1).source, coded.source)


def test_real_symbols_miss_by_what_scalar_quantisation_costs() -> None:
    drawn, moved = symbol_rows(2.0, 3.0, 40_000, 0)
    assert (drawn["decoder"], moved["decoder"]) == ("random", "transport")
    assert drawn["bytes"] == moved["bytes"]
    for row in (drawn, moved):
        assert row["rate_bits"] == 8 * row["bytes"] / 40_000
        assert row["distortion"] == pytest.approx(row["expected_distortion"], rel=0.03)
        best = GaussianPerception(3.0).distortion_at(row["rate_bits"] * LN2)
        assert row["closed_form"] == pytest.approx(best)
        assert row["wasserstein_squared"] < 0.01
        assert not row["met"]
    assert 0.24 < moved["bits_above_closed_form"] < 0.29
    assert drawn["ratio"] > 1.8 * moved["ratio"]


def test_the_part_of_the_report(tmp_path: Path) -> None:
    kept = run(tmp_path, tmp_path / "out" / "dplc.json", "gaussian", "--rates", "0.5", "2",
               "--steps", "5", "--numbers", "2000")  # fmt: skip
    found = kept["normal"]["found"]
    assert [row["rate_bits"] for row in found["linear"]] == [0.5, 2]
    assert len(found["symbols"]) == 4
    assert found["symbols_met"] == 0
    assert found["linear_met"] == sum(row["met"] for row in found["linear"])
    assert "information" in kept["normal"]["linear"]
    assert "0.25 bit" in kept["normal"]["symbols"]
