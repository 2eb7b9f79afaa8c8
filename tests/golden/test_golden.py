"""Golden files decode to the same symbols for ever, and to the same pixels within one level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitstream.container import container_from_bytes
from codec import weights
from codec.models.photo_coder import PhotoCoder
from codec.pipeline import decompress_container
from tests.golden.regenerate import FOLDER, main, symbols_digest

CASES = sorted(path.stem for path in FOLDER.glob("photo-*.calo"))


@pytest.fixture
def coder(monkeypatch: pytest.MonkeyPatch) -> PhotoCoder:
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(FOLDER))
    loaded = weights.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    return loaded


def test_the_cases_are_there() -> None:
    assert "photo-v1" in CASES


@pytest.mark.parametrize("name", CASES)
def test_decodes_as_ever(name: str, coder: PhotoCoder) -> None:
    container = container_from_bytes((FOLDER / f"{name}.calo").read_bytes())
    assert container.header.weights_hash == coder.weights_hash
    record = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert symbols_digest(container, coder) == record["symbols_sha256"]
    decoded = decompress_container(container, coder)
    expected = np.asarray(Image.open(FOLDER / f"{name}.png"))
    assert np.abs(decoded.pixels.astype(int) - expected).max() <= 1
    assert decoded.alpha is not None
    assert decoded.icc == b"an ICC profile"


def test_a_golden_file_is_never_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    before = (FOLDER / "photo-v1.calo").read_bytes()
    assert main("photo-v1") == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / "photo-v1.calo").read_bytes() == before
    assert Path(FOLDER / "photo-v1.json").exists()
