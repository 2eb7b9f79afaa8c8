"""`calotype models`: a list in columns."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codec.cli import app
from codec.models import catalog
from codec.models.catalog import ModelEntry
from codec.models.weights_files import WEIGHTS_FOLDER, registered


def lines() -> list[str]:
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_descriptions_begin_in_one_column() -> None:
    found = lines()
    columns = set()
    for entry in catalog.list_models():
        (line,) = [line for line in found if line.endswith(f"  {entry.description}")]
        assert line.split()[:2] == [str(entry.model_id), entry.name]
        columns.add(len(line) - len(entry.description))
    assert len(columns) == 1


def test_names_and_numbers_of_any_length_keep_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (
        ModelEntry(1, "a", "first", 1, ()),
        ModelEntry(65535, "a-name-of-no-small-length", "second", 1, ()),
    )
    monkeypatch.setattr(catalog, "list_models", lambda: entries)
    assert lines() == [
        "    1  a                          first",
        "       no weights",
        "65535  a-name-of-no-small-length  second",
        "       no weights",
    ]


def test_weights_of_own_folders_are_listed_first(
    tmp_path: Path, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One with a registry, and one with only a file, whose metadata name the model.
    weights = next(iter(registered(weights_folder, "photo"))).path
    (tmp_path / "mine.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.setenv("CALOTYPE_WEIGHTS", f"{tmp_path}{os.pathsep}{weights_folder}")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (photo,) = (entry for entry in catalog.list_models() if entry.name == "photo")
    assert [(entry.file, entry.folder) for entry in photo.weights[:2]] == [
        ("mine.safetensors", str(tmp_path)),
        (weights.name, str(weights_folder)),
    ]
    assert {entry.sha256 for entry in photo.weights[:2]} == {digest}
    assert photo.weights[2].folder == str(WEIGHTS_FOLDER)
    assert f"     {digest[:16]}  mine.safetensors  (in {tmp_path})" in lines()
    monkeypatch.setenv("CALOTYPE_WEIGHTS", str(tmp_path / "nothing"))
    assert all("mine" not in line for line in lines())
