"""Training of the realistic decoder: its data, its loss, and what it does not change."""

from __future__ import annotations

import copy
import csv
import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

import codec
from bitstream.errors import InputError, UsageError, WeightsMismatchError
from codec import loading
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import COEFFICIENTS, TUNES
from codec.models.photo.network import LEVELS
from codec.models.photo.realism import NAME, NOISE_LEVELS, PHOTO_HASH_KEY
from tests.codec.tiny import photographs
from tests.training.features.alexnet_weights import write_alexnet
from training.commands import main as train
from training.data.crops import CropSampler
from training.loop.checkpoint import load_checkpoint, save_checkpoint
from training.loop.trainer import Budget, Trainer
from training.realism.config import REALISM_PRESETS
from training.realism.learner import (
    ROUNDING_ERROR,
    RealismLearner,
    relative_distortion,
    relative_error,
    second_arrays,
)
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
    # A file leaves out the last channels if they gain less than they cost.
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
        # The float version of the same integers: rounded to pixels, without bases of 13 bits.
        assert float((found - expected).abs().max()) < 1.1
        assert float((found - expected).abs().mean()) < 0.4
    assert crops.pixels.shape == (2, 3, 64, 64)
    assert torch.equal(crops.pixels[0].mul(255), torch.from_numpy(pixels[0]).permute(2, 0, 1))


def test_errors_are_relative_to_those_of_the_photo_model() -> None:
    pixels, error = normal(2, 3, 8, 8), normal(2, 3, 8, 8, seed=1)
    photo = pixels + torch.tensor([0.01, 0.2])[:, None, None, None] * error
    found = relative_error(pixels, pixels + 2 * (photo - pixels), photo)
    torch.testing.assert_close(found, torch.full((2,), 4.0))
    # Where the photo model is exact, as where it is off by what rounding is.
    exact = relative_error(pixels, pixels + 0.1, pixels)
    torch.testing.assert_close(exact, torch.full((2,), 0.01 / ROUNDING_ERROR))


def test_most_qualities_are_low(photo: PhotoWeights, tmp_path: Path) -> None:
    learner = learner_of(trainer(photo, tmp_path, 1, batch=2000, low_share=0.8, low_quality=40.0))
    found = np.array(learner.sample_qualities(torch.Generator().manual_seed(0)))
    assert found.min() >= 1
    assert found.max() > 99
    assert (found <= 40).mean() == pytest.approx(0.8 + 0.2 * 39 / 99, abs=0.03)


def test_the_decoder_follows_texture_and_error(photo: PhotoWeights, tmp_path: Path) -> None:
    crops = batch(photo)

    def trained(error_weight: float) -> tuple[float, float]:
        learner = learner_of(trainer(photo, tmp_path, 1, error_weight=error_weight))
        (adam,) = learner.optimizers.values()
        figures = []
        for step in range(20):
            drawn = learner.synthesize(crops, torch.Generator().manual_seed(step))
            distortion = relative_distortion(
                learner.features, crops.pixels, drawn, crops.photo
            ).mean()
            error = relative_error(crops.pixels, drawn, crops.photo).mean()
            figures.append((float(distortion.detach()), float(error.detach())))
            adam.param_groups[0]["lr"] = 2e-3
            adam.zero_grad()
            (distortion + error_weight * error).backward()  # type: ignore[no-untyped-call]
            adam.step()
        assert figures[-1][0] < figures[0][0]
        return figures[-1]

    assert trained(10.0)[1] < trained(0.0)[1]


def test_the_noise_is_that_of_the_codec(photo: PhotoWeights, tmp_path: Path) -> None:
    learner = learner_of(trainer(photo, tmp_path, 1))
    crops, seen = batch(photo), []

    def decoder(linear: Tensor, *_: object, **__: object) -> Tensor:
        seen.append(linear)
        return torch.zeros_like(linear)

    learner.decoder.forward = decoder  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    drawn = learner.synthesize(crops, generator)
    torch.testing.assert_close(drawn, crops.linear / LEVELS + 0.5)
    noise = (seen[0] - crops.linear).round()
    assert set(noise.flatten().tolist()) == set(range(-NOISE_LEVELS, NOISE_LEVELS))
    learner.synthesize(crops, generator)
    assert not torch.equal(seen[0], seen[1])


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
        # The average has moved in the same direction, but not as far.
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


def test_bad_numbers_change_nothing_and_end_the_run(photo: PhotoWeights, tmp_path: Path) -> None:
    infinite = float("inf")
    run = trainer(photo, tmp_path, 100, error_weight=infinite)
    run.last_patience = 6
    before = copy.deepcopy(run.learner.state_dict())
    with pytest.raises(UsageError, match="not finite at step 6"):
        run.run()
    for name, tensor in run.learner.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_checkpoints_of_others_do_not_resume(photo: PhotoWeights, tmp_path: Path) -> None:
    run = trainer(photo, tmp_path, 1)
    run.save()
    with_features = trainer(photo, tmp_path, 1)
    learner_of(with_features).features_sha256 = "1234"
    with pytest.raises(UsageError, match="features_sha256 None, but this run has 1234"):
        with_features.resume()
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
    assert [row["quality"] for row in rows] == [5, 20, 35, 50]
    for row in rows:
        # Nothing was learned yet, so the pictures differ only by the remaining noise.
        assert 0 < abs(row["psnr_db"] - row["photo_psnr_db"]) < 1
        ratio = -10 * math.log10(row["error"])
        assert ratio == pytest.approx(row["psnr_db"] - row["photo_psnr_db"], abs=0.01)
    assert rows[2]["psnr_db"] > 15
    # An ideal second decoder would have neither.
    learner = learner_of(run)
    one = torch.rand(1, 3, 64, 64)
    assert float(relative_distortion(learner.features, one, one, one + 0.1)) == 0


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
    common += ["--validation", str(data / "0.png"), "--features", str(write_alexnet(tmp_path))]
    assert train([*common, "--steps", "2", "--resume"]) == UsageError.exit_code
    assert train([*common, "--steps", "2"]) == 0
    assert train([*common, "--steps", "4"]) == UsageError.exit_code  # it would be overwritten
    assert train([*common, "--steps", "4", "--resume"]) == 0
    assert load_checkpoint(run / "checkpoint.pt")["step"] == 4
    with (run / "validation.csv").open() as file:
        validation = list(csv.DictReader(file))
    assert [int(row["step"]) for row in validation] == [2] * 4 + [4] * 4
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

    # It can be trained further, but not for the shipped photo weights, which have other sizes.
    on = [*common[:4], str(tmp_path / "on"), "--steps", "1", "--weights", str(path)]
    assert train(on) == WeightsMismatchError.exit_code
    own_photo = load_photo_weights(weights_folder / "photo.safetensors", torch.device("cpu"))
    sampler = CropSampler(photographs(4), crop=PRESET.crop, batch=PRESET.batch, seed=0)
    started = RealismLearner(PRESET, sampler, own_photo, start=path)
    assert all(parameter.requires_grad for parameter in started.decoder.parameters())
    with safe_open(path, framework="numpy") as file:
        for key, array in second_arrays(own_photo, started.decoder).items():
            np.testing.assert_array_equal(array, file.get_tensor(key))
    # Other photo weights of these sizes will do.
    later = copy.copy(own_photo.coder)
    later.weights_hash = bytes(8)
    RealismLearner(PRESET, sampler, dataclasses.replace(own_photo, coder=later), start=path)


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
