"""The photo model from photographs to files: trained, exported, used, and trained further."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import codec
from bitstream.arrays import Float32Array, Int32Array
from bitstream.errors import InputError, UsageError
from codec.loading import ENVIRONMENT_VARIABLE
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import TUNES, PhotoConfig
from codec.models.photo.network import PhotoModel
from tests.codec.models.photo.tiny import (
    ORIGIN,
    TINY,
    lively_model,
    tiny_arrays,
    write_tiny_weights,
)
from tests.codec.tiny import photographs
from training.commands import main
from training.photo.export import export_arrays, write_weights
from training.photo.warm_start import start_from_weights


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, pixels in enumerate(photographs(3)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_run_becomes_a_model(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, weights = tmp_path / "run", tmp_path / "weights"
    train = ["train", "photo-tiny", "--data", str(data), "--run", str(run), "--steps", "3"]
    assert main([*train, "--device", "cpu"]) == 0
    export = ["export", str(run), "--data", str(data), "-o", str(weights), "--validation"]
    assert main([*export, str(data)]) == 0
    path = weights / "photo.safetensors"
    assert path.is_file()
    assert list(json.loads((weights / "registry.json").read_text("utf-8"))) == ["photo"]
    card = (weights / "photo.md").read_text("utf-8")
    assert all(f"Tune `{tune}`" in card for tune in TUNES)

    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(weights))
    pixels = photographs(1, side=90, seed=5)[0]
    for tune in TUNES:
        coded = codec.compress(pixels, model="photo", quality=90, tune=tune)
        decoded = codec.decompress(coded, as_="numpy")
        assert np.square(decoded.astype(float) - pixels).mean() < 30

    again = ["train", "photo-tiny", "--data", str(data), "--run", str(tmp_path / "on")]
    assert main([*again, "--steps", "1", "--device", "cpu", "--weights", str(path)]) == 0


def nearest(residuals: Float32Array, indexes: Int32Array, channels: slice) -> Int32Array:
    return np.rint(residuals).astype(np.int32)


def test_training_starts_from_what_was_exported(tmp_path: Path) -> None:
    path = write_tiny_weights(tmp_path)
    model = PhotoModel(TINY)
    start_from_weights(model, path)
    trained = lively_model().state_dict()
    for name, tensor in model.state_dict().items():
        if name.endswith("spatial.bias") and name.startswith("synthesis"):
            continue  # it is part of the shifts now
        if name.endswith("shift.knots") and name.startswith("synthesis"):
            trained[name] += trained[name.replace("shift.knots", "spatial.bias")]
        torch.testing.assert_close(tensor, trained[name], atol=0.03, rtol=0.02, msg=name)
    scenes = photographs(2, seed=8)
    coders = [
        PhotoCoder(arrays, TINY, bytes(8))
        for arrays in (tiny_arrays(), export_arrays(model, scenes, crop=64))
    ]
    for pixels in scenes:
        # Dead zones depend on tables, which are fitted to other scenes.
        old, new = (c.symbols(c.analyze(pixels, 50), 50, choose=nearest) for c in coders)
        # The same symbols, except where float16 and integers round twice.
        assert (old.symbols == new.symbols).mean() > 0.999
        assert (old.indexes == new.indexes).mean() > 0.999


def test_far_passes_start_as_nearer_ones(tmp_path: Path) -> None:
    model = PhotoModel(replace(TINY, far_passes=3))
    start_from_weights(model, write_tiny_weights(tmp_path))
    state, plain = model.state_dict(), PhotoModel(TINY)
    for far, near in (("corners_4", "diagonal"), ("edges_4", "coarse"), ("corners_2", "diagonal")):
        own = [name for name in state if name.startswith(f"context.{far}.")]
        assert own
        for name in own:
            assert torch.equal(state[name], state[name.replace(far, near)])
    # Weights with such passes do not fit a model without them.
    arrays = export_arrays(model, photographs(2, side=80), crop=64)
    path = write_weights(tmp_path, arrays, model.config, ORIGIN)
    with pytest.raises(UsageError, match="sizes"):
        start_from_weights(plain, path)


def test_weights_of_other_sizes_and_other_files_are_refused(tmp_path: Path) -> None:
    path = write_tiny_weights(tmp_path)
    with pytest.raises(UsageError, match="sizes"):
        start_from_weights(PhotoModel(PhotoConfig(knots=4)), path)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="not a weights file"):
        start_from_weights(PhotoModel(TINY), path)


def test_tables_of_latents_are_gaussians_and_some_are_certain() -> None:
    coder = PhotoCoder(tiny_arrays(), TINY, bytes(8))
    assert len(coder.latent_tables) == 64
    assert coder.hyper_sets == TINY.knots
    assert not coder.latent_tables.certain.all()
