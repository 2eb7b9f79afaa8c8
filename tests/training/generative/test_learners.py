"""Training of generative models: every family learns, resumes, and exports its networks."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitstream.errors import InputError, UsageError
from codec.datasets.arrays import Images
from codec.models.generative.networks import Decoder
from codec.models.generative.weights_file import load_generative, save_generative
from codec.priors import GaussianMixture, StandardNormal
from tests.benchmarks.tiny_dplc_set import write_idx
from training.commands import main as export
from training.commands import main as train
from training.data.small_images import BatchSampler, to_tensor
from training.dplc.config import DPLC_PRESETS
from training.generative.config import GENERATIVE_PRESETS, GenerativePreset
from training.generative.flow import FlowLearner
from training.generative.gan import AdversarialLearner
from training.generative.learner import GenerativeLearner, new_decoder, new_encoder
from training.generative.methods import generative_learner
from training.generative.vae import VaeLearner
from training.loop.checkpoint import load_checkpoint
from training.loop.trainer import Budget, Trainer

TINY = GENERATIVE_PRESETS["digits-tiny"]


def strokes(count: int, *, seed: int = 0) -> Images:
    """White blots on black that move along an ellipse: uint8 (count, 1, 28, 28)."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, count), rng.uniform(4, 9, count)
    y, x = np.mgrid[:28, :28]
    top, left = 14 + radius * np.sin(angle), 14 + radius * np.cos(angle)
    square = (y - top[:, None, None]) ** 2 + (x - left[:, None, None]) ** 2
    images: Images = (255 * np.exp(-square / 12)).astype(np.uint8)[:, None]
    return images


def preset(family: str, **changes: Any) -> GenerativePreset:
    """A tiny preset of each family; "binary", "conv", "rmse", "wpp" are variants."""
    model = TINY.model
    if family == "binary":
        model = dataclasses.replace(model, likelihood="bernoulli")
    elif family in ("gan", "conv"):
        model = dataclasses.replace(model, family="gan", likelihood=None)
        changes = {"critic": (32, 16), "critic_steps": 2, "betas": (0.5, 0.9), **changes}
        if family == "conv":
            model = dataclasses.replace(model, architecture="conv", hidden=(4, 8))
            changes = {**changes, "critic": (4, 8), "bre_weight": 1.0, "batch": 16}
    elif family != "vae":
        kind = {"rmse": "wae", "wpp": "wae"}.get(family, family)
        sizes: dict[str, Any] = {"flow_blocks": 2, "flow_width": 8, "flow_steps": 2}
        flow = sizes if kind == "flow" else {}
        model = dataclasses.replace(model, family=kind, likelihood=None, **flow)
        rmse: dict[str, Any] = {"mmd_weight": 0.1, "reconstruction": "rmse"}
        critic = {"critic": (32, 16), "critic_steps": 2, "critic_weight": 0.01, "critic_rate": 0.5}
        weights: dict[str, dict[str, Any]] = {
            "wae": {"mmd_weight": 10.0},
            "rmse": rmse,
            "wpp": {**rmse, **critic, "bre_weight": 1.0, "penalty_norm": "channels"},
            "rae": {"code_penalty": 0.01, "components": 2},
            "flow": {"error_weight": 10.0, "code_penalty": 0.1, "gradient_clip": 200.0},
        }
        changes = {**weights[family], **changes}
    return dataclasses.replace(TINY, model=model, **changes)


def trainer_of(folder: Path, preset: GenerativePreset, steps: int) -> Trainer:
    learner = generative_learner(preset)
    learner.take(strokes(256))
    return Trainer(learner, folder, budget=Budget(steps=steps))


def trainer(folder: Path, family: str, steps: int, **changes: Any) -> Trainer:
    return trainer_of(folder, preset(family, **changes), steps)


def validate(run: Trainer) -> dict[str, float]:
    (figures,) = run.learner.validate()
    return figures


