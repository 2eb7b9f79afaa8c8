"""Wasserstein distortion: its definition, and what it ignores and does not ignore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.harness.lpips import Lpips
from tests.codec.tiny import photographs
from tests.training.features.alexnet_weights import write_alexnet
from training.realism.texture import (
    WINDOWS,
    CosineBands,
    FeatureMaps,
    ObjectFeatures,
    wasserstein_distortion,
)

CPU = torch.device("cpu")


def noise(strength: float, seed: int = 0) -> Tensor:
    """A gray picture (1, 3, 96, 96) with white noise."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + strength * torch.randn(1, 3, 96, 96, generator=generator)


def test_it_compares_means_and_deviations_around_every_place() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 2, 3, 16, 12))
    weight = np.array([1.0, 0.5, 0.0])
    expected = np.zeros(2)
    for window in WINDOWS:
        side, places = window // 4, []
        for top in range(0, 16 - side + 1, side // 2):
            for left in range(0, 12 - side + 1, side // 2):
                square = np.s_[:, :, top : top + side, left : left + side]
                means, deviations = (
                    [getattr(maps[square], of)(axis=(2, 3)) for maps in (one, other)]
                    for of in ("mean", "std")
                )
                places.append(np.subtract(*means) ** 2 + np.subtract(*deviations) ** 2)
        expected += np.mean(places, axis=0) @ weight / len(WINDOWS)
    maps = [
        [FeatureMaps(torch.from_numpy(x).float(), 4, torch.from_numpy(weight).float())]
        for x in (one, other)
    ]
    np.testing.assert_allclose(wasserstein_distortion(*maps).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bands", "objects"])
def test_another_texture_is_nearer_than_none(kind: str, tmp_path: Path) -> None:
    bands = CosineBands(CPU)
    features = bands if kind == "bands" else ObjectFeatures(write_alexnet(tmp_path), CPU)

    def distortion(one: Tensor, other: Tensor) -> float:
        return float(wasserstein_distortion(features(one), features(other)))

    texture = noise(0.1)
    assert distortion(texture, texture) == 0
    assert distortion(texture, noise(0.1, seed=1)) < 0.2 * distortion(texture, noise(0))
    # By squared error it is the other way round.
    assert (texture - noise(0.1, seed=1)).square().mean() > (texture - noise(0)).square().mean()
    assert distortion(texture, noise(0.1, seed=1)) < distortion(texture, noise(0.05, seed=1))
    assert distortion(texture, noise(0.1, seed=1)) < distortion(texture, noise(0.15, seed=1))


def test_bands_count_photographs_alike_at_every_frequency() -> None:
    pictures = torch.from_numpy(np.stack(photographs(4))).permute(0, 3, 1, 2).float() / 255
    ((values, weight),) = ((m.values, m.weight) for m in CosineBands(CPU)(pictures))
    assert values.shape[1] == len(weight) == 3 * 64
    # Luma, without its mean: in eight colours, a picture has all of its contrast.
    assert float(weight[0]) < float(weight[63])
    gray = torch.full((1, 3, 64, 64), 0.5)
    (flat,) = CosineBands(CPU)(gray)
    assert float(flat.values[:, 1:64].abs().max()) < 1e-5
    assert float(flat.values[:, 64:].abs().max()) < 1e-2


def test_gradients_of_flat_pictures_are_finite(tmp_path: Path) -> None:
    flat = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    for features in (CosineBands(CPU), ObjectFeatures(write_alexnet(tmp_path), CPU)):
        value = wasserstein_distortion(features(noise(0.1)[..., :64, :64]), features(flat))
        (gradient,) = torch.autograd.grad(value.sum(), flat)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_objects_are_those_of_lpips(tmp_path: Path) -> None:
    path = write_alexnet(tmp_path)
    one, other = (np.ascontiguousarray(p[:96, :96]) for p in photographs(2))
    maps = [
        ObjectFeatures(path, CPU)(torch.from_numpy(p).permute(2, 0, 1)[None] / 255)
        for p in (one, other)
    ]
    found = sum(
        float((a.values - b.values).square().mean((2, 3)) @ a.weight)
        for a, b in zip(*maps, strict=True)
    )
    assert found == pytest.approx(Lpips(path)(one, other), rel=1e-4)
