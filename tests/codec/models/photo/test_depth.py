"""Pictures of 10, 12 and 16 bits keep their depth."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import codec
import codec.plugins.pillow
from bitstream import container_from_bytes, container_to_bytes
from bitstream.arrays import Float32Array, SampleArray, Uint16Array
from bitstream.errors import HeaderError, InputError, UsageError
from codec.cli import app
from codec.coding.tiling import TileGrid
from codec.models.base import DeepModel
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.network import PhotoModel
from codec.pictures.bands import bands_of
from codec.pictures.depth import rescale, to_eight_bits
from codec.pictures.picture import Picture
from codec.pictures.read import picture_from
from codec.pictures.save import save_bands
from codec.pictures.similarity import psnr_db
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.tiny import TINY, tiny_arrays, tiny_coder
from tests.codec.tiny import photographs
from tests.codec.tiny_layers import Blocks
from training.photo.export import export_arrays

DEEP = (10, 12, 16)
ROUNDING = 12**-0.5
"""Root mean squared error of rounding to whole levels, in levels."""


@functools.cache
def calm_coder() -> PhotoCoder:
    """The untrained transform without random networks, which reproduces its input closely."""
    torch.manual_seed(7)
    model = PhotoModel(TINY).eval()
    pixels = np.stack(photographs(seed=1)).transpose(0, 3, 1, 2)
    model.fit_scales(torch.from_numpy(pixels).float() / 255)
    return PhotoCoder(export_arrays(model, photographs(seed=2), crop=64), TINY, bytes(range(8)))


def gradient(bit_depth: int, channels: int, height: int = 96, width: int = 128) -> Uint16Array:
    """A picture from 0.3 to 0.44 of white, with some 40 of 256 levels."""
    x, y = np.linspace(0.3, 0.42, width), np.linspace(0, 0.02, height)
    shares = x[None, :, None] + y[:, None, None] + 0.01 * np.arange(channels)
    pixels: Uint16Array = np.rint(shares * (2**bit_depth - 1)).astype(np.uint16)
    return pixels


def round_trip(picture: Picture, model: PhotoCoder, quality: float) -> Picture:
    data = container_to_bytes(compress_picture(picture, model, quality=quality))
    return decompress_container(container_from_bytes(data), model)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bit_depth", DEEP)
def test_gradients_keep_what_8_bits_lose(bit_depth: int, channels: int) -> None:
    pixels = gradient(bit_depth, channels)
    decoded = round_trip(Picture(pixels, bit_depth=bit_depth), calm_coder(), 100)
    assert decoded.bit_depth == bit_depth
    assert decoded.pixels.dtype == np.uint16
    assert decoded.pixels.shape == pixels.shape
    error = (decoded.pixels.astype(float) - pixels) * 255 / (2**bit_depth - 1)
    assert np.sqrt(np.square(error).mean()) < ROUNDING / 2
    eight = to_eight_bits(decoded.pixels, bit_depth)
    assert len(np.unique(decoded.pixels)) > 3 * len(np.unique(eight))
    if bit_depth > 10:
        assert len(np.unique(decoded.pixels)) > 256


@pytest.mark.parametrize("tune", ["psnr", "visual"])
def test_16_bits_of_8_bit_values_are_coded_as_those(tune: str) -> None:
    model = tiny_coder().with_tune(tune)
    pixels = photographs(1, side=64)[0]
    shallow = model.analyze(pixels, 60)
    deep = model.analyze_deep(rescale(pixels, 8, 16), 60)
    np.testing.assert_allclose(deep, shallow, atol=1e-3 * np.abs(shallow).max())
    latents = model.decode_tile(model.encode_tile(shallow, 60), 4, 4, 60)
    drawn = model.synthesize_deep(latents, 60)
    assert drawn.dtype == np.uint16
    # Both are the same levels with more bits, rounded.
    gap = np.abs(drawn / 257 - model.synthesize(latents, 60))
    assert gap.max() <= 0.51


def test_the_networks_in_torch_draw_the_same() -> None:
    model = tiny_coder()
    pixels = rescale(photographs(1, side=64)[0], 8, 16) + np.uint16(100)
    latents = model.analyze_deep(pixels, 60)
    decoded = model.decode_tile(model.encode_tile(latents, 60), 4, 4, 60)
    position, tune = model.position(60), model.tune_number
    others = model.torch_transforms
    np.testing.assert_allclose(
        others.analyze(pixels, position, tune), latents, atol=1e-3 * np.abs(latents).max()
    )
    np.testing.assert_array_equal(
        others.synthesize(decoded, position, tune, deep=True), model.synthesize_deep(decoded, 60)
    )


@pytest.mark.parametrize("bit_depth", DEEP)
def test_tiles_regions_and_alpha(bit_depth: int) -> None:
    model = tiny_coder()
    pixels = gradient(bit_depth, 3, 150, 200)
    alpha = gradient(bit_depth, 1, 150, 200)[..., 0]
    picture = Picture(pixels, alpha, bit_depth=bit_depth)
    container = compress_picture(picture, model, quality=70, tile_size=64)
    assert container.header.bit_depth == bit_depth
    whole = decompress_container(container, model)
    assert whole.alpha is not None
    np.testing.assert_array_equal(whole.alpha, alpha)
    assert int(whole.pixels.max()) < 2**bit_depth
    part = decompress_container(container, model, region=(50, 30, 100, 90))
    assert part.alpha is not None
    np.testing.assert_array_equal(part.pixels, whole.pixels[30:120, 50:150])
    np.testing.assert_array_equal(part.alpha, alpha[30:120, 50:150])


class Searching(PhotoCoder):
    """Does not search, but records its input."""

    def searches(self, effort: int) -> bool:
        return effort > 2

    def tile_encoder(
        self,
        grid: TileGrid,
        pixels: SampleArray,
        quality: float,
        effort: int,
        *,
        analyze: Callable[[int, float], Float32Array],
        progress: Callable[[float], None] = lambda share: None,
    ) -> Callable[[int], tuple[bytes, ...]]:
        self.given = pixels
        return lambda number: self.encode_tile(analyze(number, quality), quality)


@pytest.mark.parametrize("bit_depth", DEEP)
def test_a_search_gets_the_scale_of_16_bits(bit_depth: int) -> None:
    model = Searching(tiny_arrays(), TINY, bytes(range(8)))
    picture = Picture(gradient(bit_depth, 3), bit_depth=bit_depth)
    found = compress_picture(picture, model, quality=60, effort=3)
    np.testing.assert_array_equal(model.given, rescale(picture.pixels, bit_depth, 16))
    assert found.payloads == compress_picture(picture, model, quality=60).payloads


def test_models_of_8_bits_name_the_one_that_keeps_more() -> None:
    model = Blocks()
    assert not isinstance(model, DeepModel)
    picture = Picture(gradient(12, 3, 64, 64), bit_depth=12)
    with pytest.raises(InputError, match=r"--reduce-depth .*reduce_depth=True.*-m photo"):
        compress_picture(picture, model, quality=75)


def test_deep_files_of_models_of_8_bits_are_refused() -> None:
    model = Blocks()
    container = compress_picture(Picture(photographs(1, side=64)[0]), model, quality=75)
    other = replace(container, header=replace(container.header, bit_depth=10))
    with pytest.raises(HeaderError, match="bit depth 10"):
        decompress_container(other, model)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def save(picture: Picture, path: Path) -> None:
    with path.open("wb") as fo:
        save_bands(bands_of(picture), fo, "TIFF" if path.suffix == ".tiff" else "PNG")


MODEL = ("-m", "photo")


@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bit_depth", DEEP)
def test_files_to_files(
    bit_depth: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = gradient(bit_depth, channels)
    save(Picture(pixels, bit_depth=bit_depth), Path("deep.png"))
    run("compress", "deep.png", *MODEL)
    assert f"{bit_depth} bits" in run("inspect", "deep.calo")
    assert codec.inspect("deep.calo").bit_depth == bit_depth
    run("verify", "deep.calo")
    for suffix, depth in ((".png", bit_depth), (".tiff", 16), (".ppm", bit_depth)):
        run("decompress", "deep.calo", "-o", f"back{suffix}")
        back = picture_from(f"back{suffix}", keep_depth=True)
        decoded = codec.decompress("deep.calo", as_="numpy")
        assert back.bit_depth == depth
        np.testing.assert_array_equal(np.squeeze(back.pixels), rescale(decoded, bit_depth, depth))
    result = CliRunner().invoke(app, ["decompress", "deep.calo", "-o", "back.jpg"])
    assert result.exit_code == 2
    assert "choose a .png" in result.output.replace("\n", " ")
    assert not Path("back.jpg").exists()


@pytest.mark.usefixtures("tiny_weights")
def test_arrays_of_16_bits() -> None:
    for channels in (1, 2, 3, 4):
        array = gradient(16, channels)
        data = codec.compress(array, model="photo")
        decoded = codec.decompress(data, as_="numpy")
        assert decoded.dtype == np.uint16
        assert decoded.shape == (array.shape[:2] if channels == 1 else array.shape)
        if channels in (2, 4):
            np.testing.assert_array_equal(decoded[..., -1], array[..., -1])
        tensor = codec.decompress(data, as_="torch")
        np.testing.assert_array_equal(
            tensor.numpy().transpose(1, 2, 0), decoded.reshape(*array.shape)
        )
        if channels == 1:
            image = codec.decompress(data)
            assert image.mode == "I;16"
            np.testing.assert_array_equal(np.asarray(image), decoded)
        else:
            with pytest.raises(UsageError, match="as_='numpy'"):
                codec.decompress(data)


@pytest.mark.usefixtures("tiny_weights")
def test_reduced_depth_is_8_bits() -> None:
    array = gradient(16, 3)
    data = codec.compress(array, model="photo", reduce_depth=True)
    assert codec.inspect(data).bit_depth == 8
    assert data == codec.compress(to_eight_bits(array, 16), model="photo")
    assert codec.decompress(data).mode == "RGB"


@pytest.mark.usefixtures("tiny_weights")
def test_the_plugin_of_pillow() -> None:
    grey = gradient(12, 1)
    buffer = io.BytesIO(codec.compress(Picture(grey, bit_depth=12), model="photo"))
    with Image.open(buffer) as image:
        assert image.mode == "I;16"
        decoded = codec.decompress(buffer.getvalue(), as_="numpy")
        np.testing.assert_array_equal(np.asarray(image), rescale(decoded, 12, 16))
    again = io.BytesIO()
    image.save(again, "CALO", model="photo")
    assert codec.inspect(again.getvalue()).bit_depth == 16
    colours = codec.compress(gradient(16, 3), model="photo")
    with pytest.raises(OSError, match="as_='numpy'"):
        Image.open(io.BytesIO(colours))


@pytest.mark.usefixtures("tiny_weights")
def test_scores_are_those_of_all_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = gradient(12, 3)
    save(Picture(pixels, bit_depth=12), Path("deep.png"))
    (done,) = run_json("compress", "deep.png", *MODEL, "--psnr", "20")["files"]
    decoded = codec.decompress("deep.calo", as_="numpy")
    expected = psnr_db(pixels, decoded, 12)
    error = np.square(pixels.astype(float) - decoded).mean()
    assert expected == pytest.approx(10 * np.log10(4095**2 / error))
    assert done["psnr_db"] == pytest.approx(expected)
    found = run_json("compare", "deep.png", "deep.calo", "--metrics", "psnr")
    assert found["psnr_db"] == pytest.approx(expected)
    # The loss of only the lower bits is visible as well.
    save(Picture(to_eight_bits(pixels, 12)), Path("eight.png"))
    found = run_json("compare", "deep.png", "eight.png", "--metrics", "psnr")
    assert 55 < found["psnr_db"] < 62
    assert not found["identical"]
    found = run_json("compare", "deep.png", "eight.png", "--metrics", "psnr", "--reduce-depth")
    assert found["a"]["channels"] == 3


@pytest.mark.usefixtures("tiny_weights")
def test_ssimulacra2_of_deep_pictures() -> None:
    pytest.importorskip("ssimulacra2")
    pixels = rescale(photographs(1, side=64)[0], 8, 10)
    picture = Picture(pixels, bit_depth=10)
    data = codec.compress(picture, model="photo", ssimulacra2=-40)
    decoded = codec.decompress(data, as_="numpy")
    from codec.pictures.similarity import ssimulacra2

    assert -40 <= ssimulacra2(pixels, decoded, 10) < -30


@pytest.mark.usefixtures("tiny_weights")
def test_the_command_keeps_the_depth_unless_it_is_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Picture(gradient(16, 3), bit_depth=16), Path("deep.png"))
    run("compress", "deep.png")
    assert codec.inspect("deep.calo").bit_depth == 16
    run("compress", "deep.png", "--reduce-depth", "-f")
    assert codec.inspect("deep.calo").bit_depth == 8
