"""Computes on another processor what a photo decoder computes from symbols; run by `exactness`.

    PYTHON -m benchmarks.photo.other_processor TILES.npz

It needs only NumPy and safetensors, because an emulated processor may have no more. Mocks replace
the entropy coder, since no symbols are read from files here, and ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float32Array, Int32Array

MISSING = ("constriction", "onnxruntime")


def rounded(residuals: Float32Array, indexes: Int32Array, channels: slice) -> Int32Array:
    """Symbols without a dead zone, because its width depends on floating-point logarithms."""
    return np.rint(residuals).astype(np.int32)


def digests(tiles: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
    """SHA-256 of symbols, tables, means and pixels of each tile, drawn by NumPy.

    tiles   `NUMBER.latents` float32 (768, h, w), `NUMBER.hyper` int32, `NUMBER.condition` float64
            (tune, quality)
    """
    from codec import loading
    from codec.models.photo.coder import PhotoCoder
    from codec.models.photo.config import TUNES
    from codec.models.photo.numpy_backend import NumpyRenderer
    from codec.models.photo.synthesis import synthesize

    loaded = loading.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    weights = loaded.transforms.weights
    renderer = NumpyRenderer(weights)
    for number in range(len(tiles) // 3):
        tune, quality = tiles[f"{number}.condition"].tolist()
        coder = loaded.with_tune(TUNES[int(tune)])
        tile = coder.symbols(
            tiles[f"{number}.latents"],
            quality,
            hyper_latents=tiles[f"{number}.hyper"],
            choose=rounded,
        )
        condition = coder.position(quality), coder.tune_number
        pixels = synthesize(weights, renderer, tile.decoded, *condition)
        found = hashlib.sha256()
        for array in (tile.symbols, tile.indexes, tile.means, tile.decoded, pixels):
            found.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
        yield found.hexdigest()


def main(path: str) -> None:
    sys.modules.update(dict.fromkeys(MISSING, MagicMock()))
    with np.load(Path(path)) as tiles:
        found = list(digests(dict(tiles)))
    print(json.dumps({"machine": platform.machine(), "numpy": np.__version__, "found": found}))


if __name__ == "__main__":
    main(sys.argv[1])
