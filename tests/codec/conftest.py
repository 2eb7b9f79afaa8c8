"""Weights of the tiny models of digits, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.weights import ENVIRONMENT_VARIABLE
from tests.codec.tiny_vae import write_tiny_digits


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for CALOTYPE_WEIGHTS with untrained VAEs."""
    folder = tmp_path_factory.mktemp("digits")
    write_tiny_digits(folder)
    return folder


@pytest.fixture
def tiny_digits(digits_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The untrained VAEs, in use for this test."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(digits_folder))
    return digits_folder
