"""Golden files of the photo model decode to the same symbols and to the same pixels for ever."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitstream.container import container_from_bytes
from codec import loading
from codec.models.photo.config import TUNES
from codec.pipeline.decode import decompress_container
from tests.golden import photo
from tests.golden.regenerate import FOLDER, main


def test_the_cases_are_there() -> None:
    assert {path.stem for path in FOLDER.glob("photo-*.calo")} == set(photo.CASES)


@pytest.mark.parametrize("name", photo.CASES)
def test_decodes_as_ever(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))
    quality, tune, depth, tile_size = photo.CASES[name]
    container = container_from_bytes((FOLDER / f"{name}.calo").read_bytes())
    header = container.header
    assert (header.quality, header.bit_depth, header.tile_size) == (quality, depth, tile_size)
    assert header.layers == (4 if name == "photo-layers-v1" else 1)
    assert header.variant == TUNES.index(tune)
    coder = photo.load_coder(tune, header.weights_hash)
    assert coder.latent_tables.certain.sum() == photo.CERTAIN_TABLES
    assert coder.config.far_passes == (3 if name == "photo-far-v1" else 0)
    record = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert photo.symbols_digest(container, coder) == record["symbols_sha256"]
    decoded = decompress_container(container, coder)
    assert photo.pixels_digest(decoded.pixels) == record["pixels_sha256"]
    picture = np.asarray(Image.open(FOLDER / f"{name}.png"))
    np.testing.assert_array_equal(decoded.pixels, picture.reshape(decoded.pixels.shape))
    if depth == 8:
        assert decoded.alpha is not None
        assert decoded.icc == b"an ICC profile"


def test_a_golden_file_is_never_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    name = next(iter(photo.CASES))
    before = (FOLDER / f"{name}.calo").read_bytes()
    assert main(name) == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / f"{name}.calo").read_bytes() == before
    assert Path(FOLDER / f"{name}.json").exists()
    assert main("photo-v0") == 1
    assert "no case" in capsys.readouterr().err
