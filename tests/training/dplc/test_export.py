"""From a generator to a codec's weights file, which has what was trained and measured."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import codec
from bitstream.errors import InputError, UsageError, WeightsMismatchError
from codec import loading
from codec.models.dplc.coder import DplcCoder
from codec.models.generative.weights_file import load_generative, save_generative
from codec.models.weights_files import WEIGHTS_FOLDER
from tests.training.draw.test_export import TOLD, cells
from tests.training.generative.test_learners import save_idx, strokes
from training.commands import main as train
from training.data.small_images import to_tensor
from training.dplc.config import DPLC_PRESETS
from training.dplc.export import (
    exported_networks,
    measure_rates,
    symbol_bits,
    trained_learner,
)
from training.dplc.figures import rate_figures
from training.dplc.generator import load_generator
from training.dplc.prior_fit import fit_prior
from training.generative.config import GENERATIVE_PRESETS, GenerativePreset
from training.presets import read_run

TINY = DPLC_PRESETS["dplc-tiny"]
GENERATOR = GenerativePreset(
    dataclasses.replace(TINY.model.generator, family="wae"),
    batch=16,
    pad=2,
    learning_rate=5e-3,
    warmup_steps=5,
    mmd_weight=1.0,
    reconstruction="rmse",
    validation=32,
)


@pytest.fixture(autouse=True)
def short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.dplc.export.fit_prior", functools.partial(fit_prior, steps=80))


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and the weights file of a generator trained on it."""
    folder = tmp_path_factory.mktemp("generator")
    data = save_idx(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GENERATIVE_PRESETS, "g", GENERATOR)
        run = ["--run", str(folder / "run")]
        assert train(["g", "--data", str(data), *run, "--steps", "30"]) == 0
        assert train(["export", str(folder / "run"), "-o", str(folder), "--data", str(data)]) == 0
    return data, folder / "g.safetensors"


def test_from_a_generator_to_files(
    tmp_path: Path, generator: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, weights_file = generator
    run, output = tmp_path / "run", tmp_path / "out"
    common = ["dplc-tiny", "--data", str(data), "--run", str(run), "--device", "cpu"]
    assert train([*common, "--steps", "5", "--weights", str(weights_file)]) == 0
    assert train([*common, "--steps", "40", "--resume"]) == 0
    arguments = ["export", str(run), "-o", str(output), "--data", str(data), *TOLD]
    assert train(arguments) == 0
    path, card = output / "dplc-tiny.safetensors", (output / "dplc-tiny.md").read_text("utf-8")
    for word in ("made up", "CC0-1.0", "as tested", "| 40 (0.", loading.hash_weights(path).hex()):
        assert word in card
    assert "Measured on 50 test images" in card
    first = path.read_bytes()
    assert train(arguments) == 0
    assert path.read_bytes() == first

    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(output))
    coder = loading.load_model("dplc", device="cpu")
    assert isinstance(coder, DplcCoder)
    assert coder.config == TINY.model
    # The generator equals that of the file, bit by bit.
    trained = load_generative(weights_file).decoder.state_dict()
    for name, value in coder.networks.generator.state_dict().items():
        assert torch.equal(value, trained[name])
    # The card has the figures of the file.
    test = TINY.read(data, part="test")
    figures = rate_figures(coder.networks, to_tensor(test))
    for row in measure_rates(coder, test):
        found = cells(card, f"{row.symbols} | ")
        expected = [row.fixed_bpp, row.prior_bpp, row.file_bpp]
        assert found[2:5] == [f"{value:.4f}" for value in expected]
        assert found[6] == f"{figures[f'mse_s{row.symbols}']:.5f}"
        assert row.fixed_bpp == row.symbols / 256
        assert row.prior_bpp <= row.fixed_bpp * 1.02
        # 7×7 blocks in a file of few bytes besides their bits.
        header_bpp = 8 * 64 / (7 * 32) ** 2
        assert row.prior_bpp * 0.8 <= row.file_bpp < row.prior_bpp * 1.2 + header_bpp
    # And it codes pictures.
    sheet = np.pad(strokes(1, seed=3)[0, 0], 2)
    file = codec.compress(sheet, model="dplc", quality=100)
    again = codec.decompress(file, as_="numpy")
    assert again.shape == sheet.shape
    np.testing.assert_array_equal(again, codec.decompress(file, as_="numpy"))


def test_the_priors_are_of_the_exported_networks(
    tmp_path: Path, generator: tuple[Path, Path]
) -> None:
    data, weights_file = generator
    run = tmp_path / "run"
    common = ["dplc-tiny", "--data", str(data), "--run", str(run), "--steps", "10"]
    assert train([*common, "--weights", str(weights_file)]) == 0
    networks = exported_networks(trained_learner(read_run(run)[1]))
    for value in networks.state_dict().values():
        assert torch.equal(value, value.half().float())
    images = TINY.read(data)[:5]
    bits = symbol_bits(networks, images, 2)
    assert bits.shape == (5, 16)
    values = networks.analyze(to_tensor(images), 2)
    assert torch.equal(bits[3].view(4, 2, 2), values[3] >= 0)  # channels, rows, columns


