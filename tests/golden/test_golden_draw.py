"""DRAW's golden file decodes to the same symbols and pixels for ever, by library and text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from bitstream.container import Container, container_from_bytes
from codec import loading
from codec.pipeline.decode import decompress_container
from tests.golden import draw
from tests.golden.draw_oracle import Weights, decode_tile
from tests.golden.regenerate import FOLDER, main

NAME = "draw-v1"
LAYERS = 3


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


def container_of() -> Container:
    return container_from_bytes((FOLDER / f"{NAME}.calo").read_bytes())


def record_of() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FOLDER / f"{NAME}.json").read_text("utf-8"))
    return record


def picture_of() -> npt.NDArray[np.uint8]:
    with Image.open(FOLDER / f"{NAME}.png") as image:
        return np.asarray(image)


def oracle_weights() -> Weights:
    with safe_open(FOLDER / "draw.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    return Weights(config, arrays, round(100 * container_of().header.quality))


def test_the_case_is_whole_and_worth_decoding() -> None:
    container = container_of()
    header = container.header
    assert (header.layers, header.tile_count, header.model_id) == (LAYERS, 2, 2)
    assert header.quality == record_of()["quality"] == draw.QUALITY
    assert picture_of().shape == (draw.HEIGHT, draw.WIDTH, 3)
    symbols = np.concatenate(draw.parse(container, draw.load_coder()))
    assert np.count_nonzero(symbols) > 100
    assert len(set(record_of()["pixels_sha256"])) == LAYERS


@pytest.mark.parametrize("threads", [1, 2])
def test_it_decodes_as_ever(threads: int) -> None:
    container, record, coder = container_of(), record_of(), draw.load_coder()
    assert container.header.weights_hash == coder.weights_hash
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert draw.symbols_digest(draw.parse(container, coder)) == record["symbols_sha256"]
        for layers, digest in enumerate(record["pixels_sha256"], start=1):
            decoded = decompress_container(draw.prefix(container, layers), coder).pixels
            assert draw.pixels_digest(decoded) == digest
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(decoded, picture_of())


@pytest.mark.parametrize("layers", range(1, LAYERS + 1))
def test_the_text_of_the_format_is_enough(layers: int) -> None:
    container, pixels, messages = container_of(), [], []
    for tile, width in enumerate((draw.TILE, draw.WIDTH - draw.TILE)):
        payloads = [layer[tile] for layer in container.payloads[:layers]]
        decoded, symbols = decode_tile(payloads, oracle_weights(), draw.HEIGHT, width)
        pixels.append(decoded)
        messages += symbols
    joined = np.concatenate(pixels, axis=1).astype(np.uint8)
    assert draw.pixels_digest(joined) == record_of()["pixels_sha256"][layers - 1]
    if layers == LAYERS:
        assert draw.symbols_digest(messages) == record_of()["symbols_sha256"]


def test_the_case_is_never_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}

    before = contents()
    assert main(NAME) == 1
    assert "never" in capsys.readouterr().err
    assert contents() == before
