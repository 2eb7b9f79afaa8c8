"""`vae-round` with weights of a class-conditional VAE: the file names a label for each block."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import codec
from bitstream.arrays import Array
from bitstream.errors import PayloadError, UsageError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import tables_from_pmfs
from codec.coding.prior_tables import step_sizes, symbol_bits
from codec.models.generative.networks import Decoder, Encoder, GenerativeModel
from codec.models.generative.weights_file import save_generative
from codec.models.vae.coder import ClassVaeCoder, vae_loader
from codec.models.vae.sample_coders import rungs_at
from codec.models.weights_files import ENVIRONMENT_VARIABLE
from tests.benchmarks.tiny_dplc_set import write_idx
from tests.codec.models.vae import tiny
from training.commands import main as command
from training.generative import digits_export

CLASSES = 4


@functools.cache
def conditional() -> GenerativeModel:
    """The VAE of `tiny`, with a label that makes images lighter or darker."""
    vae = tiny.generative("gaussian")
    config = replace(vae.config, classes=CLASSES)
    encoder, decoder = Encoder(config), Decoder(config)
    assert vae.encoder is not None
    for network, plain in ((encoder, vae.encoder), (decoder, vae.decoder)):
        state = dict(plain.state_dict())
        weight = state["layers.0.weight"]
        label = torch.linspace(-1, 1, CLASSES).expand(len(weight), CLASSES)
        state["layers.0.weight"] = torch.cat([weight, label], 1)
        network.load_state_dict(state)
        network.eval().requires_grad_(False)
    return replace(vae, config=config, encoder=encoder, decoder=decoder)


@functools.cache
def arrays() -> dict[str, Array]:
    images = tiny.digits(200, seed=6)
    return digits_export.class_arrays(conditional(), images, np.arange(200) % CLASSES)


def model(name: str = "vae-round", **changes: Any) -> ClassVaeCoder:
    config = json.dumps(asdict(conditional().config))
    made = vae_loader(name)(
        {**arrays(), **changes}, {"config": config}, bytes(8), device=torch.device("cpu")
    )
    assert isinstance(made, ClassVaeCoder)
    return made


def drawn(label: int, count: int) -> tiny.Pixels:
    """Images uint8 (count, 1, 28, 28) of one class."""
    codes = torch.randn(count, tiny.CODE, generator=torch.Generator().manual_seed(label))
    images = conditional().decoder.given(label)(codes)
    pixels: tiny.Pixels = np.rint(255 * images.numpy()).astype(np.uint8)
    return pixels


def test_label_and_code_come_back() -> None:
    made, blocks = model(), np.concatenate([drawn(label, 5) for label in range(CLASSES)])
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), 5)
    latents = made.given_labels(blocks, labels)
    tile = np.ascontiguousarray(latents.T).reshape(-1, 4, 5)
    for quality in (20.0, 75.0, 100.0):
        (payload,) = made.encode_tile(tile, quality)
        again = made.decode_tile([payload], 4, 5, quality).reshape(-1, 20).T
        assert (again[:, tiny.CODE :] == np.eye(CLASSES)[labels]).all()
        steps = step_sizes()[rungs_at(round(100 * quality), made.coder.rounded.offsets)]
        error = np.abs(again[:, : tiny.CODE] - latents[:, : tiny.CODE])
        assert np.all(error < steps * 0.501 + 1e-4)
        coder = made.coder
        assert (again == coder.decoded(made.messages(tile, quality), round(100 * quality))).all()
    of_label, _ = made.messages(tile, 75)
    bits = symbol_bits(of_label.symbols, of_label.indexes, of_label.tables)
    assert bits == pytest.approx(np.full(20, math.log2(CLASSES)), abs=1e-3)


def test_the_encoder_takes_the_label_of_the_least_cost() -> None:
    made = model()
    for label in range(CLASSES):
        blocks = drawn(label, 20)
        chosen = made.choose_labels(blocks, 90)
        costs = np.stack([cost_of(made, blocks, other, 9000) for other in range(CLASSES)])
        assert (chosen == costs.argmin(0)).all()


def cost_of(made: ClassVaeCoder, blocks: tiny.Pixels, label: int, hundredths: int) -> Any:
    """−ln of the code's probability and −ln p(x|z, y) of quality 90, one block at a time."""
    costs = []
    for block in blocks:
        latents = made.given_labels(block[None], np.array([label], np.int32)).reshape(-1, 1, 1)
        bits = sum(
            symbol_bits(m.symbols, m.indexes, m.tables).sum()
            for m in made.messages(latents, hundredths / 100)
        )
        (payload,) = made.encode_tile(latents, hundredths / 100)
        codes = made.decode_tile([payload], 1, 1, hundredths / 100)
        pixels = made.synthesize(codes, hundredths / 100)[:, :, 0]
        error = ((pixels / 255 - block[0] / 255) ** 2).sum()
        exchange = 2 ** ((hundredths / 100 - 75) / 6.25) / (2 * made.pixel_variance)
        costs.append(math.log(2) * float(bits) + exchange * float(error))
    return np.array(costs)


