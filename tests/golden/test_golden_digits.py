"""Golden files of digits decode to the same integers for ever, by the library and by the text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from bitstream.container import Container, container_from_bytes
from codec import loading
from codec.coding import channel_simulation, prior_tables
from codec.models.base import LoadedModel
from codec.models.sheets import sheet_of
from codec.models.vae import sample_coders as vae_coders
from codec.models.vae.coder import VaeCoder
from codec.pipeline.decode import decompress_container
from tests.golden import oracle
from tests.golden.digits import CASES, LOSSY_CASES, QUALITIES, integers_digest, parse
from tests.golden.regenerate import FOLDER, main

BLOCKS = 12


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


def container_of(name: str) -> Container:
    return container_from_bytes((FOLDER / f"{name}.calo").read_bytes())


def model_of(name: str) -> LoadedModel:
    header = container_of(name).header
    return loading.load_model(header.model_id, weights_hash=header.weights_hash, device="cpu")


def lossy_of(name: str) -> VaeCoder:
    model = model_of(name)
    assert isinstance(model, VaeCoder)
    return model


def record_of(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return record


def picture_of(name: str) -> npt.NDArray[np.uint8]:
    with Image.open(FOLDER / f"{name}.png") as image:
        return np.asarray(image)


def arrays_of(name: str) -> dict[str, Any]:
    binary = name == "vae-bits-back-v1"
    return load_file(
        FOLDER / ("digits-vae-binary.safetensors" if binary else "digits-vae.safetensors")
    )


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_whole(name: str) -> None:
    for suffix in (".calo", ".png", ".json"):
        assert (FOLDER / f"{name}{suffix}").is_file()
    header = container_of(name).header
    assert model_of(name).name == CASES[name]
    assert record_of(name)["quality"] == header.quality == QUALITIES[CASES[name]]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LOSSY_CASES)
def test_lossy_cases_decode_as_ever(name: str, threads: int) -> None:
    container, record = container_of(name), record_of(name)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        decoder, codes = parse(container, lossy_of(name))
        decoded = decompress_container(container, lossy_of(name)).pixels[:, :, 0]
    finally:
        torch.set_num_threads(before)
    assert integers_digest(decoder) == record["integers_sha256"]
    np.testing.assert_allclose(codes, record["codes"], rtol=1e-6, atol=1e-6)
    assert np.abs(decoded.astype(int) - picture_of(name)).max() <= 1


@pytest.mark.parametrize("threads", [1, 2])
def test_the_archive_decodes_as_ever(threads: int) -> None:
    name = "vae-bits-back-v1"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        decoded = decompress_container(container_of(name), model_of(name)).pixels[:, :, 0]
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(decoded, picture_of(name))


@pytest.mark.parametrize("name", LOSSY_CASES)
def test_no_floating_point_on_the_way_to_a_symbol(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine whose floating-point results differ by far more than a last bit.
    def shaken(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: function(*arguments) * 1.01

    monkeypatch.setattr(channel_simulation, "normal_quantile", shaken(lambda p: p))
    monkeypatch.setattr(vae_coders, "step_sizes", shaken(prior_tables.step_sizes))
    monkeypatch.setattr(vae_coders, "dyadic_quantiles", shaken(prior_tables.dyadic_quantiles))
    decoder, codes = parse(container_of(name), lossy_of(name))
    record = record_of(name)
    assert integers_digest(decoder) == record["integers_sha256"]
    assert not np.allclose(codes, record["codes"], rtol=1e-4)


@pytest.mark.parametrize("name", LOSSY_CASES)
def test_the_text_of_the_format_is_enough_for_codes(name: str) -> None:
    container, arrays = container_of(name), arrays_of(name)
    data, q = container.payloads[0][0], round(100 * container.header.quality)
    if name == "vae-rec-v1":
        codes = oracle.decode_rec(data, arrays, BLOCKS, q)
    else:
        codes = oracle.decode_rungs(CASES[name], data, arrays, BLOCKS, q)
    np.testing.assert_allclose(codes, record_of(name)["codes"], rtol=1e-6, atol=1e-6)


def test_the_text_of_the_format_is_enough_for_the_archive() -> None:
    name = "vae-bits-back-v1"
    data = container_of(name).payloads[0][0]
    images = np.array(oracle.decode_archive(data, arrays_of(name), BLOCKS), dtype=np.uint8)
    height, width = picture_of(name).shape
    pixels = sheet_of(images.reshape(-1, 1, 28, 28) * np.uint8(255), 3, 4)
    np.testing.assert_array_equal(pixels[:height, :width, 0], picture_of(name))


@pytest.mark.parametrize("seed", [0xCA10, 0xCA12, 0xCA13])
def test_the_raw_numbers_of_the_format_are_those_of_numpy(seed: int) -> None:
    for offset in (0, 1, 5, 2**40 + 7):
        generator = np.random.PCG64(seed)
        generator.advance(offset)
        numbers = oracle.raw_numbers(seed, offset)
        assert [next(numbers) for _ in range(50)] == generator.random_raw(50).tolist()


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_never_written_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}

    before = contents()
    assert main(name) == 1
    assert "never" in capsys.readouterr().err
    assert contents() == before
