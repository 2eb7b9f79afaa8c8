"""The autoregressive models as codecs: exact, causal, with files as long as the likelihood says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import codec
from bitstream.arrays import BoolArray, Int32Array
from bitstream.errors import UsageError, WeightsMismatchError
from codec import loading
from codec.coding.prior_tables import symbol_bits
from codec.models.autoregressive import coder as coder_module
from codec.models.autoregressive.coder import AutoregressiveCoder
from codec.models.autoregressive.config import AutoregressiveConfig
from codec.models.sheets import blocks_of
from tests.codec.models.autoregressive.tiny import (
    CONFIGS,
    arrays,
    coder,
    network,
    pictures,
    write_tiny,
)
from training.autoregressive.network import nats

NAMES = pytest.mark.parametrize("name", CONFIGS)


def images_of(rows: int, columns: int, seed: int = 0) -> BoolArray:
    """Blocks (784, n)."""
    blocks = blocks_of(pictures(rows, columns, seed)[:, :, None]).reshape(-1, 784)
    return np.ascontiguousarray(blocks.T) > 0


def log_odds_of(model: AutoregressiveCoder, images: BoolArray) -> Int32Array:
    """The exact network's log-odds of every pixel, (784, n), in units of 2⁻¹⁰."""
    found: list[Int32Array] = []

    def code(log_odds: Int32Array) -> BoolArray:
        found.append(log_odds)
        pixels: BoolArray = images[len(found) - 1]
        return pixels

    model.network.sweep(images.shape[1], code)
    return np.stack(found)


def floats_of(name: str, images: BoolArray) -> torch.Tensor:
    """Log-odds of the network in floating point, (n, 1, 28, 28)."""
    pixels = torch.from_numpy(images.T.astype(np.float32)).view(-1, 1, 28, 28)
    log_odds: torch.Tensor = network(name)(pixels)
    return log_odds


@NAMES
def test_the_exact_network_is_the_trained_one(name: str) -> None:
    images = images_of(2, 3)
    exact = log_odds_of(coder(name), images) / 1024
    expected = floats_of(name, images).flatten(1).numpy().T
    assert expected.std() > 0.2
    assert np.abs(exact - expected).max() < 0.02


@NAMES
def test_a_pixel_depends_on_those_before_it_alone(name: str) -> None:
    model, images = coder(name), images_of(1, 6)
    before = log_odds_of(model, images)
    # If the third pixel of row 14 changes, log-odds up to it must not change, and later ones must.
    place = 14 * 28 + 2
    images[place] ^= True
    after = log_odds_of(model, images)
    assert (before[: place + 1] == after[: place + 1]).all()
    assert (before[place + 1 :] != after[place + 1 :]).any(axis=0).all()


@NAMES
def test_files_are_as_long_as_the_likelihood_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(tmp_path, name)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path))
    sheet = pictures(8, 8, seed=1)
    data = codec.compress(sheet, model=name)
    np.testing.assert_array_equal(codec.decompress(data, as_="numpy").reshape(sheet.shape), sheet)
    images = images_of(8, 8, seed=1)
    pixels = torch.from_numpy(images.T.astype(np.float32)).view(-1, 1, 28, 28)
    bits = float(nats(floats_of(name, images), pixels).sum()) / math.log(2)
    info = codec.inspect(data)
    assert (info.model_name, info.max_error, info.portable) == (name, 0, True)
    # Log-odds are rounded to eighths; there are an end mark, whole bytes, and a chunk header.
    assert 0.998 * bits < 8 * info.payload_bytes < 1.002 * bits + 80


@NAMES
def test_the_ideal_length_is_that_of_the_payload(name: str) -> None:
    model, images = coder(name), images_of(3, 3)
    ideal = 0.0

    def code(group: slice, place: int, indexes: Int32Array) -> BoolArray:
        nonlocal ideal
        pixels: BoolArray = images[place, group]
        ideal += float(symbol_bits(pixels.astype(np.int32), indexes, model.tables).sum())
        return pixels

    model.sweep(9, code)
    (payload,) = model.encode_tile(images.astype(np.float32).reshape(784, 3, 3), 100)
    assert ideal < 8 * len(payload) < ideal + 48


@NAMES
def test_groups_are_coded_one_after_another(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = coder(name), images_of(1, 5).astype(np.float32).reshape(784, 1, 5)
    whole = model.encode_tile(images, 100)
    monkeypatch.setattr(coder_module, "GROUP", 2)
    parts = model.encode_tile(images, 100)
    assert parts != whole
    np.testing.assert_array_equal(model.decode_tile(parts, 1, 5, 100), images)


@NAMES
def test_other_pictures_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="binarise"):
        coder(name).check_picture(np.full((28, 28, 1), 7, np.uint8))


def test_impossible_sizes_are_refused() -> None:
    for sizes in (
        ("other", 1, 1), ("fvsbn", 1, 0), ("fvsbn", 0, 1), ("made", 0, 0), ("made", 4, 1),
        ("made", 2**20, 0), ("pixelcnn", 4, 0), ("pixelcnn", 0, 4), ("pixelcnn", 4, 1000),
    ):  # fmt: skip
        with pytest.raises(WeightsMismatchError):
            AutoregressiveConfig(*sizes)


@NAMES
def test_incomplete_or_impossible_weights_are_refused(name: str) -> None:
    for array in arrays(name):
        if array.startswith("pixel_tables"):
            continue
        with pytest.raises(WeightsMismatchError, match=array):
            coder(name, **{array: np.zeros((2, 2), np.float32)})
    with pytest.raises(WeightsMismatchError):
        coder(name, **{"output.weight_bits": np.array(99, np.int32)})
    if name == "digits-pixelcnn":
        tanh = arrays(name)["gate.tanh"].copy()
        tanh[3] = 2000
        with pytest.raises(WeightsMismatchError, match="±1"):
            coder(name, **{"gate.tanh": tanh})
