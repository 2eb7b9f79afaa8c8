"""The trainer: learns, survives kills and bad numbers, and exports what the codec runs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from bitstream.errors import InputError, UsageError
from bitstream.tables import TableSet, gaussian_tables
from codec import loading
from codec.coding.exact_layers import to_arrays
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.fixed_point import exact_layers
from codec.models.photo.network import PhotoModel
from tests.codec.tiny import photographs, write_tiny_weights
from training.commands import main
from training.commands import main as train
from training.data.crops import CropSampler, load_photographs, to_tensor
from training.loop.origin import Origin
from training.loop.table_fit import HISTOGRAM_LIMIT, latent_tables, made_certain, new_histogram
from training.loop.trainer import Budget, Trainer
from training.photo.config import PRESETS
from training.photo.export import export_arrays, gaussian_scales, network_arrays, write_weights
from training.photo.learner import PhotoLearner, photo_optimizer
from training.photo.losses import rate_distortion_loss
from training.photo.warm_start import start_from_weights

PRESET = PRESETS["photo-tiny"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A user's folder: PNGs in sub-folders, a tar shard, and files to skip."""
    folder = tmp_path / "data"
    (folder / "holiday").mkdir(parents=True)
    scenes = photographs(4, side=160)
    Image.fromarray(scenes[0]).save(folder / "holiday" / "one.png")
    Image.fromarray(scenes[1]).convert("L").save(folder / "two.png")
    Image.fromarray(scenes[2][:8, :8]).save(folder / "small.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.jpg").write_bytes(b"no image either")
    with tarfile.open(folder / "shard.tar", "w") as shard:
        buffer = io.BytesIO()
        Image.fromarray(scenes[3]).save(buffer, "PNG")
        member = tarfile.TarInfo("three.png")
        member.size = len(buffer.getvalue())
        shard.addfile(member, io.BytesIO(buffer.getvalue()))
    return folder


def trainer(folder: Path, steps: int, **changes: object) -> Trainer:
    preset = dataclasses.replace(PRESET, **changes)  # type: ignore[arg-type]
    sampler = CropSampler(photographs(4), crop=preset.crop, batch=preset.batch, seed=preset.seed)
    learner = PhotoLearner(preset, sampler, validation=photographs(1, seed=9))
    return Trainer(learner, folder, budget=Budget(steps=steps))


def model_of(run: Trainer) -> PhotoModel:
    assert isinstance(run.learner, PhotoLearner)
    return run.learner.model


def losses(run: Trainer, count: int) -> list[float]:
    values = [run.train_step(0.5)["loss"] for _ in range(count)]
    assert all(math.isfinite(value) for value in values)
    return values


def test_reads_folders_and_shards_and_skips_the_rest(data: Path) -> None:
    found = load_photographs([data])
    assert sorted(p.shape for p in found) == [(160, 160, 3)] * 3
    with pytest.raises(InputError, match="no image of at least 500"):
        load_photographs([data], smallest_side=500)
    with pytest.raises(InputError, match="does not exist"):
        load_photographs([data / "nowhere"])


def test_reading_stops_at_the_memory_given(data: Path) -> None:
    one = 160 * 160 * 3 / 2**30
    assert len(load_photographs([data], memory_gib=1.5 * one)) == 1


def test_batches_depend_on_seed_and_number_alone() -> None:
    def sampler(seed: int) -> CropSampler:
        return CropSampler(photographs(3), crop=48, batch=4, seed=seed, downscale_probability=0.5)

    np.testing.assert_array_equal(sampler(1)(5), sampler(1)(5))
    assert (sampler(1)(5) != sampler(1)(6)).any()
    assert (sampler(1)(5) != sampler(2)(5)).any()
    assert sampler(1)(0).shape == (4, 48, 48, 3)


@pytest.mark.parametrize("optimizer", ["adamw", "soap"])
def test_the_loss_falls(tmp_path: Path, optimizer: str) -> None:
    run = trainer(tmp_path, 80, optimizer=optimizer, batch=4)
    pixels = to_tensor(np.stack(photographs(4, seed=5)), torch.device("cpu"))
    position = torch.tensor([0.2, 0.4, 0.6, 0.8])

    @torch.no_grad()
    def loss() -> float:
        output = model_of(run)(pixels, position, hard=True)
        return float(rate_distortion_loss(output, pixels, position)[0])

    before = loss()
    losses(run, 80)
    assert loss() < 0.97 * before


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(UsageError, match="sgd"):
        photo_optimizer(torch.nn.Linear(1, 1), dataclasses.replace(PRESET, optimizer="sgd"))


