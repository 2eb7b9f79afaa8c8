"""Training of the realistic decoder: what it learns from, what it minimises, what it leaves."""

from __future__ import annotations

import copy
import csv
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

import codec
from bitstream.errors import InputError, UsageError
from codec import loading
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import COEFFICIENTS, TUNES
from codec.models.photo.realism import NAME, PHOTO_HASH_KEY
from tests.codec.tiny import photographs
from training.commands import main as train
from training.data.crops import CropSampler
from training.loop.checkpoint import load_checkpoint, save_checkpoint
from training.loop.trainer import Budget, Trainer
from training.realism.config import REALISM_PRESETS
from training.realism.critic import PatchCritic
from training.realism.learner import ROUNDING_ERROR, RealismLearner, relative_error
from training.realism.photo_weights import (
    DecodedCrops,
    PhotoWeights,
    decode_crops,
    decoded_tile,
    load_photo_weights,
)

PRESET = REALISM_PRESETS["photo-realism-tiny"]


@pytest.fixture(scope="module")
def photo(weights_folder: Path) -> PhotoWeights:
    return load_photo_weights(weights_folder / "photo.safetensors", torch.device("cpu"))


def trainer(photo: PhotoWeights, folder: Path, steps: int, **changes: object) -> Trainer:
    preset = dataclasses.replace(PRESET, **changes)  # type: ignore[arg-type]
    sampler = CropSampler(photographs(4), crop=preset.crop, batch=preset.batch, seed=preset.seed)
    validation = photographs(1, side=72, seed=9)
    learner = RealismLearner(preset, sampler, photo, autocast=False, validation=validation)
    return Trainer(learner, folder, budget=Budget(steps=steps))


def learner_of(run: Trainer) -> RealismLearner:
    assert isinstance(run.learner, RealismLearner)
    return run.learner


def batch(photo: PhotoWeights, count: int = 3) -> DecodedCrops:
    qualities = [10.0, 40.0, 75.0][:count]
    return decode_crops(photo, np.stack(photographs(count, side=64)), qualities)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def digest_of_symbols(coder: PhotoCoder) -> str:
    tile = coder.symbols(coder.analyze(photographs(1)[0], 60), 60)
    parts = (tile.hyper_latents, tile.symbols, tile.indexes, tile.means)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("quality", [3.21, 75.0])
def test_latents_are_those_of_a_file(photo: PhotoWeights, quality: float) -> None:
    coder, pixels = photo.coder, photographs(1)[0]
    payloads = coder.encode_tile(coder.analyze(pixels, quality), quality)
    expected = coder.decode_tile(payloads, 8, 8, quality)
    found = decoded_tile(coder, pixels, quality)
    # A file leaves out the last channels where they bring less than they cost.
    differ = (found != expected).any(axis=(1, 2))
    assert not expected[:COEFFICIENTS][differ[:COEFFICIENTS]].any()
    assert not differ[COEFFICIENTS:].any()


def test_a_batch_is_what_the_decoder_of_a_file_has(photo: PhotoWeights) -> None:
    pixels = np.stack(photographs(2, side=64))
    crops = decode_crops(photo, pixels, [20.0, 61.23])
    for number, quality in enumerate((20.0, 61.23)):
        coder = photo.coder.with_tune(TUNES[number])
        drawn = coder.synthesize(decoded_tile(coder, pixels[number], quality), quality)
        expected = torch.from_numpy(drawn.astype(np.float32)).permute(2, 0, 1)
        found = (255 * crops.photo[number]).clamp(0, 255)
        # The float twin of the same integers: rounded to pixels, and no bases of 13 bits.
        assert float((found - expected).abs().max()) < 1.1
        assert float((found - expected).abs().mean()) < 0.4
    assert crops.pixels.shape == (2, 3, 64, 64)
    assert torch.equal(crops.pixels[0].mul(255), torch.from_numpy(pixels[0]).permute(2, 0, 1))


