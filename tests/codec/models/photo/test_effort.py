"""Effort of the photo encoder: smaller files, judged as they decode; targets; tiles; progress."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import codec
from bitstream.container import container_from_bytes, container_to_bytes
from codec import loading
from codec.cli import app
from codec.coding.quantize import dequantize
from codec.coding.tiling import TileGrid
from codec.models.photo import effort as photo_effort
from codec.models.photo.coder import PhotoCoder, coded_position
from codec.models.photo.cost import Surroundings, TileCost, trained_exchange_rate
from codec.models.photo.effort import LEVELS, search
from codec.models.photo.effort_tiles import exchange_rate
from codec.models.photo.network import lagrange_multiplier
from codec.models.photo.refine import Annealing
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import TINY, photographs, tiny_model
from training.photo.export import export_arrays

Pixels = npt.NDArray[np.uint8]

SHORT = {level: replace(plan, descent=min(plan.descent, 6)) for level, plan in LEVELS.items()}
for _level, _steps in ((8, 6), (9, 12)):
    SHORT[_level] = replace(SHORT[_level], annealing=Annealing(_steps, 5e-3))


@pytest.fixture
def coder(tiny_weights: Path) -> PhotoCoder:
    loaded = loading.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    return loaded


@pytest.fixture(scope="module")
def contextual() -> PhotoCoder:
    """A tiny model whose latents are predicted from others; untrained contexts predict nothing."""
    torch.manual_seed(3)
    model = copy.deepcopy(tiny_model())
    assert model.context is not None
    with torch.no_grad():
        for parameter in model.context.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return PhotoCoder(export_arrays(model, photographs(2, seed=2)), TINY, bytes(8))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_effort, "LEVELS", SHORT)


@pytest.fixture
def trained_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits and errors are weighed as in training, whatever the picture is."""

    def rate(*arguments: object) -> float:
        _, _, pixels, quality, _ = arguments
        assert isinstance(pixels, np.ndarray)
        assert isinstance(quality, float)
        return trained_exchange_rate(quality, pixels.shape[2])

    monkeypatch.setattr("codec.models.photo.effort_tiles.exchange_rate", rate)


def whole(coder: PhotoCoder, pixels: Pixels, quality: float) -> Surroundings:
    """A picture of one tile."""
    rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    latents = coder.analyze(rgb, quality)
    return Surroundings(pixels, latents, slice(0, latents.shape[1]), slice(0, latents.shape[2]))


def cost_of_file(coder: PhotoCoder, pixels: Pixels, data: bytes, quality: float) -> float:
    """λ·255²·MSE + bits per pixel of a complete file, times its pixels, decoded as anywhere."""
    decoded = decompress_container(container_from_bytes(data), coder).pixels
    lagrange = float(lagrange_multiplier(torch.tensor(coded_position(quality))))
    error = float(np.mean((decoded.astype(float) - pixels) ** 2))
    return float(8 * len(data) + lagrange * error * pixels.shape[0] * pixels.shape[1])


def file_at(
    coder: PhotoCoder, pixels: Pixels, quality: float, effort: int, tile_size: int | None = None
) -> bytes:
    container = compress_picture(
        Picture(pixels), coder, quality=quality, effort=effort, tile_size=tile_size
    )
    return container_to_bytes(container)


@pytest.mark.usefixtures("short", "trained_rate")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 30, 55])
def test_cost_falls_with_the_level(coder: PhotoCoder, quality: float, channels: int) -> None:
    pixels = np.ascontiguousarray(photographs(1, side=80, seed=5)[0][:, :, :channels])
    costs = [
        cost_of_file(coder, pixels, file_at(coder, pixels, quality, effort), quality)
        for effort in (1, 3, 5, 7)
    ]
    # The payload of a file is padded to 32 bits.
    assert all(later <= earlier + 32 for earlier, later in pairwise(costs))
    assert costs[-1] < 0.998 * costs[0]


@pytest.mark.usefixtures("short", "trained_rate")
def test_cost_falls_with_a_context_of_latents(contextual: PhotoCoder) -> None:
    pixels = photographs(1, side=64, seed=5)[0]
    costs = [
        cost_of_file(contextual, pixels, file_at(contextual, pixels, 30, effort), 30)
        for effort in (1, 3, 5, 8)
    ]
    assert all(later <= earlier + 32 for earlier, later in pairwise(costs))
    assert costs[-1] < 0.998 * costs[0]


