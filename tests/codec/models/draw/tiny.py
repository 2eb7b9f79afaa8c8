"""A DRAW model small enough for tests: two levels, briefly trained on synthetic scenes."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bitstream.arrays import Array
from codec.models.draw.coder import DrawCoder, load_draw
from codec.models.draw.exact import ExactDraw, exact_arrays
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import DrawConfig
from tests.codec.tiny import photographs
from training.data.small_images import to_tensor
from training.draw.config import DrawPreset
from training.draw.export import draw_arrays, write_draw
from training.draw.learner import DrawLearner
from training.loop.export import Run
from training.loop.origin import Origin

CONFIG = DrawConfig(3, "gaussian", "uniform", 3, 4, (8, 6), (3, 2), knots=3)
PRESET = DrawPreset(
    CONFIG,
    side=32,
    batch=4,
    optimizer="adam",
    learning_rate=1e-2,
    warmup_steps=5,
    cut=0.3,
    validation=8,
)
STEPS = 120

Uint8Array = npt.NDArray[np.uint8]


def scenes(count: int, seed: int = 0, side: int = 32) -> Uint8Array:
    """Synthetic photographs, uint8 (count, 3, side, side)."""
    images = np.stack(photographs(count, side=side, seed=seed))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


@functools.cache
@torch.enable_grad()
def trained() -> DrawLearner:
    """The learner after some seconds of training; always the same on one machine."""
    learner = DrawLearner(PRESET, autocast=False)
    images = to_tensor(scenes(120, seed=3))
    optimizer = learner.optimizers["adam"]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = PRESET.learning_rate * (1 - step / STEPS)
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randint(len(images), (PRESET.batch,), generator=generator)
        learner.train_step(functools.partial(images.__getitem__, chosen), generator, step / STEPS)
    return learner.eval()


def network() -> DrawNetwork:
    """The trained network in floating point."""
    return trained().network


@functools.cache
def arrays() -> dict[str, Array]:
    """All arrays of its weights file."""
    exact = exact_arrays(CONFIG, network().state_dict())
    return draw_arrays(ExactDraw(CONFIG, exact), exact, scenes(6, seed=4))


def metadata(config: DrawConfig = CONFIG) -> dict[str, str]:
    """The configuration in the metadata of a weights file."""
    return {"config": json.dumps(dataclasses.asdict(config))}


@functools.cache
def coder() -> DrawCoder:
    """The model as it is loaded."""
    return load_draw(arrays(), metadata(), bytes(8), device=torch.device("cpu"))


def write_tiny_draw(folder: Path, name: str = "draw") -> Path:
    """Weights of the model, in a folder for CALOTYPE_WEIGHTS; returns the file."""
    state = {"validation": [], "learner": {"networks": trained().state_dict()}}
    origin = Origin("synthetic scenes", "Apache-2.0", "none: a test")
    return write_draw(Run(name, PRESET, state), folder, origin, training=scenes(6, seed=4))