def test_the_relative_error_has_one_slope_at_every_quality() -> None:
    pixels, error = normal(2, 3, 8, 8), normal(2, 3, 8, 8, seed=1)
    photo = pixels + torch.tensor([0.01, 0.2])[:, None, None, None] * error
    drawn = photo.clone().requires_grad_(True)
    found = relative_error(pixels, drawn, photo)
    torch.testing.assert_close(found, (pixels - photo).flatten(1).norm(dim=1))
    (gradient,) = torch.autograd.grad(found.sum(), drawn)
    torch.testing.assert_close(gradient.flatten(1).norm(dim=1), torch.tensor([2.0, 2.0]))
    # Where the photo model is exact, as where it is off by what rounding is.
    exact = relative_error(pixels, pixels + 0.1, pixels)
    expected = 0.01 * 192 / (ROUNDING_ERROR * 192**0.5)
    torch.testing.assert_close(exact, torch.full((2,), expected))


def test_the_critic_sees_what_its_preset_says(photo: PhotoWeights) -> None:
    crops = batch(photo)

    def values(critic: PatchCritic, latents: Tensor, position: Tensor) -> Tensor:
        with torch.no_grad():
            return critic(crops.pixels, latents, position)  # type: ignore[no-any-return]

    for condition in (2, 0):
        torch.manual_seed(0)
        preset = dataclasses.replace(PRESET, condition=condition)
        critic = PatchCritic(preset)
        first = values(critic, crops.latents, crops.position)
        assert first.shape == (3,)
        assert (first != values(critic, crops.latents, crops.position + 0.1)).all()
        other = values(critic, crops.latents + 1, crops.position)
        assert (first != other).all() if condition else torch.equal(first, other)


def test_the_critic_of_a_larger_picture_is_no_steeper(photo: PhotoWeights) -> None:
    torch.manual_seed(0)
    critic = PatchCritic(PRESET)
    lengths = []
    for side in (64, 256):
        pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
        pixels.requires_grad_(True)
        latents = torch.zeros(1, COEFFICIENTS, side // 16, side // 16)
        (gradient,) = torch.autograd.grad(critic(pixels, latents, torch.zeros(1)).sum(), pixels)
        lengths.append(float(gradient.norm()))
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)


def test_the_critic_learns_to_tell_and_keeps_its_slope(photo: PhotoWeights, tmp_path: Path) -> None:
    learner = learner_of(trainer(photo, tmp_path, 1, critic_steps=1))
    crops = batch(photo)
    drawn = learner.synthesize(crops).detach()
    generator = torch.Generator().manual_seed(0)
    start, _ = learner.critic_loss(crops, drawn, generator)
    for _ in range(30):
        loss, distance = learner.critic_loss(crops, drawn, generator)
        learner.critic_adam.param_groups[0]["lr"] = 3e-3
        learner.critic_adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        learner.critic_adam.step()
    assert float(loss.detach()) < float(start.detach()) - 0.2
    assert float(distance.detach()) > 0.2
    # E D(x) − E D(x̂) is no more than the mean distance of the pictures, at slope 1.
    apart = (crops.pixels - drawn).flatten(1).norm(dim=1).mean()
    assert float(distance.detach()) < 1.1 * float(apart)


def test_the_decoder_follows_the_critic_and_the_error(photo: PhotoWeights, tmp_path: Path) -> None:
    crops = batch(photo)

    def trained(error_weight: float) -> tuple[float, float]:
        learner = learner_of(trainer(photo, tmp_path, 1, error_weight=error_weight))
        torch.manual_seed(1)
        before = learner.decoder_loss(crops, learner.synthesize(crops)).detach()
        for _ in range(15):
            loss = learner.decoder_loss(crops, learner.synthesize(crops))
            learner.decoder_adam.param_groups[0]["lr"] = 1e-3
            learner.decoder_adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            learner.decoder_adam.step()
        drawn = learner.synthesize(crops).detach()
        assert float(learner.decoder_loss(crops, drawn).detach()) < float(before)
        value = float(learner.judge(drawn, crops).detach().mean())
        return value, float(relative_error(crops.pixels, drawn, crops.photo).mean())

    value, error = trained(0.0)
    anchored_value, anchored_error = trained(100.0)
    untouched = float(relative_error(crops.pixels, crops.photo, crops.photo).mean())
    assert value > anchored_value
    assert anchored_error < untouched < error


