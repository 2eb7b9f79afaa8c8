"""The DRAW archive's golden file decodes to the same pixels for ever, by library and text."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from bitstream.container import Container, container_from_bytes
from codec import loading
from codec.models.sheets import sheet_of
from codec.pipeline.decode import decompress_container
from tests.codec.models.draw.archive_oracle import decode_archive
from tests.codec.models.draw.tiny_archive import SIDE
from tests.golden import draw_archive
from tests.golden.draw_oracle import Weights
from tests.golden.regenerate import FOLDER, main

(NAME,) = draw_archive.CASES


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


def container_of() -> Container:
    return container_from_bytes((FOLDER / f"{NAME}.calo").read_bytes())


def picture_of() -> npt.NDArray[np.uint8]:
    with Image.open(FOLDER / f"{NAME}.png") as image:
        return np.asarray(image)


def test_the_case_is_whole_and_worth_decoding() -> None:
    header = container_of().header
    assert (header.model_id, header.channels, header.layers) == (9, 1, 1)
    assert picture_of().shape == (draw_archive.HEIGHT, draw_archive.WIDTH)
    assert set(np.unique(picture_of())) == {0, 255}


@pytest.mark.parametrize("threads", [1, 2])
def test_it_decodes_as_ever(threads: int) -> None:
    container = container_of()
    model = loading.load_model(9, weights_hash=container.header.weights_hash, device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        decoded = decompress_container(container, model).pixels[:, :, 0]
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(decoded, picture_of())


def test_the_text_of_the_format_is_enough() -> None:
    with safe_open(FOLDER / "draw-bits-back.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    rows, columns = draw_archive.ROWS, draw_archive.COLUMNS
    data = container_of().payloads[0][0]
    images = decode_archive(data, Weights(config, arrays, 10000), SIDE, rows * columns)
    pixels = sheet_of(images.astype(np.uint8), rows, columns)
    height, width = picture_of().shape
    np.testing.assert_array_equal(pixels[:height, :width, 0], picture_of())


def test_the_case_is_never_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    before = (FOLDER / f"{NAME}.calo").read_bytes()
    assert main(NAME) == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / f"{NAME}.calo").read_bytes() == before
