"""Models for the tests in this folder: tiny ones of digits, and a layered one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from codec.loading import ENVIRONMENT_VARIABLE
from codec.models.base import LoadedModel
from codec.rate_distortion.files import codecs
from codec.rate_distortion.files.measure import OperationalCodec
from tests.codec.blas import blas_threads, set_blas_threads
from tests.codec.models.vae.tiny import write_tiny_digits
from tests.codec.rate_distortion.made_up_pictures import decode_jpeg, encode_jpeg, photo_like
from tests.codec.tiny_layers import Blocks


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for CALOTYPE_WEIGHTS with untrained VAEs."""
    folder = tmp_path_factory.mktemp("digits")
    write_tiny_digits(folder)
    return folder


@pytest.fixture
def tiny_digits(digits_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The untrained VAEs, which this test uses."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(digits_folder))
    return digits_folder


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Blocks:
    """The artificial layered model, which the library loads during the test."""
    model = Blocks()

    def load(
        model_id: int, *, weights_hash: bytes, device: str, checkpoint: None = None
    ) -> LoadedModel:
        assert (model_id, weights_hash) == (model.model_id, model.weights_hash)
        return model

    monkeypatch.setattr("codec.loading.load_model", load)
    return model


@pytest.fixture
def fake_photo(monkeypatch: pytest.MonkeyPatch) -> OperationalCodec:
    """Registers a quick codec under the name `photo`, so that no weights are needed."""
    fake = OperationalCodec(
        name="photo",
        encoder="JPEG 4:4:4 in place of the model",
        setting_name="quality",
        settings=(5, 20, 40, 60, 80, 95),
        encode=encode_jpeg,
        decode=decode_jpeg,
        weights=lambda: "0123456789abcdef",
    )
    monkeypatch.setitem(codecs._CODECS, "photo", fake)
    return fake


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """A folder with two small PNG pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(2):
        Image.fromarray(photo_like(seed)).save(folder / f"wave-{seed}.png")
    return folder


@pytest.fixture
def two_blas_threads() -> Iterator[None]:
    """Let BLAS have two threads, and check that it has them at the end of the test."""
    before = blas_threads()
    set_blas_threads(2)
    if blas_threads() != {2}:
        pytest.skip("this BLAS cannot be told how many threads to take")
    yield
    assert blas_threads() == {2}
    set_blas_threads(max(before))
