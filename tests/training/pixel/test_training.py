"""The lossless model from photographs to files: trained, gone on with, exported, used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import codec
from codec.coding.exact_layers import Integers
from codec.loading import ENVIRONMENT_VARIABLE
from codec.models.pixel.coder import PixelCoder, PixelConfig
from codec.models.pixel.wavefront import INPUTS
from tests.codec.tiny import photographs
from training.commands import main
from training.data.crops import CropSampler
from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from training.pixel.export import export_arrays, phase_bits, tables
from training.pixel.network import SCALES, PixelNetwork
from training.pixel.samples import draw_samples


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
    assert 4 < bits[-1] < 7.5  # of noise whose standard deviation is 4, in a coarse scene
    export = ["export", str(run), "-o", str(weights), "--validation", str(data)]
    assert main(export) == 0
    assert (weights / "pixel.safetensors").stat().st_size < 2**20
    assert list(json.loads((weights / "registry.json").read_text("utf-8"))) == ["pixel"]
    assert "bits per value of a pixel" in (weights / "pixel.md").read_text("utf-8")

    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(weights))
    pixels = photographs(1, side=90, seed=5)[0]
    data_of = codec.compress(pixels, lossless=True)
    np.testing.assert_array_equal(codec.decompress(data_of, as_="numpy"), pixels)
    # Whole files cost about what the likelihood says.
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


def test_the_tables_are_the_likelihood() -> None:
    network = PixelNetwork(PixelConfig(hidden=(4,)))
    found, first = tables(network), 0
    for scale, bits in enumerate(phase_bits().tolist()):
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
    assert len(phase_bits()) == SCALES


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
