"""The pixel models from photographs to files: trained, resumed, exported and used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import codec
from codec.coding.exact_layers import Integers
from codec.loading import ENVIRONMENT_VARIABLE
from codec.models.pixel.coder import PixelCoder, PixelConfig, with_step
from codec.models.pixel.wavefront import INPUTS
from tests.codec.models.pixel.tiny import CONFIG, tiny_arrays, write_tiny_pixel
from tests.codec.tiny import photographs
from training.commands import main
from training.data.crops import CropSampler
from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from training.pixel.config import PRESETS
from training.pixel.export import export_arrays, phase_bits, tables
from training.pixel.network import SCALES, PixelNetwork
from training.pixel.samples import draw_samples
from training.pixel.warm_start import start_from_weights


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, pixels in enumerate(photographs(3)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_run_becomes_a_model(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, weights = tmp_path / "run", tmp_path / "weights"
    train = ["train", "pixel-tiny", "--data", str(data), "--run", str(run), "--device", "cpu"]
    assert main([*train, "--validation", str(data), "--steps", "120"]) == 0
    state = load_checkpoint(run / CHECKPOINT)
    bits = [row["bits"] for row in state["validation"]]
    assert 4 < bits[-1] < 7.5  # noise with standard deviation 4 in a coarse scene
    export = ["export", str(run), "-o", str(weights), "--validation", str(data)]
    assert main(export) == 0
    assert (weights / "pixel.safetensors").stat().st_size < 2**20
    assert list(json.loads((weights / "registry.json").read_text("utf-8"))) == ["pixel"]
    assert "bits per value of a pixel" in (weights / "pixel.md").read_text("utf-8")

    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(weights))
    pixels = photographs(1, side=90, seed=5)[0]
    data_of = codec.compress(pixels, lossless=True)
    np.testing.assert_array_equal(codec.decompress(data_of, as_="numpy"), pixels)
    # Whole files cost about as much as the likelihood says.
    assert 8 * len(data_of) / pixels.size == pytest.approx(bits[-1], rel=0.15)


def test_a_run_goes_on_as_if_never_stopped(data: Path, tmp_path: Path) -> None:
    def trained(name: str, *parts: int) -> dict[str, torch.Tensor]:
        run = tmp_path / name
        words = ["train", "pixel-tiny", "--data", str(data), "--run", str(run), "--device", "cpu"]
        for number, steps in enumerate(parts):
            resume = ["--resume"] if number else []
            assert main([*words, "--steps", str(steps), *resume]) == 0
        found: dict[str, torch.Tensor] = load_checkpoint(run / CHECKPOINT)["learner"]["networks"]
        return found

    whole, again = trained("whole", 6), trained("again", 6)
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0)
    # The learning rate follows the whole budget, so that of a resumed run differs before the stop.
    assert trained("parts", 3, 6).keys() == whole.keys()


def test_the_same_seed_draws_the_same_samples() -> None:
    def drawn(seed: int) -> torch.Tensor:
        sampler = CropSampler(photographs(2), crop=24, batch=1, seed=seed)
        return draw_samples(sampler, 2, 100, seed).inputs

    first = drawn(0)
    assert first.shape == (200, INPUTS)
    assert torch.equal(first, drawn(0))
    assert not torch.equal(first, drawn(1))


@pytest.mark.parametrize("bounded", [False, True])
def test_the_tables_are_the_likelihood(bounded: bool) -> None:
    network = PixelNetwork(PixelConfig(hidden=(4,)), bounded=bounded)
    found, first = tables(network), 0
    for scale, bits in enumerate(phase_bits(network).tolist()):
        phase = (1 << bits) // 2
        table = first + phase
        begin, end = found.starts[table : table + 2]
        # In the middle of its fractions of a step.
        offset = (phase * 2 ** (4 - bits) + (2 ** (4 - bits) - 1) / 2 - 8) / 16
        symbols = torch.arange(end - begin - 1, dtype=torch.float64) + float(found.minimums[table])
        with torch.no_grad():
            expected = network.probability(symbols - offset, torch.full_like(symbols, scale))
        shares = found.frequencies[begin : end - 1] / 2**24
        np.testing.assert_allclose(shares, expected.numpy(), rtol=0.02, atol=2e-6)
        first += 1 << bits
    assert first == len(found)
    assert len(phase_bits(network)) == SCALES + 8 * bounded


def test_fixed_point_is_near_to_the_network() -> None:
    torch.manual_seed(1)
    config = PixelConfig(hidden=(16, 8))
    network = PixelNetwork(config)
    with torch.no_grad():
        for layer in network.layers:
            layer.weight.normal_(0, 0.4)  # type: ignore[operator]
    coder = PixelCoder(export_arrays(network), config, bytes(8))
    assert all(exact.dtype is np.float32 for exact in coder.network)
    inputs = np.random.default_rng(0).integers(-1023, 1024, (INPUTS, 50)).astype(np.float64)
    values: Integers = inputs
    for number, exact in enumerate(coder.network):
        values = exact.apply(exact.inputs(np.maximum(values, 0) if number else values), 100)
    with torch.no_grad():
        expected = network.float()(torch.from_numpy(inputs.T / 1024).float())
    np.testing.assert_allclose(values[0] / 1024, expected[0].numpy(), atol=0.1)
    np.testing.assert_allclose(values[1] / 1024, expected[1].numpy(), atol=0.1)


def test_a_nearly_lossless_run_starts_from_the_lossless_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, weights = tmp_path / "run", tmp_path / "weights"
    lossless = write_tiny_pixel(tmp_path / "lossless")
    words = ["train", "near-lossless-tiny", "--data", str(data), "--run", str(run), "--steps", "60"]
    other_sizes = ["--weights", str(lossless), "--device", "cpu"]
    assert main([*words, *other_sizes]) != 0
    monkeypatch.setitem(
        PRESETS, "near-lossless-tiny", replace(PRESETS["near-lossless-tiny"], model=CONFIG)
    )
    assert main([*words, *other_sizes, "--validation", str(data)]) == 0
    export = ["export", str(run), "-o", str(weights), "--validation", str(data)]
    assert main(export) == 0
    assert list(json.loads((weights / "registry.json").read_text("utf-8"))) == ["near-lossless"]
    assert "at a bound of 1" in (weights / "near-lossless.md").read_text("utf-8")

    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(weights))
    pixels = photographs(1, side=90, seed=5)[0]
    found = codec.compress(pixels, max_error=4)
    decoded = codec.decompress(found, as_="numpy")
    assert np.abs(decoded.astype(int) - pixels).max() <= 4


def test_the_first_layers_are_those_of_the_lossless_model(tmp_path: Path) -> None:
    network = PixelNetwork(CONFIG, bounded=True)
    path = write_tiny_pixel(tmp_path)
    start_from_weights(network, path)
    coder = PixelCoder(tiny_arrays(), CONFIG, bytes(8))
    inputs = np.random.default_rng(0).integers(-1023, 1024, (INPUTS, 50)).astype(np.float64)
    values: Integers = inputs
    for number, exact in enumerate(coder.network):
        values = exact.apply(exact.inputs(np.maximum(values, 0) if number else values), 100)
    steps = np.full((1, 50), 500.0)
    with torch.no_grad():
        found = network(torch.from_numpy(np.concatenate([inputs, steps]).T / 1024).float())
    np.testing.assert_allclose(found[0].numpy(), values[0] / 1024, atol=0.1)
    np.testing.assert_allclose(found[1].numpy(), values[1] / 1024 + 8, atol=0.1)


def test_samples_are_what_a_decoder_sees() -> None:
    sampler = CropSampler(photographs(2), crop=24, batch=1, seed=0)
    drawn = draw_samples(sampler, 4, 100, 0, (1, 8))
    assert drawn.inputs.shape == (400, INPUTS + 1)
    assert sorted(set(drawn.steps.tolist())) == [3, 17]
    for step in (3, 17):
        octaves = set(drawn.inputs[drawn.steps == step, -1].tolist())
        assert octaves == {with_step(np.zeros((0, 1)), step // 2)[0, 0]}
