"""Autoregressive models small enough for tests: untrained, with log-odds of many sizes."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from bitstream.arrays import Array, Uint8Array
from codec.models.autoregressive.coder import AutoregressiveCoder, load_autoregressive
from codec.models.autoregressive.config import AutoregressiveConfig
from training.autoregressive.export import autoregressive_arrays
from training.autoregressive.network import (
    Made,
    MaskedConvolution,
    MaskedLinear,
    PixelCnn,
    autoregressive_network,
)
from training.loop.export import write_weights_file

CONFIGS = {
    "digits-fvsbn": AutoregressiveConfig("fvsbn"),
    "digits-made": AutoregressiveConfig("made", hidden=9),
    "digits-pixelcnn": AutoregressiveConfig("pixelcnn", hidden=4, layers=2),
}


@functools.cache
def network(name: str) -> Made | PixelCnn:
    """Random weights with which few pixels see more than their neighbours."""
    torch.manual_seed(3)
    config = CONFIGS[name]
    built = autoregressive_network(config)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.6)
        for module in built.modules():
            if isinstance(module, MaskedConvolution):
                module.weight.mul_(module.mask)
            if isinstance(module, MaskedLinear):
                kept = torch.rand(module.weight.shape) < 0.02
                module.weight.mul_(3 * kept * module.mask)
    return built.eval().requires_grad_(False)


@functools.cache
def arrays(name: str) -> dict[str, Array]:
    """The arrays of a weights file."""
    return autoregressive_arrays(CONFIGS[name], network(name).state_dict())


def coder(name: str, **changes: Array) -> AutoregressiveCoder:
    """The model, with some of its arrays replaced."""
    metadata = {"config": json.dumps(asdict(CONFIGS[name]))}
    return load_autoregressive({**arrays(name), **changes}, metadata, bytes(8), device="cpu")


def write_tiny(folder: Path, name: str) -> Path:
    """The weights file of a model, in a folder for CALOTYPE_WEIGHTS."""
    return write_weights_file(folder, name, arrays(name), config=CONFIGS[name], models=[name])


def pictures(rows: int, columns: int, seed: int = 0) -> Uint8Array:
    """A sheet of blobs with ragged edges, uint8 (28 rows, 28 columns), 0 and 255."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(8, 20, (2, rows, columns, 1, 1))
    y, x = np.mgrid[:28, :28]
    distance = np.hypot(y - centre[0], x - centre[1])
    white = distance + rng.normal(0, 1, distance.shape) < rng.uniform(3, 8, (rows, columns, 1, 1))
    cells = white.transpose(0, 2, 1, 3).reshape(28 * rows, 28 * columns)
    sheet: Uint8Array = 255 * cells.astype(np.uint8)
    return sheet