def test_a_class_outside_the_model_is_damage() -> None:
    coder = model().coder
    encoder = SymbolEncoder()
    encoder.put(np.array([CLASSES], np.int32), np.zeros(1, np.int32), coder.labels)
    with pytest.raises(PayloadError, match=r"a class of 4 \.\. 4 was decoded, expected 0 \.\. 3"):
        coder.codes(SymbolDecoder(encoder.finish()), 1, 7500)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pixel_variance": np.array(0.0)}, "pixel_variance"),
        ({"pixel_variance": np.array(np.nan)}, "pixel_variance"),
        ({"label_tables.minimums": np.array([1], np.int32)}, "begin at 0"),
        ({"rung_offsets": np.zeros(2, np.int32)}, "rung_offsets"),
        ({"name": "vae-dither"}, "for vae-round"),
    ],
    ids=["zero", "nan", "labels", "offsets", "another way"],
)
def test_wrong_weights_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(WeightsMismatchError, match=reason):
        model(**changes)


def test_a_table_of_other_classes_is_refused() -> None:
    tables = tables_from_pmfs([(0, np.full(3, 1 / 3))]).to_arrays()
    changes: dict[str, Any] = {f"label_tables.{name}": array for name, array in tables.items()}
    with pytest.raises(WeightsMismatchError, match="4 classes with a table of 3"):
        model(**changes)


def test_only_models_with_classes_are_exported_with_labels() -> None:
    images, labels = tiny.digits(4), np.zeros(4, np.int64)
    with pytest.raises(UsageError, match="without classes"):
        digits_export.class_arrays(tiny.generative("gaussian"), images, labels)
    with pytest.raises(UsageError, match="with classes"):
        digits_export.lossy_arrays(conditional(), images)
    binary = replace(conditional().config, likelihood="bernoulli", activation="relu")
    with pytest.raises(UsageError, match="has none"):
        digits_export.bits_back_arrays(replace(conditional(), config=binary))


def test_its_decoder_is_not_measured_without_a_label() -> None:
    with pytest.raises(UsageError, match="sees a label"):
        model().decoder_of_codes()


def test_files_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([drawn(label, 6) for label in range(CLASSES)])
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images[:, 0])
    labels = np.repeat(np.arange(CLASSES, dtype=np.uint8), 6)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    save_generative(tmp_path / "m.safetensors", conditional())
    export = ["export", str(tmp_path / "m.safetensors"), "--data", str(tmp_path)]
    assert command([*export, "-o", str(tmp_path)]) == 0
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    pixels = tiny.sheet(images[:6], 3)
    sizes = []
    for quality in (20, 60, 90):
        data = codec.compress(pixels, model="vae-round:digits-class-vae", quality=quality)
        sizes.append(len(data))
        back = np.asarray(codec.decompress(data)).astype(float)
        assert back.shape == pixels.shape
    assert sizes == sorted(set(sizes))
