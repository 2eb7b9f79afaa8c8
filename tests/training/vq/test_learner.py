"""Training of the vector-quantisation codec: how it starts, that it learns, and resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codec.datasets.arrays import Images
from codec.models.vq.networks import squared_distances
from tests.training.generative.test_learners import strokes
from training.data.small_images import to_tensor
from training.loop.trainer import Budget, Trainer
from training.vq.code_prior import CodePrior, chosen_lengths, code_lengths
from training.vq.config import VQ_PRESETS, VqPreset
from training.vq.learner import VqLearner, clustered, mean_squared_error, principal_components

TINY = VQ_PRESETS["vq-tiny"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, seed: int = 0) -> Images:
    """Blots, uint8 (count, 1, 16, 16)."""
    return np.ascontiguousarray(strokes(count, seed=seed)[:, :, 6:22, 6:22])


def learner_of(preset: VqPreset = TINY, count: int = 160, **changes: Any) -> VqLearner:
    learner = VqLearner(dataclasses.replace(preset, **changes), autocast=False)
    learner.take(images(count))
    return learner


def trainer(folder: Path, steps: int) -> Trainer:
    return Trainer(learner_of(), folder, budget=Budget(steps=steps), name="vq-tiny")


def test_it_begins_as_quantised_principal_components() -> None:
    learner = learner_of()
    x = learner.first_images()
    assert len(x) >= 128
    learner.start(x, seeded())
    learner.train()
    quality = torch.rand(len(x), generator=seeded(1))
    with torch.no_grad():
        levels, decoded = learner.code(x, quality)
    rest = x - 0.5
    for number, coded in enumerate(levels):
        level = learner.networks.level(number)
        basis = level.project.weight[:, :, 0, 0]
        torch.testing.assert_close(basis @ basis.t(), torch.eye(3))
        # Without rate, the nearest codes are chosen, and at first the networks add nothing.
        expected = level.project(torch.nn.functional.pixel_unshuffle(rest, level.stride))
        torch.testing.assert_close(coded.latents, expected)
        distances = squared_distances(coded.latents, level.codebook)
        assert torch.equal(coded.codes, distances.argmin(-1))
        rest = rest - level.pixels(level.look_up(coded.codes)).detach()
    torch.testing.assert_close(x - decoded, rest)
    assert float(rest.square().mean()) < 0.5 * float((x - x.mean()).square().mean())


def test_principal_components_are_those_of_singular_values() -> None:
    points = torch.randn(400, 6, generator=seeded()) * torch.tensor([1.0, 5, 2, 9, 0.1, 3])
    rows = principal_components(points, 3, seeded(1))
    assert rows.abs().argmax(1).tolist() == [3, 1, 5]
    more = principal_components(points, 8, seeded(1))
    torch.testing.assert_close(more @ more.t(), torch.diag(torch.tensor([1.0] * 6 + [0] * 2)))


def test_neighbours_in_the_tree_are_near() -> None:
    centres = torch.randn(8, 4, generator=seeded(3)) * 10
    points = centres.repeat(200, 1) + 0.1 * torch.randn(1600, 4, generator=seeded(4))
    vectors = clustered(points, 16, seeded(5))
    assert vectors.shape == (16, 4)
    assert float(torch.cdist(points, vectors).min(1).values.mean()) < 2
    gaps = torch.cdist(vectors, vectors)
    siblings = gaps[torch.arange(0, 16, 2), torch.arange(1, 16, 2)].mean()
    halves = gaps[:8, 8:].mean()
    assert siblings < halves
    # Even with fewer points than vectors, the vectors differ.
    few = clustered(points[:3], 8, seeded(6))
    assert len(torch.unique(few, dim=0)) == 8


def test_lengths_are_those_of_a_distribution() -> None:
    odds = torch.randn(5, 7, generator=seeded(), dtype=torch.float64) * 3
    lengths = code_lengths(odds, 3)
    torch.testing.assert_close((2.0**-lengths).sum(-1), torch.ones(5, dtype=torch.float64))
    for code in range(8):
        codes = torch.full((5,), code)
        torch.testing.assert_close(chosen_lengths(odds, codes, 3), lengths[:, code])


def test_an_untrained_prior_has_all_codes_alike_and_looks_only_back() -> None:
    prior = CodePrior(TINY.model, 1)
    codes = torch.randint(0, 8, (2, 4, 4), generator=seeded())
    above = torch.randint(0, 4, (2, 2, 2), generator=seeded(1))
    quality = torch.tensor([0.2, 0.9])
    assert torch.equal(code_lengths(prior(codes, above, quality), 3), torch.full((2, 4, 4, 8), 3.0))
    torch.nn.init.normal_(prior.last.weight)
    before = prior(codes, above, quality)
    changed = codes.clone()
    changed[0, 1, 2] = (changed[0, 1, 2] + 1) % 8
    moved = (prior(changed, above, quality) != before).any(-1)
    places = {(0, 1, 3), (0, 2, 0), (0, 2, 1), (0, 2, 2), (0, 2, 3)}
    places |= {(0, 3, column) for column in range(4)}
    assert {tuple(place) for place in moved.nonzero().tolist()} == places


def test_it_learns(tmp_path: Path) -> None:
    run = trainer(tmp_path, 60)
    run.run()
    log = (tmp_path / "log.csv").read_text("utf-8")
    assert "bpp1" in log
    held = to_tensor(images(64, seed=9))
    before, learner = learner_of(), run.learner
    assert isinstance(learner, VqLearner)
    before.start(before.first_images(), seeded(1))
    costs = []
    for each in (before, learner):
        each.eval()
        found = each.measure(held)
        costs.append(found["bpp_50"] + 3.2e-4 * found["mse_50"])
        assert found["bpp_0"] <= found["bpp_100"] + 1e-6
    assert costs[1] < 0.9 * costs[0]


def test_a_run_that_goes_on_ends_as_one_that_never_stopped(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", 8)
    whole.run()
    first = trainer(tmp_path / "parts", 8)
    first.budget = Budget(steps=8)
    for _ in range(5):
        first.train_step(first.step / 8)
    first.save()
    again = trainer(tmp_path / "parts", 8)
    again.resume()
    again.run()
    expected, found = whole.learner.state_dict(), again.learner.state_dict()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_rate_makes_codes_cheaper() -> None:
    learner = learner_of()
    for step in range(40):
        learner.learn(step, step / 40)
    x, quality = to_tensor(images(32, seed=3)), torch.full((32,), 0.2)
    bits = []
    with torch.no_grad():
        for rate_step in (0, 10**6):
            learner.preset = dataclasses.replace(learner.preset, rate_step=rate_step)
            levels, _ = learner.code(x, quality)
            bits.append(sum(float(level.bits.sum()) for level in levels))
    assert bits[0] < 0.95 * bits[1]


def test_vectors_that_are_never_used_take_a_part_of_others() -> None:
    learner = learner_of()
    learner.start(learner.first_images(), seeded())
    level = learner.networks.level(1)
    with torch.no_grad():
        level.codebook[3] = 1e3
        learner.get_buffer("counts1")[3] = 0
        before = float(learner.get_buffer("counts1").sum())
    learner.split(1, seeded(2))
    counts = learner.get_buffer("counts1")
    assert counts[3] > 0
    assert float(counts.sum()) == pytest.approx(before)
    distances = (level.codebook - level.codebook[3]).square().sum(1)
    distances[3] = torch.inf
    assert distances.min() < 0.1


def test_the_error_is_of_levels() -> None:
    x = torch.zeros(2, 1, 4, 4)
    decoded = torch.stack([torch.full((1, 4, 4), 1 / 255), torch.full((1, 4, 4), 1.0)])
    torch.testing.assert_close(mean_squared_error(x, decoded), torch.tensor([1.0, 255.0**2]))
