"""Labels from MNIST's files, and a classifier trained on a folder of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from bitstream.errors import InputError
from tests.benchmarks.tiny_dplc_set import write_idx
from training.commands import main
from training.data.labels import find_labels, read_labels
from training.features.train import load_features, read_classes


def digits(folder: Path, count: int = 40, labels: int | None = None) -> Path:
    """Vertical and horizontal strokes, labelled 3 and 7."""
    folder.mkdir()
    images = np.zeros((count, 28, 28), np.uint8)
    images[::2, 4:24, 12:16] = 255
    images[1::2, 12:16, 4:24] = 255
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    kinds = np.where(np.arange(labels or count) % 2, 7, 3).astype(np.uint8)
    write_idx(folder / "train-labels-idx1-ubyte.gz", kinds)
    return folder


def test_digits_are_padded_and_labelled(tmp_path: Path) -> None:
    images, labels, names = read_classes(digits(tmp_path / "digits"))
    assert images.shape == (40, 3, 32, 32)
    assert names == ["3", "7"]
    assert labels.tolist() == [0, 1] * 20
    assert (images == images[:, :1]).all()
    assert (images[0, 0, 6:26, 14:18] == 255).all()
    assert images[0, 0].astype(int).sum() == 255 * 80


def test_label_files_in_all_forms(tmp_path: Path) -> None:
    values = np.array([0, 9, 4], np.uint8)
    plain = b"\0\0\x08\x01\0\0\0\x03" + values.tobytes()
    for data in (plain, gzip.compress(plain), gzip.compress(gzip.compress(plain))):
        path = tmp_path / "train-labels.idx1-ubyte"
        path.write_bytes(data)
        assert read_labels(path).tolist() == [0, 9, 4]
        assert find_labels(tmp_path) == path
    for wrong in (b"", plain[:-1], plain + b"\0", b"\0\0\x08\x03" + plain[4:],
                  gzip.compress(plain)[:-9], b"\x1f\x8b" + plain):  # fmt: skip
        path.write_bytes(wrong)
        with pytest.raises(InputError):
            read_labels(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path / "none")
    assert find_labels(tmp_path / "none") is None


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="39 labels for 40 images"):
        read_classes(digits(tmp_path / "fewer", labels=39))
    folder = digits(tmp_path / "one")
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(40, np.uint8))
    with pytest.raises(InputError, match="1 class"):
        read_classes(folder)
    write_idx(folder / "train-images-idx3-ubyte.gz", np.zeros((40, 27, 27), np.uint8))
    with pytest.raises(InputError, match="even side"):
        read_classes(folder)


def test_a_classifier_of_digits(tmp_path: Path) -> None:
    folder = digits(tmp_path / "digits")
    output = tmp_path / "digits.safetensors"
    arguments = ["features", "--data", str(folder), "-o", str(output), "--steps", "3"]
    assert main([*arguments, "--held-out", "8", "--batch", "8"]) == 0
    assert load_features(output).config.classes == 2
    assert "--data digits --steps 3" in output.with_suffix(".md").read_text("utf-8")
