"""A photo model small enough for tests: untrained, but every branch has an effect."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import PhotoConfig
from codec.models.photo.network import PhotoModel
from tests.codec.tiny import photographs
from training.loop.origin import Origin
from training.photo.config import PRESETS
from training.photo.export import export_arrays, write_weights

TINY = PRESETS["photo-tiny"].model
ORIGIN = Origin("synthetic scenes", "Apache-2.0", "none: untrained")


def plain_model() -> PhotoModel:
    """The untrained transform alone, which gets better with every higher quality."""
    torch.manual_seed(7)
    model = PhotoModel(TINY).eval()
    pixels = np.stack(photographs(seed=1)).transpose(0, 3, 1, 2)
    model.fit_scales(torch.from_numpy(pixels).float() / 255)
    return model


def lively_model(seed: int = 7, config: PhotoConfig = TINY) -> PhotoModel:
    """The untrained transform and random networks, which differ between the tunes."""
    torch.manual_seed(seed)
    model = PhotoModel(config).eval()
    pixels = np.stack(photographs(seed=1)).transpose(0, 3, 1, 2)
    model.fit_scales(torch.from_numpy(pixels).float() / 255)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "log" not in name:
                parameter.add_(0.02 * torch.randn_like(parameter))
        # As after training, details that the eye does not see are quantised more coarsely.
        model.log_gain.knots[1, :, 300:] -= 1
        model.log_step.knots[1, :, 300:] += 1
        model.hyper_synthesis.bias_out.knots[1, :, config.corrected + 300 :] -= 8
    return model


@functools.cache
def tiny_arrays() -> dict[str, npt.NDArray[np.generic]]:
    """All arrays of its weights file."""
    return export_arrays(lively_model(), photographs(seed=2), crop=64)


@functools.cache
def tiny_coder() -> PhotoCoder:
    return PhotoCoder(tiny_arrays(), TINY, bytes(range(8)))


def write_tiny_weights(folder: Path) -> Path:
    """Write the weights file into a folder for CALOTYPE_WEIGHTS."""
    return write_weights(folder, dict(tiny_arrays()), TINY, ORIGIN)