FAMILIES = ("vae", "binary", "wae", "rmse", "wpp", "rae", "flow", "gan", "conv")
FIGURE = {
    **dict.fromkeys(("vae", "binary"), "nelbo_nats"),
    **dict.fromkeys(("wae", "rmse", "wpp", "rae", "flow"), "sse"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns(tmp_path: Path, family: str) -> None:
    steps = 50 if family in ("conv", "wpp") else 100
    run = trainer(tmp_path, family, steps)
    # A rae compares samples only after its prior is fitted.
    figure = FIGURE.get(family, "nearest_sample_sse")
    start = validate(run)
    assert math.isnan(start["nearest_sample_sse"]) == (family == "rae")
    before = start[figure]
    (after,) = run.run()
    assert run.finished
    assert all(math.isfinite(value) for value in after.values())
    gain = 20.0 if family == "vae" else 0.1 * before
    assert after[figure] < before - gain
    with (tmp_path / "validation.csv").open() as file:
        *_, last = csv.DictReader(file)
    assert int(last["step"]) == steps
    assert float(last[figure]) == after[figure]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_run_goes_on_as_if_never_stopped(tmp_path: Path, family: str) -> None:
    def losses(run: Trainer, count: int) -> list[float]:
        return [run.train_step(0.5)["loss"] for _ in range(count)]

    whole, first = (trainer(tmp_path / n, family, 20) for n in ("whole", "cut"))
    losses(whole, 6)
    losses(first, 6)
    first.learner.validate()
    first.save()
    torch.manual_seed(77)
    second = trainer(tmp_path / "cut", family, 20)
    second.resume()
    assert second.step == 6
    expected = losses(whole, 6)
    assert len(set(expected)) > 1
    np.testing.assert_allclose(losses(second, 6), expected, rtol=1e-5)


def flow_learner(run: Trainer) -> FlowLearner:
    assert isinstance(run.learner, FlowLearner)
    return run.learner


@pytest.mark.parametrize("given", ["flow", "gan"])
def test_a_decoder_that_is_given_stays_as_it_is(tmp_path: Path, given: str) -> None:
    decoder = new_decoder(preset(given))
    run = trainer(tmp_path, "flow", 20)
    learner = flow_learner(run)
    learner.start_from(decoder)
    before = copy.deepcopy(learner.state_dict())
    run.train_step(0.1)
    run.save()
    second = trainer(tmp_path, "flow", 20)
    second.resume()
    second.train_step(0.5)
    after = second.learner.state_dict()
    for name, value in decoder.layers.state_dict().items():
        assert torch.equal(after[f"decoder.layers.{name}"], value)
        assert torch.equal(after[f"average.module.layers.{name}"], value)
    for network in ("encoder.", "decoder.flow.", "average.module.flow."):
        moved = [n for n, value in before.items() if not torch.equal(after[n], value)]
        assert any(name.startswith(network) for name in moved)


def test_the_autoencoder_learns_first_and_then_the_flow(tmp_path: Path) -> None:
    run = trainer(tmp_path, "flow", 20)
    parameters = dict(run.learner.named_parameters())
    velocity = {name for name in parameters if name.startswith("decoder.flow.velocity.")}
    others = {name for name in parameters if not name.startswith("average.")} - velocity
    assert velocity
    for fraction, learned, kept in ((0.1, others, velocity), (0.5, velocity, others)):
        before = copy.deepcopy(parameters)
        figures = run.train_step(fraction)
        assert math.isnan(figures["sse"]) == (fraction == 0.5)
        assert math.isnan(figures["matching"]) == (fraction == 0.1)
        moved = {n for n, value in parameters.items() if not torch.equal(value, before[n])}
        assert moved & learned
        assert not moved & kept


def test_the_rate_of_a_flow_is_the_divergence_of_the_normal_prior() -> None:
    learner = generative_learner(preset("flow"))
    assert isinstance(learner, FlowLearner)
    flow, images = learner.average.module.flow, to_tensor(strokes(100))
    assert flow is not None
    with torch.no_grad():
        for parameter in (flow.shift, flow.log_scale):
            parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
        means = learner.encoder(images)[0]
    posterior = torch.distributions.Normal(means, 1)
    prior = torch.distributions.Normal(flow.shift, flow.log_scale.exp())
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1).mean()
    assert learner.measure(images)["rate_nats"] == pytest.approx(float(expected), rel=1e-5)


def test_the_averaged_generator_is_what_a_gan_exports(tmp_path: Path) -> None:
    run = trainer(tmp_path, "gan", 20, ema_decay=0.9)
    run.run()
    assert isinstance(run.learner, GenerativeLearner)
    exported, state = run.learner.model().decoder, run.learner.state_dict()
    for key, value in exported.state_dict().items():
        assert torch.equal(value, state[f"average.module.{key}"])
        assert not torch.equal(value, state[f"decoder.{key}"])


def test_wasserstein_plus_plus_exports_both_averages(tmp_path: Path) -> None:
    run = trainer(tmp_path, "wpp", 6, ema_decay=0.9)
    run.run()
    assert isinstance(run.learner, GenerativeLearner)
    model, state = run.learner.model(), run.learner.state_dict()
    assert model.config.family == "wae"
    assert model.encoder is not None
    for network, average, current in (
        (model.decoder, "average.module", "decoder"),
        (model.encoder, "encoder_average.module", "encoder"),
    ):
        for key, value in network.state_dict().items():
            assert torch.equal(value, state[f"{average}.{key}"])
            assert not torch.equal(value, state[f"{current}.{key}"])


def test_the_critic_has_a_rate_of_its_own(tmp_path: Path) -> None:
    run = trainer(tmp_path, "wpp", 6)
    run.train_step(0.5)
    rates = {k: o.param_groups[0]["lr"] for k, o in run.learner.optimizers.items()}
    assert rates["critic"] == pytest.approx(0.5 * rates["adam"])


def test_deep_tanh_networks_pass_their_input_on() -> None:
    deep = GENERATIVE_PRESETS["mnist-vae-10"]
    images = to_tensor(strokes(64))

    def spread(preset: GenerativePreset) -> float:
        torch.manual_seed(0)
        with torch.no_grad():
            return float(new_encoder(preset)(images)[0].std(0).mean())

    assert spread(deep) > 4 * spread(dataclasses.replace(deep, xavier=False))


def test_a_deep_vae_starts_at_the_mean_image_and_not_its_negative(tmp_path: Path) -> None:
    model = dataclasses.replace(TINY.model, hidden=(64, 64, 64))
    deep = dataclasses.replace(TINY, model=model, xavier=True)
    learner = generative_learner(deep)
    learner.take(strokes(256))
    codes = torch.randn(500, TINY.model.code, generator=torch.Generator().manual_seed(0))
    decoder = learner.model().decoder
    with torch.no_grad():
        brightness = decoder(codes).flatten(1).mean(1)
        centre = decoder(torch.zeros(1, TINY.model.code))[0]
    mean = to_tensor(learner.images).mean(0)
    torch.testing.assert_close(centre, mean.clamp(0.01, 0.99))
    assert brightness.max() < 0.4  # a negative of these dark images is at 0.9


def test_the_variance_moves_faster_than_the_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, "vae", 10, warmup_steps=1)
    assert isinstance(run.learner, VaeLearner)
    variance, bias = run.learner.log_variance, run.learner.decoder.layers[-1].bias
    assert isinstance(bias, torch.Tensor)
    before = variance.item(), bias.detach().clone()
    run.train_step(0.0)  # the first step of Adam is as long as its learning rate
    rate = TINY.learning_rate
    assert abs(variance.item() - before[0]) == pytest.approx(10 * rate, rel=1e-3)
    assert (bias.detach() - before[1]).abs().max().item() == pytest.approx(rate, rel=1e-3)