def test_nothing_but_the_decoder_changes(photo: PhotoWeights, tmp_path: Path) -> None:
    symbols = digest_of_symbols(photo.coder)
    network = {k: v.clone() for k, v in photo.model.state_dict().items()}
    run = trainer(photo, tmp_path, 3)
    run.run()
    assert run.step == 3
    assert digest_of_symbols(photo.coder) == symbols
    for name, tensor in photo.model.state_dict().items():
        assert torch.equal(tensor, network[name]), name
    start = dict(photo.model.synthesis.named_parameters())
    for name, parameter in learner_of(run).decoder.named_parameters():
        assert torch.isfinite(parameter).all()
        assert not torch.equal(parameter, start[name]), name
        # The average has gone the same way, and not as far.
        average = learner_of(run).average.module.get_parameter(name)
        moved = (parameter.detach() - start[name]).norm()
        assert 0 < float((average - start[name]).norm()) < float(moved)


def test_a_resumed_run_goes_on_as_if_never_stopped(photo: PhotoWeights, tmp_path: Path) -> None:
    whole, first = (trainer(photo, tmp_path / name, 6) for name in ("whole", "cut"))
    expected = [whole.train_step(0.5) for _ in range(6)]
    for _ in range(3):
        first.train_step(0.5)
    first.save()
    second = trainer(photo, tmp_path / "cut", 6, seed=0)
    second.resume()
    assert second.step == 3
    for figures in expected[3:]:
        assert second.train_step(0.5) == figures
    for name, tensor in second.learner.state_dict().items():
        assert torch.equal(tensor, whole.learner.state_dict()[name]), name


def test_rates_warm_up_and_fall(photo: PhotoWeights, tmp_path: Path) -> None:
    rates_of = {"learning_rate": 1.0, "final_learning_rate": 0.1}
    run = trainer(photo, tmp_path, 1, critic_lead=2, warmup_steps=4, **rates_of)
    rates = []
    for run.step in range(4):
        rates.append(run.learning_rates(0)["decoder"])
    assert rates == [0, 0, 0.25, 0.5]
    run.step = 5
    assert run.learning_rates(0)["decoder"] == 1
    assert run.learning_rates(0.5)["decoder"] == pytest.approx(0.55)
    assert run.learning_rates(1)["decoder"] == pytest.approx(0.1)


def test_the_critic_leads(photo: PhotoWeights, tmp_path: Path) -> None:
    run = trainer(photo, tmp_path, 1, critic_lead=2)
    before = copy.deepcopy(run.learner.state_dict())
    run.train_step(0)
    for name, tensor in run.learner.state_dict().items():
        # A constant added to the critic's values cancels out.
        changes = name.startswith("critic.") and name != "critic.out.bias"
        if name == "average.n_averaged":
            continue
        assert torch.equal(tensor, before[name]) != changes, name


def test_bad_numbers_change_nothing_and_end_the_run(photo: PhotoWeights, tmp_path: Path) -> None:
    infinite = float("inf")
    run = trainer(photo, tmp_path, 100, gradient_penalty=infinite, error_weight=infinite)
    run.last_patience = 6
    before = copy.deepcopy(run.learner.state_dict())
    with pytest.raises(UsageError, match="not finite at step 6"):
        run.run()
    for name, tensor in run.learner.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_checkpoints_of_others_do_not_resume(photo: PhotoWeights, tmp_path: Path) -> None:
    run = trainer(photo, tmp_path, 1)
    run.save()
    with pytest.raises(UsageError, match="condition 2, but this run has 0"):
        trainer(photo, tmp_path, 1, condition=0).resume()
    other = PhotoWeights(photo.coder, photo.model, 64 * "c")
    with pytest.raises(UsageError, match="cccccccccccccccc"):
        trainer(other, tmp_path, 1).resume()
    state = load_checkpoint(run.checkpoint_path)
    save_checkpoint(run.checkpoint_path, {**state, "family": "photo"})
    with pytest.raises(UsageError, match="family photo, but this run has realism"):
        run.resume()
    save_checkpoint(run.checkpoint_path, {"step": 3})
    with pytest.raises(InputError, match="not a checkpoint of this version"):
        run.resume()