@pytest.mark.usefixtures("short")
def test_annealed_levels_are_no_worse_than_the_seventh(coder: PhotoCoder) -> None:
    pixels = photographs(1, side=64, seed=6)[0]
    around, cost = whole(coder, pixels, 50), TileCost(coder, whole(coder, pixels, 50), 50)
    best = {e: cost(search(coder, around, 50, e)).cost_bits for e in (7, 8, 9)}
    assert best[8] <= best[7]
    assert best[9] <= best[7]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("effort", [3, 6, 8])
def test_an_effort_writes_the_same_file_again(coder: PhotoCoder, effort: int) -> None:
    pixels = photographs(1, side=64)[0]
    first = file_at(coder, pixels, 50, effort)
    torch.manual_seed(99)
    np.random.default_rng().random(5)
    assert file_at(coder, pixels, 50, effort) == first
    assert first != file_at(coder, pixels, 50, 1)


def test_the_first_two_levels_are_one_pass(coder: PhotoCoder) -> None:
    pixels = photographs(1, side=64)[0]
    assert file_at(coder, pixels, 50, 1) == file_at(coder, pixels, 50, 2)


@pytest.mark.usefixtures("short", "trained_rate")
@pytest.mark.parametrize("effort", [3, 5])
def test_a_tile_lowers_the_cost_of_the_whole_picture(coder: PhotoCoder, effort: int) -> None:
    """Tiles smaller than what their pixels depend on, and a picture that ends within one."""
    pixels = np.ascontiguousarray(photographs(1, side=160, seed=7)[0][:150, :137])
    costs = {
        e: cost_of_file(coder, pixels, file_at(coder, pixels, 60, e, tile_size=64), 60)
        for e in (1, effort)
    }
    assert costs[effort] < 0.998 * costs[1]


