"""Wasserstein++: which network learns from which loss, and what the critic sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.generative.test_learners import preset, strokes
from training.data.small_images import to_tensor
from training.generative.config import GENERATIVE_PRESETS
from training.generative.wpp import WppLearner


def learner(**changes: Any) -> WppLearner:
    return WppLearner(preset("wpp", **{"bre_weight": 0.0, **changes}), autocast=False)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 32) -> Tensor:
    return to_tensor(strokes(count))


def changed(before: dict[str, Tensor], found: WppLearner, name: str) -> bool:
    after = found.state_dict()
    return any(not torch.equal(v, after[k]) for k, v in before.items() if k.startswith(name + "."))


def test_the_critic_compares_images_with_codes_between_the_encoders_and_the_priors() -> None:
    found, codes = learner(), torch.full((4000, 4), 3.0, requires_grad=True)
    between = found.between(codes, seeded())
    assert not between.requires_grad  # no gradient of the critic reaches the encoder
    # u·3 + (1 − u)·z: the mean is 3/2, the variance (9 + 4) / 12 with E(1 − u)² = 1/3.
    assert float(between.mean()) == pytest.approx(1.5, abs=0.03)
    assert float(between.var()) == pytest.approx(9 / 12 + 1 / 3, rel=0.04)
    # One u for all dimensions of a code.
    correlation = np.corrcoef(between.T.numpy())[0, 1]
    assert correlation == pytest.approx((9 / 12) / (9 / 12 + 1 / 3), abs=0.04)


def test_only_the_generator_learns_from_the_critic() -> None:
    def gradients(weight: float) -> tuple[list[Tensor], list[Tensor]]:
        found = learner(critic_weight=weight, critic_steps=1)
        found.train_step(images, seeded(), 0.5)
        networks: tuple[nn.Module, nn.Module] = (found.encoder, found.decoder)
        parts = [[p.grad.clone() for p in n.parameters() if p.grad is not None] for n in networks]
        return parts[0], parts[1]

    with_critic, without = gradients(10.0), gradients(0.0)
    assert len(with_critic[0]) == len(with_critic[1]) > 0
    for with_it, without_it in zip(with_critic[0], without[0], strict=True):
        torch.testing.assert_close(with_it, without_it)
    assert any(
        not torch.allclose(a, b, rtol=0.01) for a, b in zip(with_critic[1], without[1], strict=True)
    )


def test_the_loss_is_made_of_the_figures() -> None:
    figures = learner(critic_weight=0.0, mmd_weight=7.0).train_step(images, seeded(), 0.5)
    assert figures["loss"] == pytest.approx(figures["rmse"] + 7 * figures["mmd"], rel=1e-5)
    other = learner(critic_weight=1.0, mmd_weight=7.0).train_step(images, seeded(), 0.5)
    assert other["rmse"] == figures["rmse"]
    assert other["loss"] != pytest.approx(figures["loss"], rel=1e-3)


def test_bre_is_of_its_critic_as_well() -> None:
    with_bre, without = (
        learner(bre_weight=weight, critic_steps=1).train_step(images, seeded(), 0.5)
        for weight in (1.0, 0.0)
    )
    assert with_bre["critic_loss"] > without["critic_loss"] + 0.1


def test_a_loss_that_is_not_finite_moves_neither_weights_nor_averages() -> None:
    found = learner()
    with torch.no_grad():
        next(found.encoder.parameters()).fill_(torch.nan)
    before = {k: v.clone() for k, v in found.state_dict().items()}
    assert not np.isfinite(found.train_step(images, seeded(), 0.5)["loss"])
    for name in ("decoder", "critic", "average"):
        assert not changed(before, found, name)
    assert int(found.average.n_averaged) == 1  # the untrained weights


def test_the_weight_of_the_critic_is_the_published_one_in_other_units() -> None:
    # The ratio of the gradients of λ · mean D and of the RMSE is λ · L · √N for slopes of L.
    published, small = (GENERATIVE_PRESETS[f"dplc-{name}-wpp"] for name in ("64", "digits"))
    assert published.penalty_norm == "channels"
    assert small.penalty_norm == "image"
    strength = published.critic_weight * np.sqrt(64 * 64) * np.sqrt(published.model.pixels)
    assert small.critic_weight * np.sqrt(small.model.pixels) == pytest.approx(strength, rel=0.02)


def test_the_slope_of_rmse_and_of_the_critics_value_in_a_batch() -> None:
    x = torch.rand(8, 1, 6, 6, generator=seeded())
    y = torch.rand(8, 1, 6, 6, generator=seeded(4)).requires_grad_(True)
    # In pixels of [−1, 1], as in the learner's losses.
    (2 * (x - y)).square().mean().sqrt().backward()  # type: ignore[no-untyped-call]
    assert y.grad is not None
    assert float(y.grad.norm()) / 2 == pytest.approx(1 / np.sqrt(8 * 36), rel=1e-4)
