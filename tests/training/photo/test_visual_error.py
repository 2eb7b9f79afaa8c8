"""A preset whose distortion is for eyes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.codec.rate_distortion.made_up_pictures import photo_like
from training.data.crops import CropSampler
from training.loop.trainer import Budget, Trainer
from training.photo.config import PRESETS
from training.photo.learner import PhotoLearner


def test_a_preset_trains_with_it(tmp_path: Path) -> None:
    preset = replace(PRESETS["photo-tiny"], visual=0.75)
    crops = [photo_like(seed=k, height=96, width=96) for k in range(3)]
    sampler = CropSampler(crops, crop=preset.crop, batch=preset.batch, seed=0)
    learner = PhotoLearner(preset, sampler, autocast=False)
    plain = PhotoLearner(replace(preset, visual=0.0), sampler, autocast=False)
    assert learner.learn(0, 0.0)["loss"] != plain.learn(0, 0.0)["loss"]
    Trainer(learner, tmp_path, budget=Budget(steps=2)).run()
    assert (tmp_path / "checkpoint.pt").exists()