def test_bre_changes_what_the_critic_learns(tmp_path: Path) -> None:
    with_bre, without = (
        trainer(tmp_path / str(weight), "gan", 5, bre_weight=weight) for weight in (1.0, 0.0)
    )
    assert with_bre.train_step(0.5)["critic_loss"] > without.train_step(0.5)["critic_loss"]


def test_batches_are_epochs() -> None:
    images = strokes(10)
    images[:, 0, 0, 0] = np.arange(10)  # so that each can be identified
    sampler = BatchSampler(images, batch=5, seed=1)
    told = [(sampler(k)[:, 0, 0, 0] * 255).round().int().tolist() for k in range(4)]
    assert sorted(told[0] + told[1]) == sorted(told[2] + told[3]) == list(range(10))
    assert told[0] != told[2]
    again = BatchSampler(images, batch=5, seed=1)
    torch.testing.assert_close(again(3), sampler(3))
    assert not torch.equal(BatchSampler(images, batch=5, seed=2)(0), again(0))
    assert len(BatchSampler(images, batch=99, seed=1)(0)) == 10


def test_held_out_images_are_the_last_and_never_trained_on(tmp_path: Path) -> None:
    learner = generative_learner(TINY)
    learner.take(strokes(256))
    np.testing.assert_array_equal(learner.held_out, strokes(256)[-64:])
    assert len(learner.images) == 192
    with pytest.raises(InputError, match="64 are held out"):
        learner.take(strokes(64))


