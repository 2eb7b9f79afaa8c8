"""Effort of the photo model's encoder: never more bytes, for both tunes."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch

from bitstream.arrays import Int32Array, SampleArray
from bitstream.container import Container, container_to_bytes
from codec.coding.tiling import TileGrid, Window
from codec.models.photo import effort as photo_effort
from codec.models.photo import effort_tiles
from codec.models.photo.coder import PhotoCoder, TileSymbols
from codec.models.photo.config import COEFFICIENTS, TUNES, VISUAL_SHARE
from codec.models.photo.cost import _PLACES, Surroundings, TileCost
from codec.models.photo.effort import DESCENT, optimised, search
from codec.models.photo.effort_tiles import EffortEncoder
from codec.models.photo.visual_error import VISUAL_SCALE, visual_error
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from codec.system.missing_extra import MissingExtraError
from tests.codec.models.photo.tiny import tiny_coder
from tests.codec.tiny import photographs


@pytest.fixture(params=TUNES)
def coder(request: pytest.FixtureRequest) -> PhotoCoder:
    return tiny_coder().with_tune(request.param)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_effort, "DESCENT", dict.fromkeys(DESCENT, 1))


def file_at(
    coder: PhotoCoder, pixels: SampleArray, effort: int, *, quality: float = 50, tile: int = 64
) -> Container:
    picture = Picture(pixels) if pixels.dtype == np.uint8 else Picture(pixels, bit_depth=16)
    return compress_picture(picture, coder, quality=quality, effort=effort, tile_size=tile)


def cost_of(coder: PhotoCoder, pixels: SampleArray, quality: float) -> TileCost:
    """The cost object of a picture of one tile."""
    decoded = coder.symbols(coder.analyze(pixels.astype(np.uint8), quality), quality).decoded
    around = Surroundings(pixels, decoded, slice(None), slice(None))
    return TileCost(coder, coder.trainable(), around, quality)


def test_the_first_two_levels_are_one_pass(coder: PhotoCoder) -> None:
    assert not coder.searches(2)
    assert coder.searches(3)
    pixels = photographs(1, side=64)[0]
    one, two = (container_to_bytes(file_at(coder, pixels, effort)) for effort in (1, 2))
    assert one == two


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("quality", [40])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_level_has_more_bytes_than_a_lower_one(
    coder: PhotoCoder, quality: int, channels: int
) -> None:
    pixels = np.ascontiguousarray(photographs(1, side=80, seed=5)[0][:, :, :channels])
    sizes = [
        len(container_to_bytes(file_at(coder, pixels, effort, quality=quality, tile=128)))
        for effort in (1, 3, 5, 9)
    ]
    # Payloads are padded to words of 32 bits.
    assert all(more <= fewer + 4 for fewer, more in pairwise(sizes))
    assert sizes[1] < sizes[0]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("quality", [40])
def test_bits_and_cost_fall_with_the_level(coder: PhotoCoder, quality: int) -> None:
    pixels = photographs(1, side=96, seed=6)[0]
    latents, cost = coder.analyze(pixels, quality), cost_of(coder, pixels, quality)
    found = [cost(optimised(coder, latents, quality))]
    found += [cost(search(coder, cost, latents, quality, effort)) for effort in (4, 6, 9)]
    for lower, higher in pairwise(found):
        assert higher.rate_bits <= lower.rate_bits
        assert higher.cost_bits <= lower.cost_bits
    assert found[-1].cost_bits < 0.999 * found[0].cost_bits


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("effort", [3, 4, 9])
def test_a_decoder_reads_the_symbols_that_were_chosen(
    coder: PhotoCoder, effort: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[TileSymbols] = []
    encode_symbols = coder.encode_symbols

    def kept(tile: TileSymbols, quality: float, *, most: int = COEFFICIENTS) -> tuple[bytes, ...]:
        chosen.append(tile)
        return encode_symbols(tile, quality, most=most)

    pixels = photographs(1, side=64)[0]
    with monkeypatch.context() as patched:
        patched.setattr(coder, "encode_symbols", kept)
        container = file_at(coder, pixels, effort)
    read = coder.decode_symbols([container.payloads[0][0]], 4, 4, 50)
    np.testing.assert_array_equal(read.decoded, chosen[0].decoded)
    assert read.decoded.shape[0] == COEFFICIENTS + coder.config.hidden


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("effort", [3, 4, 9])
def test_an_effort_writes_the_same_file_again(coder: PhotoCoder, effort: int) -> None:
    pixels = photographs(1, side=64)[0]
    first = container_to_bytes(file_at(coder, pixels, effort))
    torch.manual_seed(99)
    assert container_to_bytes(file_at(coder, pixels, effort)) == first
    assert first != container_to_bytes(file_at(coder, pixels, 1))


@pytest.mark.usefixtures("short")
def test_a_window_shows_what_the_decoder_will_draw(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything around a tile that was decided earlier is as in the file."""
    windows: dict[int, tuple[Window, Int32Array]] = {}
    around = EffortEncoder._around

    def recorded(self: EffortEncoder, number: int, window: Window) -> Int32Array:
        decoded = around(self, number, window)
        windows[number] = window, decoded
        return decoded

    monkeypatch.setattr(EffortEncoder, "_around", recorded)
    pixels = np.ascontiguousarray(photographs(1, side=208, seed=7)[0][:200, :190])
    container = file_at(coder, pixels, 4)
    grid = TileGrid(container.header, coder.stride)
    assert grid.count == 12
    for number, (window, decoded) in windows.items():
        for earlier in (n for n in grid.overlapping(window) if n < number):
            tile = grid.tile(earlier)
            payload = container.payloads[0][earlier]
            read = coder.decode_tile([payload], tile.height, tile.width, 50)
            shared = tile.intersect(window)
            (rows, columns), (own_rows, own_columns) = shared.within(window), shared.within(tile)
            np.testing.assert_array_equal(decoded[:, rows, columns], read[:, own_rows, own_columns])


