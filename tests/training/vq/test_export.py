"""From a run to a codec's weights file, which has what was trained and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import codec
from bitstream.errors import UsageError, WeightsMismatchError
from codec import loading
from codec.models.vq.coder import VqCoder
from tests.training.draw.test_export import TOLD, cells
from tests.training.vq.test_learner import TINY, images
from training.commands import main as train
from training.data.small_images import to_tensor
from training.loop.sheets import measure_sheet, square_sheet
from training.presets import read_run
from training.vq.export import (
    GAIN_FACTORS,
    QUALITIES,
    choose_gains,
    cost_of_files,
    exact_prior,
    exported_networks,
    trained_learner,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and the folder of a run."""
    folder = tmp_path_factory.mktemp("vq")
    data, run = folder / "data.npz", folder / "run"
    np.savez(data, x_train=images(160), x_test=images(36, seed=5))
    common = ["vq-tiny", "--data", str(data), "--run", str(run), "--device", "cpu"]
    assert train([*common, "--steps", "30"]) == 0
    assert train([*common, "--steps", "50", "--resume"]) == 0
    return data, run


def test_from_a_run_to_files(
    tmp_path: Path, trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = trained
    arguments = ["export", str(run), "-o", str(tmp_path), "--data", str(data), *TOLD]
    assert train(arguments) == 0
    path, card = tmp_path / "vq-tiny.safetensors", (tmp_path / "vq-tiny.md").read_text("utf-8")
    for word in ("made up", "CC0-1.0", "as tested", "| 50 (0.", loading.hash_weights(path).hex()):
        assert word in card
    assert "Measured on a sheet of 36 test images" in card
    first = path.read_bytes()
    assert train(arguments) == 0
    assert path.read_bytes() == first

    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path))
    coder = loading.load_model("vq", device="cpu")
    assert isinstance(coder, VqCoder)
    assert coder.config == TINY.model
    sheet = square_sheet(images(36, seed=5), 10)
    sizes = []
    for quality in QUALITIES:
        row = measure_sheet(coder, sheet, quality)
        found = cells(card, f"{quality:g} | ")
        assert found == [
            f"{quality:g}", f"{row.rate_bpp:.4f}", f"{row.mse:.1f}", f"{row.psnr_db:.2f}"
        ]  # fmt: skip
        sizes.append(row.rate_bpp)
    assert sizes[0] < sizes[-1]
    file = codec.compress(sheet, model="vq", quality=100)
    np.testing.assert_array_equal(
        codec.decompress(file, as_="numpy"), codec.decompress(file, as_="numpy")
    )


def test_the_file_has_the_rate_that_training_saw(trained: tuple[Path, Path]) -> None:
    learner = trained_learner(read_run(trained[1])[1])
    pictures = images(36, seed=6)
    with torch.no_grad():
        bits = sum(
            float(level.bits.sum())
            for level in learner.code(to_tensor(pictures), torch.full((36,), 0.5))[0]
        )
    networks = exported_networks(learner)
    priors = [exact_prior(learner.prior(level), learner, level) for level in range(2)]
    coder = VqCoder(networks, priors, bytes(8))
    sheet = square_sheet(pictures, 6)
    row = measure_sheet(coder, sheet, 50.5)
    # Training chooses all codes at once, and files one after another; a file has a header too.
    header_bits = 8 * 60
    assert row.rate_bpp * sheet.size == pytest.approx(bits + header_bits / 2, rel=0.15, abs=300)


def test_gains_are_those_that_cost_least(trained: tuple[Path, Path]) -> None:
    learner = trained_learner(read_run(trained[1])[1])
    networks = exported_networks(learner)
    priors = [exact_prior(learner.prior(level), learner, level) for level in range(2)]
    coder, before = VqCoder(networks, priors, bytes(8)), networks.gains.clone()
    sheet = square_sheet(images(36, seed=7), 8)
    cost = cost_of_files(coder, sheet)
    factors = choose_gains(coder, images(36, seed=7))
    assert set(factors) <= set(GAIN_FACTORS)
    torch.testing.assert_close(networks.gains, before * torch.tensor(factors))
    assert cost_of_files(coder, sheet) <= cost


def test_weights_that_the_file_cannot_hold_are_refused(trained: tuple[Path, Path]) -> None:
    run = read_run(trained[1])[1]
    learner = trained_learner(run)
    with torch.no_grad():
        learner.prior(1).embedding.weight[0, 0] = 40.0
    with pytest.raises(WeightsMismatchError, match="int16"):
        exact_prior(learner.prior(1), learner, 1)
    with torch.no_grad():
        learner.networks.level(0).unproject.weight[0] = 1e6
    with pytest.raises(UsageError, match="float16"):
        exported_networks(learner)


def test_an_export_needs_data(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(["export", str(trained[1])]) == 2
    assert "--data" in capsys.readouterr().err
