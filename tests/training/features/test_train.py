"""The classifier whose features give Fréchet distances."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitstream.arrays import Float64Array
from bitstream.errors import InputError, UsageError, WeightsMismatchError
from codec.rate_distortion.metrics import frechet_distance
from training.commands import main
from training.features.train import (
    FeatureConfig,
    FeatureLearner,
    FeatureNetwork,
    FeaturePreset,
    extract,
    load_features,
    read_classes,
    save_features,
)
from training.loop.trainer import Budget, Trainer

SHIPPED = Path(__file__).parents[3] / "benchmarks" / "features" / "natural32.safetensors"
CONFIG = FeatureConfig(classes=2, widths=(4, 6), features=5)


def samples(count: int = 400, features: int = 6, seed: int = 0) -> Float64Array:
    rng = np.random.default_rng(seed)
    mixed: Float64Array = rng.normal(size=(count, features)) @ rng.normal(size=(features, features))
    return mixed


def pictures(folder: Path, count: int = 12) -> Path:
    """Files of two classes, dark and light, 64×64."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        name, level = ("dark", 40) if number % 2 else ("light", 200)
        pixels = rng.integers(level - 30, level + 30, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}_{number}.png")
    return folder


def test_equal_sets_have_no_distance() -> None:
    values = samples()
    assert frechet_distance(values, values) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(values, values[::-1]) == pytest.approx(0, abs=1e-9)


def test_a_shift_costs_its_square() -> None:
    values, shift = samples(), np.arange(6.0)
    assert frechet_distance(values, values + shift) == pytest.approx(55)


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_scaling_costs_the_change_of_the_deviations(factor: float) -> None:
    values = samples()
    values = values - values.mean(0)
    # W₂² of N(0, Σ) and N(0, c²Σ) is (1 − c)² tr Σ.
    expected = (1 - factor) ** 2 * float(np.trace(np.cov(values, rowvar=False)))
    assert frechet_distance(values, factor * values) == pytest.approx(expected)


def test_diagonal_gaussians_add_up_by_coordinate() -> None:
    base = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    # Sample variances are 4/3; standard deviations differ by (3 − 1) and (1 − 5).
    expected = 4 / 3 * (2**2 + 4**2)
    assert frechet_distance(base, base * [3.0, 5.0]) == pytest.approx(expected)
    assert frechet_distance(base * [3.0, 5.0], base) == pytest.approx(expected)


def test_distances_of_few_samples_are_finite_and_bad_shapes_are_refused() -> None:
    assert frechet_distance(samples(3), samples(4, seed=1)) > 0
    with pytest.raises(UsageError, match="two samples"):
        frechet_distance(samples(1), samples(4))
    with pytest.raises(UsageError, match="two samples"):
        frechet_distance(samples(4), samples(4, features=5))