def test_a_plain_autoencoder_needs_no_generator(
    tmp_path: Path, generator: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dataclasses.replace(TINY.model, noise=0, rates=(2,))
    monkeypatch.setitem(
        DPLC_PRESETS, "plain", dataclasses.replace(TINY, model=model, mmd_weights=())
    )
    data, _ = generator
    run, output = tmp_path / "run", tmp_path / "out"
    assert train(["plain", "--data", str(data), "--run", str(run), "--steps", "5"]) == 0
    assert train(["export", str(run), "-o", str(output), "--data", str(data)]) == 0
    card = (output / "plain.md").read_text("utf-8")
    assert cells(card, "2 | ")[-2:] == ["–", "–"]  # neither noise nor MMD
    with pytest.raises(UsageError, match="plain autoencoder"):
        load_generator(output / "plain.safetensors", TINY.model.generator)
    assert "maps.0.last.weight" in load_file(output / "plain.safetensors")
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(output))
    file = codec.compress(np.pad(strokes(1)[0, 0], 2), model="dplc")
    np.testing.assert_array_equal(
        codec.decompress(file, as_="numpy", seed=1), codec.decompress(file, as_="numpy", seed=2)
    )


def test_the_command_asks_for_the_generator_that_fits(
    tmp_path: Path, generator: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights_file = generator
    run = ["--run", str(tmp_path / "run"), "--data", str(data), "--steps", "1"]
    assert train(["dplc-tiny", *run]) == UsageError.exit_code
    assert "name its file with --weights" in capsys.readouterr().err
    given = ["--weights", str(weights_file)]
    assert train(["dplc-digits", *run, *given]) == UsageError.exit_code
    assert "expected GenerativeConfig" in capsys.readouterr().err
    assert train(["dplc-digits-plain-2", *run, *given]) == UsageError.exit_code
    assert "--weights" in capsys.readouterr().err
    assert train(["dplc-tiny", *run, *given, "--crop", "9"]) == UsageError.exit_code
    assert "--crop" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_another_generator(
    tmp_path: Path, generator: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights_file = generator
    other = tmp_path / "other.safetensors"
    changed = dict(load_file(weights_file))
    model = load_generative(weights_file)
    with torch.no_grad():
        next(model.decoder.parameters()).add_(1)
    save_generative(other, model)
    assert changed.keys() == load_file(other).keys()
    run = ["dplc-tiny", "--run", str(tmp_path / "run"), "--data", str(data)]
    assert train([*run, "--steps", "1", "--weights", str(weights_file)]) == 0
    resume = [*run, "--steps", "2", "--resume", "--weights"]
    assert train([*resume, str(other)]) == UsageError.exit_code
    assert "is not the generator of the run" in capsys.readouterr().err
    assert train([*resume, str(weights_file)]) == 0


def test_a_codec_can_be_trained_around_the_generator_of_another(
    tmp_path: Path, generator: tuple[Path, Path]
) -> None:
    data, weights_file = generator
    output, run = tmp_path / "out", ["--run", str(tmp_path / "run"), "--data", str(data)]
    assert train(["dplc-tiny", *run, "--steps", "3", "--weights", str(weights_file)]) == 0
    export = ["export", str(tmp_path / "run"), "-o", str(output), "--data", str(data)]
    assert train(export) == 0
    of_codec = output / "dplc-tiny.safetensors"
    found = load_generator(of_codec, TINY.model.generator).state_dict()
    for name, value in load_generative(weights_file).decoder.state_dict().items():
        assert torch.equal(found[name], value)
    again = ["dplc-tiny", "--run", str(tmp_path / "again"), "--data", str(data), "--steps", "3"]
    assert train([*again, "--weights", str(of_codec)]) == 0

    photo = WEIGHTS_FOLDER / "photo.safetensors"
    with pytest.raises(
        WeightsMismatchError, match="neither a generative model nor weights of dplc"
    ):
        load_generator(photo, TINY.model.generator)
    larger = dataclasses.replace(TINY.model, code=8)
    with pytest.raises(UsageError, match="expected GenerativeConfig"):
        load_generator(of_codec, larger.generator)


def test_an_export_needs_a_run_that_has_ended_and_its_data(
    tmp_path: Path, generator: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights_file = generator
    run, checkpoint = str(tmp_path / "run"), tmp_path / "run" / "checkpoint.pt"
    given = ["--data", str(data), "--run", run, "--steps", "1", "--weights", str(weights_file)]
    assert train(["dplc-tiny", *given]) == 0
    output = ["-o", str(tmp_path / "out")]
    assert train(["export", run, *output]) == UsageError.exit_code
    assert "--data" in capsys.readouterr().err
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "finished": False}, checkpoint)
    assert train(["export", run, "--data", str(data), *output]) == InputError.exit_code
    assert "--resume" in capsys.readouterr().err
    few = tmp_path / "few.npz"
    np.savez(few, images=strokes(20)[:, 0])
    torch.save({**state, "finished": True}, checkpoint)
    assert train(["export", run, "--data", str(few), *output]) == InputError.exit_code
    assert "32 are held out" in capsys.readouterr().err