def test_a_loss_that_stays_not_finite_changes_no_weights_and_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path, "vae", 100)
    assert isinstance(run.learner, VaeLearner)
    terms = run.learner.terms
    monkeypatch.setattr(
        run.learner, "terms", lambda *given: tuple(math.nan * term for term in terms(*given))
    )
    before = {k: v.clone() for k, v in run.learner.state_dict().items()}
    with pytest.raises(UsageError, match="20 steps in a row was not finite at step 20"):
        run.run()
    for key, value in run.learner.state_dict().items():
        assert torch.equal(value, before[key])
    assert load_checkpoint(run.checkpoint_path)["step"] == 0


@pytest.mark.parametrize("family", ["vae", "gan"])
def test_weights_that_are_lost_come_back_from_the_checkpoint(tmp_path: Path, family: str) -> None:
    run = trainer(tmp_path, family, 20)
    run.train_step(0.0)
    run.save()
    assert isinstance(run.learner, VaeLearner | AdversarialLearner)
    with torch.no_grad():
        next(run.learner.decoder.parameters()).fill_(math.nan)
    run.run()
    assert (run.step, run.dropped, run.rate_factor) == (20, run.patience, 0.5)
    assert all(torch.isfinite(value).all() for value in run.learner.state_dict().values())


def test_other_sizes_do_not_resume(tmp_path: Path) -> None:
    run = trainer(tmp_path, "vae", 5)
    run.save()
    model = dataclasses.replace(TINY.model, code=7)
    other = trainer_of(tmp_path, dataclasses.replace(TINY, model=model), 5)
    with pytest.raises(UsageError, match="'code': 7"):
        other.resume()


@pytest.mark.parametrize("name", sorted(GENERATIVE_PRESETS))
def test_presets_fit_their_images(name: str) -> None:
    preset = GENERATIVE_PRESETS[name]
    with torch.device("meta"):
        image = Decoder(preset.model)(torch.zeros(2, preset.model.code + preset.model.classes))
    channels, *sides = image.shape[1:]
    sizes = {"dplc-64": (3, 64), "dplc-32": (3, 32)}
    expected = next((size for start, size in sizes.items() if name.startswith(start)), (1, 28))
    assert (channels, *{side - 2 * preset.pad for side in sides}) == expected
    assert (preset.crop is None) == (channels == 1)
    assert bool(preset.critic) == (preset.method in ("gan", "wpp"))
    assert bool(preset.critic_weight) == (preset.method == "wpp")
    of_classes = None
    if preset.model.classes:
        of_classes = {0: "class-vae", 100: "m2"}[preset.known_labels]
    assert preset.method in ("wpp", of_classes or preset.model.family)


