"""A file with random weights of AlexNet's sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHANNELS = (3, 64, 192, 384, 256, 256)
SIZES = (11, 5, 3, 3, 3)


def alexnet_weights(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays that `training.features.alexnet` reads."""
    arrays: dict[str, np.ndarray] = {}
    for k, size in enumerate(SIZES):
        shape = (CHANNELS[k + 1], CHANNELS[k], size, size)
        deviation = (2 / np.prod(shape[1:])) ** 0.5
        arrays[f"conv{k}.weight"] = generator.normal(size=shape).astype(np.float32) * deviation
        arrays[f"conv{k}.bias"] = 0.1 * generator.normal(size=shape[0]).astype(np.float32)
        arrays[f"lin{k}.weight"] = generator.random((1, shape[0], 1, 1), np.float32)
    return arrays


def write_alexnet(folder: Path) -> Path:
    """Write such a file into a folder; returns it."""
    path = folder / "alexnet.npz"
    np.savez(path, **alexnet_weights(np.random.default_rng(0)))  # type: ignore[arg-type]
    return path
