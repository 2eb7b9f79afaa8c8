"""Models for the tests of this folder: tiny ones of digits, and one of layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.models.base import LoadedModel
from codec.weights import ENVIRONMENT_VARIABLE
from tests.codec.tiny_layers import Blocks
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


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Blocks:
    """The made-up layered model, which is what the library loads."""
    model = Blocks()

    def load(
        model_id: int, *, weights_hash: bytes, device: str, checkpoint: None = None
    ) -> LoadedModel:
        assert (model_id, weights_hash) == (model.model_id, model.weights_hash)
        return model

    monkeypatch.setattr("codec.weights.load_model", load)
    return model
