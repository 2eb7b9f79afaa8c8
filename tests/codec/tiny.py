"""A photo model small enough for tests: untrained, with real tables and a real exact path."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from codec.models.photo.network import PhotoModel
from codec.models.photo.numpy_network import PREFIX
from training.loop.origin import Origin
from training.photo.config import PRESETS
from training.photo.export import export_arrays, write_weights

TINY = PRESETS["photo-tiny"].model


def photographs(count: int = 6, side: int = 128, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Smooth random scenes with edges, uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, side)
    images = []
    for _ in range(count):
        phase = rng.uniform(0, 6, (3, 2))
        waves = (
            np.sin(phase[:, :1] + 9 * ramp)[:, :, None] * np.cos(phase[:, 1:] + 7 * ramp)[:, None]
        )
        top, left = rng.integers(0, side // 2, 2)
        waves[:, top : top + side // 3, left : left + side // 3] += rng.uniform(-1, 1, (3, 1, 1))
        noisy = 127 + 70 * waves.transpose(1, 2, 0) + rng.normal(0, 4, (side, side, 3))
        images.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return images


def lively_arrays() -> dict[str, npt.NDArray[np.generic]]:
    """Networks of a tiny model in which no branch is silent, as a weights file has them."""
    torch.manual_seed(3)
    model = PhotoModel(TINY)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "log" not in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return {
        PREFIX + name: parameter.detach().numpy().astype(np.float16)
        for name, parameter in model.named_parameters()
        if not name.startswith(("hyper_synthesis", "context"))
    }


@functools.cache
def tiny_model() -> PhotoModel:
    """The warm-started transform with random scales, so that the exact path has work to do."""
    torch.manual_seed(7)
    model = PhotoModel(TINY).eval()
    pixels = np.stack(photographs(seed=1)).transpose(0, 3, 1, 2)
    model.fit_scales(torch.from_numpy(pixels).float() / 255)
    return model


def write_tiny_weights(folder: Path) -> Path:
    """Export `tiny_model` into a folder for CALOTYPE_WEIGHTS; returns the weights file."""
    arrays = export_arrays(tiny_model(), photographs(seed=2), crop=128)
    origin = Origin("synthetic scenes", "Apache-2.0", "none: untrained")
    return write_weights(folder, "photo", arrays, TINY, origin)
