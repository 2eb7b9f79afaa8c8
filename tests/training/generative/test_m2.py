"""Class-conditional VAEs: the losses against brute force, and learning from few labels."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitstream.errors import InputError
from codec.models.generative.weights_file import load_generative
from tests.benchmarks.tiny_dplc_set import write_idx
from training.commands import main as command
from training.generative.config import GENERATIVE_PRESETS, GenerativePreset
from training.generative.m2 import ClassVaeLearner, M2Learner, expected_cost
from training.generative.methods import generative_learner

TINY = GENERATIVE_PRESETS["digits-tiny"]
CLASSES = 2


def strokes(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Noisy strokes anywhere, vertical (label 0) or horizontal (1): uint8 images and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count)
    places = rng.integers(12, 16, count)
    images = np.zeros((count, 1, 28, 28), np.uint8)
    for image, label, place in zip(images[:, 0], labels, places, strict=True):
        lines = image if label else image.T
        lines[place - 2 : place + 2, 3:25] = 255
    return images, labels.astype(np.int64)


def preset(*, known_labels: int = 0, **changes: Any) -> GenerativePreset:
    likelihood = "bernoulli" if known_labels else "gaussian"
    model = dataclasses.replace(TINY.model, classes=CLASSES, likelihood=likelihood)
    return dataclasses.replace(
        TINY, model=model, known_labels=known_labels, class_weight=20.0, **changes
    )


def learner(count: int = 400, **options: Any) -> ClassVaeLearner:
    made = generative_learner(preset(**options), autocast=False)
    assert isinstance(made, ClassVaeLearner)
    images, labels = strokes(count)
    made.take_labels(labels)
    made.take(images)
    return made


def test_the_cost_without_a_label_is_its_sum() -> None:
    costs = torch.tensor([[3.0, 0.5], [1.0, 2.5], [2.0, 9.0]])
    logits = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0]])
    q = logits.softmax(1)
    expected = [
        sum(float(q[i, y]) * (float(costs[y, i]) + math.log(float(q[i, y]))) for y in range(3))
        for i in range(2)
    ]
    torch.testing.assert_close(expected_cost(costs, logits), torch.tensor(expected))


def test_the_best_classifier_costs_what_the_sum_over_labels_does() -> None:
    """min over q of Σ q (L + log q) = −log Σ exp(−L), where q is the posterior of the label."""
    costs = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)) * 3
    best = expected_cost(costs, -costs.T)
    torch.testing.assert_close(best, -torch.logsumexp(-costs, 0))
    assert (expected_cost(costs, torch.zeros(9, 4)) > best).all()


@pytest.mark.parametrize("known", [0, 20])
def test_all_labels_at_once_cost_what_each_does(known: int) -> None:
    made = learner(known_labels=known)
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1)).round()
    costs, kl, error = made.costs(x, torch.Generator().manual_seed(3))
    for label in range(CLASSES):
        value = made.values_of(np.full(5, label))
        nll, kl_of_one, error_of_one = made.terms(x, torch.Generator().manual_seed(3), value)
        torch.testing.assert_close(costs[label], nll + kl_of_one + math.log(CLASSES))
        torch.testing.assert_close(kl[label], kl_of_one)
        torch.testing.assert_close(error[label], error_of_one)


def test_known_labels_are_as_many_of_each_class() -> None:
    drawn = []
    for seed in (0, 1):
        made = learner(known_labels=20, seed=seed)
        assert isinstance(made, M2Learner)
        assert np.bincount(made.labels[made.known]).tolist() == [10, 10]
        assert made.share == 20 / len(made.images)
        drawn.append(made.known.tolist())
    assert drawn[0] != drawn[1]
    with pytest.raises(InputError, match="fewer than 300 images"):
        learner(known_labels=600)


def test_twenty_labels_teach_two_classes() -> None:
    made = learner(known_labels=20)
    before = made.validate()[0]
    for step in range(150):
        made.learn(step, step / 150)
    after = made.validate()[0]
    assert after["error_percent"] < 5 < before["error_percent"]
    assert after["nelbo_nats"] < before["nelbo_nats"] - 100
    # An unknown label never costs more than the worst label, and here hardly more than a known one.
    assert after["joint_nelbo_nats"] > after["nelbo_nats"] - 0.01


def test_a_label_that_is_given_is_used() -> None:
    made = learner()
    for step in range(150):
        made.learn(step, step / 150)
    images, labels = strokes(60, seed=9)
    x = torch.from_numpy(images.astype(np.float32) / 255)
    costs, _, _ = made.costs(x, torch.Generator().manual_seed(0))
    right = costs.argmin(0).numpy() == labels
    assert right.mean() > 0.95


def test_a_run_by_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = strokes(200)
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images[:, 0])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    monkeypatch.setitem(GENERATIVE_PRESETS, "class-tiny", preset(known_labels=20))
    words = ["class-tiny", "--data", str(tmp_path), "--run", str(tmp_path / "run")]
    assert command([*words, "--steps", "3"]) == 0
    assert command([*words, "--steps", "5", "--resume"]) == 0
    export = ["export", str(tmp_path / "run"), "--data", str(tmp_path), "-o", str(tmp_path)]
    assert command(export) == 0
    model = load_generative(tmp_path / "class-tiny.safetensors")
    assert model.classifier is not None
    assert model.config.classes == CLASSES
    assert "wrong classes of the classifier" in (tmp_path / "class-tiny.md").read_text("utf-8")
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert command([*words[:-1], str(tmp_path / "other"), "--steps", "3"]) == 3