def test_generators_of_the_codec_are_of_its_sizes() -> None:
    for start, count, codecs in (
        ("dplc-digits", 6, ("dplc-digits", "dplc-digits-wasserstein")),
        ("dplc-32", 1, ("dplc-32",)),
        ("dplc-64", 3, ("dplc-64",)),
    ):
        presets = [p for name, p in GENERATIVE_PRESETS.items() if name.startswith(start)]
        assert len(presets) == count
        expected = [DPLC_PRESETS[name].model.generator for name in codecs]
        for preset in presets:
            flow = preset.model.family == "flow"
            model = preset.model if flow else dataclasses.replace(preset.model, family="gan")
            assert model in expected
            assert (preset.pad, preset.crop) == (DPLC_PRESETS[start].pad, DPLC_PRESETS[start].crop)


@pytest.mark.parametrize("option", ["crop", "seed"])
def test_runs_do_not_go_on_with_other_images(tmp_path: Path, option: str) -> None:
    trainer(tmp_path, "wae", 5, **{option: 20}).save()
    trainer(tmp_path, "wae", 5, **{option: 20}).resume()
    with pytest.raises(UsageError, match=f"made with {option} 20, but this run has 0"):
        trainer(tmp_path, "wae", 5, **{option: 0}).resume()


def save_idx(folder: Path) -> Path:
    """A data set in files like MNIST's, with a training and a test part."""
    folder.mkdir()
    for name, images in (("train", strokes(200)), ("t10k", strokes(50, seed=1))):
        sizes = b"".join(size.to_bytes(4, "big") for size in (len(images), 28, 28))
        path = folder / f"{name}-images-idx3-ubyte"
        path.write_bytes(bytes([0, 0, 8, 3]) + sizes + images.tobytes())
    return folder


def test_command_trains_resumes_and_exports(tmp_path: Path) -> None:
    data, run, output = save_idx(tmp_path / "data"), tmp_path / "run", tmp_path / "weights"
    common = ["digits-tiny", "--data", str(data), "--run", str(run)]
    assert train([*common, "--steps", "5"]) == 0
    assert train([*common, "--steps", "9"]) == UsageError.exit_code  # it would be overwritten
    assert train([*common, "--steps", "9", "--resume"]) == 0
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 9
    told = ["--data-description", "strokes", "--licence", "CC0-1.0", "--command", "as tested"]
    arguments = ["export", str(run), "-o", str(output), *told]
    assert export([*arguments, "--data", str(data)]) == 0
    card = (output / "digits-tiny.md").read_text("utf-8")
    for word in ("strokes", "CC0-1.0", "as tested", "| steps | 9 ", "StandardNormal(4)"):
        assert word in card
    model = load_generative(output / "digits-tiny.safetensors")
    assert model.config == TINY.model
    assert model.card["command"] == "as tested"
    assert isinstance(model.prior, StandardNormal)
    figures = json.loads(model.card["validation"])
    assert model.variance == pytest.approx(figures["variance"], abs=1e-4)
    # The test column has the figures of the file.
    assert model.encoder is not None
    x = to_tensor(strokes(50, seed=1))
    with torch.no_grad():
        mean, log_variance = model.encoder(x)
        assert log_variance is not None
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    row = next(line for line in card.splitlines() if line.startswith("| KL"))
    assert float(row.split("|")[-2]) == pytest.approx(float(kl), abs=2e-4)


