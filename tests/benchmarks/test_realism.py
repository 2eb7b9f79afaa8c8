"""The measurement of realism: one file for all decodings, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import codec
from benchmarks.photo import __main__ as photo
from benchmarks.photo import realism
from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec import loading
from codec.rate_distortion import psnr_db
from codec.rate_distortion.metrics import frechet_distance
from tests.codec.models.photo.tiny_realism import write_tiny_realism
from tests.codec.rate_distortion.made_up_pictures import photo_like
from tests.codec.tiny import photographs
from training.features.train import FeatureConfig, FeatureNetwork, extract, save_features


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    torch.manual_seed(0)
    return FeatureNetwork(FeatureConfig(3, (4, 6), 5)).eval()


@pytest.fixture
def folder(weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photo and realism weights, in use for this test."""
    write_tiny_realism(tmp_path / "weights", weights_folder, shake=0.5)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_patches_are_whole_and_in_order() -> None:
    pixels = photo_like(0, 70, 99)
    found = realism.patches(pixels)
    assert found.shape == (2 * 3, 3, 32, 32)
    np.testing.assert_array_equal(found[4], pixels[32:64, 32:64].transpose(2, 0, 1))
    with pytest.raises(UsageError, match="99×31"):
        realism.patches(pixels[:31])


def test_rows_are_those_of_the_pictures(folder: Path, network: FeatureNetwork) -> None:
    pictures: list[Uint8Array] = [photographs(2, side=96)[0], photographs(2, side=176)[1]]
    result = realism.measure_realism(pictures, [30.0], [0.0, 1.0], network)
    (found,) = result["found"]
    files = [codec.compress(pixels, quality=30) for pixels in pictures]
    rates = [8 * len(data) / p[:, :, 0].size for data, p in zip(files, pictures, strict=True)]
    assert found["mean_bpp"] == pytest.approx(np.mean(rates), rel=1e-5)
    original = np.concatenate([extract(network, realism.patches(p)) for p in pictures])
    assert result["patches"] == len(original) == 9 + 25
    for row, value in zip(found["decoded"], (0.0, 1.0), strict=True):
        assert row["realism"] == value
        again = [codec.decompress(data, as_="numpy", realism=value) for data in files]
        errors = [psnr_db(*pair) for pair in zip(pictures, again, strict=True)]
        assert row["mean_psnr_db"] == pytest.approx(np.mean(errors), rel=1e-5)
        features = np.concatenate([extract(network, realism.patches(a)) for a in again])
        assert row["frechet_distance"] == pytest.approx(
            frechet_distance(original, features), rel=1e-4
        )
        # Of the one picture that is large enough.
        assert 0 < row["mean_ms_ssim"] < 1
    # An untrained second decoder is a worse one.
    assert found["decoded"][0]["mean_mse"] < found["decoded"][1]["mean_mse"]
    digest = loading.hash_weights(folder / "photo-realism.safetensors").hex()
    assert result["realism_weights_sha256"] == digest
    assert digest[:16] not in result["photo_weights"]


def test_the_script_writes_a_result_and_a_table(
    folder: Path, tmp_path: Path, network: FeatureNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output, features = tmp_path / "set", tmp_path / "out.json", tmp_path / "f.safetensors"
    data.mkdir()
    for number, scene in enumerate(photographs(2, side=64)):
        Image.fromarray(scene).save(data / f"{number}.png")
    save_features(features, network, {})
    arguments = ["realism", "--data", str(data), "--name", "scenes", "--features", str(features)]
    arguments += ["--qualities", "10", "60", "--realisms", "0", "0.5", "-o", str(output)]
    assert photo.main(arguments) == 0
    content = json.loads(output.read_text("utf-8"))
    assert (content["schema"], content["set"]) == (realism.SCHEMA, "scenes")
    assert {"command", "date", "libraries", "frechet_between_halves_of_the_originals"} <= set(
        content
    )
    assert str(tmp_path) not in output.read_text("utf-8")
    rates = [one["mean_bpp"] for one in content["found"]]
    assert rates[0] < rates[1]
    # 64 pixels are too few for five scales.
    assert all("mean_ms_ssim" not in row for one in content["found"] for row in one["decoded"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * 2
    assert lines[2].split()[2] == "0.5"
