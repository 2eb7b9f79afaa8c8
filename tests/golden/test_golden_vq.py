"""Golden files of vector quantisation decode to the same codes for ever."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from bitstream.container import Container, container_from_bytes
from codec import loading
from codec.pipeline.decode import decompress_container
from tests.bitstream.format_examples import case_of
from tests.golden import vq
from tests.golden.regenerate import FOLDER, main


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


@pytest.fixture(params=vq.CASES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def container_of(name: str) -> Container:
    return container_from_bytes((FOLDER / f"{name}.calo").read_bytes())


def record_of(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return record


def picture_of(name: str) -> npt.NDArray[np.uint8]:
    with Image.open(FOLDER / f"{name}.png") as image:
        return np.asarray(image).reshape(image.height, image.width, -1)


def test_the_cases_are_whole_and_worth_decoding(name: str) -> None:
    container, config = container_of(name), vq.WEIGHTS[name][1]
    header = container.header
    assert (header.model_id, header.channels, header.tile_count) == (14, config.channels, 1)
    assert header.quality == record_of(name)["quality"] == vq.QUALITY
    assert picture_of(name).shape == (vq.HEIGHT, vq.WIDTH, config.channels)
    coder = vq.load_coder(name)
    codes = vq.parse(container, coder)
    rows, columns = -(-vq.HEIGHT // config.side), -(-vq.WIDTH // config.side)
    assert codes.shape == (rows * columns, coder.places[-1].stop)
    # A picture of few codes would test only few tables of a tree.
    for level, place in enumerate(coder.places):
        assert len(np.unique(codes[:, place])) >= config.codes[level] // 3


@pytest.mark.parametrize("threads", [1, 2])
def test_they_decode_as_ever(name: str, threads: int) -> None:
    container, coder = container_of(name), vq.load_coder(name)
    assert container.header.weights_hash == coder.weights_hash
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        codes = vq.parse(container, coder)
        decoded = decompress_container(container, coder).pixels
    finally:
        torch.set_num_threads(before)
    assert vq.codes_digest(codes) == record_of(name)["codes_sha256"]
    assert np.abs(decoded.astype(int) - picture_of(name)).max() <= 1


def test_the_text_of_the_format_is_enough(name: str) -> None:
    decoded = case_of(name).decoded
    codes = vq.parse(container_of(name), vq.load_coder(name))
    np.testing.assert_array_equal(decoded.numbers["codes"], codes.ravel())
    assert np.abs(decoded.pixels.astype(int) - picture_of(name)).max() <= 1


def test_the_cases_are_never_written_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = (FOLDER / f"{name}.calo").read_bytes()
    assert main(name) == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / f"{name}.calo").read_bytes() == before