@pytest.mark.usefixtures("short")
def test_only_borders_of_a_few_rows_of_tiles_are_kept(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coder, "context", 1)
    kept: list[int] = []
    keep = EffortEncoder._keep

    def counted(self: EffortEncoder, number: int, decoded: Int32Array, *, is_decided: bool) -> None:
        keep(self, number, decoded, is_decided=is_decided)
        kept.append(sum(v.size for parts in self._borders.values() for _, v in parts))

    monkeypatch.setattr(EffortEncoder, "_keep", counted)
    pixels = np.tile(photographs(1, side=64)[0], (8, 2, 1))
    monkeypatch.setattr(effort_tiles, "search", lambda coder, c, y, q, *a, **n: coder.symbols(y, q))
    container = file_at(coder, pixels, 4)
    assert container.header.tile_count == 16
    tile = (COEFFICIENTS + coder.config.hidden) * 4 * 4
    # Two borders of each tile, each half of the tile, for three rows of two tiles.
    assert max(kept) <= 3 * 2 * tile


@pytest.mark.usefixtures("short")
def test_several_tiles_cost_less_together(coder: PhotoCoder) -> None:
    pixels = np.ascontiguousarray(photographs(1, side=160, seed=7)[0][:150, :137])
    cost = cost_of(coder, pixels_padded(pixels), 60)

    def judged(effort: int) -> tuple[float, int]:
        container = file_at(coder, pixels, effort, quality=60)
        drawn = decompress_container(container, coder).pixels
        image = torch.from_numpy(pixels_padded(drawn)).permute(2, 0, 1)[None] / 255
        size = len(container_to_bytes(container))
        return 8 * size + float(cost.distortion_bits(image)), size

    costs, sizes = zip(*(judged(effort) for effort in (1, 5)), strict=True)
    assert sizes[1] < sizes[0]
    assert costs[1] < costs[0]


def pixels_padded(pixels: SampleArray) -> SampleArray:
    rows, columns = -pixels.shape[0] % 16, -pixels.shape[1] % 16
    return np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="edge")


