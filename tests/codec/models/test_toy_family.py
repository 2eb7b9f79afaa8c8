"""What a new family needs: its folder, and one line of the catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import codec
from codec.cli import app
from codec.loading import ENVIRONMENT_VARIABLE, hash_weights
from codec.models import catalog
from tests.codec.tiny import photographs

LINES = ("tests.codec.models.toy",)
"""Everything that is outside the folder of the family."""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Add the family, and its weights without a registry."""
    assert len(LINES) == 1
    monkeypatch.setattr(catalog, "FAMILIES", (*catalog.FAMILIES, *LINES))
    path = tmp_path / "any name.safetensors"
    save_file({"steps": np.array([2, 3, 4], np.float32)}, path, {"model": "toy"})
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    return path


def test_one_line_adds_a_family(weights: Path) -> None:
    pixels = photographs(1, side=96)[0][:80]
    data = codec.compress(pixels, model="toy", device="cpu")
    decoded = codec.decompress(data, as_="numpy", device="cpu")
    means = pixels.reshape(10, 8, 12, 8, 3).mean(axis=(1, 3)).repeat(8, axis=0).repeat(8, axis=1)
    assert np.abs(decoded - means).max() <= 2.5
    part = codec.decompress(data, as_="numpy", region=(5, 9, 40, 20), device="cpu")
    np.testing.assert_array_equal(part, decoded[9:29, 5:45])
    digest = hash_weights(weights).hex()[:16]
    info = codec.inspect(data)
    assert (info.model_id, info.model_name, info.weights_hash) == (64999, "toy", digest)
    checked = codec.verify(data, device="cpu")
    assert (checked.model_name, checked.weights_hash) == ("toy", digest)
    assert "toy" in [model.name for model in codec.list_models()]


def test_the_command_knows_it(weights: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    source, packed = tmp_path / "a.ppm", str(tmp_path / "a.calo")
    source.write_bytes(b"P6 64 64 255\n" + photographs(1, side=64)[0].tobytes())
    run("compress", str(source), "-m", "toy", "--device", "cpu")
    assert "toy (number 64999)" in run("inspect", packed)
    run("verify", packed, "--device", "cpu")
    run("decompress", packed, "--device", "cpu", "-o", str(tmp_path / "b.png"))
    assert "64999  toy" in run("models")


def test_numbers_and_names_are_of_one_model_each() -> None:
    models = catalog.all_models()
    for values in ({one.model_id for one in models}, {one.name for one in models}):
        assert len(values) == len(models)


@pytest.mark.usefixtures("weights")
def test_without_the_line_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.compress(photographs(1, side=64)[0], model="toy", device="cpu")
    monkeypatch.undo()
    with pytest.raises(codec.UnknownModelError, match="64999"):
        codec.decompress(data)
    assert codec.inspect(data).model_name is None
