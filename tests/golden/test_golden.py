"""Golden files decode to the same symbols for ever, and to the same pixels within one level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitstream.container import container_from_bytes
from codec import loading
from codec.pipeline.decode import decompress_container
from tests.golden.regenerate import CASES, FOLDER, load_coder, main, symbols_digest


def test_the_cases_are_there() -> None:
    assert {path.stem for path in FOLDER.glob("photo-*.calo")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_decodes_as_ever(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))
    container = container_from_bytes((FOLDER / f"{name}.calo").read_bytes())
    coder = load_coder(container.header.weights_hash)
    assert (coder.exact_context is not None) == (name != "photo-v1")
    assert coder.latent_tables.certain.any() == (name == "photo-certain-v1")
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