def test_a_resumed_run_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = trainer(tmp_path / "whole", 12)
    first = trainer(tmp_path / "cut", 12)
    torch.manual_seed(1)
    losses(first, 6)
    first.save()
    second = trainer(tmp_path / "cut", 12)
    second.resume()
    assert second.step == 6
    torch.manual_seed(1)
    losses(whole, 6)
    torch.manual_seed(2)
    expected = losses(whole, 6)
    torch.manual_seed(2)
    np.testing.assert_allclose(losses(second, 6), expected, rtol=1e-4)


def test_a_kill_while_writing_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    run = trainer(tmp_path, 3)
    losses(run, 2)
    run.save()
    good = run.checkpoint_path.read_bytes()
    part = run.checkpoint_path.with_name(".checkpoint.pt.00000000.part")
    part.write_bytes(good[:100])
    again = trainer(tmp_path, 3)
    again.resume()
    assert again.step == 2
    assert not part.exists()
    run.checkpoint_path.write_bytes(good[:100])
    with pytest.raises(InputError, match="unreadable"):
        again.resume()


def test_other_sizes_do_not_resume(tmp_path: Path) -> None:
    trainer(tmp_path, 3).save()
    other = trainer(tmp_path, 3, model=dataclasses.replace(PRESET.model, hyper_width=24))
    with pytest.raises(UsageError, match="hyper_width"):
        other.resume()


def test_a_burst_of_nan_rolls_back_to_finite_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, 30)
    losses(run, 3)
    run.save()
    with torch.no_grad():
        model_of(run).analysis.linear.weight.fill_(float("nan"))
    run.run()
    assert run.dropped == run.patience
    assert run.rate_factor == 0.5
    assert all(torch.isfinite(p).all() for p in run.learner.parameters())
    assert run.step == 30


def test_nan_before_the_first_checkpoint_rolls_back_to_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path, 20)
    step = run.train_step

    def spoil(fraction: float) -> dict[str, float]:
        if run.step == 3:
            with torch.no_grad():
                model_of(run).analysis.linear.weight.fill_(float("nan"))
        return step(fraction)

    monkeypatch.setattr(run, "train_step", spoil)
    run.run()
    assert run.dropped == run.patience
    assert run.step == 20
    assert all(torch.isfinite(p).all() for p in run.learner.parameters())


def test_command_trains_resumes_and_exports_a_working_codec(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = tmp_path / "run", tmp_path / "weights"
    common = ["photo-tiny", "--data", str(data), "--run", str(run), "--device", "cpu"]
    assert train([*common, "--steps", "4", "--validation", str(data / "two.png")]) == 0
    assert train([*common, "--steps", "8"]) == UsageError.exit_code  # it would be overwritten
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 4
    assert train([*common, "--steps", "8", "--resume"]) == 0
    elsewhere = [*common, "--run", str(tmp_path / "empty"), "--steps", "8", "--resume"]
    assert train(elsewhere) == UsageError.exit_code
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 8
    with (run / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["psnr_db"]) > 15 and float(row["estimated_bpp"]) > 0 for row in rows)
    told = ["--data-description", "scenes", "--licence", "CC0-1.0", "--command", "as tested"]
    paths = ["export", str(run), "--data", str(data), "-o", str(output)]
    assert main([*paths, "--validation", str(data / "two.png"), *told]) == 0
    card = (output / "photo.md").read_text("utf-8")
    digest = loading.hash_weights(output / "photo.safetensors").hex()
    for word in (digest, "scenes", "CC0-1.0", "as tested", "| steps | 8 ", "on 1 validation"):
        assert word in card
    registry = json.loads((output / "registry.json").read_text("utf-8"))
    assert registry["photo"][0]["sha256"] == digest
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(output))
    coder = loading.load_model("photo", device="cpu")
    assert isinstance(coder, PhotoCoder)
    assert coder.weights_hash.hex() == digest[:16]
    pixels = photographs(1)[0]
    payloads = coder.encode_tile(coder.analyze(pixels, 80), 80)
    decoded = coder.synthesize(coder.decode_tile(payloads, 8, 8, 80), 80)
    assert 20 < sum(map(len, payloads)) < pixels.nbytes / 4
    assert np.abs(decoded.astype(int) - pixels).mean() < 12


def test_training_starts_from_exported_weights(tiny_weights: Path, tmp_path: Path) -> None:
    path = tiny_weights / "photo.safetensors"
    run = trainer(tmp_path, 1, seed=5)
    before = [p.clone() for p in model_of(run).parameters()]
    start_from_weights(model_of(run), path)
    assert any((p != b).any() for p, b in zip(model_of(run).parameters(), before, strict=True))
    # Exported again, the same file: nothing but the rounding that it had already.
    with safe_open(path, framework="numpy") as file:
        for name, array in {
            **network_arrays(model_of(run)),
            **to_arrays(exact_layers(model_of(run))),
        }.items():
            np.testing.assert_array_equal(file.get_tensor(name), array, err_msg=name)
    other = trainer(tmp_path, 1, model=dataclasses.replace(PRESET.model, hyper_width=24))
    with pytest.raises(UsageError, match="sizes"):
        start_from_weights(model_of(other), path)
    with pytest.raises(InputError, match="not a weights file"):
        start_from_weights(model_of(run), tiny_weights / "photo.md")


