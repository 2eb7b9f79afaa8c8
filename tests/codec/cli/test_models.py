"""`calotype models`: a list in columns."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from codec.cli import app
from codec.models import catalog
from codec.models.catalog import ModelEntry


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
