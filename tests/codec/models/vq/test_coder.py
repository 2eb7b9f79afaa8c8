"""The vector-quantisation codec: any image, any quality, and codes worth their bits."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from bitstream import (
    HeaderError,
    SymbolEncoder,
    TableError,
    UsageError,
    WeightsMismatchError,
    container_from_bytes,
    container_to_bytes,
)
from codec import loading
from codec.models.base import StochasticModel, WholePictureModel
from codec.models.vq.coder import VqCoder, load_vq
from codec.models.vq.networks import VqConfig
from codec.models.vq.prior import Front
from codec.options import Region
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.vq.tiny import (
    COLOUR,
    GREY,
    arrays,
    coder,
    load,
    metadata,
    scene,
    write_tiny_vq,
)

Int32Array = npt.NDArray[np.int32]
Uint8Array = npt.NDArray[np.uint8]

CONFIGS = pytest.mark.parametrize("config", [COLOUR, GREY], ids=["colour", "grey"])
QUALITIES = (1.0, 50.0, 100.0)


def written(model: VqCoder, pixels: Uint8Array, quality: float) -> bytes:
    return container_to_bytes(compress_picture(Picture(pixels), model, quality=quality))


def decoded(data: bytes, model: VqCoder, region: Region | None = None) -> Uint8Array:
    return decompress_container(container_from_bytes(data), model, region=region).pixels


def sheet(config: VqConfig, rows: int = 2, columns: int = 3) -> Uint8Array:
    """Pixels (h, w, 3) of whole blocks."""
    pixels = scene(rows * config.side, columns * config.side, config.channels)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


@CONFIGS
@settings(derandomize=True, max_examples=10, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]), st.floats(1, 100))
def test_any_size_comes_back(
    config: VqConfig, height: int, width: int, channels: int, quality: float
) -> None:
    model = coder(config)
    pixels = scene(height, width, min(channels, config.channels))
    data = written(model, pixels, quality)
    header = container_from_bytes(data).header
    assert (header.tile_count, header.layers, header.noise_seed) == (1, 1, None)
    found = decoded(data, model)
    assert found.shape == pixels.shape
    np.testing.assert_array_equal(found, decoded(data, model))
    assert data == written(model, pixels, quality)


@CONFIGS
@pytest.mark.parametrize("quality", QUALITIES)
def test_the_codes_that_were_chosen_come_back(config: VqConfig, quality: float) -> None:
    model, pixels = coder(config), sheet(config)
    latents = model.analyze(pixels, quality)
    assert latents.dtype == np.float32
    assert latents.shape == (config.channels * config.side**2, 2, 3)
    chosen = model.choose_codes(latents, quality)
    found = model.decode_tile(model.encode_tile(latents, quality), 2, 3, quality)
    assert found.dtype == np.int32
    assert found.shape == (model.places[-1].stop, 2, 3)
    np.testing.assert_array_equal(found, chosen)
    for level, place in enumerate(model.places):
        assert found[place].min() >= 0
        assert found[place].max() < config.codes[level]


@CONFIGS
def test_more_quality_is_more_bytes_and_less_error(config: VqConfig) -> None:
    """The error is the one that the encoder knows: the distance of latents from their vectors."""
    model, pixels = coder(config), sheet(config, 4, 4)
    sizes = [len(written(model, pixels, quality)) for quality in QUALITIES]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1.2 * sizes[0]


def test_each_code_is_the_cheapest_in_its_place() -> None:
    """The last code, on which no other depends, minimises λ g d² + bits."""
    model, quality = coder(GREY), 80.0
    pixels = sheet(GREY, 1, 1)
    latents = model.analyze(pixels, quality)
    chosen = model.choose_codes(latents, quality)
    prior, networks = model.priors[0], model.networks
    x = torch.from_numpy(latents.reshape(1, 1, GREY.side, GREY.side)) / 255
    place = torch.tensor([(quality - 1) / 99])
    with torch.inference_mode():
        z = networks.level(0).analyze(x - 0.5, networks.features(x, place)[0], None, place)
    distances = (z[0, :, -1, -1] - networks.level(0).codebook).square().sum(1).numpy()
    factor = float(GREY.weight(place)) * float(networks.gains[0])
    codes = chosen.reshape(1, GREY.grid(0), GREY.grid(0)).copy()
    costs = []
    for code in range(GREY.codes[0]):
        codes[0, -1, -1] = code
        bits: list[float] = []

        def follow(front: Front, part: slice, indexes: Int32Array, bits: Any = bits) -> Int32Array:
            numbers = np.ascontiguousarray(codes[part][:, front.rows, front.columns]).ravel()
            rows = prior.code_lengths(indexes)
            bits.append(float(rows[np.arange(len(numbers)), numbers].sum()))
            return numbers

        prior.encode(1, None, round(100 * quality), follow, SymbolEncoder())
        costs.append(factor * distances[code] + bits[-1])
    assert int(np.argmin(costs)) == chosen[-1, 0, 0]


@CONFIGS
@pytest.mark.parametrize("quality", QUALITIES)
def test_a_region_is_a_part_of_the_picture(config: VqConfig, quality: float) -> None:
    model = coder(config)
    data = written(model, scene(70, 90)[..., : config.channels], quality)
    whole = decoded(data, model).astype(int)
    for x, y, width, height in ((0, 0, 90, 70), (33, 30, 40, 20), (89, 69, 1, 1)):
        part = decoded(data, model, (x, y, width, height))
        assert np.abs(part - whole[y : y + height, x : x + width]).max() <= 1


def test_it_is_what_the_pipeline_asks_for() -> None:
    assert isinstance(coder(), WholePictureModel)
    assert not isinstance(coder(), StochasticModel)


def test_pictures_that_are_too_large_or_coloured_are_refused() -> None:
    wide = Picture(np.zeros((10, 4097, 3), np.uint8))
    with pytest.raises(UsageError, match=r"4097×10 .* at most 4096"):
        compress_picture(wide, coder(), quality=50)
    with pytest.raises(UsageError, match="has colours"):
        compress_picture(Picture(scene(20, 20)), coder(GREY), quality=50)
    with pytest.raises(UsageError, match="expected 80 codes"):
        coder().synthesize(np.zeros((79, 1, 1), np.int32), 50)


def test_several_tiles_are_refused() -> None:
    container = container_from_bytes(written(coder(), scene(100, 100), 50))
    object.__setattr__(container.header, "tile_size", 64)
    object.__setattr__(container, "payloads", ((container.payloads[0][0],) * 4,))
    with pytest.raises(HeaderError, match="one tile"):
        decompress_container(container, coder())


def built(found: dict[str, Any], config: str | None = None) -> VqCoder:
    data = metadata(COLOUR) if config is None else {"config": config}
    return load_vq(found, data, bytes(8), device=torch.device("cpu"))


@pytest.mark.parametrize(
    "name",
    [
        "networks.levels.0.codebook", "networks.analyses.1.first.bias", "networks.gains",
        "networks.levels.1.drawn_scale.scale", "prior.0.embedding", "prior.1.above",
        "prior.1.layers.2.weight", "bit_tables.starts",
    ],
)  # fmt: skip
def test_incomplete_weights_are_refused(name: str) -> None:
    assert name in arrays(COLOUR)
    rest = {key: array for key, array in arrays(COLOUR).items() if key != name}
    part = name.removesuffix(".weight").replace(".", r"\.")
    with pytest.raises((WeightsMismatchError, TableError), match=part):
        built(rest)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("networks.levels.1.codebook", lambda a: a[:-1], r"levels\.1\.codebook is float16"),
        ("networks.painter.last.bias", lambda a: a.astype(np.int16), "int16"),
        ("networks.painter.last.bias", lambda a: a * np.float16(np.nan), "not finite"),
        ("networks.gains", lambda a: a * 0, "gains"),
        ("networks.gains", lambda a: -a, "gains"),
        ("prior.0.embedding", lambda a: a[:-1], r"expected int16\[5, 3\]"),
        ("prior.1.above", lambda a: a.astype(np.int32), "expected int16"),
        ("prior.1.layers.0.weight", lambda a: a[:, :-1], "prior of codes"),
        ("prior.1.layers.2.bias", lambda a: a[:-1], "knots"),
    ],
)
def test_damaged_weights_are_refused(name: str, change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(WeightsMismatchError, match=message):
        load(COLOUR, {name: change(arrays(COLOUR)[name])})


def test_arrays_that_have_no_place_are_refused() -> None:
    for name in ("networks.extra", "prior.2.embedding", "prior.0.above", "statistics"):
        with pytest.raises(WeightsMismatchError, match=name.replace(".", r"\.")):
            load(COLOUR, {name: np.zeros(3, np.float16)})


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"channels": 3}'])
def test_an_unreadable_configuration_is_refused(text: str) -> None:
    with pytest.raises(WeightsMismatchError, match="unreadable"):
        built(arrays(COLOUR), text)


@pytest.fixture
def installed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_vq(tmp_path)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("shape", [(1, 1, 3), (33, 50, 1), (40, 65, 4)])
def test_the_library_codes_inspects_and_verifies(shape: tuple[int, int, int]) -> None:
    pixels = scene(*shape[:2], min(shape[2], 3))
    if shape[2] == 4:
        pixels = np.concatenate([pixels, 255 - pixels[:, :, :1]], axis=2)
    data = codec.compress(pixels, model="vq", quality=50)
    info = codec.inspect(data)
    assert (info.model_id, info.model_name, info.layers, info.noise) == (14, "vq", 1, "none")
    found = codec.decompress(data, as_="numpy")
    assert found.shape == (shape if shape[2] > 1 else shape[:2])
    if shape[2] == 4:
        np.testing.assert_array_equal(found[..., 3], pixels[..., 3])
    assert codec.verify(data).model_name == "vq"
    (image,) = codec.decompress_progressive(io.BytesIO(data), as_="numpy")
    np.testing.assert_array_equal(image, found)
