"""The photo model at work, above all: a file parses alike whatever computes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import codec
from bitstream.errors import (
    PayloadError,
    UnknownModelError,
    WeightsMismatchError,
    WeightsMissingError,
)
from codec import loading
from codec.models.photo.coder import PhotoCoder, TileSymbols, hyper_indexes
from tests.codec.tiny import photographs
from tests.limits import cpu_limit
from training.loop.export import register

QUALITIES = (1.0, 37.31, 75.0, 100.0)


@pytest.fixture
def coder(tiny_weights: Path) -> PhotoCoder:
    loaded = loading.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    return loaded


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def encode(coder: PhotoCoder, quality: float) -> tuple[tuple[bytes, ...], TileSymbols]:
    latents = coder.analyze(photographs(1)[0], quality)
    return coder.encode_tile(latents, quality), coder.symbols(latents, quality)


def assert_same(one: TileSymbols, two: TileSymbols) -> None:
    for name in ("hyper_latents", "symbols", "indexes", "means"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.mark.parametrize("quality", QUALITIES)
def test_decodes_the_symbols_that_were_coded(coder: PhotoCoder, quality: float) -> None:
    payloads, written = encode(coder, quality)
    read = coder.decode_symbols(payloads, 8, 8, quality)
    assert_same(written, read)
    if quality > 1:
        assert len(np.unique(read.symbols)) > 5
        assert len(np.unique(read.indexes)) > 5


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 2])
def test_symbols_do_not_depend_on_threads(coder: PhotoCoder, count: int) -> None:
    payloads, written = encode(coder, 75)
    torch.set_num_threads(count)
    assert_same(written, coder.decode_symbols(payloads, 8, 8, 75))


def test_symbols_do_not_depend_on_arithmetic_or_layout(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads, written = encode(coder, 75)
    plain = coder.synthesize(coder.decode_tile(payloads, 8, 8, 75), 75)
    monkeypatch.setattr(coder, "transforms", coder.torch_transforms)
    monkeypatch.setattr(coder.torch_transforms, "dtype", torch.bfloat16)
    assert_same(written, coder.decode_symbols(payloads, 8, 8, 75))
    rough = coder.synthesize(coder.decode_tile(payloads, 8, 8, 75), 75)
    assert np.abs(plain.astype(int) - rough).mean() < 1
    monkeypatch.setattr(coder.torch_transforms, "dtype", torch.float32)
    coder.network.to(memory_format=torch.contiguous_format)
    assert_same(written, coder.decode_symbols(payloads, 8, 8, 75))


def test_symbols_survive_noise_on_every_activation(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads, written = encode(coder, 75)
    plain = coder.synthesize(coder.decode_tile(payloads, 8, 8, 75), 75)
    monkeypatch.setattr(coder, "transforms", coder.torch_transforms)
    touched = []

    def perturb(module: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
        touched.append(module)
        return output + 1e-4 * torch.randn_like(output)

    leaves = [m for m in coder.network.modules() if not list(m.children())]
    handles = [module.register_forward_hook(perturb) for module in leaves]
    try:
        read = coder.decode_symbols(payloads, 8, 8, 75)
        assert not touched, "parsing ran a floating-point layer"
        noisy = coder.synthesize(coder.decode_tile(payloads, 8, 8, 75), 75)
    finally:
        for handle in handles:
            handle.remove()
    assert touched
    assert_same(written, read)
    assert np.abs(plain.astype(int) - noisy).max() <= 2


def test_an_encoder_on_other_arithmetic_writes_a_file_that_decodes(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(coder, "transforms", coder.torch_transforms)
        patch.setattr(coder.torch_transforms, "dtype", torch.bfloat16)
        payloads, written = encode(coder, 75)
    assert_same(written, coder.decode_symbols(payloads, 8, 8, 75))


def test_coarse_latents_of_any_value_have_symbols(coder: PhotoCoder) -> None:
    shape = (coder.config.latent_channels, 3, 5)
    for value in (np.nan, np.inf, -np.inf, 1e30):
        latents = np.full(shape, value, dtype=np.float32)
        payloads = coder.encode_tile(latents, 50)
        read = coder.decode_tile(payloads, 3, 5, 50)
        assert np.isfinite(read).all()
        assert coder.synthesize(read, 50).shape == (48, 80, 3)


@pytest.mark.parametrize("cut", [0, 1, 5, -4])
def test_damaged_payloads_are_refused(coder: PhotoCoder, cut: int) -> None:
    (payload,), _ = encode(coder, 75)
    with pytest.raises(PayloadError):
        coder.decode_tile([payload[:cut]], 8, 8, 75)
    with pytest.raises(PayloadError):
        coder.decode_tile([payload + b"\x01\x02\x03\x04\x05"], 8, 8, 75)


@pytest.mark.parametrize("payload", [b"", b"\x01", bytes(range(1, 200)), b"\xff" * 300])
def test_a_large_tile_of_few_bytes_is_refused_at_once(coder: PhotoCoder, payload: bytes) -> None:
    with cpu_limit(2), pytest.raises(PayloadError):
        coder.decode_tile([payload], 256, 256, 50)


@settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_payload_is_refused_or_decodes_to_pixels(
    coder: PhotoCoder, data: st.DataObject
) -> None:
    """What a CRC cannot tell: bytes that were damaged before they were wrapped in a file."""
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    quality = data.draw(st.integers(100, 10000)) / 100
    if data.draw(st.booleans()):
        payload = data.draw(st.binary(max_size=400))
    else:
        good = bytearray(encode(coder, quality)[0][0])
        start = data.draw(st.integers(0, len(good)))
        good[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        payload, height, width = bytes(good), 8, 8
    try:
        with cpu_limit(2):
            latents = coder.decode_tile([payload], height, width, quality)
    except PayloadError:
        return
    pixels = coder.synthesize(latents, quality)
    assert pixels.shape == (16 * height, 16 * width, 3)


def test_hyper_indexes_pick_the_nearest_set() -> None:
    sets = [int(hyper_indexes(q, 12, 8, 1, 1)[0]) // 8 for q in (1, 5.4, 5.6, 10, 99.9, 100)]
    assert sets == [0, 0, 1, 1, 11, 11]
    np.testing.assert_array_equal(hyper_indexes(1, 12, 2, 1, 2), [0, 0, 1, 1])


def test_weights_are_found_by_name(
    tiny_weights: Path, tmp_path: Path, coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with safe_open(tiny_weights / "photo.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    hashes = {}
    for name in ("first", "second", "first"):
        path = tmp_path / f"{name}.safetensors"
        save_file(arrays, path, {**metadata, "name": name})
        hashes[name] = bytes.fromhex(register(path, ["photo"]))[:8]
    assert len(json.loads((tmp_path / "registry.json").read_text("utf-8"))["photo"]) == 2
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path))
    for text, name in (("photo", "first"), ("photo:first", "first"), ("1:second", "second")):
        assert loading.load_model(text, device="cpu").weights_hash == hashes[name]
    with pytest.raises(WeightsMissingError, match=r"no weights 'third'.*first, .*second"):
        loading.load_model("photo:third", device="cpu")
    data = codec.compress(photographs(1, side=64)[0], model="photo:second")
    assert codec.inspect(data).weights_hash == hashes["second"].hex()
    with pytest.raises(UnknownModelError, match="'picture'"):
        codec.compress(photographs(1, side=64)[0], model="picture:second")


def test_weights_are_found_by_hash_and_checked(
    tiny_weights: Path, tmp_path: Path, coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loading.load_model(1, weights_hash=coder.weights_hash, device="cpu")
    assert found.weights_hash == coder.weights_hash
    with pytest.raises(WeightsMissingError, match="0102030405060708"):
        loading.load_model(1, weights_hash=bytes(range(1, 9)), device="cpu")
    damaged = bytearray((tiny_weights / "photo.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "photo.safetensors").write_bytes(damaged)
    (tmp_path / "registry.json").write_bytes((tiny_weights / "registry.json").read_bytes())
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsMismatchError, match="SHA-256"):
        loading.load_model(1, weights_hash=coder.weights_hash, device="cpu")


def certain_coder(
    coder: PhotoCoder, tables: int, symbol: int = 0, name: str = "latent"
) -> PhotoCoder:
    """The same model, certain of a symbol where the first tables are chosen."""
    arrays = dict(coder.arrays)
    chosen = getattr(coder, f"{name}_tables")
    some = chosen.with_certain(np.arange(len(chosen)) < tables, symbol)
    arrays |= {f"{name}_tables.{key}": value for key, value in some.to_arrays().items()}
    return PhotoCoder(arrays, coder.config, coder.weights_hash)


@pytest.mark.parametrize("quality", QUALITIES)
def test_symbols_of_certain_tables_are_zero_and_not_coded(
    coder: PhotoCoder, quality: float
) -> None:
    latents = coder.analyze(photographs(1)[0], quality)
    before = coder.symbols(latents, quality)
    tables = int(np.quantile(before.indexes, 0.6))
    certain = certain_coder(coder, tables)
    written = certain.symbols(latents, quality)
    assert not written.symbols[written.indexes < tables].any()
    lost = before.symbols[before.indexes < tables]
    assert lost.any() or quality == 1
    payloads = certain.encode_tile(latents, quality)
    assert_same(certain.decode_symbols(payloads, 8, 8, quality), written)
    assert len(payloads[0]) <= len(coder.encode_tile(latents, quality)[0]) - lost.any()


def test_refuses_tables_that_are_certain_of_anything_else(coder: PhotoCoder) -> None:
    with pytest.raises(WeightsMismatchError, match="zero alone"):
        certain_coder(coder, 3, symbol=1)
    with pytest.raises(WeightsMismatchError, match="zero alone"):
        certain_coder(coder, 3, name="hyper")
