"""Distortions from a user's file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from codec.rate_distortion.annealing.jacobian import ResidualJacobian
from codec.rate_distortion.distortions import DeepFeatureDistance, Distortion, SumSquaredError
from codec.rate_distortion.user_code.distortion import (
    OPTIONAL_PARTS,
    _open_again,
    load_distortion,
)
from codec.rate_distortion.user_code.load_file import UserCodeError

IMAGES = torch.rand(3, 1, 2, 4, generator=torch.Generator().manual_seed(0))
OTHERS = torch.rand(3, 1, 2, 4, generator=torch.Generator().manual_seed(1))

DISTORTIONS = """
import numpy, sys, torch
from codec.rate_distortion.distortions import DeepFeatureDistance, SumSquaredError

def features(weight=2.0):
    return DeepFeatureDistance(lambda images: weight * images.flatten(1), "doubled pixels")
def unseeded(): return features(1 + numpy.random.default_rng().random())

class Bare:
    name, convention = "absolute", "sum over all samples, pixels 0..1"
    def __call__(self, x, y): return (x - y).abs().flatten(1).sum(1)
class Failing(SumSquaredError):
    def __call__(self, x, y): sys.exit(0)
    def prepare(self, x): return None
    def simulate(self, y, beta, generator): raise GeneratorExit
    def residual(self, x, y): return 1 / 0
class Unnamed(Bare):
    @property
    def name(self): sys.exit(0)
"""


def load(folder: Path, name: str) -> Any:
    path = folder / "m.py"
    path.write_text(DISTORTIONS)
    return load_distortion(f"{path}:{name}")


def in_another_process(distortion: Distortion) -> Any:
    data = pickle.dumps(distortion)
    _open_again.cache_clear()
    return pickle.loads(data)


def test_every_part_is_passed_on(tmp_path: Path) -> None:
    expected = DeepFeatureDistance(lambda images: 2 * images.flatten(1), "")  # type: ignore[arg-type]
    loaded = load(tmp_path, "features")
    for found in (loaded, in_another_process(loaded)):
        targets = found.prepare(IMAGES)
        assert torch.equal(targets, expected.prepare(IMAGES))
        assert torch.equal(found(targets, OTHERS), expected(targets, OTHERS))
        assert torch.equal(found.residual(targets, OTHERS), expected.residual(targets, OTHERS))
        drawn = [
            one.simulate(OTHERS, 3.0, torch.Generator().manual_seed(0)) for one in (found, expected)
        ]
        assert torch.equal(*drawn)


def test_a_distortion_has_only_the_parts_of_its_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, "Bare")
    for found in (loaded, in_another_process(loaded)):
        assert not any(hasattr(found, part) for part in OPTIONAL_PARTS)
    found = load(tmp_path, "SumSquaredError")
    assert [hasattr(found, part) for part in OPTIONAL_PARTS] == [False, True, True]


def test_its_residual_gives_local_references(tmp_path: Path) -> None:
    codes = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))

    def decode(z: torch.Tensor) -> torch.Tensor:
        return z.sigmoid().reshape(-1, 1, 2, 4)

    both = [load(tmp_path, "SumSquaredError"), SumSquaredError()]
    found, expected = (ResidualJacobian(decode, one, IMAGES, codes)(IMAGES, codes) for one in both)
    assert torch.equal(found[1], expected[1])


def test_whatever_a_distortion_raises_is_its_error(tmp_path: Path) -> None:
    failing = load(tmp_path, "Failing")
    name = "sum of squared errors"
    with pytest.raises(UserCodeError, match=rf"distortion {name} failed: SystemExit: 0 .line 13"):
        failing(IMAGES, OTHERS)
    with pytest.raises(UserCodeError, match=f"prepare of the distortion {name} gave NoneType"):
        failing.prepare(IMAGES)
    with pytest.raises(UserCodeError, match=r"simulate of .* failed: GeneratorExit .line 15"):
        failing.simulate(OTHERS, 1.0, None)
    with pytest.raises(UserCodeError, match=r"residual of .* failed: ZeroDivisionError.* .line 16"):
        failing.residual(IMAGES, OTHERS)
    with pytest.raises(UserCodeError, match="reading the parts of Unnamed failed: SystemExit: 0"):
        load(tmp_path, "Unnamed")


def test_another_process_refuses_another_distortion(tmp_path: Path) -> None:
    loaded = load(tmp_path, "unseeded")
    loaded(loaded.prepare(IMAGES), OTHERS)
    found = in_another_process(loaded)
    with pytest.raises(UserCodeError, match=r"gave another distortion.*seed every generator"):
        found(IMAGES.flatten(1), OTHERS)
