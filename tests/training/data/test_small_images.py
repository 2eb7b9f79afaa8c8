"""Reading training images: data sets with a border, and cropped and reduced pictures."""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitstream.errors import InputError
from codec.datasets.arrays import Images
from tests.training.generative.test_learners import save_idx, strokes
from training.data.small_images import centre_square
from training.dplc.config import DPLC_PRESETS
from training.generative.config import GENERATIVE_PRESETS

NATURAL = GENERATIVE_PRESETS["dplc-64-gan"]


def ramp(width: int, height: int, seed: int = 0) -> Images:
    """A smooth picture, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    phase = 0.7 * seed
    waves = [128 + 80 * np.sin(x / 40 + y / 50 + phase + channel) for channel in range(3)]
    found: Images = np.stack(waves, axis=2).astype(np.uint8)
    return found


def save(folder: Path, sizes: list[tuple[int, int]], seed: int = 0) -> None:
    folder.mkdir(parents=True)
    for number, (width, height) in enumerate(sizes):
        Image.fromarray(ramp(width, height, seed + number)).save(folder / f"{number}.png")


def test_digits_get_a_black_border(tmp_path: Path) -> None:
    data = save_idx(tmp_path / "data")
    for preset in (GENERATIVE_PRESETS["dplc-digits-wae"], DPLC_PRESETS["dplc-digits"]):
        images = preset.read(data)
        assert images.shape == (200, 1, 32, 32)
        np.testing.assert_array_equal(images[:, :, 2:-2, 2:-2], strokes(200))
        assert int(images.sum()) == int(strokes(200).sum())
        test = preset.read(data, part="test")
        np.testing.assert_array_equal(test[:, :, 2:-2, 2:-2], strokes(50, seed=1))
    plain = GENERATIVE_PRESETS["mnist-wae-2"].read(data)
    np.testing.assert_array_equal(plain, strokes(200))


def test_faces_and_rooms_are_cut_and_reduced(tmp_path: Path) -> None:
    save(tmp_path / "train", [(178, 218), (256, 256), (400, 200)])
    save(tmp_path / "test", [(64, 64)], seed=9)
    images = NATURAL.read(tmp_path)
    assert images.shape == (3, 3, 64, 64)
    # The largest square of a portrait is 20 pixels from its top.
    square = Image.fromarray(ramp(178, 218)[20:198])
    mean = np.asarray(square.resize((64, 64), Image.Resampling.BOX), dtype=float)
    assert np.abs(images[0].transpose(1, 2, 0) - mean).mean() < 1.5
    test = NATURAL.read(tmp_path, part="test")
    np.testing.assert_array_equal(test[0].transpose(1, 2, 0), ramp(64, 64, 9))


def test_a_crop_that_was_asked_for_is_in_the_middle(tmp_path: Path) -> None:
    save(tmp_path / "data", [(178, 218)])
    cropped = dataclasses.replace(NATURAL, crop=64)
    found = cropped.read(tmp_path / "data")[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(found, ramp(178, 218)[77:141, 57:121])
    celeba = dataclasses.replace(NATURAL, crop=108).read(tmp_path / "data")[0]
    wide = NATURAL.read(tmp_path / "data")[0]
    assert celeba.astype(float).std() < wide.astype(float).std()  # less of the wave is seen


def test_archives_of_pictures_of_the_right_size_stay_as_they_are(tmp_path: Path) -> None:
    save(tmp_path / "pictures", [(64, 64), (64, 64)])
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(tmp_path / "pictures", "pictures")
    images = NATURAL.read(tmp_path / "data.tar")
    expected = np.stack([ramp(64, 64, seed) for seed in (0, 1)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(images, expected)


def test_arrays_must_have_the_size_of_the_preset(tmp_path: Path) -> None:
    images = ramp(64, 64)[None].repeat(3, axis=0)
    np.savez(tmp_path / "right.npz", images=images)
    assert NATURAL.read(tmp_path / "right.npz").shape == (3, 3, 64, 64)
    np.savez(tmp_path / "wrong.npz", images=images[:, :60])
    with pytest.raises(InputError, match="expected"):
        NATURAL.read(tmp_path / "wrong.npz")


def test_pictures_that_are_too_small_or_coloured_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "small", [(200, 60)])
    with pytest.raises(InputError, match=r"0\.png: is 200×60 pixels.*larger pictures"):
        NATURAL.read(tmp_path / "small")
    with pytest.raises(InputError, match="another --crop"):
        centre_square(ramp(90, 90), 100, (64, 64), "x")
    with pytest.raises(InputError, match="expected grey"):
        dataclasses.replace(GENERATIVE_PRESETS["dplc-digits-wae"], crop=0).read(tmp_path / "small")


def test_reading_stops_where_the_memory_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "data", [(64, 64)] * 4)
    monkeypatch.setattr("training.data.small_images.MEMORY_BYTES", 3 * 64 * 64 * 3)
    assert len(NATURAL.read(tmp_path / "data")) == 3
