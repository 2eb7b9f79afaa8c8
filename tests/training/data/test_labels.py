"""Labels that go with a data set's images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitstream.errors import InputError
from tests.benchmarks.tiny_dplc_set import write_idx
from training.data.labels import labels_of


def test_each_part_has_its_labels(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.array([0, 2, 1], np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.array([1, 1], np.uint8))
    assert labels_of(tmp_path, 3, 3).tolist() == [0, 2, 1]
    assert labels_of(tmp_path, 2, 3, "test").tolist() == [1, 1]
    for count, classes in ((4, 3), (3, 2)):
        with pytest.raises(InputError, match=f"expected {count} up to {classes - 1}"):
            labels_of(tmp_path, count, classes)


def test_a_data_set_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no labels"):
        labels_of(tmp_path, 1, 10)