@pytest.mark.parametrize("family", ["rae", "gan", "wpp", "flow"])
def test_export_of_other_families(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GENERATIVE_PRESETS, "x", preset(family))
    data, run, output = save_idx(tmp_path / "data"), tmp_path / "run", tmp_path / "weights"
    # Only the labels of the training part are needed.
    write_idx(data / "train-labels-idx1-ubyte", (np.arange(200) % 3).astype(np.uint8))
    steps = ["--steps", "5" if family == "wpp" else "30"]
    assert train(["x", "--data", str(data), "--run", str(run), *steps]) == 0
    arguments = ["export", str(run), "-o", str(output), "--data", str(data), "--full"]
    assert export(arguments) == 0
    model = load_generative(output / "x.safetensors")
    assert isinstance(model.prior, GaussianMixture) == (family == "rae")
    assert (model.encoder is None) == (family in ("gan", "flow"))
    assert model.prior.sample(2, torch.Generator()).shape == (2, TINY.model.code)
    first = (output / "x.safetensors").read_bytes()
    assert export(arguments) == 0
    assert (output / "x.safetensors").read_bytes() == first


def test_a_flow_is_trained_for_a_given_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights = save_idx(tmp_path / "data"), tmp_path / "weights"
    monkeypatch.setitem(GENERATIVE_PRESETS, "x", preset("gan"))
    monkeypatch.setitem(GENERATIVE_PRESETS, "y", preset("flow"))
    common = ["--data", str(data), "--steps", "2", "--run"]
    assert train(["x", *common, str(tmp_path / "x")]) == 0
    assert export(["export", str(tmp_path / "x"), "-o", str(weights)]) == 0
    given = ["--weights", str(weights / "x.safetensors")]
    assert train(["y", *common, str(tmp_path / "y"), *given]) == 0
    state = torch.load(tmp_path / "y" / "checkpoint.pt", weights_only=True)["learner"]["networks"]
    for name, value in load_generative(weights / "x.safetensors").decoder.state_dict().items():
        assert torch.equal(state[f"decoder.{name}"], value)
    again = ["y", *common, str(tmp_path / "y"), "--resume", "--weights"]
    assert train([*again, *given[1:]]) == 0
    other = load_generative(weights / "x.safetensors")
    with torch.no_grad():
        next(other.decoder.parameters()).add_(1)
    save_generative(weights / "other.safetensors", other)
    assert train([*again, str(weights / "other.safetensors")]) == UsageError.exit_code
    assert "is not the generator of the run" in capsys.readouterr().err
    assert train(["x", *common, str(tmp_path / "z"), *given]) == UsageError.exit_code
    assert "only a preset with a flow" in capsys.readouterr().err


def test_another_seed_is_another_run_of_the_preset(tmp_path: Path) -> None:
    data, states = save_idx(tmp_path / "data"), []
    for number, seed in enumerate(([], ["--seed", "0"], ["--seed", "5"])):
        run = tmp_path / str(number)
        common = ["digits-tiny", "--data", str(data), "--run", str(run), "--steps", "1"]
        assert train([*common, *seed]) == 0
        states.append(torch.load(run / "checkpoint.pt", weights_only=True)["learner"]["networks"])
    first, again, other = (state["decoder.layers.0.weight"] for state in states)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_unfinished_run_is_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(tmp_path / "run", "vae", 5)
    run.save()
    arguments = ["export", str(tmp_path / "run"), "-o", str(tmp_path / "out")]
    assert export(arguments) == InputError.exit_code
    assert "has not ended" in capsys.readouterr().err
    assert export(["export", str(tmp_path)]) == InputError.exit_code


@pytest.mark.parametrize(
    "extra",
    [["--weights", "a.safetensors"], ["--validation", "a"], ["--crop", "9"], ["--device", "cuda"]],
)
def test_options_of_other_presets_are_refused(
    tmp_path: Path,
    extra: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data = save_idx(tmp_path / "data")
    run = ["--run", str(tmp_path / "run"), "--steps", "1"]
    assert train(["digits-tiny", "--data", str(data), *run, *extra]) == UsageError.exit_code
    assert extra[0] in capsys.readouterr().err


def test_command_reports_missing_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["digits-tiny", "--run", str(tmp_path / "run"), "--steps", "1", "--data"]
    assert train([*common, str(tmp_path / "none")]) == InputError.exit_code
    assert "does not exist" in capsys.readouterr().err
