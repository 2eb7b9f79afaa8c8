"""CompressAI's networks in our codec, tested with stand-ins: symbols, tables, wavefronts, tiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

from bitstream import HeaderError, SymbolDecoder
from codec.models.compressai import ARCHITECTURES
from codec.models.compressai.checkpoint import take_apart
from codec.models.compressai.coder import ZooCoder, round_to_symbols
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.compressai.tiny import KINDS, LATENTS, SCALES, coder, latents_of, stand
from tests.codec.tiny import photographs

Float32Array = npt.NDArray[np.float32]


def quantised(model: ZooCoder, latents: Float32Array) -> Float32Array:
    height, width = latents.shape[1:]
    return model.decode_tile(model.encode_tile(latents, 75), height, width, 75)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 8), (5, 3), (2, 9)])
def test_latents_come_back_within_half_a_step(architecture: str, shape: tuple[int, int]) -> None:
    model = coder(architecture)
    latents = latents_of(model, *shape)
    found = quantised(model, latents)
    assert found.shape == latents.shape
    assert found.dtype == np.float32
    assert np.abs(found - latents).max() <= 0.5 + 1e-4
    assert np.abs(latents).max() > 1  # otherwise zeros would pass


def test_factorised_latents_are_whole_steps_from_the_medians() -> None:
    model = coder("bmshj2018-factorized")
    latents = latents_of(model, 3, 4)
    medians = model.network.factorized.medians.numpy()
    expected = np.rint(latents - medians) + medians
    np.testing.assert_allclose(quantised(model, latents), expected, atol=1e-6)


@pytest.mark.parametrize("architecture", ["bmshj2018-hyperprior", "mbt2018-mean"])
def test_latents_are_rounded_around_the_means_of_the_hyper_latents(architecture: str) -> None:
    network = stand(architecture)
    model = coder(architecture)
    latents = torch.from_numpy(latents_of(model, 6, 5))
    of_magnitudes = architecture == "bmshj2018-hyperprior"
    features = network.h_a((latents.abs() if of_magnitudes else latents)[None])
    medians = network.entropy_bottleneck.quantiles[:, 0, 1][None, :, None, None]
    parameters = network.h_s((features - medians).round() + medians)[0, :, :6, :5]
    means = torch.zeros(()) if of_magnitudes else parameters[LATENTS:]
    expected = (latents - means).round() + means
    np.testing.assert_allclose(quantised(model, latents.numpy()), expected.numpy(), atol=1e-4)


def test_the_table_of_a_scale_is_that_of_the_next_larger_one() -> None:
    hyper = coder("mbt2018-mean").network.hyper
    assert hyper is not None
    scales = [-1, 0, SCALES[0], SCALES[0] + 1e-9, SCALES[3], SCALES[3] + 1e-9, 19, 20, 1e30]
    odd = [float("inf"), float("nan")]
    found = hyper.indexes(torch.tensor([*scales, *odd], dtype=torch.float64))
    assert found.tolist() == [0, 0, 0, 1, 3, 4, 8, 8, 8, 8, 8]
    assert found.dtype == np.int32


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (5, 8)])
def test_wavefronts_are_the_masked_convolution(shape: tuple[int, int]) -> None:
    height, width = shape
    network = stand("mbt2018")
    context = take_apart("mbt2018", network).hyper.context  # type: ignore[union-attr]
    assert context is not None
    generator = torch.Generator().manual_seed(5)
    parameters = torch.randn(2 * LATENTS, height, width, generator=generator).double()
    latents = 4 * torch.randn(LATENTS, height, width, generator=generator).double()
    seen = torch.zeros(height, width, dtype=torch.int64)
    found = torch.zeros(2 * LATENTS, height, width, dtype=torch.float64)

    def code(
        scales: torch.Tensor, means: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        assert (columns + 3 * rows == (columns + 3 * rows)[0]).all()
        seen[rows, columns] += 1
        found[:, rows, columns] = torch.cat([scales, means])
        return round_to_symbols(latents[:, rows, columns] - means)

    decoded = context.scan(parameters, code)
    assert (seen == 1).all()
    assert (decoded - latents).abs().max() <= 0.5
    # The same, computed from all latents at once as in training.
    weight = network.context_prediction.weight.double().clone()
    weight[:, :, 2, 2:] = 0
    weight[:, :, 3:] = 0
    bias = network.context_prediction.bias.double()
    around = functional.conv2d(decoded[None], weight, bias, padding=2)
    expected = network.entropy_parameters(torch.cat([parameters[None], around], dim=1))[0]
    assert (found - expected).abs().max() < 1e-9


@pytest.mark.parametrize("architecture", KINDS)
def test_the_payload_is_the_messages_that_the_format_describes(architecture: str) -> None:
    model = coder(architecture)
    (payload,) = model.encode_tile(latents_of(model, 5, 6), 75)
    factorized = model.network.factorized
    decoder = SymbolDecoder(payload)
    shape = (5, 6) if model.network.hyper is None else (2, 2)
    first = decoder.get(factorized.indexes(*shape), factorized.tables)
    assert np.abs(first).max() > 0
    if model.network.hyper is None:
        decoder.finish()
        assert len(first) == LATENTS * 30


def test_pictures_of_any_size_in_one_tile() -> None:
    model = coder("mbt2018-mean")
    for height, width, tile in ((1, 1, 64), (50, 70, 128), (64, 64, 64), (65, 3, 128)):
        pixels = photographs(count=1, side=80)[0][:height, :width]
        container = compress_picture(Picture(pixels), model, quality=75)
        header = container.header
        assert (header.tile_size, header.tile_count) == (tile, 1)
        assert (header.machine_bound, header.variant, header.layers) == (True, 3, 1)
        assert decompress_container(container, model).pixels.shape == pixels.shape
    wide = compress_picture(Picture(np.zeros((1, 4097, 1), np.uint8)), model, quality=75)
    assert (wide.header.tile_size, wide.header.tile_count) == (4096, 2)


@pytest.mark.parametrize("architecture", KINDS)
def test_regions_and_tiles_agree_with_the_whole(architecture: str) -> None:
    model = coder(architecture)
    pixels = photographs(count=1, side=160)[0]
    container = compress_picture(Picture(pixels), model, quality=75, tile_size=64)
    assert container.header.tile_count == 9
    whole = decompress_container(container, model).pixels.astype(int)
    part = decompress_container(container, model, region=(50, 3, 70, 90)).pixels
    assert np.abs(whole[3:93, 50:120] - part).max() <= 1


def test_a_file_of_another_architecture_is_refused() -> None:
    pixels = photographs(count=1, side=64)[0]
    container = compress_picture(Picture(pixels), coder("cheng2020-anchor"), quality=75)
    with pytest.raises(HeaderError, match="variant 5 in the header, expected True and 6"):
        decompress_container(container, coder("cheng2020-attn"))


@pytest.mark.parametrize("architecture", KINDS)
def test_values_that_no_picture_has_still_have_symbols(architecture: str) -> None:
    model = coder(architecture)
    latents = latents_of(model, 4, 4)
    latents[0, 0, :3] = (np.nan, np.inf, -np.inf)
    found = quantised(model, latents)
    assert np.abs(found[1:] - latents[1:]).max() <= 0.5 + 1e-4 or architecture != KINDS[0]
    assert model.synthesize(found, 75).shape == (64, 64, 3)


def test_the_contexts_are_those_of_the_architectures() -> None:
    contexts = [coder(name).context for name in ARCHITECTURES]
    assert contexts == [2, 2, 2, 2, 2, 7, 11]