@pytest.mark.usefixtures("trained_rate")
def test_decisions_of_tiles_add_up(coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each tile gains in its window is what the picture gains, to the last pixel."""
    gains = []

    def recorded(coder: PhotoCoder, around: Surroundings, *rest: object, **named: object) -> object:
        tile = search(coder, around, 60, 4)
        cost = TileCost(coder, around, 60)
        own = around.latents[:, around.rows, around.columns]
        one_pass = coder.symbols(own, 60)
        gains.append(cost(one_pass).cost_bits - cost(tile).cost_bits)
        return tile

    monkeypatch.setattr("codec.models.photo.effort_tiles.search", recorded)
    pixels = np.ascontiguousarray(photographs(1, side=144, seed=8)[0])
    files = [file_at(coder, pixels, 60, e, tile_size=64) for e in (1, 4)]
    one_pass, searched = (cost_of_file(coder, pixels, data, 60) for data in files)
    assert len(gains) == 9
    assert min(gains) >= 0
    # Ideal code lengths here, and bytes in words of 32 bits there.
    assert abs(sum(gains) - (one_pass - searched)) < 9 * 64


def test_cost_is_bits_and_error_of_the_picture(coder: PhotoCoder) -> None:
    pixels = np.ascontiguousarray(photographs(1, side=96)[0][:90, :70])
    data = file_at(coder, pixels, 70, 1)
    padded = np.pad(pixels, ((0, 6), (0, 10), (0, 0)), mode="edge")
    around = replace(whole(coder, padded, 70), pixels=pixels)
    tile = coder.symbols(around.latents, 70)
    payload_bits = 8 * len(coder.encode_symbols(tile, 70)[0])
    expected = cost_of_file(coder, pixels, data, 70) - 8 * len(data) + payload_bits
    cost = TileCost(coder, around, 70)
    assert cost(tile).cost_bits == pytest.approx(expected, abs=64)
    assert cost.rate_bits(tile) == pytest.approx(payload_bits, abs=64)


def test_the_gradient_is_that_of_the_distortion(coder: PhotoCoder) -> None:
    pixels = photographs(1, side=64)[0]
    around = whole(coder, pixels, 40)
    cost = TileCost(coder, around, 40)
    tile = coder.symbols(around.latents, 40)
    gradient = cost(tile).gradient
    assert gradient is not None
    assert cost(tile, with_gradient=False).gradient is None
    latents = torch.from_numpy(dequantize(tile.symbols, tile.means))
    direction = torch.from_numpy(gradient) / np.abs(gradient).max()
    step = 1e-2
    with torch.no_grad():
        ends = [
            float(cost.distortion_bits(cost.draw(latents + s * direction))) for s in (-step, step)
        ]
    slope = (ends[1] - ends[0]) / (2 * step)
    assert slope == pytest.approx(float((torch.from_numpy(gradient) * direction).sum()), rel=0.02)


def test_curvature_is_what_theory_gives(coder: PhotoCoder) -> None:
    """λ·255²·e²/3 for an error e of one step, Δ² = 18 / (ln 2 · λ · 255²)."""
    around = whole(coder, photographs(1, side=64)[0], 40)
    lagrange = float(lagrange_multiplier(torch.tensor(coded_position(40))))
    step_squared = 18 / (math.log(2) * lagrange * 255**2)
    cost = TileCost(coder, around, 40)
    assert cost.curvature == pytest.approx(lagrange * 255**2 * step_squared / 3)
    assert cost.exchange_rate == pytest.approx(lagrange * 255**2 / 3)
    doubled = TileCost(coder, around, 40, 2 * cost.exchange_rate)
    assert doubled.curvature == pytest.approx(2 * cost.curvature)


def test_the_exchange_rate_is_the_slope_of_the_picture_itself(coder: PhotoCoder) -> None:
    pixels = photographs(1, side=160, seed=5)[0]
    points = []
    for quality in (38.0, 42.0):
        data = file_at(coder, pixels, quality, 1)
        decoded = decompress_container(container_from_bytes(data), coder).pixels
        error = float(((decoded.astype(float) - pixels) ** 2).sum()) / 255**2
        points.append((8 * len(data), error))
    (bits_low, error_low), (bits_high, error_high) = points
    slope = (bits_high - bits_low) / (error_low - error_high)
    grid = TileGrid(container_from_bytes(data).header, coder.stride)
    found = exchange_rate(coder, grid, pixels, 40, lambda number, q: coder.analyze(pixels, q))
    trained = trained_exchange_rate(40, 3)
    assert 0.7 * trained <= found <= 2.5 * trained
    assert found == pytest.approx(min(max(slope, 0.7 * trained), 2.5 * trained), rel=0.1)


@pytest.mark.parametrize("quality", [1.0, 50.0, 100.0])
def test_a_flat_picture_has_the_exchange_rate_of_training(
    coder: PhotoCoder, quality: float
) -> None:
    pixels = np.full((64, 64, 3), 128, dtype=np.uint8)
    grid = TileGrid(container_from_bytes(file_at(coder, pixels, quality, 1)).header, coder.stride)
    found = exchange_rate(coder, grid, pixels, quality, lambda number, q: coder.analyze(pixels, q))
    trained = trained_exchange_rate(quality, 3)
    assert 0.7 * trained <= found <= 2.5 * trained
    assert math.isfinite(found)


@pytest.mark.usefixtures("short", "tiny_weights")
@pytest.mark.parametrize("effort", [4, 8])
def test_progress_goes_from_nothing_to_all(effort: int) -> None:
    model, told = loading.load_model("photo", device="cpu"), list[float]()
    pixels = photographs(1, side=80)[0]
    compress_picture(
        Picture(pixels), model, quality=30, tile_size=64, effort=effort, progress=told.append
    )
    assert told == sorted(told)
    assert 0 < told[0] < 0.3
    assert told[-1] == 1


@pytest.mark.usefixtures("short", "tiny_weights")
def test_targets_are_met_with_effort() -> None:
    pixels = photographs(1, side=96, seed=5)[0]
    plain = codec.compress(pixels, size=400)
    better = codec.compress(pixels, size=400, effort=5)
    assert len(better) <= 400
    assert len(better) >= 0.97 * 400
    assert codec.inspect(better).quality >= codec.inspect(plain).quality

    def psnr_db(data: bytes) -> float:
        decoded = np.asarray(codec.decompress(data, as_="numpy"), dtype=float)
        return float(10 * np.log10(255**2 / np.mean((decoded - pixels) ** 2)))

    assert psnr_db(better) > psnr_db(plain)
    plain, better = (codec.compress(pixels, psnr=26.5, effort=e) for e in (1, 5))
    assert psnr_db(better) >= 26.5
    assert len(better) < len(plain)


@pytest.mark.usefixtures("tiny_weights")
def test_the_command_takes_an_effort(tmp_path: Path) -> None:
    for name in ("one", "three"):
        Image.fromarray(photographs(1, side=64)[0]).save(tmp_path / f"{name}.png")
    runner = CliRunner()
    assert runner.invoke(app, ["compress", "-q", "40", str(tmp_path / "one.png")]).exit_code == 0
    arguments = ["compress", "-q", "40", "-e", "3", "--json", str(tmp_path / "three.png")]
    assert runner.invoke(app, arguments).exit_code == 0
    one, three = ((tmp_path / f"{name}.calo").read_bytes() for name in ("one", "three"))
    assert three != one
