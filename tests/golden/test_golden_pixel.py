"""Golden files of the pixel models decode to the same pixels for ever."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bitstream.container import container_from_bytes
from codec import loading
from codec.models.pixel.coder import WITH_DIFFERENCES, WITH_MAP
from codec.pipeline.decode import decompress_container
from tests.golden import pixel
from tests.golden.regenerate import FOLDER, main


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


CASES = pytest.mark.parametrize("name", [*pixel.CASES, *pixel.MAX_ERRORS])


@CASES
def test_they_decode_as_ever(name: str) -> None:
    container = container_from_bytes((FOLDER / f"{name}.calo").read_bytes())
    bound = pixel.MAX_ERRORS.get(name)
    header = container.header
    assert (header.model_id, header.variant) == (13 if bound else 12, bound)
    assert header.quality == pixel.QUALITY
    coder = loading.load_model_of(header, device="cpu")
    decoded = decompress_container(container, coder)
    record = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert pixel.pixels_digest(decoded.pixels) == record["pixels_sha256"]
    with Image.open(FOLDER / f"{name}.png") as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(decoded.pixels.reshape(expected.shape), expected)
    assert expected.std() > 5
    errors = np.abs(decoded.pixels.astype(int) - pixel.picture_of(name).pixels)
    assert errors.max() == (bound or 0)


def test_the_cases_are_worth_decoding() -> None:
    for names in (pixel.CASES[:2], tuple(pixel.MAX_ERRORS)):
        check_worth(names)
    drawn = container_from_bytes((FOLDER / "pixel-map-v1.calo").read_bytes())
    assert all(payload[0] == 3 | WITH_MAP for payload in drawn.payloads[0])
    pale = container_from_bytes((FOLDER / "pixel-differences-v1.calo").read_bytes())
    assert pale.payloads[0][0][0] == 3 | WITH_DIFFERENCES


def check_worth(names: tuple[str, ...]) -> None:
    colour, grey = (container_from_bytes((FOLDER / f"{name}.calo").read_bytes()) for name in names)
    assert (colour.header.tile_count, colour.alpha is not None) == (2, True)
    assert (grey.header.tile_count, grey.header.channels, grey.payloads[0][0][0]) == (1, 1, 1)
    assert all(payload[0] == 3 for payload in colour.payloads[0])


@CASES
def test_the_cases_are_never_written_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = (FOLDER / f"{name}.calo").read_bytes()
    assert main(name) == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / f"{name}.calo").read_bytes() == before