def test_validation_is_in_decibels_of_real_pictures(photo: PhotoWeights, tmp_path: Path) -> None:
    run = trainer(photo, tmp_path, 1)
    rows = run.learner.validate()
    assert [row["quality"] for row in rows] == [5, 20, 40, 60, 80]
    # Nothing was learned yet.
    assert all(row["psnr_db"] == row["photo_psnr_db"] for row in rows)
    assert rows[2]["psnr_db"] > 15


def test_photo_weights_are_read_or_refused(weights_folder: Path, tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    shipped = load_photo_weights(None, cpu)
    assert shipped.sha256 == codec.list_models()[0].weights[0].sha256
    for path in (tmp_path / "none.safetensors", weights_folder / "photo.md"):
        with pytest.raises(InputError, match="--weights"):
            load_photo_weights(path, cpu)


def test_command_trains_resumes_and_exports_a_second_decoder(
    weights_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, run, output = tmp_path / "data", tmp_path / "run", tmp_path / "out"
    data.mkdir()
    for number, scene in enumerate(photographs(3)):
        Image.fromarray(scene).save(data / f"{number}.png")
    own = ["--weights", str(weights_folder / "photo.safetensors")]
    common = ["photo-realism-tiny", "--data", str(data), "--run", str(run), "--device", "cpu", *own]
    common += ["--validation", str(data / "0.png")]
    assert train([*common, "--steps", "2", "--resume"]) == UsageError.exit_code
    assert train([*common, "--steps", "2"]) == 0
    assert train([*common, "--steps", "4"]) == UsageError.exit_code  # it would be overwritten
    assert train([*common, "--steps", "4", "--resume"]) == 0
    assert load_checkpoint(run / "checkpoint.pt")["step"] == 4
    with (run / "validation.csv").open() as file:
        validation = list(csv.DictReader(file))
    assert [int(row["step"]) for row in validation] == [2] * 5 + [4] * 5
    assert all(float(row["psnr_db"]) > 10 for row in validation)

    told = ["--data-description", "scenes", "--licence", "CC0-1.0", "--command", "as tested"]
    arguments = ["export", str(run), "-o", str(output), *told]
    capsys.readouterr()
    assert train(arguments) == UsageError.exit_code  # the shipped photo weights are others
    assert "--weights" in capsys.readouterr().err
    assert train([*arguments, *own, "--validation", str(data / "1.png")]) == 0
    path = output / f"{NAME}.safetensors"
    card = path.with_suffix(".md").read_text("utf-8")
    photo_hash = loading.hash_weights(weights_folder / "photo.safetensors").hex()
    for word in (
        loading.hash_weights(path).hex(), photo_hash, "scenes", "CC0-1.0", "as tested",
        "| steps | 4 ", "Measured on 1 validation",
    ):  # fmt: skip
        assert word in card
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()[PHOTO_HASH_KEY] == photo_hash

    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, f"{weights_folder}:{output}")
    pixels = photographs(1)[0]
    file_bytes = codec.compress(pixels, quality=50)
    plain = codec.decompress(file_bytes, as_="numpy")
    real = codec.decompress(file_bytes, as_="numpy", realism=1)
    assert (real != plain).any()
    # The decoder that is used is the run's average, in integers.
    state = load_checkpoint(run / "checkpoint.pt")["learner"]["networks"]
    trained = state["average.module.out.weight"].numpy()
    with safe_open(path, framework="numpy") as file:
        weight = file.get_tensor("synthesis.out.weight").astype(np.float64)
        exponent = file.get_tensor("synthesis.out.exponent").astype(np.float64)
    units = np.exp2(exponent)[:, None, None, None]
    assert (np.abs(weight * units - trained) <= units).all()


def test_command_reports_missing_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["photo-realism-tiny", "--data", str(tmp_path / "none"), "--steps", "1"]
    assert train([*arguments, "--run", str(tmp_path / "run")]) == InputError.exit_code
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--seed", "--crop"])
def test_command_refuses_what_the_preset_does_not_take(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["photo-realism-tiny", "--data", str(tmp_path), "--steps", "1", flag, "64"]
    assert train([*arguments, "--run", str(tmp_path / "run")]) == UsageError.exit_code
    assert f"{flag}: the preset" in capsys.readouterr().err
