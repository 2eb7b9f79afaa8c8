"""Training of the autoregressive models: fixed digits, the best weights, and their export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import codec
from codec import loading
from codec.models.autoregressive.config import AutoregressiveConfig
from tests.codec.models.autoregressive.tiny import pictures
from training.autoregressive.config import AUTOREGRESSIVE_PRESETS
from training.autoregressive.learner import AutoregressiveLearner
from training.autoregressive.network import autoregressive_network
from training.commands import main

TINY = AUTOREGRESSIVE_PRESETS["digits-pixelcnn-tiny"]
CONFIGS = pytest.mark.parametrize(
    "config",
    [
        AutoregressiveConfig("fvsbn"),
        AutoregressiveConfig("made", hidden=20),
        AutoregressiveConfig("pixelcnn", hidden=16, layers=2),
    ],
    ids=lambda config: config.kind,
)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A hundred blobs, as grey images."""
    sheet = pictures(10, 10, seed=3).reshape(10, 28, 10, 28).swapaxes(1, 2)
    path = tmp_path / "digits.npy"
    np.save(path, np.where(sheet > 0, 230, 10).astype(np.uint8).reshape(100, 1, 28, 28))
    return path


@CONFIGS
def test_no_pixel_is_told_what_it_is(config: AutoregressiveConfig) -> None:
    torch.manual_seed(0)
    network = autoregressive_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
    image = torch.rand(1, 1, 28, 28).round().requires_grad_()
    for place in (0, 27, 28, 400, 783):
        (gradient,) = torch.autograd.grad(network(image).flatten()[place], image)
        seen = gradient.flatten() != 0
        assert not seen[place:].any()
        assert place < 2 or seen[:place].any()


def test_images_are_binarised_once(digits: Path) -> None:
    images = TINY.read(digits)
    assert set(np.unique(images)) == {0, 255}
    np.testing.assert_array_equal(images, TINY.read(digits))
    # White with the probability 230 / 255, not by a threshold.
    grey = np.load(digits)
    assert 0.87 < (images[grey == 230] == 255).mean() < 0.93
    assert 0.02 < (images[grey == 10] == 255).mean() < 0.06


@CONFIGS
def test_the_best_weights_are_kept(config: AutoregressiveConfig, digits: Path) -> None:
    preset = replace(TINY, model=config)
    learner = AutoregressiveLearner(preset, autocast=False)
    learner.take(preset.read(digits))
    first = learner.validate()[0]["nats"]
    for step in range(30):
        learner.learn(step, step / 30)
    (row,) = learner.validate()
    assert row["nats"] == row["best_nats"] < first - 20
    best = {name: value.clone() for name, value in learner.best.state_dict().items()}
    with torch.no_grad():  # worse weights must not replace them
        for parameter in learner.average.module.parameters():
            parameter.add_(1)
    (worse,) = learner.validate()
    assert worse["nats"] > worse["best_nats"] == row["best_nats"]
    for name, value in learner.best.state_dict().items():
        assert torch.equal(value, best[name])


def test_a_run_becomes_a_codec(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, weights = tmp_path / "run", tmp_path / "weights"
    words = ["train", "digits-pixelcnn-tiny", "--data", str(digits), "--run", str(run)]
    assert main([*words, "--steps", "3", "--no-autocast"]) == 0
    assert main([*words, "--steps", "6", "--no-autocast", "--resume"]) == 0
    assert main(["export", str(run), "--data", str(digits), "-o", str(weights)]) == 0
    card = (weights / "digits-pixelcnn-tiny.md").read_text("utf-8")
    assert "Held-out training images take" in card
    assert "nan" not in card
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(weights))
    sheet = pictures(3, 4, seed=9)
    data = codec.compress(sheet, model="digits-pixelcnn")
    assert codec.inspect(data).weights_hash in card
    np.testing.assert_array_equal(codec.decompress(data, as_="numpy").reshape(sheet.shape), sheet)
