"""Exports into a folder that has other weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bitstream.errors import OutputError
from codec.models.weights_files import hash_weights, read_metadata
from training.loop.export import add_weights, write_weights_file


@dataclass(frozen=True)
class Sizes:
    width: int = 1


def exported(folder: Path, value: float) -> Path:
    arrays = {"values": np.full(3, value, np.float32)}
    path = write_weights_file(folder, "photo", arrays, config=Sizes(), models=["photo", "other"])
    path.with_suffix(".md").write_text(f"| file | `{path.name}`, 9 bytes |\n", "utf-8")
    return path


def test_an_export_replaces_no_other_weights(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    first, second, third = (exported(tmp_path / str(n), n) for n in range(3))
    paths = [add_weights(path, folder) for path in (first, second, third, second)]
    names = ["photo", "photo-2", "photo-3", "photo-2"]
    assert [path.stem for path in paths] == names
    for path, source in zip(paths, (first, second, third, second), strict=True):
        assert hash_weights(path) == hash_weights(source)
        assert f"`{path.name}`" in path.with_suffix(".md").read_text("utf-8")
    assert read_metadata(paths[1])["model"] == "photo"
    registry = json.loads((folder / "registry.json").read_text("utf-8"))
    for model in ("photo", "other"):  # the last is the default
        files = [entry["file"] for entry in registry[model]]
        assert files == ["photo-2.safetensors", "photo-3.safetensors", "photo.safetensors"]

    assert add_weights(third, folder, replace=True) == paths[0]
    assert hash_weights(paths[0]) == hash_weights(third)
    registry = json.loads((folder / "registry.json").read_text("utf-8"))
    assert registry["photo"][0] == {"file": paths[0].name, "sha256": hash_weights(third).hex()}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        add_weights(exported(tmp_path / "run", 1), tmp_path / "file" / "weights")
