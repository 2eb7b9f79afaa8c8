"""Labels of MNIST's training images: IDX files of unsigned bytes, gzipped or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitstream.arrays import Int64Array
from codec.datasets.arrays import read_idx

NAMES = tuple(
    f"train-labels{suffix}{ending}"
    for suffix in ("-idx1-ubyte", ".idx1-ubyte")
    for ending in ("", ".gz")
)


def find_labels(path: Path) -> Path | None:
    """The label file of the training images in a folder, or None."""
    return next((path / name for name in NAMES if (path / name).is_file()), None)


def read_labels(path: Path) -> Int64Array:
    """Labels int64 (n,), 0 .. 255. Raises `InputError` for what is no such file."""
    return read_idx(path, "labels", (1,)).astype(np.int64)
