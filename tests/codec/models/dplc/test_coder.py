"""The distribution-preserving codec: any image, any rate, and reproducible noise."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import (
    Container,
    HeaderError,
    PayloadError,
    TableError,
    UsageError,
    WeightsMismatchError,
    container_from_bytes,
    container_to_bytes,
)
from codec.models.base import StochasticModel, WholePictureModel
from codec.models.dplc import coder as dplc_coder
from codec.models.dplc.coder import DplcCoder, load_dplc
from codec.models.dplc.networks import DplcConfig
from codec.options import Region
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.bitstream.files import DONE, START, chunk
from tests.codec.models.dplc.tiny import COLOUR, GREY, PLAIN, arrays, coder, load, metadata, scene

Uint8Array = npt.NDArray[np.uint8]

QUALITIES = (1.0, 50.0, 100.0)  # one for each of the three rates
CONFIGS = pytest.mark.parametrize("config", [COLOUR, GREY, PLAIN], ids=["colour", "grey", "plain"])


def written(
    model: DplcCoder, pixels: Uint8Array, quality: float, seed: int | None = 0
) -> Container:
    """The container read from the bytes of a file."""
    container = compress_picture(Picture(pixels), model, quality=quality, noise_seed=seed)
    return container_from_bytes(container_to_bytes(container))


def decoded(
    container: Container,
    model: DplcCoder,
    *,
    seed: int | None = None,
    region: Region | None = None,
) -> Uint8Array:
    return decompress_container(container, model, seed=seed, region=region).pixels


def apart(one: Uint8Array, two: Uint8Array) -> int:
    return int(np.abs(one.astype(int) - two).max())


@CONFIGS
@settings(derandomize=True, max_examples=12, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]), st.sampled_from(QUALITIES))
def test_any_size_comes_back(
    config: DplcConfig, height: int, width: int, channels: int, quality: float
) -> None:
    model = coder(config)
    pixels = scene(height, width, min(channels, config.channels))
    container = written(model, pixels, quality)
    assert (container.header.tile_count, container.header.layers) == (1, 1)
    found = decoded(container, model)
    assert found.shape == pixels.shape
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, decoded(container, model))


@CONFIGS
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("size", [(1, 1), (17, 40), (64, 96)])
def test_symbols_are_the_signs_of_what_the_encoder_said(
    config: DplcConfig, quality: float, size: tuple[int, int]
) -> None:
    model, side = coder(config), config.side
    height, width = (-(-length // side) for length in size)
    pixels = np.broadcast_to(scene(*size)[..., : config.channels], (*size, 3))
    padding = ((0, height * side - size[0]), (0, width * side - size[1]), (0, 0))
    padded = np.pad(pixels, padding, mode="edge")
    latents = model.analyze(padded, quality)
    rate = config.rate_at(round(100 * quality))
    assert latents.shape == (config.symbols(rate), height, width)
    assert latents.dtype == np.float32
    payloads = model.encode_tile(latents, quality)
    found = model.decode_tile(payloads, height, width, quality)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.where(latents >= 0, 0.5, -0.5))
    picture = Picture(np.ascontiguousarray(pixels[..., : config.channels]))
    container = compress_picture(picture, model, quality=quality)
    assert container.payloads == (payloads,)


def test_it_is_what_the_pipeline_asks_for() -> None:
    assert isinstance(coder(), WholePictureModel)
    assert isinstance(coder(), StochasticModel)
    assert [coder().draws_noise(quality) for quality in QUALITIES] == [True] * 3
    assert not coder(PLAIN).draws_noise(50)


@pytest.mark.parametrize(("seed", "flags"), [(None, b"\2"), (0, b"\1\0"), (300, b"\1\xac\2")])
def test_at_no_symbols_the_file_is_its_header(seed: int | None, flags: bytes) -> None:
    container = compress_picture(Picture(scene(50, 70)), coder(), quality=1, noise_seed=seed)
    fields = b"\x46\x32" + b"\3\x08" + b"\x64\0" + b"\3\0" + bytes(8) + b"\7\1"
    head = chunk(b"HEAD", fields + flags)
    assert container_to_bytes(container) == START + head + chunk(b"DATA", b"\0\0") + DONE
    # A sample of the generator, not a grey image.
    assert decoded(container, coder()).std() > 5


@pytest.mark.parametrize("quality", QUALITIES)
def test_who_says_what_the_noise_is(quality: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, pixels = coder(), scene(64, 64)
    replay, free = written(model, pixels, quality, 7), written(model, pixels, quality, None)
    assert (replay.header.noise_seed, free.header.noise_seed) == (7, None)
    assert replay.payloads == free.payloads
    picture = decoded(replay, model)
    np.testing.assert_array_equal(decoded(replay, model), picture)
    np.testing.assert_array_equal(decoded(written(model, pixels, quality, 7), model), picture)
    assert apart(decoded(written(model, pixels, quality, 8), model), picture) > 3
    # The reader's seed takes precedence over the file's.
    np.testing.assert_array_equal(decoded(free, model, seed=7), picture)
    np.testing.assert_array_equal(
        decoded(replay, model, seed=2**63 - 1), decoded(free, model, seed=2**63 - 1)
    )
    assert apart(decoded(replay, model, seed=0), picture) > 3
    assert apart(decoded(free, model), decoded(free, model)) > 3
    monkeypatch.setattr("secrets.randbelow", lambda bound: bound - 1)
    np.testing.assert_array_equal(decoded(free, model), decoded(free, model, seed=2**63 - 1))


def test_a_plain_autoencoder_draws_nothing() -> None:
    model, pixels = coder(PLAIN), scene(40, 64)
    container = written(model, pixels, 50, seed=7)
    assert container.header.noise_seed is None
    assert not container.header.free_noise
    np.testing.assert_array_equal(decoded(container, model), decoded(container, model, seed=3))
    latents = np.zeros((8, 1, 2), np.float32)
    assert model.add_noise(latents, 50, 1).shape == latents.shape


def test_a_header_that_is_wrong_about_noise_is_refused() -> None:
    container = written(coder(PLAIN), scene(32, 32), 50)
    for change, found in (({"noise_seed": 0}, "noise seed 0"), ({"free_noise": True}, "free")):
        header = dataclasses.replace(container.header, **change)
        with pytest.raises(HeaderError, match=f"{found}.*expected none"):
            decoded(dataclasses.replace(container, header=header), coder(PLAIN))
    container = written(coder(), scene(32, 32), 50)
    header = dataclasses.replace(container.header, noise_seed=None)
    with pytest.raises(HeaderError, match=r"no noise.*expected some"):
        decoded(dataclasses.replace(container, header=header), coder())
    # Even without noise for its maps, a model samples if there are no symbols.
    config = dataclasses.replace(PLAIN, rates=(0, 2))
    model = coder(config)
    assert written(model, scene(32, 32), 10).header.noise_seed == 0
    assert written(model, scene(32, 32), 90).header.noise_seed is None


def test_several_tiles_are_refused() -> None:
    container = written(coder(), scene(100, 100), 50)
    header = dataclasses.replace(container.header, tile_size=64)
    payloads = ((container.payloads[0][0],) * 4,)
    several = dataclasses.replace(container, header=header, payloads=payloads)
    with pytest.raises(HeaderError, match="one tile"):
        decoded(several, coder())
    with pytest.raises(HeaderError, match="one tile"):
        decoded(several, coder(), region=(0, 0, 9, 9))


@CONFIGS
@pytest.mark.parametrize("quality", QUALITIES)
def test_a_region_is_a_part_of_the_picture(config: DplcConfig, quality: float) -> None:
    model = coder(config)
    container = written(model, scene(70, 90)[..., : config.channels], quality, 5)
    whole = decoded(container, model)
    for x, y, width, height in ((0, 0, 90, 70), (33, 30, 40, 20), (89, 69, 1, 1)):
        part = decoded(container, model, region=(x, y, width, height))
        assert apart(part, whole[y : y + height, x : x + width]) <= 1


@pytest.mark.parametrize("quality", [1, 100])
def test_noise_is_that_of_the_place_and_the_seed(quality: float) -> None:
    model = coder()
    symbols, size = (0, 6) if quality == 1 else (12, 8)
    latents = np.full((symbols, 3, 5), 0.5, dtype=np.float32)
    for seed in (0, 1, 2**63 - 1):
        found = model.add_noise(latents, quality, seed)
        assert found.shape == (symbols + size, 3, 5)
        np.testing.assert_array_equal(found[:symbols], latents)
        # Seeds differ by as many of NumPy's jumps.
        raw = np.random.PCG64(dplc_coder.NOISE_SEED).jumped(seed).random_raw(15 * size)
        unit = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) / 2**52
        noise = torch.special.ndtri(torch.from_numpy(unit)).numpy() if quality == 1 else unit - 0.5
        expected = noise.reshape(3, 5, size).transpose(2, 0, 1)
        np.testing.assert_array_equal(found[symbols:], expected.astype(np.float32))
        # So the blocks at the top are those of a picture with fewer rows.
        top = model.add_noise(latents[:, :2], quality, seed)
        np.testing.assert_array_equal(top, found[:, :2])


@pytest.mark.parametrize(("quality", "deviation"), [(1, 1.0), (100, 12**-0.5)])
def test_noise_is_spread_as_it_must(quality: float, deviation: float) -> None:
    symbols = 0 if quality == 1 else 12
    latents = np.zeros((symbols, 60, 60), np.float32)
    noise = coder().add_noise(latents, quality, 3)[symbols:].astype(np.float64)
    assert abs(noise.mean()) < 5 * deviation / noise.size**0.5
    assert abs(noise.std() / deviation - 1) < 0.02
    if quality == 100:
        assert np.abs(noise).max() <= 0.5
    # Neighbouring blocks and seeds are uncorrelated.
    other = coder().add_noise(latents, quality, 4)[symbols:].astype(np.float64)
    for second in (other, np.roll(noise, 1, axis=2), np.roll(noise, 1, axis=0)):
        assert abs(np.corrcoef(noise.ravel(), second.ravel())[0, 1]) < 0.03


def test_files_do_not_depend_on_threads() -> None:
    pixels, before = scene(96, 64), torch.get_num_threads()
    first = written(coder(), pixels, 100)
    try:
        torch.set_num_threads(2)
        again = written(coder(), pixels, 100)
        picture = decoded(again, coder())
    finally:
        torch.set_num_threads(before)
    assert again == first
    assert apart(decoded(first, coder()), picture) <= 1


@pytest.mark.parametrize("quality", [50, 100])
def test_symbols_survive_a_last_bit_of_noise_on_every_weight(quality: float) -> None:
    model = coder()
    latents = model.analyze(scene(96, 128), quality)
    payloads = model.encode_tile(latents, quality)
    expected = model.decode_tile(payloads, 3, 4, quality)
    networks = copy.deepcopy(model.networks)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.copy_(torch.nextafter(parameter, torch.full_like(parameter, 9.0)))
    noisy = DplcCoder(networks, model.priors, bytes(8))
    np.testing.assert_array_equal(noisy.decode_tile(payloads, 3, 4, quality), expected)
    with_noise = model.add_noise(expected, quality, 1)
    assert apart(model.synthesize(with_noise, quality), noisy.synthesize(with_noise, quality)) <= 1
    # An encoder with other arithmetic may choose other symbols, but they are read as chosen.
    with torch.no_grad():
        for parameter in networks.encoders.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    other = noisy.analyze(scene(96, 128), quality)
    again = model.decode_tile(noisy.encode_tile(other, quality), 3, 4, quality)
    np.testing.assert_array_equal(again, np.where(other >= 0, 0.5, -0.5))


def test_a_large_sheet_is_transformed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pixels = coder(), scene(96, 160)
    latents = model.analyze(pixels, 100)
    whole = model.synthesize(model.add_noise(latents, 100, 1), 100)
    monkeypatch.setattr(dplc_coder, "_PIXELS_AT_ONCE", 4 * 32 * 32)
    np.testing.assert_allclose(model.analyze(pixels, 100), latents, atol=1e-5)
    assert apart(model.synthesize(model.add_noise(latents, 100, 1), 100), whole) <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
def test_latents_of_any_value_have_symbols(value: float) -> None:
    latents = np.full((12, 2, 2), value, dtype=np.float32)
    found = coder().decode_tile(coder().encode_tile(latents, 100), 2, 2, 100)
    assert set(np.unique(found)) == {0.5 if value in (np.inf, 0) else -0.5}


def test_latents_without_noise_are_not_drawn() -> None:
    with pytest.raises(UsageError, match="add_noise"):
        coder().synthesize(np.zeros((12, 2, 2), np.float32), 100)


def test_pictures_that_the_model_does_not_code_are_refused() -> None:
    colour = Picture(scene(20, 20))
    with pytest.raises(UsageError, match=r"colours.*'dplc' codes grey only"):
        compress_picture(colour, coder(GREY), quality=50)
    for config in (COLOUR, GREY):
        wide = Picture(np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (10, 4097, 1)))
        with pytest.raises(UsageError, match=r"4097×10 .* at most 4096"):
            compress_picture(wide, coder(config), quality=50)
    grey = np.repeat(scene(20, 40, 1), 3, axis=2)
    again = decoded(written(coder(GREY), grey, 100), coder(GREY))
    assert again.shape == grey.shape
    assert (again == again[..., :1]).all()


def test_the_largest_image_is_one_tile() -> None:
    container = written(coder(), np.zeros((20, 4096, 3), np.uint8), 50)
    assert (container.header.tile_size, container.header.tile_count) == (4096, 1)
    assert decoded(container, coder()).shape == (20, 4096, 3)


def without(name: str) -> dict[str, Any]:
    return {key: array for key, array in arrays(COLOUR).items() if key != name}


def built(found: dict[str, Any], config: str | None = None) -> DplcCoder:
    data = metadata(COLOUR) if config is None else {"config": config}
    return load_dplc(found, data, bytes(8), device=torch.device("cpu"))


@pytest.mark.parametrize(
    "name",
    [
        "generator.layers.0.weight", "encoders.1.layers.3.bias", "encoders.2.last.weight",
        "maps.1.blocks.1.second.bias", "prior.1.weight", "prior.2.bias", "bit_tables.starts",
    ],
)  # fmt: skip
def test_incomplete_weights_are_refused(name: str) -> None:
    assert name in arrays(COLOUR)
    with pytest.raises((WeightsMismatchError, TableError), match=name.replace(".", r"\.")):
        built(without(name))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("maps.2.last.weight", lambda a: a[:-1], r"maps\.2\.last\.weight is float16"),
        ("generator.layers.0.bias", lambda a: a.astype(np.int16), "int16"),
        ("encoders.1.last.bias", lambda a: a * np.float16(np.nan), "not finite"),
        ("encoders.1.last.bias", lambda a: a + np.float16(np.inf), "not finite"),
        ("prior.1.bias", lambda a: a.astype(np.float32), "float32"),
        ("prior.1.weight", lambda a: a[:-1], r"expected int16\[6\]"),
    ],
)
def test_damaged_weights_are_refused(name: str, change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(WeightsMismatchError, match=message):
        load(COLOUR, {name: change(arrays(COLOUR)[name])})


def test_weights_of_other_sizes_are_refused() -> None:
    priors = {f"prior.1.{part}": arrays(COLOUR)[f"prior.2.{part}"] for part in ("weight", "bias")}
    with pytest.raises(WeightsMismatchError, match=r"\[0, 12, 12\] bits, expected \[0, 4, 12\]"):
        load(COLOUR, priors)
    for name in ("prior.0.weight", "encoders.0.last.bias", "statistics"):
        with pytest.raises(WeightsMismatchError, match=f"{name} is no array"):
            load(COLOUR, {name: np.zeros(3, np.float16)})


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"channels": 3}', "[" * 3])
def test_an_unreadable_configuration_is_refused(text: str) -> None:
    with pytest.raises(WeightsMismatchError, match="unreadable"):
        built(arrays(COLOUR), text)
    with pytest.raises(WeightsMismatchError, match="unreadable"):
        load_dplc(arrays(COLOUR), {}, bytes(8), device=torch.device("cpu"))


def test_the_configuration_is_checked() -> None:
    text = metadata(COLOUR)["config"]
    for old, new in (('"side": 32', '"side": 33'), ('"rates": [0, 1, 3]', '"rates": 3')):
        assert old in text
        with pytest.raises(WeightsMismatchError, match="unreadable"):
            built(arrays(COLOUR), text.replace(old, new))


def test_coded_bytes_where_there_are_no_symbols_are_refused() -> None:
    assert coder().decode_tile([b""], 2, 3, 1).shape == (0, 2, 3)
    with pytest.raises(PayloadError):
        coder().decode_tile([b"\1"], 2, 3, 1)
