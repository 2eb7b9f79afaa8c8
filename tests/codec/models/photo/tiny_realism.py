"""A realistic decoder for the tiny photo model: its own synthesis, slightly changed."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import torch

from training.loop.origin import Origin
from training.realism.export import write_realism
from training.realism.learner import second_arrays
from training.realism.photo_weights import load_photo_weights


def write_tiny_realism(folder: Path, weights_folder: Path, *, shake: float) -> Path:
    """Copy photo weights into a folder and write realism weights beside them; returns these.

    shake  standard deviation of the noise on the last layer's weights; 0 changes nothing
    """
    folder.mkdir(exist_ok=True)
    for name in ("photo.safetensors", "registry.json"):
        shutil.copy(weights_folder / name, folder / name)
    photo = load_photo_weights(folder / "photo.safetensors", torch.device("cpu"))
    synthesis = copy.deepcopy(photo.model.synthesis)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        weight = synthesis.out.weight
        weight += shake * torch.randn(weight.shape, generator=generator)
    origin = Origin("nothing", "Apache-2.0", "none: untrained")
    return write_realism(folder, second_arrays(photo, synthesis), photo, origin)