def test_nothing_is_larger_than_one_pass(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Symbols from a search are ignored if they take more bytes."""

    def wasteful(coder: PhotoCoder, latents: object, quality: float) -> TileSymbols:
        return coder.symbols(3 * np.asarray(latents), quality)

    monkeypatch.setattr(effort_tiles, "optimised", wasteful)
    pixels = photographs(1, side=80)[0]
    assert file_at(coder, pixels, 3).payloads == file_at(coder, pixels, 1).payloads


@pytest.mark.usefixtures("short")
def test_sixteen_bits_are_searched_at_their_depth() -> None:
    coder = tiny_coder().with_tune("psnr")
    pixels = photographs(1, side=64)[0].astype(np.uint16) * 257
    deep = file_at(coder, pixels, 4)
    assert deep.header.bit_depth == 16
    assert len(container_to_bytes(deep)) < len(container_to_bytes(file_at(coder, pixels, 1)))


def test_the_visual_error_is_the_mean_over_windows() -> None:
    """With a single window, a search hides errors from the grid of SSIMULACRA2."""
    pixels = photographs(1, side=64)[0]
    cost = cost_of(tiny_coder(), pixels, 40)
    original = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    drawn = (original + 0.1 * torch.rand(original.shape, generator=torch.Generator())).clamp(0, 1)
    errors = [
        float(visual_error(original[:, :, row:, column:], drawn[:, :, row:, column:]))
        for row, column in _PLACES
    ]
    assert errors[0] != pytest.approx(errors[1], rel=1e-3)
    squared = 255**2 * float((drawn - original).square().mean())
    mixed = (1 - VISUAL_SHARE) * squared + VISUAL_SHARE * VISUAL_SCALE * float(np.mean(errors))
    psnr = cost_of(tiny_coder().with_tune("psnr"), pixels, 40)
    weight = float(psnr.distortion_bits(drawn)) / squared
    assert float(cost.distortion_bits(drawn)) == pytest.approx(weight * mixed, rel=1e-4)


def test_the_gradient_is_that_of_the_distortion(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small step along the negative gradient lowers the distortion of the decoder's picture."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    pixels = photographs(1, side=64)[0]
    cost = cost_of(coder, pixels, 40)
    candidate = cost(coder.symbols(coder.analyze(pixels, 40), 40))
    gradient = cost.gradient(candidate)
    assert gradient.shape == candidate.latents.shape
    # A step that would remove a twentieth of the distortion if that were linear.
    step = 0.05 * candidate.distortion_bits / np.square(gradient).sum() * gradient
    lower = candidate.tile.decoded.copy()
    lower[:COEFFICIENTS] -= np.rint(1024 * step).astype(np.int32)
    moved = cost(replace(candidate.tile, decoded=lower))
    assert 0.9 < moved.distortion_bits / candidate.distortion_bits < 0.99


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("effort", [3, 4, 9])
def test_progress_goes_from_nothing_to_all(effort: int) -> None:
    told = list[float]()
    pixels = photographs(1, side=80)[0]
    compress_picture(
        Picture(pixels),
        tiny_coder().with_tune("psnr"),
        quality=30,
        tile_size=64,
        effort=effort,
        progress=told.append,
    )
    assert told == sorted(told)
    assert 0 < told[0] < 0.3
    assert told[-1] == 1


@pytest.mark.usefixtures("short")
def test_an_effort_for_eyes_names_the_extra_that_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without(name: str) -> object:
        return None if name == "ssimulacra2" else find_spec(name)

    monkeypatch.setattr("codec.system.missing_extra.find_spec", without)
    pixels = photographs(1, side=64)[0]
    with pytest.raises(MissingExtraError, match=r"effort 4 for the tune 'visual'.*'metrics'"):
        file_at(tiny_coder(), pixels, 4)
    file_at(tiny_coder(), pixels, 3)
    file_at(tiny_coder().with_tune("psnr"), pixels, 4)
    # The extra installs torch too, so no second error follows the installation.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "codec.models.photo.cost")
    with pytest.raises(MissingExtraError, match=r"'metrics' \(it brings PyTorch\)"):
        file_at(tiny_coder(), pixels, 4)


def test_optimised_quantisation_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "codec.models.photo.cost")
    pixels = photographs(1, side=64)[0]
    file_at(tiny_coder(), pixels, 3)
    with pytest.raises(MissingExtraError, match=r"effort 4 needs the library torch.*'torch'"):
        file_at(tiny_coder(), pixels, 4)


def test_strips_give_the_gradient_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coder = tiny_coder()
    pixels = photographs(1, side=160)[0]
    tile = coder.symbols(coder.analyze(pixels, 50), 50)
    everything = slice(0, 10)
    around = Surroundings(pixels, tile.decoded, everything, everything)
    cost = TileCost(coder, coder.trainable(), around, 50)
    candidate = cost(tile)
    expected = cost.gradient(candidate)
    monkeypatch.setattr("codec.models.photo.cost._DRAWN_LATENTS", 20)
    again = cost(tile)
    assert again.distortion_bits == pytest.approx(candidate.distortion_bits, rel=1e-4)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(cost.gradient(again), expected, atol=1e-4 * scale)
