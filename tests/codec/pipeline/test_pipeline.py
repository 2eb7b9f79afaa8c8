"""Tiles, regions, sizes: pictures through a loaded model and back."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bitstream.container import container_from_bytes, container_to_bytes, read_tiles
from bitstream.errors import LimitError, PayloadError, UsageError
from bitstream.header import Header
from codec import loading
from codec.coding.tiling import TileGrid, Window
from codec.models.base import LoadedModel
from codec.models.photo.coder import PhotoCoder
from codec.pictures.picture import Picture
from codec.pipeline.decode import decode_bands, decompress_container, tiles_of_region
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.tiny import TINY, plain_model
from tests.codec.tiny import photographs
from training.photo.export import export_arrays


@pytest.fixture
def model(tiny_weights: Path) -> LoadedModel:
    return loading.load_model("photo", device="cpu")


Pixels = npt.NDArray[np.uint8]


def picture(pixels: Pixels, alpha: Pixels | None = None) -> Picture:
    return Picture(pixels, alpha, b"icc", None, b"<xmp/>")


def psnr_db(one: Pixels, two: Pixels) -> float:
    error = float(np.mean((one.astype(float) - two) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (17, 64), (64, 64), (65, 127), (130, 70)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_round_trips(model: LoadedModel, size: tuple[int, int], channels: int) -> None:
    scene = photographs(1, side=208)[0]
    pixels = np.ascontiguousarray(scene[: size[0], : size[1], :channels])
    alpha = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    container = compress_picture(picture(pixels, alpha), model, quality=90, tile_size=64)
    again = decompress_container(container_from_bytes(container_to_bytes(container)), model)
    assert again.pixels.shape == pixels.shape
    assert again.pixels.dtype == np.uint8
    assert again.alpha is not None
    np.testing.assert_array_equal(again.alpha, alpha)
    assert (again.icc, again.exif, again.xmp) == (b"icc", None, b"<xmp/>")
    assert psnr_db(again.pixels, pixels) > 20


def test_tiles_leave_no_seam(model: LoadedModel) -> None:
    pixels = photographs(1, side=256)[0]
    whole = decompress_container(compress_picture(picture(pixels), model, quality=60), model)
    tiled = decompress_container(
        compress_picture(picture(pixels), model, quality=60, tile_size=64), model
    )

    def step(image: Pixels) -> npt.NDArray[np.float64]:
        errors = image.astype(float) - pixels
        jumps: npt.NDArray[np.float64] = np.abs(np.diff(errors, axis=1)).mean(axis=(0, 2))
        return jumps

    # The error jumps no more across tile borders than at the same columns of an untiled picture.
    borders = [63, 127, 191]
    assert step(tiled.pixels)[borders].mean() < 1.15 * step(whole.pixels)[borders].mean()
    assert abs(psnr_db(tiled.pixels, pixels) - psnr_db(whole.pixels, pixels)) < 0.2


@pytest.mark.parametrize(
    "region", [(0, 0, 256, 256), (0, 0, 1, 1), (70, 100, 50, 41), (255, 0, 1, 256)]
)
def test_a_region_equals_the_crop_of_the_whole(
    model: LoadedModel, region: tuple[int, int, int, int]
) -> None:
    pixels = photographs(1, side=256)[0]
    alpha = pixels[:, :, 0].copy()
    container = compress_picture(picture(pixels, alpha), model, quality=60, tile_size=64)
    whole = decompress_container(container, model)
    x, y, width, height = region
    part = decompress_container(container, model, region=region)
    expected = whole.pixels[y : y + height, x : x + width]
    assert part.pixels.shape == expected.shape
    # Shapes change the order of float sums, so a pixel may round the other way.
    assert np.abs(part.pixels.astype(int) - expected).max() <= 1
    assert part.alpha is not None
    np.testing.assert_array_equal(part.alpha, alpha[y : y + height, x : x + width])


def test_a_region_reads_only_its_tiles(model: LoadedModel) -> None:
    pixels = photographs(1, side=448)[0]
    container = compress_picture(picture(pixels), model, quality=60, tile_size=64)
    region = (10, 10, 20, 20)
    tiles = tiles_of_region(container.header, model, region)
    assert 1 <= len(tiles) < container.header.tile_count / 2
    data = bytearray(container_to_bytes(container))
    # Damage the last tile: a reader that touched it would fail at its checksum.
    data[-30] ^= 0xFF
    selection = read_tiles(io.BytesIO(data), tiles)
    part = decode_bands(selection, model, region=region).picture()
    expected = decompress_container(container, model, region=region)
    np.testing.assert_array_equal(part.pixels, expected.pixels)


@pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, 0, 0, 5), (60, 60, 5, 5), (0, 0, 65, 1)])
def test_a_region_outside_is_refused(model: LoadedModel, region: tuple[int, int, int, int]) -> None:
    container = compress_picture(picture(photographs(1, side=64)[0]), model, quality=5)
    with pytest.raises(UsageError, match="64×64"):
        decompress_container(container, model, region=region)


def test_quality_moves_bytes_and_error_the_right_way() -> None:
    model = PhotoCoder(export_arrays(plain_model(), photographs(2), crop=64), TINY, bytes(8))
    pixels = photographs(1, side=192)[0]
    sizes, errors = [], []
    for quality in (5, 25, 45, 65, 85):
        container = compress_picture(picture(pixels), model, quality=quality)
        sizes.append(len(container_to_bytes(container)))
        errors.append(psnr_db(decompress_container(container, model).pixels, pixels))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors)


def test_more_layers_than_the_model_has_are_refused(model: LoadedModel) -> None:
    pixels = photographs(1, side=64)[0]
    container = compress_picture(picture(pixels), model, quality=50)
    twice = dataclasses.replace(
        container,
        header=dataclasses.replace(container.header, layers=2),
        payloads=container.payloads * 2,
    )
    with pytest.raises(PayloadError, match="2 layers, expected 1 or 4"):
        decompress_container(container_from_bytes(container_to_bytes(twice)), model)


def test_too_large_a_picture_is_refused_before_work(model: LoadedModel) -> None:
    pixels = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (2**15, 2**14, 3))
    with pytest.raises(LimitError):
        compress_picture(picture(pixels), model, quality=50)


def test_windows_cover_the_latents_once() -> None:
    header = Header(1000, 333, 3, 8, 50, 1, bytes(8), 128)
    grid = TileGrid(header, 16)
    seen = np.zeros((grid.latents.height, grid.latents.width), dtype=int)
    for number in range(grid.count):
        rows, columns = grid.tile(number).within(grid.latents)
        seen[rows, columns] += 1
    assert (seen == 1).all()
    assert list(grid.overlapping(Window(-3, -3, 1, 1))) == [0]
    assert list(grid.overlapping(Window(7, 7, 9, 9))) == [0, 1, 8, 9]
    assert list(grid.overlapping(Window(-9, 0, 0, 5))) == []
