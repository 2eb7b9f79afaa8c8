"""The measurement of realism: one file for all decodings, and the reported figures."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import codec
from benchmarks.photo import __main__ as photo
from benchmarks.photo import realism
from benchmarks.photo.equal_bytes import files_of
from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec import loading
from codec.rate_distortion import psnr_db
from codec.rate_distortion.metrics import frechet_distance
from tests.codec.models.photo.tiny_realism import write_tiny_realism
from tests.codec.rate_distortion.made_up_pictures import photo_like
from tests.codec.tiny import photographs
from tests.training.features.alexnet_weights import write_alexnet
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


def test_rows_are_those_of_the_pictures(
    folder: Path, network: FeatureNetwork, tmp_path: Path
) -> None:
    pictures: list[Uint8Array] = [photographs(2, side=96)[0], photographs(2, side=176)[1]]
    measures = realism.measures_of(write_alexnet(tmp_path))
    assert list(measures) == ["mse", "psnr_db", "ssimulacra2", "lpips"]
    (found,) = realism.measure_realism(pictures, [2.0], [0.0, 1.0], network, measures)
    original = np.concatenate([extract(network, realism.patches(p)) for p in pictures])
    assert found["patches"] == len(original) == 9 + 25
    files = [files_of(p, 2.0, Namespace(tune=None, effort=1)) for p in pictures]
    for name, row in (("photo", found), *found["peers"].items()):
        rates = [
            8 * len(f[name][0]) / p[:, :, 0].size for f, p in zip(files, pictures, strict=True)
        ]
        assert row["mean_bpp"] == pytest.approx(np.mean(rates), rel=1e-5)
    again = {
        realism_: [codec.decompress(f["photo"][0], as_="numpy", realism=realism_) for f in files]
        for realism_ in (0.0, 1.0)
    }
    rows = [(row, again[row["realism"]]) for row in found["decoded"]]
    rows += [(found["peers"][name], [f[name][1] for f in files]) for name in ("avif", "jxl")]
    assert len(rows) == 4
    for row, decoded in rows:
        errors = [psnr_db(*pair) for pair in zip(pictures, decoded, strict=True)]
        assert row["mean_psnr_db"] == pytest.approx(np.mean(errors), rel=1e-5)
        features = np.concatenate([extract(network, realism.patches(a)) for a in decoded])
        assert row["frechet_distance"] == pytest.approx(
            frechet_distance(original, features), rel=1e-4
        )
        assert row["mean_lpips"] > 0
        assert row["mean_ssimulacra2"] < 100
    # An untrained second decoder is a worse one.
    plain, real = found["decoded"]
    assert plain["mean_mse"] < real["mean_mse"]
    assert found["targets"]["mse_of_1_over_0"] == pytest.approx(
        real["mean_mse"] / plain["mean_mse"], rel=1e-4
    )
    # Without the option the seed is 0; other seeds give other pictures.
    seeds = {row["seed"]: row for row in found["seeds"]["decoded"]}
    assert seeds[0]["mean_mse"] == real["mean_mse"] != seeds[1]["mean_mse"]
    drawn = [
        np.stack([codec.decompress(f["photo"][0], as_="numpy", realism=1, seed=s) for s in seeds])
        for f in files
    ]
    variance = np.mean([one.astype(float).var(axis=0, ddof=1).mean() for one in drawn])
    spread = found["seeds"]["root_mean_variance_of_a_value"]
    assert spread == pytest.approx(np.sqrt(variance), rel=1e-4)
    digest = loading.hash_weights(folder / "photo-realism.safetensors").hex()
    assert found["realism_weights_sha256"] == digest
    assert digest[:16] not in found["photo_weights"]


def test_targets_are_of_the_ends_and_of_avif() -> None:
    plain = {"realism": 0.0, "frechet_distance": 10.0, "mean_mse": 50.0, "mean_lpips": 0.3}
    real = {"realism": 1.0, "frechet_distance": 5.0, "mean_mse": 101.0, "mean_lpips": 0.2}
    peers = {"avif": {"mean_lpips": 0.25}}
    found = realism.reached({"decoded": [plain, real], "peers": peers})
    assert (found["frechet_of_1_over_0"], found["frechet_is_met"]) == (0.5, True)
    assert (found["mse_of_1_over_0"], found["mse_is_met"]) == (2.02, False)
    assert found["lpips_is_met"]
    assert realism.reached({"decoded": [plain], "peers": peers}) == {}


def test_the_script_writes_a_result_and_a_table(
    folder: Path, tmp_path: Path, network: FeatureNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output, features = tmp_path / "set", tmp_path / "out.json", tmp_path / "f.safetensors"
    data.mkdir()
    for number, scene in enumerate(photographs(2, side=64)):
        Image.fromarray(scene).save(data / f"{number}.png")
    save_features(features, network, {})
    arguments = ["realism", "--data", str(data), "--name", "scenes", "--features", str(features)]
    arguments += ["--rates", "1", "4", "--realisms", "0", "0.5", "-o", str(output)]
    assert photo.main(arguments) == 0
    content = json.loads(output.read_text("utf-8"))
    assert content["schema"] == realism.SCHEMA
    assert str(tmp_path) not in output.read_text("utf-8")
    low, high = content["rates"]["1"], content["rates"]["4"]
    assert low["mean_bpp"] < high["mean_bpp"]
    about = {"command", "date", "libraries", "frechet_between_halves_of_the_originals"}
    for one in (low, high):
        assert about <= set(one)
        assert one["set"] == "scenes"
        assert all("mean_lpips" not in row for row in one["decoded"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (1 + 4)
    assert lines[2].split()[2] == "0.5"
