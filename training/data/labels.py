"""Labels of MNIST's images: IDX files of unsigned bytes, gzipped or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitstream.arrays import Int64Array
from bitstream.errors import InputError
from codec.datasets.arrays import read_idx

_STEMS = {"train": "train-labels", "test": "t10k-labels"}


def find_labels(path: Path, part: str = "train") -> Path | None:
    """The file with the labels of a part, "train" or "test", in a folder; or None."""
    names = (
        f"{_STEMS[part]}{suffix}{ending}"
        for suffix in ("-idx1-ubyte", ".idx1-ubyte")
        for ending in ("", ".gz")
    )
    return next((path / name for name in names if (path / name).is_file()), None)


def read_labels(path: Path) -> Int64Array:
    """Labels int64 (n,), 0 .. 255. Raises `InputError` for any other file."""
    return read_idx(path, "labels", (1,)).astype(np.int64)


def labels_of(path: Path, count: int, classes: int, part: str = "train") -> Int64Array:
    """Labels int64 (count,), 0 .. classes − 1, of the images of a part in a folder.

    Raises `InputError` if there are none, or if their number or values differ.
    """
    file = find_labels(path, part)
    if file is None:
        raise InputError(
            f"{path}: holds no labels; give a folder with MNIST's images and labels "
            f"({_STEMS[part]}-idx1-ubyte.gz)"
        )
    labels = read_labels(file)
    if len(labels) != count or labels.max(initial=0) >= classes:
        raise InputError(
            f"{file}: {len(labels)} labels up to {labels.max(initial=0)}, expected {count} "
            f"up to {classes - 1}"
        )
    return labels