def test_a_context_starts_silent_from_weights_without_one(tmp_path: Path) -> None:
    plain = dataclasses.replace(PRESET.model, first_group=0, second_group=0, context_width=0)
    torch.manual_seed(3)
    model = PhotoModel(plain)
    scenes = photographs(2, seed=3)
    model.fit_scales(to_tensor(np.stack(scenes), torch.device("cpu")))
    arrays = export_arrays(model, scenes, crop=64)
    origin = Origin("synthetic scenes", "Apache-2.0", "none")
    path = write_weights(tmp_path, "photo", arrays, plain, origin)
    grown = PhotoModel(PRESET.model)
    start_from_weights(grown, path)
    coders = [PhotoCoder(arrays, plain, bytes(8))]
    coders.append(PhotoCoder(export_arrays(grown, scenes, crop=64), PRESET.model, bytes(8)))
    for pixels in scenes:
        old, new = (c.symbols(c.analyze(pixels, 50), 50) for c in coders)
        # The same symbols up to what float16 and fixed point round twice.
        assert (old.symbols == new.symbols).mean() > 0.99
        assert (old.indexes == new.indexes).mean() > 0.99
    with pytest.raises(UsageError, match="sizes"):
        start_from_weights(PhotoModel(plain), write_tiny_weights(tmp_path / "tiny"))


def test_residuals_are_coded_under_the_gaussians_of_their_scales() -> None:
    torch.manual_seed(3)
    model = PhotoModel(PRESET.model)
    scenes = photographs(2, seed=3)
    model.fit_scales(to_tensor(np.stack(scenes), torch.device("cpu")))
    tables = TableSet.from_arrays(export_arrays(model, scenes, crop=64), "latent_tables.")
    expected = gaussian_tables(gaussian_scales()).with_certain(tables.certain)
    assert not tables.certain.all()
    np.testing.assert_array_equal(tables.frequencies, expected.frequencies)
    np.testing.assert_array_equal(tables.starts, expected.starts)


def test_command_reports_missing_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["photo-tiny", "--data", str(tmp_path / "none"), "--steps", "1"]
    assert train(arguments) == InputError.exit_code
    assert "does not exist" in capsys.readouterr().err


def test_the_crop_of_other_presets_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["photo-tiny", "--data", str(tmp_path), "--run", str(tmp_path / "run")]
    assert train([*common, "--steps", "1", "--crop", "9"]) == UsageError.exit_code
    assert "--crop: the preset 'photo-tiny'" in capsys.readouterr().err


def test_the_seed_of_a_run_is_one_of_its_own(data: Path, tmp_path: Path) -> None:
    means = []
    for number, seed in enumerate(([], ["--seed", "0"], ["--seed", "5"])):
        run = tmp_path / str(number)
        common = ["photo-tiny", "--data", str(data), "--run", str(run), "--device", "cpu"]
        assert train([*common, "--steps", "1", *seed]) == 0
        state = torch.load(run / "checkpoint.pt", weights_only=True)
        assert state["preset"]["seed"] == (5 if number == 2 else 0)
        means.append(state["learner"]["networks"]["model.analysis.stem.weight"].mean().item())
    assert means[0] == means[1] != means[2]


def test_the_learning_rate_is_that_of_the_command(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(data), "--steps", "1", "--learning-rate", "2e-4", "--run"]
    assert train(["photo-tiny", *common, str(tmp_path / "a"), "--device", "cpu"]) == 0
    state = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert state["preset"]["learning_rate"] == 2e-4
    assert train(["digits-tiny", *common, str(tmp_path / "b")]) == UsageError.exit_code
    assert "--learning-rate: the preset 'digits-tiny'" in capsys.readouterr().err


def test_tables_of_nothing_but_zeros_become_certain() -> None:
    histogram = new_histogram(5)
    histogram[:, HISTOGRAM_LIMIT] = [2**15, 2**15 - 1, 2**15 - 3, 1000, 0]
    histogram[1, HISTOGRAM_LIMIT + 1] = 1
    histogram[2, HISTOGRAM_LIMIT - 1] = 3
    tables = latent_tables(histogram, np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert not tables.certain.any()
    # Few zeros are no proof.
    assert made_certain(tables, histogram).certain.tolist() == [True, True, False, False, False]
