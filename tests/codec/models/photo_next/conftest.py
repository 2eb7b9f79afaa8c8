"""The tiny second photo model, in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.loading import ENVIRONMENT_VARIABLE
from tests.codec.models.photo_next.tiny import write_tiny_weights


@pytest.fixture(scope="session")
def next_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for CALOTYPE_WEIGHTS with an untrained second photo model."""
    folder = tmp_path_factory.mktemp("photo-next")
    write_tiny_weights(folder)
    return folder


@pytest.fixture
def next_weights(next_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The untrained weights, in use for this test."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(next_folder))
    return next_folder
