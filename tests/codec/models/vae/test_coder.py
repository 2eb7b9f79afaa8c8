"""The four lossy VAE models: any image, any quality, the same symbols everywhere."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream import HeaderError, UsageError, container_from_bytes, container_to_bytes
from codec.coding.prior_tables import RUNGS, RUNGS_PER_OCTAVE
from codec.coding.tiling import TileGrid
from codec.models.sheets import blocks_of, sheet_of
from codec.models.vae import sample_coders as vae_coders
from codec.models.vae.coder import VaeCoder
from codec.models.vae.sample_coders import Posterior
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.vae.tiny import CODE, LOSSY, digits, lossy, sheet

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(params=LOSSY)
def model(request: pytest.FixtureRequest) -> VaeCoder:
    return lossy(request.param)


def grey(pixels: Pixels, channels: int = 1) -> Picture:
    return Picture(np.repeat(pixels[:, :, None], channels, axis=2))


def code(model: VaeCoder, pixels: Pixels, quality: float) -> tuple[bytes, Pixels]:
    data = container_to_bytes(compress_picture(grey(pixels), model, quality=quality))
    return data, decompress_container(container_from_bytes(data), model).pixels[:, :, 0]


def test_blocks_and_sheets_are_inverse() -> None:
    images = digits(6)
    pixels = sheet_of(images, 2, 3)
    assert pixels.shape == (56, 84, 3)
    np.testing.assert_array_equal(pixels[:28, 28:56, 1], images[1, 0])
    np.testing.assert_array_equal(blocks_of(pixels), images)


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (29, 57), (84, 56), (3, 200)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_round_trips(model: VaeCoder, size: tuple[int, int], channels: int) -> None:
    pixels = sheet(digits(64, seed=3), 8)[: size[0], : size[1]]
    alpha = np.arange(pixels.size, dtype=np.uint8).reshape(size)
    picture = replace(grey(pixels, channels), alpha=alpha)
    container = compress_picture(picture, model, quality=80)
    assert container.header.tile_count == 1
    again = decompress_container(container_from_bytes(container_to_bytes(container)), model)
    assert again.pixels.shape == (*size, channels)
    assert again.alpha is not None
    np.testing.assert_array_equal(again.alpha, alpha)
    # The decoder is untrained; its image of the coded z must be near its image of μ.
    container = compress_picture(picture, model, quality=100)
    fine = decompress_container(container, model).pixels.astype(float)
    coarse = again.pixels.astype(float)
    assert np.abs(fine - coarse).mean() < 40


def test_files_are_deterministic(model: VaeCoder) -> None:
    pixels = sheet(digits(12, seed=4), 4)
    before = torch.get_num_threads()
    data, decoded = code(model, pixels, 75)
    try:
        torch.set_num_threads(2)
        again, other = code(model, pixels, 75)
    finally:
        torch.set_num_threads(before)
    assert again == data
    assert np.abs(other.astype(int) - decoded).max() <= 1


def test_codes_survive_a_last_bit_of_noise_on_every_weight(model: VaeCoder) -> None:
    pixels = np.repeat(sheet(digits(12, seed=4), 4)[:, :, None], 3, axis=2)
    payloads = model.encode_tile(model.analyze(pixels, 75), 75)
    expected = model.decode_tile(payloads, 3, 4, 75)
    encoder, decoder = copy.deepcopy(model.encoder), copy.deepcopy(model.decoder)
    noisy = VaeCoder(model.name, encoder, decoder, model.coder, bytes(8))
    with torch.no_grad():
        for network in (noisy.encoder, noisy.decoder):
            for parameter in network.parameters():
                parameter.copy_(torch.nextafter(parameter, torch.full_like(parameter, 9.0)))
    read = noisy.decode_tile(payloads, 3, 4, 75)
    np.testing.assert_array_equal(read, expected)
    apart = model.synthesize(expected, 75).astype(int) - noisy.synthesize(read, 75)
    assert np.abs(apart).max() <= 1


def test_more_quality_is_more_bytes_and_codes_nearer_to_the_mean(model: VaeCoder) -> None:
    pixels = np.repeat(sheet(digits(60, seed=9), 10)[:, :, None], 3, axis=2)
    sizes, errors = [], []
    for quality in (1, 30, 50, 75, 100):
        latents = model.analyze(pixels, quality)
        payloads = model.encode_tile(latents, quality)
        codes = model.decode_tile(payloads, 6, 10, quality)
        sizes.append(len(payloads[0]))
        errors.append(float(np.mean((codes - latents[:CODE]) ** 2)))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert sizes[0] < sizes[-1] / 10


def test_a_region_equals_the_crop_of_the_whole(model: VaeCoder) -> None:
    container = compress_picture(grey(sheet(digits(12, seed=4), 4)), model, quality=75)
    whole = decompress_container(container, model).pixels
    part = decompress_container(container, model, region=(20, 30, 50, 40)).pixels
    assert np.abs(part.astype(int) - whole[30:70, 20:70]).max() <= 1


def test_colours_are_refused_with_advice(model: VaeCoder) -> None:
    pixels = np.zeros((28, 28, 3), np.uint8)
    pixels[3, 4, 1] = 1
    with pytest.raises(UsageError, match=r"colours.*'photo'"):
        compress_picture(Picture(pixels), model, quality=75)


def test_too_large_an_image_is_refused_before_work(model: VaeCoder) -> None:
    pixels = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (10, 4097, 1))
    with pytest.raises(UsageError, match=r"4097×10 .* at most 4096"):
        compress_picture(Picture(pixels), model, quality=75)


def test_the_largest_image_is_one_tile(model: VaeCoder) -> None:
    pixels = np.zeros((20, 4096), np.uint8)
    container = compress_picture(grey(pixels), model, quality=50)
    header = container.header
    assert (header.tile_size, header.tile_count) == (4096, 1)
    grid = TileGrid(header, 28)
    assert grid.tile(0) == grid.latents
    assert grid.latents.width == 147
    assert decompress_container(container, model).pixels.shape == (20, 4096, 1)


def test_a_header_of_several_tiles_is_refused(model: VaeCoder) -> None:
    container = compress_picture(grey(np.zeros((100, 100), np.uint8)), model, quality=50)
    header = replace(container.header, tile_size=64)
    payloads = ((container.payloads[0][0],) * 4,)
    with pytest.raises(HeaderError, match="one tile"):
        decompress_container(replace(container, header=header, payloads=payloads), model)


def test_rungs_are_integers_and_halve_in_time() -> None:
    offsets = vae_coders.rung_offsets(np.array([0.0, 1.0, 100.0, 1e9]))
    at_75 = vae_coders.rungs_at(7500, offsets)
    assert offsets[0] == 0
    np.testing.assert_array_equal(at_75, np.minimum(offsets, RUNGS - 1))
    # A quality higher by 12.5 halves the step.
    assert vae_coders.rungs_at(8750, offsets)[1] == at_75[1] + RUNGS_PER_OCTAVE
    assert vae_coders.rungs_at(100, offsets)[1] == 0
    assert vae_coders.inverse_temperature(7500) == 1
    assert vae_coders.inverse_temperature(8125) == 2


def test_tempering_interpolates_between_prior_and_posterior() -> None:
    posterior = Posterior(np.array([[1.0, -0.5, 0.3]]), np.array([[0.1, 0.5, 1.2]]))
    same = vae_coders.tempered(posterior, 1.0)
    np.testing.assert_allclose(same.mean, posterior.mean)
    np.testing.assert_allclose(same.variance, posterior.variance)
    prior = vae_coders.tempered(posterior, 1e-9)
    np.testing.assert_allclose(prior.mean[0], 0, atol=1e-7)
    np.testing.assert_allclose(prior.variance[0, :2], 1)
    rates = [float(vae_coders.tempered(posterior, b).kl_bits()[0]) for b in (0.1, 1, 10, 100)]
    assert rates == sorted(rates)


def test_what_a_network_says_is_brought_inside() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, 1e30]], np.float32)
    posterior = vae_coders.posterior_from_network(odd, odd)
    assert np.isfinite(posterior.mean).all()
    assert (posterior.variance > 0).all()
    for name in LOSSY:
        messages = lossy(name).coder.messages(posterior, 5000)
        assert all(message.symbols.dtype == np.int32 for message in messages)


def test_a_large_sheet_is_transformed_in_parts() -> None:
    model = lossy("vae-round")
    pixels = np.repeat(sheet(digits(1100, seed=4), 55)[:, :, None], 3, axis=2)
    latents = model.analyze(pixels, 75)
    assert latents.shape == (2 * CODE, 20, 55)
    drawn = model.synthesize(latents[:CODE], 75)
    for row in (0, 18, 19):
        rows = slice(28 * row, 28 * row + 28)
        part = model.analyze(pixels[rows], 75)
        np.testing.assert_allclose(part[:, 0], latents[:, row], atol=1e-4)
        again = model.synthesize(part[:CODE], 75)
        assert np.abs(again.astype(int) - drawn[rows]).max() <= 1
