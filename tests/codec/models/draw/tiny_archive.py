"""DRAW archives small enough for tests: one hardly trained, one not at all."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from codec.models.draw import ARCHIVE
from codec.models.draw.archive import (
    DrawBitsBack,
    bits_back_arrays,
    load_draw_bits_back,
)
from codec.models.draw.exact import ExactDraw, exact_arrays
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import DrawConfig
from training.data.small_images import to_tensor
from training.draw.archive_bins import fitted_bits
from training.draw.config import DrawPreset
from training.draw.learner import DrawLearner
from training.loop.export import register

SIDE = 8
STEPS = 100
BINARY = DrawConfig(1, "bernoulli", "gaussian", 2, 2, (6, 5), (3, 2))
COLOUR = DrawConfig(3, "logistic", "gaussian", 2, 4, (6,), (3,))

Array = npt.NDArray[np.generic]
Uint8Array = npt.NDArray[np.uint8]


def strokes(count: int, seed: int = 0) -> Uint8Array:
    """White lines on black, uint8 (count, 1, 8, 8)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    angle, offset = rng.uniform(0, np.pi, (count, 1, 1)), rng.uniform(-2, 2, (count, 1, 1))
    centre = (SIDE - 1) / 2
    distance = (rows - centre) * np.cos(angle) + (columns - centre) * np.sin(angle) - offset
    lines: Uint8Array = np.where(np.abs(distance) < 1, 255, 0).astype(np.uint8)[:, None]
    return lines


def scenes(count: int, seed: int = 0) -> Uint8Array:
    """Coloured gradients with noise, uint8 (count, 3, 8, 8)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    base, across, down = rng.uniform(-1, 1, (3, count, 3, 1, 1)) * [
        [[[[128]]]],
        [[[[90]]]],
        [[[[90]]]],
    ]
    values = 128 + base + across * columns + down * rows
    values = values + rng.normal(0, 4, values.shape)
    levels: Uint8Array = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def images(config: DrawConfig, count: int, seed: int = 0) -> Uint8Array:
    """Images that a configuration codes."""
    return strokes(count, seed) if config is BINARY else scenes(count, seed)


@functools.cache
@torch.enable_grad()
def trained() -> DrawNetwork:
    """Trained on strokes for some seconds, so that popped bits are random enough for bits-back."""
    preset = DrawPreset(BINARY, side=SIDE, batch=16, optimizer="adam", learning_rate=1e-2)
    learner = DrawLearner(preset, autocast=False)
    pictures = to_tensor(strokes(600, seed=2))
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randint(len(pictures), (preset.batch,), generator=generator)
        learner.train_step(functools.partial(pictures.__getitem__, chosen), generator, 1.0)
    return learner.network


def untrained(config: DrawConfig) -> DrawNetwork:
    """Random, but with posteriors that differ from priors, and codes that affect pictures."""
    torch.manual_seed(5)
    network = DrawNetwork(config)
    with torch.no_grad():
        for name, weight in network.weights.items():
            if name.startswith(("posterior", "paint")):
                weight.mul_(8)
            if name.startswith("posterior"):
                network.biases[name][:, weight.shape[0] // 2 :] -= 2
    return network


@functools.cache
def arrays(config: DrawConfig) -> dict[str, Array]:
    """All arrays of a weights file."""
    network = trained() if config is BINARY else untrained(config)
    exact = exact_arrays(config, network.state_dict())
    bits = fitted_bits(ExactDraw(config, exact), images(config, 100, seed=9))
    return {**exact, **bits_back_arrays(config), **bits}


def metadata(config: DrawConfig) -> dict[str, str]:
    """The metadata of a weights file."""
    return {"config": json.dumps(dataclasses.asdict(config)), "side": str(SIDE)}


@functools.cache
def archive(config: DrawConfig) -> DrawBitsBack:
    """The model as it is loaded."""
    return load(config, {})


def load(config: DrawConfig, other: Mapping[str, Array], **data: str) -> DrawBitsBack:
    """The model with other arrays or metadata."""
    found = {**arrays(config), **other}
    return load_draw_bits_back(
        found, {**metadata(config), **data}, bytes(8), device=torch.device("cpu")
    )


def write_tiny_archive(folder: Path, config: DrawConfig) -> None:
    """Weights of the model, in a folder for CALOTYPE_WEIGHTS."""
    path = folder / f"{ARCHIVE.name}.safetensors"
    save_file(arrays(config), path, metadata=metadata(config))
    register(path, [ARCHIVE.name])
