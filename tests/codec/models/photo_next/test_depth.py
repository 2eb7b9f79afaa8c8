"""Pictures of 10, 12 and 16 bits go through whole."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from bitstream import container_from_bytes, container_to_bytes
from bitstream.arrays import Uint16Array
from bitstream.errors import HeaderError, InputError
from codec import loading
from codec.models.base import DeepModel
from codec.models.photo_next.coder import PhotoCoder
from codec.models.photo_next.network import PhotoModel
from codec.pictures.depth import rescale, to_eight_bits
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo_next.tiny import TINY, tiny_coder
from tests.codec.tiny import photographs
from training.photo_next.export import export_arrays

DEEP = (10, 12, 16)
ROUNDING = 12**-0.5
"""Root of the mean squared error of what is rounded to whole levels, in levels."""


@functools.cache
def calm_coder() -> PhotoCoder:
    """The untrained transform without random networks, which draws closely what it was given."""
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


def test_models_of_8_bits_name_the_one_that_keeps_more() -> None:
    model = loading.load_model("photo", device="cpu")
    assert not isinstance(model, DeepModel)
    picture = Picture(gradient(12, 3, 64, 64), bit_depth=12)
    with pytest.raises(InputError, match=r"--reduce-depth .*reduce_depth=True.*-m photo-next"):
        compress_picture(picture, model, quality=75)


def test_deep_files_of_models_of_8_bits_are_refused() -> None:
    model = loading.load_model("photo", device="cpu")
    container = compress_picture(Picture(photographs(1, side=64)[0]), model, quality=75)
    other = replace(container, header=replace(container.header, bit_depth=10))
    with pytest.raises(HeaderError, match="bit depth 10"):
        decompress_container(other, model)
