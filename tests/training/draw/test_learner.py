"""Training of DRAW: it learns, resumes, keeps its bounds, and exports what it learned."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bitstream.errors import InputError
from codec.datasets.arrays import Images
from codec.models.draw.exact import image_units
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import DrawConfig, Prior
from tests.codec.models.draw import tiny as tiny_draw
from tests.training.generative.test_learners import strokes
from training.data.small_images import box_average, to_tensor
from training.draw.config import DRAW_PRESETS, DrawPreset
from training.draw.learner import DrawLearner, Noise, Passed
from training.loop.trainer import Budget, Trainer

TINY = DRAW_PRESETS["draw-tiny"]
FILES = dataclasses.replace(tiny_draw.PRESET, side=16, batch=16)
COLOUR = dataclasses.replace(
    FILES, model=DrawConfig(3, "logistic", "gaussian", 2, 4, (6,), (2,)), mirror=True, cut=0.0
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner_of(preset: DrawPreset) -> DrawLearner:
    return DrawLearner(preset, autocast=False)


def images_of(preset: DrawPreset) -> Images:
    return strokes(160) if preset.model.channels == 1 else tiny_draw.scenes(120, seed=3, side=16)


def trainer(folder: Path, preset: DrawPreset, steps: int = 20) -> Trainer:
    learner = DrawLearner(preset)
    learner.take(images_of(preset))
    return Trainer(learner, folder, budget=Budget(steps=steps))


@pytest.mark.parametrize("name", sorted(DRAW_PRESETS))
def test_presets_fit_their_images(name: str) -> None:
    preset = DRAW_PRESETS[name]
    assert preset.side % preset.model.block == 0
    assert preset.optimizer in ("soap", "adam")
    with torch.device("meta"):
        network = DrawNetwork(preset.model)
        image = torch.zeros(2, preset.model.channels, preset.side, preset.side)
        if preset.model.knots > 1:
            network.set_quality(torch.zeros(2))
        state = network.recursion.begin(2, preset.side, preset.side)
        network.recursion.look(state, image, network.recursion.image_part(image))
        network.recursion.step(state, lambda level, prior: prior.mean)
    assert state.canvas.shape == (2, preset.model.canvas_channels, preset.side, preset.side)


@pytest.mark.parametrize(
    ("preset", "steps", "figure"),
    [(TINY, 20, "nelbo_nats"), (COLOUR, 60, "nelbo_nats"), (FILES, 30, "psnr_db_q75")],
    ids=["black-and-white", "colour", "files"],
)
def test_every_kind_learns(tmp_path: Path, preset: DrawPreset, steps: int, figure: str) -> None:
    run = trainer(tmp_path, preset, steps)
    (before,) = run.learner.validate()
    (after,) = run.run()
    assert all(math.isfinite(value) for value in after.values())
    if figure.startswith("psnr"):
        assert after[figure] > before[figure] + 0.5
    else:
        assert after[figure] < 0.96 * before[figure]
    assert run.learner.validate() == [after]  # the same noise every time


@pytest.mark.parametrize(
    "preset",
    [TINY, dataclasses.replace(TINY, optimizer="soap"), FILES],
    ids=["adam", "soap", "files"],
)
def test_a_resumed_run_goes_on_as_if_never_stopped(tmp_path: Path, preset: DrawPreset) -> None:
    def losses(run: Trainer, count: int) -> list[float]:
        return [run.train_step(0.5)["loss"] for _ in range(count)]

    whole, first = (trainer(tmp_path / name, preset) for name in ("whole", "cut"))
    losses(whole, 5)
    losses(first, 5)
    first.learner.validate()
    first.save()
    torch.manual_seed(77)
    second = trainer(tmp_path / "cut", preset)
    second.resume()
    expected = losses(whole, 4)
    assert losses(second, 4) == expected
    assert len(set(expected)) > 1
    state = whole.learner.state_dict()
    for name, value in second.learner.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_loss_that_is_not_finite_changes_no_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, TINY)
    assert isinstance(run.learner, DrawLearner)
    with torch.no_grad():
        run.learner.network.start.fill_(math.nan)
    before = {k: v.clone() for k, v in run.learner.state_dict().items() if "start" not in k}
    assert math.isnan(run.train_step(0.5)["loss"])
    after = run.learner.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def figures_of(preset: DrawPreset, fraction: float) -> dict[str, float]:
    learner = learner_of(preset)
    images = to_tensor(strokes(16))
    return learner.train_step(lambda: images, seeded(3), fraction)


def test_the_loss_is_made_of_the_figures() -> None:
    plain = figures_of(TINY, 0.1)
    assert plain["loss"] == pytest.approx(plain["nelbo_nats"])
    assert plain["nelbo_nats"] == pytest.approx(plain["distortion_nats"] + plain["kl_nats"])
    scaled = figures_of(dataclasses.replace(TINY, cost_scale=0.25), 0.1)
    assert scaled["loss"] == pytest.approx(0.25 * plain["distortion_nats"] + plain["kl_nats"])
    assert scaled["nelbo_nats"] == pytest.approx(plain["nelbo_nats"])


@pytest.mark.parametrize(("fraction", "weight"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1), (0.9, 1)])
def test_warmup_raises_the_weight_of_the_kl(fraction: float, weight: float) -> None:
    figures = figures_of(dataclasses.replace(TINY, kl_warmup=0.4), fraction)
    expected = figures["distortion_nats"] + weight * figures["kl_nats"]
    assert figures["loss"] == pytest.approx(expected)


def test_free_nats_are_of_each_step_and_level() -> None:
    learner = learner_of(TINY)
    noise = seeded(3)
    image = learner.prepare(to_tensor(strokes(16)), noise)
    each = learner(image, Noise(noise)).rates.mean(0)
    assert each.shape == (2,)
    free = float(each.detach().mean())  # between the two
    assert each.min() < free < each.max()
    figures = figures_of(dataclasses.replace(TINY, free_nats=free), 0.5)
    expected = figures["distortion_nats"] + free + float(each.detach().max())
    assert figures["loss"] == pytest.approx(expected, rel=1e-5)
    assert figures["kl_nats"] == pytest.approx(float(each.detach().sum()), rel=1e-5)
    figures = figures_of(dataclasses.replace(TINY, free_nats=50.0), 0.5)
    assert figures["loss"] == pytest.approx(figures["distortion_nats"] + 100)


@torch.no_grad()
def test_cut_images_have_nothing_in_their_last_steps() -> None:
    learner = tiny_draw.trained()
    config, network = learner.config, learner.network
    image = learner.prepare(to_tensor(tiny_draw.scenes(3, seed=60)), None)
    network.set_quality(torch.tensor([0.1, 0.5, 0.9]))
    try:
        whole = learner(image, Noise(None))
        canvas, rates = learner(image, Noise(None), torch.tensor([1, 3, 2]))
        assert rates.shape == (3, config.steps * config.levels)
        assert (whole.rates > 0).all()
        sent = torch.tensor([[1, 1, 0, 0, 0, 0], [1] * 6, [1, 1, 1, 1, 0, 0]])
        torch.testing.assert_close(rates, whole.rates * sent)
        torch.testing.assert_close(canvas[1], whole.canvas[1])
        # The canvas of a prefix, in which the last steps take the prior's mean.
        recursion = network.recursion
        state = recursion.begin(3, *image.shape[2:])
        part = recursion.image_part(image)
        for step in range(config.steps):
            recursion.look(state, image, part)
            kept = float(step < 1)

            def choose(level: int, prior: Prior, kept: float = kept) -> Tensor:
                return kept * recursion.posterior(state, level).round()

            recursion.step(state, choose)
        torch.testing.assert_close(canvas[0], state.canvas[0])
    finally:
        network.set_quality(None)


def test_a_share_of_the_images_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = dataclasses.replace(FILES, batch=400, cut=0.25)
    learner = learner_of(preset)
    seen: list[Tensor] = []

    def forward(image: Tensor, noise: Noise, kept: Tensor) -> None:
        seen.append(kept)
        raise InterruptedError

    monkeypatch.setattr(learner, "forward", forward)
    images = torch.zeros(400, 3, 8, 8)
    with pytest.raises(InterruptedError):
        learner.train_step(lambda: images, seeded(1), 0.5)
    counts = torch.bincount(seen[0], minlength=4).tolist()
    assert counts[0] == 0
    assert counts[3] == pytest.approx(300, abs=30)
    assert counts[1] == pytest.approx(50, abs=25)


def test_one_step_cannot_be_cut() -> None:
    model = dataclasses.replace(FILES.model, steps=1)
    learner = learner_of(dataclasses.replace(FILES, model=model))
    images = to_tensor(tiny_draw.scenes(4, side=16))
    assert math.isfinite(learner.train_step(lambda: images, seeded(1), 0.5)["loss"])


def test_trade_offs_are_geometric_between_the_ends() -> None:
    learner = learner_of(dataclasses.replace(FILES, trade_offs=(1e-4, 1e-2)))
    found = learner.trade_off(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.tensor([1e-4, 1e-3, 1e-2]))


def test_missing_steps_lower_the_trade_off(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = dataclasses.replace(FILES, batch=64, cut=0.5, trade_offs=(1.0, 1.0))
    images, steps = torch.zeros(64, 3, 8, 8), preset.model.steps
    seen: list[Tensor] = []

    def loss_of(factor: float) -> float:
        learner = learner_of(dataclasses.replace(preset, missing_step=factor))

        def forward(image: Tensor, noise: Noise, kept: Tensor) -> Passed:
            seen.append(kept)
            nothing = next(learner.parameters()).sum() * 0
            return Passed(torch.ones_like(image) + nothing, torch.zeros(64, 1))

        monkeypatch.setattr(learner, "forward", forward)
        return learner.train_step(lambda: images, seeded(1), 0.5)["loss"]

    whole, halved = loss_of(1.0), loss_of(0.5)
    assert halved / whole == pytest.approx(float((0.5 ** (steps - seen[0])).mean()), rel=1e-5)
    assert halved < 0.9 * whole


def test_squared_error_is_in_levels() -> None:
    learner = learner_of(FILES)
    levels = tiny_draw.scenes(2, side=16)
    image = learner.prepare(to_tensor(levels), None)
    other = -image
    error = learner.distortion(other, image)
    expected = np.square(255.0 - 2.0 * levels).sum(axis=(1, 2, 3))
    torch.testing.assert_close(error, torch.from_numpy(expected).float())


def test_images_are_what_the_exact_network_sees() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)
    found = learner_of(FILES).prepare(to_tensor(levels), None)
    units = image_units(torch.from_numpy(levels), FILES.model)
    assert torch.equal(found.double() * 4096, units)


def test_half_of_the_images_are_mirrored_in_training_only() -> None:
    learner = learner_of(COLOUR)
    images = torch.arange(16.0).expand(200, 3, 16, 16) / 255
    plain = learner.prepare(images, None)
    mirrored = learner.prepare(images, seeded(1))
    flipped = [torch.equal(m, p.flip(2)) for m, p in zip(mirrored, plain, strict=True)]
    same = [torch.equal(m, p) for m, p in zip(mirrored, plain, strict=True)]
    assert sum(flipped) + sum(same) == 200
    assert 70 < sum(flipped) < 130


def test_black_and_white_is_drawn_anew_in_training() -> None:
    learner = learner_of(TINY)
    images = torch.full((40, 1, 28, 28), 0.3)
    found = learner.prepare(images, seeded(1))
    assert set(found.flatten().tolist()) == {0.0, 1.0}
    assert float(found.mean()) == pytest.approx(0.3, abs=0.02)
    assert not torch.equal(found, learner.prepare(images, seeded(2)))


def test_boxes_are_averaged() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 2, 6, 9)).astype(np.uint8)
    found = box_average(images, 3)
    assert (found.shape, found.dtype) == ((3, 2, 2, 3), np.dtype(np.uint8))
    for place in np.ndindex(found.shape):
        n, c, y, x = place
        box = images[n, c, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3].astype(int)
        assert found[place] == round(box.sum() / 9)
    half = np.array([[[[0, 1], [1, 0]]], [[[1, 2], [2, 1]]]], dtype=np.uint8)
    assert box_average(half, 2).ravel().tolist() == [0, 2]  # halves to even
    assert box_average(images, 1) is images


def save_scenes(folder: Path, count: int, side: int, seed: int) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(tiny_draw.scenes(count, seed, side)):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number:02}.png")


def test_images_of_a_preset(tmp_path: Path) -> None:
    save_scenes(tmp_path / "train", 3, 32, 1)
    save_scenes(tmp_path / "test", 2, 32, 2)
    reduced = dataclasses.replace(FILES, reduce=2)
    for part, seed, count in (("train", 1, 3), ("test", 2, 2)):
        found = reduced.read(tmp_path, part=part)
        np.testing.assert_array_equal(found, box_average(tiny_draw.scenes(count, seed, 32), 2))
    with pytest.raises(InputError, match="expected 16×16"):
        dataclasses.replace(FILES, reduce=1).read(tmp_path)


def test_crops_of_photographs(tmp_path: Path) -> None:
    save_scenes(tmp_path / "train", 3, 40, 1)
    save_scenes(tmp_path / "test", 2, 24, 2)
    preset = dataclasses.replace(FILES, crops=7, validation=4)
    crops = preset.read(tmp_path)
    assert crops.shape == (7, 3, 16, 16)
    np.testing.assert_array_equal(crops, preset.read(tmp_path))
    assert len(np.unique(crops.reshape(7, -1), axis=0)) == 7
    assert _is_a_crop(crops[0], tiny_draw.scenes(3, 1, 40))
    test = preset.read(tmp_path, part="test")
    assert test.shape == (4, 3, 16, 16)
    assert _is_a_crop(test[0], tiny_draw.scenes(2, 2, 24))
    with pytest.raises(InputError):
        dataclasses.replace(preset, side=48).read(tmp_path)


def _is_a_crop(crop: Images, photographs: Images) -> bool:
    side = crop.shape[1]
    windows: Any = np.lib.stride_tricks.sliding_window_view(
        photographs, (1, crop.shape[0], side, side)
    )[:, 0, :, :, 0]
    variants: list[Any] = [crop, crop.transpose(0, 2, 1)]
    variants += [variant[:, :, ::-1] for variant in variants] + [
        variant[:, ::-1] for variant in variants
    ]
    return any(bool((windows == variant).all(axis=(-3, -2, -1)).any()) for variant in variants)
