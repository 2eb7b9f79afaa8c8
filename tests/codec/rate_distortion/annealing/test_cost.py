"""The estimate of a measurement's time before it starts."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from codec.priors import StandardNormal
from codec.rate_distortion.annealing.bridge_passes import LocalModel
from codec.rate_distortion.annealing.cost import Pace, estimated_seconds, measured_pace
from codec.rate_distortion.annealing.settings import Settings
from codec.rate_distortion.distortions import OneMinusMsSsim, SumSquaredError

PACE = Pace(leapfrog=1e-5, bridge=2e-5, fit=1e-3, refinement=2e-3)
WEIGHT = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("reference", ["auto", "local", "prior"])
def test_more_work_takes_longer(reference: str) -> None:
    def seconds(images: int = 100, **options: Any) -> tuple[float, float]:
        return estimated_seconds(Settings(reference=reference, **options), images, 10, PACE)

    least, most = seconds()
    assert 0 < least <= most
    for more in (
        seconds(images=200), seconds(chains=40), seconds(simulations=20), seconds(points=80),
    ):  # fmt: skip
        assert more[0] > least
        assert more[1] > most
    assert seconds(certify=False)[1] < most
    assert (seconds(temperatures=2000)[1] > most) == (reference == "prior")


def test_without_local_references_annealing_is_counted() -> None:
    one = estimated_seconds(Settings(), 100, 10, Pace(leapfrog=1e-5))
    assert one == estimated_seconds(Settings(reference="prior"), 100, 10, PACE)


def decode(codes: torch.Tensor, seconds: float = 0.0) -> torch.Tensor:
    """A decoder that takes some time for each code."""
    time.sleep(seconds * len(codes))
    return torch.sigmoid(codes @ WEIGHT.T).view(-1, 1, 8, 8)


def test_the_pace_is_that_of_the_decoder() -> None:
    def slow(codes: torch.Tensor) -> torch.Tensor:
        return decode(codes, 1e-3)

    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    model = LocalModel(slow, StandardNormal(3), SumSquaredError(), (), 1)
    pace = measured_pace(model, images, 4)
    assert 1e-3 <= pace.leapfrog < 1e-2
    assert 1e-3 <= pace.bridge < 1e-2
    assert pace.fit is not None
    assert 2e-3 <= pace.fit < 1e-1
    # 4 + 6 × 16 codes of each image are decoded.
    assert 0.1 <= pace.refinement < 1


def test_a_distortion_without_residual_has_no_fits() -> None:
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(1024, 3, generator=torch.Generator().manual_seed(2))

    def large(codes: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(codes @ weight.T).view(-1, 1, 32, 32)

    model = LocalModel(large, StandardNormal(3), OneMinusMsSsim(), (), 1)
    assert measured_pace(model, images, 4).fit is None
