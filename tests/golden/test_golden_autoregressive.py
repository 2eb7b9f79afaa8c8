"""Golden files of the autoregressive models decode to the same pixels for ever."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bitstream.container import container_from_bytes
from codec import loading
from codec.pipeline.decode import decompress_container
from tests.codec.models.autoregressive.tiny import pictures
from tests.golden import autoregressive
from tests.golden.regenerate import FOLDER, main

CASES = pytest.mark.parametrize("name", autoregressive.CASES)


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


@CASES
def test_they_decode_as_ever(name: str) -> None:
    container = container_from_bytes((FOLDER / f"{name}.calo").read_bytes())
    model = loading.load_model_of(container.header, device="cpu")
    assert model.name == autoregressive.CASES[name]
    assert json.loads((FOLDER / f"{name}.json").read_text("utf-8")) == {"quality": 100.0}
    decoded = decompress_container(container, model).pixels[:, :, 0]
    with Image.open(FOLDER / f"{name}.png") as image:
        np.testing.assert_array_equal(decoded, np.asarray(image))
    height, width = autoregressive.HEIGHT, autoregressive.WIDTH
    np.testing.assert_array_equal(decoded, pictures(2, 3, seed=80)[:height, :width])


@CASES
def test_they_are_never_written_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = (FOLDER / f"{name}.calo").read_bytes()
    assert main(name) == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / f"{name}.calo").read_bytes() == before
