"""The DRAW archive: exact, and as short as the evidence lower bound allows."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import codec
from bitstream import PayloadError, UsageError, write_varint
from bitstream.ans_coder import AnsCoder
from bitstream.errors import TableError, WeightsMismatchError
from codec.coding.bits_back_tables import LEAST_BITS, LOG_ODDS_REACH
from codec.coding.prior_tables import interval_masses, normal_quantile
from codec.loading import ENVIRONMENT_VARIABLE
from codec.models.draw import ARCHIVE
from codec.models.draw.archive import bits_back_arrays, nelbo_nats
from codec.models.draw.bins import LOG_VARIANCES, BinnedDraw, NestedBins, bin_arrays
from codec.models.draw.network import logistic_nats
from codec.models.draw.pixels import LogisticPixels, pixels_from_arrays
from codec.models.draw.recursion import DrawConfig
from codec.models.draw.tables import frequencies, log_levels
from codec.models.sheets import sheet_of
from codec.pictures.picture import Picture
from codec.pipeline.encode import compress_picture
from tests.codec.models.draw import tiny_archive as tiny_draw_archive
from tests.codec.models.draw.tiny_archive import BINARY, COLOUR, SIDE, archive, arrays, images, load

Array = npt.NDArray[np.generic]
Uint8Array = npt.NDArray[np.uint8]
CONFIGS = pytest.mark.parametrize("config", [BINARY, COLOUR], ids=["binary", "colour"])
QUANTILES = bin_arrays(BINARY)
BINS = NestedBins(
    *(QUANTILES[f"posterior.{n}"] for n in ("quantiles", "reciprocals", "distribution"))  # type: ignore[arg-type]
)


def sheet(config: DrawConfig, rows: int, columns: int, seed: int = 1) -> Uint8Array:
    """Blocks side by side, uint8 (H, W, 1 or 3)."""
    pixels = sheet_of(images(config, rows * columns, seed), rows, columns)
    return pixels[:, :, : config.channels]


def code(config: DrawConfig, blocks: Uint8Array) -> tuple[bytes, Uint8Array]:
    """A payload of blocks in one row, and what it decodes to."""
    model = archive(config)
    latents = model.analyze(sheet_of(blocks, 1, len(blocks)), 75)
    (payload,) = model.encode_tile(latents, 75)
    found = model.synthesize(model.decode_tile([payload], 1, len(blocks), 75), 75)
    return payload, found


@CONFIGS
def test_a_file_is_lossless(
    config: DrawConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_draw_archive.write_tiny_archive(tmp_path, config)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    whole = sheet(config, 5, 8)
    for height, width in ((1, 1), (8, 8), (25, 9), (40, 64)):
        pixels = whole[:height, :width]
        data = codec.compress(pixels, model=ARCHIVE.name, quality=30)
        info = codec.inspect(data)
        assert (info.model_name, info.width, info.height) == (ARCHIVE.name, width, height)
        found = codec.decompress(data, as_="numpy")
        np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)
    codec.verify(data)


@CONFIGS
def test_noise_and_extremes_are_lossless_too(config: DrawConfig) -> None:
    rng = np.random.default_rng(0)
    shape = (20, config.channels, SIDE, SIDE)
    levels = np.array([0, 255], np.uint8) if config is BINARY else np.arange(256, dtype=np.uint8)
    for blocks in (rng.choice(levels, shape), np.full(shape, 255, np.uint8), np.zeros(shape, "u1")):
        _, found = code(config, blocks)
        np.testing.assert_array_equal(found, sheet_of(blocks, 1, len(blocks)))


@CONFIGS
def test_the_archive_goes_through_its_stages_and_back(config: DrawConfig) -> None:
    model, blocks = archive(config), images(config, 120, 4)
    runs, stack = model.push_blocks(blocks)
    # From no bins to groups of many blocks.
    assert len(runs) > len(model.binned.maps)
    assert model.stage(len(runs) - 1)[1] > 1
    payload = b"".join(write_varint(run) for run in runs)
    groups, offset = model._read_groups(payload, 120)
    assert offset == len(payload)
    assert [end for _, end, _ in groups[:-1]] == [begin for begin, _, _ in groups[1:]]
    found = model.pop_blocks(groups, stack, 120)
    np.testing.assert_array_equal(found, blocks)
    assert stack.bits == LEAST_BITS
    assert stack.to_bytes() == bytes(8) + b"\x01\0\0\0"


@pytest.mark.parametrize(("config", "allowed"), [(BINARY, 0.03), (COLOUR, 0.005)])
def test_the_archive_costs_the_evidence_bound(config: DrawConfig, allowed: float) -> None:
    blocks = images(config, 300 if config is BINARY else 100, 3)
    payload, _ = code(config, blocks)
    bound = nelbo_nats(archive(config), blocks).sum() / math.log(2)
    assert abs(8 * len(payload) / bound - 1) < allowed


def test_codes_save_what_they_cost_and_more() -> None:
    # Without bins an archive costs only its pixels.
    blocks = images(BINARY, 100, 3)
    alone = load(BINARY, {f"posterior.bits{k}": bits[:1] for k, bits in enumerate(maps(BINARY))})
    _, stack = alone.push_blocks(blocks)
    _, shorter = archive(BINARY).push_blocks(blocks)
    assert shorter.bits < 0.9 * stack.bits


def maps(config: DrawConfig) -> list[Uint8Array]:
    return [arrays(config)[f"posterior.bits{level}"] for level in range(config.levels)]  # type: ignore[misc]


@CONFIGS
def test_threads_change_nothing(config: DrawConfig) -> None:
    blocks = images(config, 24, 8)
    before = torch.get_num_threads()
    payload, _ = code(config, blocks)
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        again, found = code(config, blocks)
    finally:
        torch.set_num_threads(before)
    assert again == payload
    np.testing.assert_array_equal(found, sheet_of(blocks, 1, 24))


def test_a_group_that_needs_more_than_the_stack_goes_back_a_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = archive(BINARY)
    bits = model._bits_needed
    monkeypatch.setattr(model, "_bits_needed", lambda stage: bits(stage) // 2)
    blocks = images(BINARY, 40, 5)
    runs, stack = model.push_blocks(blocks)
    assert any(run & 1 for run in runs)
    groups, _ = model._read_groups(b"".join(map(write_varint, runs)), 40)
    np.testing.assert_array_equal(model.pop_blocks(groups, stack, 40), blocks)


def test_grey_and_colour_are_refused_with_advice() -> None:
    pixels = np.zeros((8, 8, 1), np.uint8)
    pixels[0, 0] = 254
    with pytest.raises(UsageError, match="black and white"):
        compress_picture(Picture(pixels), archive(BINARY), quality=75)
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[0, 0, 0] = 255
    with pytest.raises(UsageError, match="colours"):
        compress_picture(Picture(colour), archive(BINARY), quality=75)
    with pytest.raises(UsageError, match="4096"):
        compress_picture(Picture(np.zeros((1, 4097, 3), "u1")), archive(COLOUR), quality=75)


@pytest.mark.parametrize("bits", [1, 2, 7, 10])
def test_frequencies_are_those_of_the_gaussian(bits: int) -> None:
    edges = np.concatenate([[-np.inf], normal_quantile(np.arange(1, 1 << bits) / (1 << bits))])
    edges = np.append(edges, np.inf)
    for mean, log_variance in ((0.0, 0.0), (-0.7, -3.0), (2.1, -5.25), (0.3, 1.0)):
        units = np.array([round(mean * 4096)])
        level = log_levels(np.array([round(log_variance * 4096)]), LOG_VARIANCES)
        found = frequencies(BINS._below(BINS._edges(bits), units, level))[0]
        assert (found.sum(), found.min() >= 1) == (2**24, True)
        expected = interval_masses((edges - units / 4096) / math.exp(log_variance / 2))
        assert np.abs(found / 2**24 - expected).max() < 2e-4
    centres = BINS.centres(np.arange(1 << bits, dtype=np.int32), bits) / 4096
    middles = normal_quantile((np.arange(1 << bits) + 0.5) / (1 << bits))
    assert np.abs(centres - middles).max() < 2e-4


@pytest.mark.parametrize("bits", [1, 2, 10])
def test_bins_are_pushed_as_they_are_popped(bits: int) -> None:
    rng = np.random.default_rng(bits)
    mean = np.concatenate([rng.integers(-20000, 20000, 900), [2**22, -(2**22)] * 50])
    level = rng.integers(0, 209, 1000)
    stack = AnsCoder.seeded(1000, 1)
    before = stack.to_bytes()
    bins = BINS.pop(stack, mean, level, bits)
    BINS.push(stack, mean, level, bits, bins)
    assert stack.to_bytes() == before
    # And any bins, likely or not, including the outer ones.
    bins = rng.integers(0, 1 << bits, 1000).astype(np.int32)
    bins[:2] = 0, (1 << bits) - 1
    BINS.push(stack, mean, level, bits, bins)
    np.testing.assert_array_equal(BINS.pop(stack, mean, level, bits), bins)
    assert stack.to_bytes() == before


def test_colours_cost_what_the_likelihood_says() -> None:
    pixels = archive(COLOUR).pixels
    assert isinstance(pixels, LogisticPixels)
    generator = torch.Generator().manual_seed(0)
    canvas = torch.randn(20, 9, SIDE, SIDE, generator=generator, dtype=torch.float64) * 0.7
    canvas[:, 3:6] = canvas[:, 3:6] - 2
    units = (canvas * 4096).round()
    stack = AnsCoder.seeded(2000, 1)
    before, start = stack.bits, stack.to_bytes()
    blocks = pixels.pop(stack, units)  # from random bits, so they are samples
    x = (torch.from_numpy(blocks).double() * 2 - 255) / 256
    expected = float(logistic_nats(units / 4096, x).sum()) / math.log(2)
    assert abs(before - stack.bits - expected) < 0.002 * expected
    pixels.push(stack, units, blocks)
    assert stack.to_bytes() == start
    # Pixels that are almost impossible cost at most as much as a unit of 2⁻²⁴.
    blocks = np.random.default_rng(1).integers(0, 256, (20, 3, SIDE, SIDE), dtype=np.uint8)
    blocks[0], blocks[1] = 0, 255
    pixels.push(stack, units, blocks)
    assert stack.bits - before < 24 * blocks.size
    np.testing.assert_array_equal(pixels.pop(stack, units), blocks)
    assert stack.to_bytes() == start


def test_one_channel_of_levels_is_coded_too() -> None:
    config = DrawConfig(1, "logistic", "gaussian", 1, 4, (4,), (1,))
    pixels = LogisticPixels(
        archive(COLOUR).binned.network,
        *(arrays(COLOUR)[f"pixels.{name}"] for name in ("reciprocals", "distribution")),  # type: ignore[arg-type]
    )
    object.__setattr__(pixels, "network", _Named(config))
    canvas = torch.zeros(2, 2, SIDE, SIDE, dtype=torch.float64)
    blocks = np.random.default_rng(1).integers(0, 256, (2, 1, SIDE, SIDE), dtype=np.uint8)
    stack = AnsCoder.seeded(4, 1)
    pixels.push(stack, canvas, blocks)
    np.testing.assert_array_equal(pixels.pop(stack, canvas), blocks)


class _Named:
    """A network with nothing but a configuration."""

    def __init__(self, config: DrawConfig) -> None:
        self.config = config


def test_the_entry_in_the_catalogue() -> None:
    found = [model for model in codec.list_models() if model.name == ARCHIVE.name]
    assert [(model.model_id, model.layers) for model in found] == [(ARCHIVE.model_id, 1)]


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = arrays(BINARY)

    def bits(change: Array) -> dict[str, Array]:
        return {"posterior.bits0": change}

    wrong = good["posterior.bits0"].copy()
    first = wrong.copy()
    first[0, 0, 0, 0, 0] = 1
    wrong[3, 0, 0, 0, 0] = 11
    quantiles, distribution = good["posterior.quantiles"], good["posterior.distribution"]
    changes: list[dict[str, Array]] = [
        bits(wrong),
        bits(first),
        bits(good["posterior.bits0"].astype(np.int8)),
        bits(good["posterior.bits0"][:, :, :, :3]),
        bits(good["posterior.bits0"][:3]),
        bits(good["posterior.bits0"][:0]),
        bits(np.zeros((40, 2, 3, 1, 1), np.uint8)),
        bits(np.zeros(3, np.uint8)),
        {"posterior.quantiles": quantiles[1:]},
        {"posterior.quantiles": quantiles[::-1].copy()},
        {"posterior.quantiles": quantiles.astype(np.int64)},
        {"posterior.quantiles": np.zeros((2, 2), np.int32)},
        {"posterior.quantiles": np.arange(2**14 - 1, dtype=np.int32)},
        {"posterior.reciprocals": np.zeros_like(good["posterior.reciprocals"])},
        {"posterior.distribution": distribution[::-1].copy()},
        {"posterior.distribution": distribution[:-2]},
    ]
    for change in changes:
        with pytest.raises(WeightsMismatchError):
            load(BINARY, change)
    with pytest.raises((WeightsMismatchError, TableError)):
        load(BINARY, {"pixel_tables.starts": good["pixel_tables.starts"][:LOG_ODDS_REACH]})
    for name in ("pixels.reciprocals", "pixels.distribution"):
        with pytest.raises(WeightsMismatchError):
            load(COLOUR, {name: arrays(COLOUR)[name][1:]})
    for side in ("", "7", "0", "x", "260", "99999", "-8"):
        with pytest.raises(WeightsMismatchError):
            load(BINARY, {}, side=side)
    uniform = dataclasses.replace(BINARY, posterior="uniform")
    with pytest.raises(WeightsMismatchError, match="posteriors"):
        BinnedDraw(_Named(uniform), SIDE, BINS, maps(BINARY))  # type: ignore[arg-type]
    for other in (
        dataclasses.replace(BINARY, channels=3),
        dataclasses.replace(BINARY, likelihood="gaussian"),
    ):
        with pytest.raises(WeightsMismatchError, match="likelihood"):
            pixels_from_arrays(_Named(other), good)  # type: ignore[arg-type]


def test_arrays_for_a_network_unseen_work() -> None:
    model = load(BINARY, {k: v for k, v in bits_back_arrays(BINARY).items() if "bits" in k})
    blocks = images(BINARY, 30, 6)
    runs, stack = model.push_blocks(blocks)
    groups, _ = model._read_groups(b"".join(map(write_varint, runs)), 30)
    np.testing.assert_array_equal(model.pop_blocks(groups, stack, 30), blocks)


@CONFIGS
@pytest.mark.parametrize("place", [0, 1, 9, 40, -1])
def test_damage_is_noticed(config: DrawConfig, place: int) -> None:
    blocks = images(config, 12, 2)
    payload = bytearray(code(config, blocks)[0])
    payload[place] ^= 1
    with pytest.raises(PayloadError):
        archive(config).decode_tile([bytes(payload)], 1, 12, 75)
