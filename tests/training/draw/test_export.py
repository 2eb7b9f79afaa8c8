"""Export of DRAW: the file and the card have what was trained and measured."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

import codec
from bitstream.errors import InputError, UsageError
from bitstream.tables import gaussian_tables
from codec import loading
from codec.models.draw.coder import DrawCoder
from codec.models.draw.exact import ExactDraw, exact_arrays, log_scale_levels
from codec.models.draw.network import network_from_arrays
from codec.models.draw.recursion import DrawConfig
from codec.models.weights_files import read_config
from tests.codec.models.draw import tiny as tiny_draw
from tests.training.draw.test_learner import FILES, save_scenes
from tests.training.generative.test_learners import save_idx, strokes
from training.commands import main as train
from training.data.small_images import evenly, to_tensor
from training.draw.config import DRAW_PRESETS
from training.draw.export import step_tables
from training.draw.learner import DrawLearner
from training.loop.export import write_weights_file

TOLD = ["--data-description", "made up", "--licence", "CC0-1.0", "--command", "as tested"]


def cells(card: str, start: str) -> list[str]:
    line = next(line for line in card.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_command_trains_resumes_and_exports_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run, output = save_idx(tmp_path / "data"), tmp_path / "run", tmp_path / "out"
    common = ["draw-tiny", "--data", str(data), "--run", str(run), "--no-autocast"]
    assert train([*common, "--steps", "3"]) == 0
    assert train([*common, "--steps", "6", "--resume"]) == 0
    assert train(["export", str(run), "-o", str(output), "--data", str(data), *TOLD]) == 0
    path, card = output / "draw-tiny.safetensors", (output / "draw-tiny.md").read_text("utf-8")
    for word in ("made up", "CC0-1.0", "as tested", "| 6 (0.", loading.hash_weights(path).hex()):
        assert word in card
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert (metadata["model"], metadata["side"]) == ("draw-tiny", "28")
    config = read_config(metadata, DrawConfig)
    assert config == DRAW_PRESETS["draw-tiny"].model
    # The test column has the figures of the file.
    network = network_from_arrays(config, load_file(path))
    learner = DrawLearner(DRAW_PRESETS["draw-tiny"], autocast=False)
    learner.network.load_state_dict(network.state_dict())
    figures = learner.eval().measure(to_tensor(strokes(50, seed=1)))
    assert cells(card, "negative ELBO, nats")[2] == f"{figures['nelbo_nats']:.4f}"
    with (run / "validation.csv").open() as file:
        *_, last = csv.DictReader(file)
    assert cells(card, "negative ELBO, nats")[1] == f"{float(last['nelbo_nats']):.4f}"
    registry = json.loads((output / "registry.json").read_text("utf-8"))
    assert registry["draw-bits-back"][0]["file"] == path.name
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(output))
    sheet = (strokes(2, seed=3)[:, 0] > 127).astype(np.uint8).reshape(56, 28) * 255
    file = codec.compress(sheet, model="draw-bits-back")
    np.testing.assert_array_equal(codec.decompress(file, as_="numpy"), sheet)

    again = ["draw-tiny", "--data", str(data), "--run", str(tmp_path / "again"), "--steps", "1"]
    assert train([*again, "--weights", str(path)]) == 0


def test_training_starts_from_what_was_exported_whatever_the_number_of_steps(
    tmp_path: Path,
) -> None:
    preset = DRAW_PRESETS["draw-tiny"]
    exact = exact_arrays(preset.model, DrawLearner(preset).network.state_dict())
    folder = tmp_path / "weights"
    path = write_weights_file(folder, "draw-tiny", exact, config=preset.model, models=[])
    longer = dataclasses.replace(preset, seed=1, model=dataclasses.replace(preset.model, steps=5))
    learner = DrawLearner(longer, weights=path)
    assert learner.config.steps == 5
    for name, array in exact_arrays(longer.model, learner.network.state_dict()).items():
        np.testing.assert_array_equal(array, exact[name])
    wider = dataclasses.replace(preset, model=dataclasses.replace(preset.model, hidden=(9,)))
    with pytest.raises(UsageError, match="sizes"):
        DrawLearner(wider, weights=path)
    for other in (tmp_path / "none.safetensors", folder / "registry.json"):
        with pytest.raises(InputError, match="not a weights file"):
            DrawLearner(preset, weights=other)


def test_export_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = dataclasses.replace(FILES, validation=4, cut=0.5)
    monkeypatch.setitem(DRAW_PRESETS, "x", preset)
    data, run, output = tmp_path / "data", tmp_path / "run", tmp_path / "out"
    save_scenes(data / "train", 12, 16, 1)
    save_scenes(data / "test", 5, 16, 2)
    common = ["x", "--data", str(data), "--run", str(run)]
    assert train([*common, "--steps", "4", "--device", "cpu"]) == 0
    arguments = ["export", str(run), "-o", str(output), "--data", str(data)]
    assert train([*arguments, "--images", "3"]) == 0
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(output))
    coder = loading.load_model("draw", device="cpu")
    assert isinstance(coder, DrawCoder)
    card = (output / "x.md").read_text("utf-8")
    assert "Measured on 5 test images (whole files" in card
    assert "| 100 | " in card
    assert cells(card, "PSNR of the mean squared error, dB, quality 75")[2] != "–"
    # Exporting again gives the same, and so does exporting by hand.
    first = (output / "x.safetensors").read_bytes()
    assert train([*arguments, "--images", "3"]) == 0
    assert (output / "x.safetensors").read_bytes() == first
    images = evenly(tiny_draw.scenes(12, 1, 16)[:8], 3)
    tables = step_tables(coder.network, images)
    np.testing.assert_array_equal(tables.frequencies, coder.tables.frequencies)


def test_a_data_set_without_a_test_part_of_its_own_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DRAW_PRESETS, "x", dataclasses.replace(FILES, validation=4))
    data, run, output = tmp_path / "data", tmp_path / "run", tmp_path / "out"
    save_scenes(data, 8, 16, 1)
    assert train(["x", "--data", str(data), "--run", str(run), "--steps", "1"]) == 0
    arguments = ["export", str(run), "-o", str(output), "--images", "2"]
    assert train([*arguments, "--data", str(data)]) == 0
    name = "PSNR of the mean squared error, dB, quality 75"
    assert cells((output / "x.md").read_text("utf-8"), name)[2] == "–"
    assert train([*arguments, "--data", str(data), "--test", str(data)]) == 0
    assert cells((output / "x.md").read_text("utf-8"), name)[2] != "–"
    assert train(arguments) == UsageError.exit_code


def test_tables_are_gaussians_where_nothing_was_seen_and_histograms_where_much_was() -> None:
    network = ExactDraw(tiny_draw.CONFIG, tiny_draw.arrays())
    images = tiny_draw.scenes(6, seed=4)
    tables = step_tables(network, images)
    scales = np.exp(log_scale_levels(tiny_draw.CONFIG))
    plain = gaussian_tables(scales)
    np.testing.assert_array_equal(tables.starts, plain.starts)
    sizes = np.diff(tables.starts)
    frequencies = [np.split(t.frequencies, t.starts[1:-1]) for t in (tables, plain)]
    counts = np.zeros(len(scales), dtype=np.int64)
    for number in range(6):
        for offset in (0, 6):
            quality = 1 + 99 * ((number + offset) % 12) / 11
            coder = tiny_draw.coder()
            latents = coder.analyze(images[number].transpose(1, 2, 0), quality)
            for messages in coder.step_symbols(latents, quality):
                for _, indexes in messages:
                    counts += np.bincount(indexes, minlength=len(scales))
    assert counts.sum() == 12 * 3 * (3 * 64 + 2 * 16)
    for table in np.flatnonzero(counts == 0):
        error = np.abs(frequencies[0][table][:-1] - frequencies[1][table][:-1].astype(float))
        assert error.max() < 2**24 / 1000
    busy = int(counts.argmax())
    change = np.abs(frequencies[0][busy][:-1] - frequencies[1][busy][:-1].astype(float))
    assert change.max() > 2**24 / 200
    for number in range(len(scales)):
        symbols = frequencies[0][number][:-1]
        assert len(symbols) == sizes[number] - 1
        assert np.abs(symbols - symbols[::-1]).max() <= 1  # symmetric, except for the last units


def test_unfinished_runs_need_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, output = save_idx(tmp_path / "data"), tmp_path / "run", tmp_path / "out"
    assert train(["draw-tiny", "--data", str(data), "--run", str(run), "--steps", "1"]) == 0
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save({**state, "finished": False}, run / "checkpoint.pt")
    arguments = ["export", str(run), "-o", str(output)]
    assert train(arguments) == InputError.exit_code
    assert "--unfinished" in capsys.readouterr().err
    assert not output.exists()
    assert train([*arguments, "--unfinished"]) == 0
    assert "the run had not ended" in (output / "draw-tiny.md").read_text("utf-8")


def test_exported_weights_measure_as_the_trained_ones_do() -> None:
    learner = DrawLearner(tiny_draw.PRESET, autocast=False).eval()
    images = to_tensor(tiny_draw.scenes(8, seed=70))
    trained = tiny_draw.trained().measure(images)
    rounded = network_from_arrays(tiny_draw.CONFIG, tiny_draw.arrays())
    learner.network.load_state_dict(rounded.state_dict())
    found = learner.measure(images)
    assert found.keys() == trained.keys()
    for name, value in trained.items():
        assert math.isclose(found[name], value, rel_tol=0.02)
    assert found != trained
