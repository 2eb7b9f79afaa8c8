"""Golden files of the distribution-preserving codec decode to the same bits and noise for ever."""

from __future__ import annotations

import json
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
from tests.codec.models.dplc.oracle import decode_bits, noise
from tests.golden import dplc
from tests.golden.regenerate import FOLDER, main

BLOCKS = 3 * 4


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


@pytest.fixture(params=dplc.CASES)
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
        return np.asarray(image)


def test_the_cases_are_whole_and_worth_decoding(name: str) -> None:
    container = container_of(name)
    header = container.header
    assert (header.model_id, header.channels, header.tile_count) == (3, 3, 1)
    assert header.quality == record_of(name)["quality"] == dplc.QUALITIES[name]
    assert header.noise_seed == dplc.NOISE_SEED
    assert picture_of(name).shape == (dplc.HEIGHT, dplc.WIDTH, 3)
    assert picture_of(name).std() > 5
    bits = np.array(dplc.parse(container, dplc.load_coder(name)))
    if name != "dplc-sample-v1":
        assert bits.shape == (BLOCKS, 12)
        assert 0.3 < bits.mean() < 0.7
    else:
        assert container.payloads == ((b"",),)
        assert bits.shape == (BLOCKS, 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_they_decode_as_ever(name: str, threads: int) -> None:
    container, coder = container_of(name), dplc.load_coder(name)
    assert container.header.weights_hash == coder.weights_hash
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        bits = dplc.parse(container, coder)
        decoded = decompress_container(container, coder).pixels
    finally:
        torch.set_num_threads(before)
    assert dplc.bits_digest(bits) == record_of(name)["bits_sha256"]
    assert np.abs(decoded.astype(int) - picture_of(name)).max() <= 1


def test_the_text_of_the_format_is_enough(name: str) -> None:
    path = FOLDER / f"{dplc.weights_name(name)}.safetensors"
    with safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    container, coder = container_of(name), dplc.load_coder(name)
    q = round(100 * container.header.quality)
    bits = decode_bits(container.payloads[0][0], config, arrays, BLOCKS, q)
    assert dplc.bits_digest(bits) == record_of(name)["bits_sha256"]
    # With the noise computed from the text, the networks draw the same picture.
    values = np.array(noise(config, BLOCKS, q, dplc.NOISE_SEED))
    columns = np.concatenate([np.array(bits).reshape(BLOCKS, -1) - 0.5, values], axis=1).T
    latents = np.ascontiguousarray(columns, dtype=np.float32).reshape(-1, 3, 4)
    drawn = coder.synthesize(latents, container.header.quality)[: dplc.HEIGHT, : dplc.WIDTH]
    assert np.abs(drawn.astype(int) - picture_of(name)).max() <= 1


def test_the_cases_are_never_written_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = (FOLDER / f"{name}.calo").read_bytes()
    assert main(name) == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / f"{name}.calo").read_bytes() == before
