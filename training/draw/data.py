"""Training images of the DRAW models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codec.datasets.arrays import Images, read_images
from training.data.crops import CropSampler, load_photographs
from training.data.small_images import box_average
from training.draw.config import DrawPreset


def draw_images(preset: DrawPreset, path: Path, *, part: str = "train") -> Images:
    """The images of a data set as a preset sees them: uint8 (n, channels, side, side).

    path  what `read_images` takes; where crops are cut, a folder or `.tar` of photographs, perhaps
          in `train/` and `test/`
    part  "train" or "test", where the path holds both; of "test" as many crops are cut as a run
          holds out for validation

    Raises `InputError` for what cannot be read or has another shape.
    """
    if preset.crops:
        folder = path / part if (path / part).is_dir() else path
        photographs = load_photographs([folder], smallest_side=preset.side)
        count = preset.crops if part == "train" else preset.validation
        sampler = CropSampler(photographs, crop=preset.side, batch=count, seed=preset.seed)
        return np.ascontiguousarray(sampler(0).transpose(0, 3, 1, 2))
    images = read_images(path, shape=preset.image_shape, part=part)
    return box_average(images, preset.reduce)