def test_classes_come_from_the_names_of_files(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures")
    images, labels, names = read_classes(folder)
    assert images.shape == (12, 3, 32, 32)
    assert images.dtype == np.uint8
    assert names == ["dark", "light"]
    assert (images.mean(axis=(1, 2, 3)) > 128).tolist() == (labels == 1).tolist()
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
        archive.addfile(tarfile.TarInfo("README"), io.BytesIO())
    from_tar = read_classes(tmp_path / "set.tar")
    assert np.array_equal(from_tar[0], images)
    assert np.array_equal(from_tar[1], labels)


def test_one_class_or_another_size_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures", count=1)
    with pytest.raises(InputError, match="1 class"):
        read_classes(folder)
    Image.new("RGB", (33, 33)).save(folder / "odd_1.png")
    with pytest.raises(InputError, match="multiple of 32"):
        read_classes(folder)
    with pytest.raises(InputError, match="does not exist"):
        read_classes(tmp_path / "none.tar")
    (tmp_path / "broken.tar").write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a readable tar archive"):
        read_classes(tmp_path / "broken.tar")


def test_training_tells_dark_from_light_and_resumes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = rng.integers(0, 60, (64, 3, 32, 32)).astype(np.uint8)
    images += (190 * labels[:, None, None, None]).astype(np.uint8)
    preset = FeaturePreset(CONFIG, batch=16, held_out=16, learning_rate=0.03)

    def trainer(folder: str, steps: int) -> Trainer:
        learner = FeatureLearner(preset, images, labels)
        return Trainer(learner, tmp_path / folder, budget=Budget(steps=steps))

    whole, first, second = trainer("whole", 60), trainer("cut", 60), trainer("cut", 60)
    assert whole.run() == [{"top_1": 1.0, "top_5": 1.0}]
    for step in range(30):
        first.train_step(step / 60)
    first.save()
    second.resume()
    for step in range(30, 60):
        second.train_step(step / 60)
    for name, value in second.learner.state_dict().items():
        torch.testing.assert_close(value, whole.learner.state_dict()[name])
    with pytest.raises(UsageError, match="at least"):
        FeatureLearner(dataclasses.replace(preset, held_out=60), images, labels)


def test_weights_files_come_back(tmp_path: Path) -> None:
    network = FeatureNetwork(CONFIG).eval()
    path = tmp_path / "features.safetensors"
    save_features(path, network, {"data": "none"})
    again = load_features(path)
    assert again.config == CONFIG
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32)).astype(np.uint8)
    found = extract(again, images)
    assert found.shape == (7, 5)
    assert found.dtype == np.float64
    assert found == pytest.approx(extract(network, images), rel=0.01, abs=1e-3)
    # A kernel may sum in another order for two images than for seven.
    pairs = extract(again, images, batch=2)
    expected = [extract(again, images[at : at + 2]) for at in range(0, 7, 2)]
    assert np.array_equal(pairs, np.concatenate(expected))
    np.testing.assert_allclose(pairs, found, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="expected uint8"):
        extract(again, images[:, :1])
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsMismatchError, match="no weights file"):
        load_features(path)
    with pytest.raises(WeightsMismatchError, match="not the configuration"):
        FeatureConfig(classes=0)


def test_the_command_writes_weights_and_a_card(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures")
    output = tmp_path / "features" / "small.safetensors"
    code = main([
        "features", "--data", str(folder), "-o", str(output), "--steps", "2", "--held-out", "4",
        "--batch", "8", "--licence", "CC0-1.0",
    ])  # fmt: skip
    assert code == 0
    assert load_features(output).config.classes == 2
    card = output.with_suffix(".md").read_text("utf-8")
    assert "They are not comparable with the FID" in card
    assert "CC0-1.0" in card
    assert str(tmp_path) not in card
    arguments = ["features", "--data", str(folder), "-o", str(output)]
    assert main(arguments) == UsageError.exit_code  # no budget
    again = [*arguments, "--steps", "3", "--held-out", "4", "--batch", "8"]
    assert main(again) == UsageError.exit_code  # the run would be overwritten
    assert main([*again, "--resume"]) == 0
    assert "| steps | 3 of 8 images |" in output.with_suffix(".md").read_text("utf-8")


@pytest.mark.skipif(not SHIPPED.exists(), reason="no classifier is shipped")
def test_the_shipped_classifier_sees_blur_and_noise() -> None:
    assert SHIPPED.stat().st_size < 1_000_000
    assert SHIPPED.with_suffix(".md").exists()
    network = load_features(SHIPPED)
    rng = np.random.default_rng(0)
    waves = rng.uniform(0, 255, (160, 3, 4, 4)).repeat(8, 2).repeat(8, 3)
    images = (waves + rng.normal(0, 3, waves.shape)).clip(0, 255).astype(np.uint8)
    noisy = (images + rng.normal(0, 40, images.shape)).clip(0, 255).astype(np.uint8)
    original = extract(network, images)
    assert original.shape[1] == 128
    distance = frechet_distance(original[::2], original[1::2])
    assert frechet_distance(original, extract(network, noisy)) > 2 * distance
